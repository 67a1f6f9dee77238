"""Setup: the commands that help to set the proxy up, and examine whether it is."""

import os
from base64 import urlsafe_b64encode
from typing import Any

import click

from proxy import shops
from proxy.cli import chosen
from proxy.consents import ConsentMode
from proxy.settings import described, names
from proxy.snippet import Snippet, consent_tools


@click.command()
def settings() -> None:
    """Print every setting with its meaning and its default."""
    for variable, default, meaning in described():
        click.echo(f"{click.style(variable, bold=True)}{f' = {default}' if default else ''}")
        click.echo(click.wrap_text(meaning, 78, "    ", "    "))
    click.echo(
        "\nIn the file, [shops.NAME] may have, instead of the variables (docs/many-shops.md):"
    )
    click.echo(click.wrap_text(", ".join(sorted(names().members)), 78, "    ", "    "))
    for words in dict.fromkeys(chosen.open_files()):
        click.secho(f"\n{words}", fg="yellow", err=True)


@click.command()
def key() -> None:
    """Make a key for CHECKOUT_PROXY_STORE_KEYS, which encrypts what the store keeps about people.

    Put it behind those that are there, with a comma between: docs/encryption.md.
    """
    click.echo(urlsafe_b64encode(os.urandom(32)).decode())


@click.command()
@click.argument("token", default="{{ token }}")
@click.option("--base", help="Where pages reach the proxy, if not on their own host: https://…/co")
@click.option("--consent", help="What holds until the page says otherwise: required, say.")
@click.option("--email-field", help="CSS selector, where the usual fields are not meant.")
@click.option("--phone-number-field", help="CSS selector, likewise.")
@click.option("--consent-tool", type=click.Choice(consent_tools()), help="Whose answer counts.")
@click.option("--nonce", help="That of your content security policy, or its place: {{ nonce }}")
@click.option("--debug", is_flag=True, help="Tell the browser's console what happens.")
def tag(
    token: str,
    base: str | None,
    consent_tool: str | None,
    nonce: str | None,
    *,
    debug: bool,
    **data: str | None,
) -> None:
    """Print the tag for the shop's pages, with TOKEN or a place for it in your template.

    It names the snippet of this very version, with its integrity hash: print it again after an
    upgrade.
    """
    settings = shops.read(os.environ)[0]
    base = base or settings.prefix
    # Else the address would leave the page before the proxy, which then keeps it back, is asked.
    if settings.consent == ConsentMode.REQUIRED:
        data["consent"] = data["consent"] or ConsentMode.REQUIRED
    data = {"token": token, "debug": "" if debug else None} | data
    click.echo(Snippet.shipped().tag(base, nonce=nonce, **data))
    if consent_tool:
        click.echo(Snippet.shipped(f"consent-{consent_tool}").tag(base, nonce=nonce))


@click.command()
@chosen.option
@click.option("--url", help="Where pages reach the proxy: https://shop.example.com")
@click.option("--origin", "origins", multiple=True, help="Of a page that is to post, beside yours.")
@click.option("--token", help="One that your shop's server signed, to be judged.")
@click.option("--cart", "cart_id", help="A cart that is open now, to be read.")
@click.option("--ref", help="The credential that the token would carry for it.")
@click.option(
    "--send-test",
    "address",
    metavar="ADDRESS",
    help="Send one Started Checkout about this address, which starts flows as any other does.",
)
@click.option("--only", multiple=True, metavar="CHECK", help="Examine this alone.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def doctor(name: str | None, only: tuple[str, ...], *, as_json: bool, **asked: Any) -> None:
    """Examine the whole set-up: what is well, what is wrong, and what to do.

    Nothing is changed, and nothing is sent but by --send-test. The exit status is 1 where
    something is wrong. docs/doctor.md explains each check.
    """
    from proxy.doctor import examination, report, setup

    if unknown := set(only) - set(examination.names()):
        words = f"{', '.join(sorted(unknown))}: there are {', '.join(examination.names())}."
        raise click.BadParameter(words, param_hint="--only")
    try:
        setups = setup.read(os.environ, setup.Asked(shop=name, **asked), chosen.judge)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    found = []
    for examined in examination.examine(setups, only):
        found.append(examined)
        if not as_json:
            click.echo("\n".join(report.section(examined, of_several=len(setups) > 1)))
    click.echo(report.as_json(found) if as_json else f"\n{report.summary(found)}")
    if report.is_wrong(found):
        raise SystemExit(1)
