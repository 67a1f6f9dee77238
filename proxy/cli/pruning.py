"""Pruning: the command that has removed what is older than it is to be kept."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from proxy import shops
from proxy.cli import chosen, progress
from proxy.facts import PruneAsked
from proxy.settings import Settings, values

if TYPE_CHECKING:
    from proxy.store.reader import Reader

_LOOK_SECONDS = 2.0


@click.command()
@chosen.option
@click.option("--older-than", "days", default="", help="As CHECKOUT_PROXY_KEEP: 7d, say.")
def prune(name: str | None, days: str) -> None:
    """Remove at once what is older than it is to be kept; the sender does so by itself."""
    for settings in shops.read(os.environ) if name is None else [chosen.shop(name)]:
        try:
            before = datetime.now(UTC) - (values.keep(days) if days else settings.keep)
        except ValueError as error:
            raise click.BadParameter(f"it {error}", param_hint="--older-than") from error
        with chosen.book(settings) as book:
            many = book.old(settings.shop, before)
            _ask(settings, before)
            with progress.shown(settings.shop, many) as done:
                left = _follow(settings, book, before, many, done)
        said = f"are to be removed. {chosen.when([settings])}" if left else "were removed."
        click.echo(f"{settings.shop}: {many} rows {said}")


def _ask(settings: Settings, before: datetime) -> None:
    about = {"id": uuid4().hex, "shop": settings.shop, "cart_id": ""}
    with chosen.inbox(settings) as inbox:
        inbox.append(PruneAsked(received_at=datetime.now(UTC), before=before, **about))


def _follow(
    settings: Settings, book: "Reader", before: datetime, many: int, done: Callable[[int], object]
) -> int:
    """Tell how far the sender is, to somebody who waits at a terminal, as long as there is one.

    Return how many rows there are still.
    """
    left = many
    while left and sys.stderr.isatty() and shops.store(settings).has_sender(settings.shop):
        time.sleep(_LOOK_SECONDS)
        now_left = book.old(settings.shop, before)
        done(max(left - now_left, 0))
        left = min(left, now_left)
    return left
