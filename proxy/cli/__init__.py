"""The command ``checkout-proxy``: a group here, its commands by what they are for."""

import logging
from typing import Any

import click

from proxy.cli import erasing, looking, mending, pruning, running, setup, trying
from proxy.errors import Misconfigured, Refused, StoreAway


class _Commands(click.Group):
    """Commands whose own errors come out as words and an exit status, not as a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Misconfigured as error:
            words = "\n  ".join(["the settings cannot work:", *error.mistakes])
            raise click.ClickException(words) from error
        except Refused as error:
            raise click.ClickException(_with_cause(error)) from error
        except StoreAway as error:
            raise click.ClickException(str(error)) from error


def _with_cause(error: Refused) -> str:
    """Return what *error* says, and why: of a command there is no log that would."""
    if error.__cause__ is None:
        return error.detail
    # PostgreSQL quotes whole rows in the lines after the first.
    why = next(iter(f"{error.__cause__}".splitlines()), "") or type(error.__cause__).__name__
    return f"{error.detail.rstrip('.')}: {why}"


# What is slow to import a command imports itself: no other waits for it, nor does a web worker.
_COMMANDS = [
    *[running.serve, running.work, running.migrate, running.demo],
    *[setup.settings, setup.key, setup.tag, setup.doctor],
    *[trying.token, trying.cart, trying.qa, trying.preview],
    *[looking.status, looking.trace, looking.dead],
    *[mending.replay, mending.release, mending.hurry, mending.cancel, erasing.erase, pruning.prune],
]


@click.group(
    cls=_Commands,
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="checkout-proxy")
def main() -> None:
    """A shop's own server-side sender of Klaviyo's Started Checkout.

    Settings come from environment variables, and of several shops from a file: see
    `checkout-proxy settings`.
    """
    # A command says what it finds; those that run for long set up a log of their own.
    logging.getLogger("proxy").addHandler(logging.NullHandler())
