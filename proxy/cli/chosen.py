"""Chosen: the shop that a command is about, with its settings and its book."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from proxy import keyfiles, shops
from proxy.settings import Settings
from proxy.settings.reading import Judge

if TYPE_CHECKING:
    from proxy.store import Inbox, Store
    from proxy.store.reader import Reader


option = click.option("--shop", "name", help="The shop's name, where there are several.")


def shop(name: str | None, *, need: tuple[str, ...] = (), judge: Judge | None = None) -> Settings:
    """Return the settings of the shop *name*, or of the only one."""
    known = shops.read(os.environ, need=need, judge=judge)
    found = [settings for settings in known if name in (None, settings.shop)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(settings.shop for settings in known)
    if name is None:
        raise click.UsageError(f"Which of the shops {listed}? Say it with --shop.")
    raise click.UsageError(f"There is no shop {name}: there is {listed}.")


def open_files() -> Iterator[str]:
    """Yield who may read which secret and should not."""
    for section in shops.sections(os.environ).sections.values():
        for where, path in keyfiles.named(os.environ, section):
            if (found := keyfiles.opened(Path(path))) is not None:
                yield f"{found.who} may read the file that {where} names: {found.remedy}"


def judge(carts: str, described: Mapping[str, Any], key: str) -> Collection[str]:
    """Return what is wrong with a source of carts, for those who are going to ask it."""
    from proxy.carts.described import mistakes

    return mistakes(carts, described, key)


@contextmanager
def book(settings: Settings) -> Iterator["Reader"]:
    """Give the book of a shop, or say where one was looked for."""
    store = shops.store(settings)
    if not _exists(store):
        raise click.ClickException(
            f"there is no store at {store.place} yet: "
            "has a sender run there, and is CHECKOUT_PROXY_STORE the same here?"
        )
    with closing(store.book()) as book:
        yield book


class Named(NamedTuple):
    """What a command was asked about: a cart, and one of its checkouts where an event's id says so.

    Without a cart it is about all.
    """

    cart_id: str | None
    epoch: datetime | None = None

    def means(self, epoch: datetime) -> bool:
        """Tell whether the cart's checkout that began at *epoch* is meant."""
        return self.epoch in (None, epoch)


def named(book: "Reader", shop: str, said: str | None) -> Named:
    """Return what *said* names, the id of a cart or of an event as Klaviyo shows it."""
    known = None if said is None else book.checkout(shop, said)
    return Named(said) if known is None else Named(known.cart_id, known.epoch)


def _exists(store: "Store") -> bool:
    try:
        return store.exists
    except PermissionError as error:
        words = f"{store.place} cannot be read: {error.strerror}. Run this as the proxy's user."
        raise click.ClickException(words) from error


@contextmanager
def inbox(settings: Settings) -> Iterator["Inbox"]:
    """Give an inbox for what is wished of a shop that has a book, or say who may have one.

    A file of another user's the sender could not read, and the wish would never be heard.
    """
    store = shops.store(settings)
    if (owner := store.owner) not in (None, os.geteuid()):
        from proxy.doctor import disk

        raise click.ClickException(
            f"{store.place} belongs to another user, whose sender could not read what is asked "
            f"here. Ask as that user: {disk.as_user(owner)}"
        )
    with closing(store.inbox()) as inbox:
        yield inbox


def when(asked: Sequence[Settings]) -> str:
    """Return when that is done which was wished of the shops *asked*."""
    idle = [each.shop for each in asked if not shops.store(each).has_sender(each.shop)]
    if not idle:
        return "The sender does so within a moment."
    return f"No sender is at work for {', '.join(idle)}: it is done once one is."
