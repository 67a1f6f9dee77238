"""Mending: the commands that wish something of a checkout: again, now, or not at all."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import click

from proxy import story
from proxy.checkouts import Checkout, Status
from proxy.cli import chosen, progress
from proxy.facts import Asked, CancelAsked, HurryAsked, ReleaseAsked, ReplayAsked
from proxy.store import Inbox

if TYPE_CHECKING:
    from proxy.store.reader import DeadLetter

A = TypeVar("A", bound=Asked)


@click.command()
@click.argument("cart_id", required=False)
@chosen.option
@click.option("--reason", help="All dead letters whose reason contains this.")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
def replay(cart_id: str | None, name: str | None, reason: str | None, everything: bool) -> None:
    """Send dead letters again: of CART_ID, by reason, or all. They keep their unique id.

    An event's id, which `checkout-proxy dead` lists, does as well.
    """
    if sum([cart_id is not None, reason is not None, everything]) != 1:
        raise click.UsageError("Name a CART_ID, or give --reason, or --all.")
    settings = chosen.shop(name)
    with chosen.book(settings) as book, chosen.inbox(settings) as inbox:
        which = chosen.named(book, settings.shop, cart_id)
        dead = book.dead(settings.shop, reason=reason, cart_id=which.cart_id)
        asked = _asked_of(dead, ReplayAsked, settings.shop, which)
        many = book.counts(settings.shop).get(Status.DEAD, 0)
        # Of some by their reason it is not known how many there are.
        with progress.shown("Dead letters", many if everything else 0) as done:
            count = _ask_for_all(inbox, asked, done)
    if cart_id is not None and not count:
        raise click.ClickException(f"no dead letter of {cart_id}: see `checkout-proxy trace`")
    click.echo(f"{count} dead letter{'' if count == 1 else 's'} will be sent again.")


@click.command()
@click.argument("cart_id", required=False)
@chosen.option
@click.option("--reason", help="All in quarantine whose reason contains this.")
@click.option("--all", "everything", is_flag=True, help="All in quarantine.")
def release(cart_id: str | None, name: str | None, reason: str | None, everything: bool) -> None:
    """Believe what is in quarantine: CART_ID's, by reason, or all. Without any, list it.

    An event's id does as well as its cart's.
    """
    if sum([cart_id is not None, reason is not None, everything]) > 1:
        raise click.UsageError("Name a CART_ID, or give --reason, or --all.")
    settings = chosen.shop(name)
    with chosen.book(settings) as book:
        if cart_id is reason is None and not everything:
            _say_quarantined(book.by_reason(settings.shop, Status.QUARANTINED))
            return
        which = chosen.named(book, settings.shop, cart_id)
        kept = book.ended(settings.shop, Status.QUARANTINED, reason=reason, cart_id=which.cart_id)
        asked = _asked_of(kept, ReleaseAsked, settings.shop, which)
        many = book.counts(settings.shop).get(Status.QUARANTINED, 0)
        with (
            chosen.inbox(settings) as inbox,
            progress.shown("In quarantine", many if everything else 0) as done,
        ):
            count = _ask_for_all(inbox, asked, done)
    if cart_id is not None and not count:
        raise click.ClickException(f"{cart_id} is not in quarantine: see `checkout-proxy trace`")
    click.echo(f"{count} checkout{'' if count == 1 else 's'} will be sent as if never suspected.")


def _say_quarantined(groups: Sequence[tuple[str, int]]) -> None:
    for reason, count in groups:
        click.echo(f"{count:>6}  {reason}")
    if not groups:
        click.echo("Nothing is in quarantine.")


@click.command()
@click.argument("cart_id")
@chosen.option
def hurry(cart_id: str, name: str | None) -> None:
    """Send what is pending of CART_ID, or of an event's id, now: do not wait until it is due."""
    _wish(name, cart_id, HurryAsked, (Status.PENDING,))
    click.echo("It is to be sent now; see `checkout-proxy trace`.")


@click.command()
@click.argument("cart_id")
@chosen.option
def cancel(cart_id: str, name: str | None) -> None:
    """Do not send CART_ID, or an event's id, whatever the shopper goes on to say.

    A later visit is another matter.
    """
    _wish(name, cart_id, CancelAsked, (Status.PENDING, Status.DEAD, Status.QUARANTINED))
    click.echo("It is not to be sent.")


def _wish(name: str | None, cart_id: str, kind: type[Asked], statuses: Collection[Status]) -> None:
    """Write down what is wished of a checkout, a cart's last, if it stands at one of *statuses*."""
    settings = chosen.shop(name)
    with chosen.book(settings) as book:
        which = chosen.named(book, settings.shop, cart_id)
        known = book.checkouts(settings.shop, which.cart_id or cart_id)
    last = next((each for each in reversed(known) if which.means(each.epoch)), None)
    if last is None or last.status not in statuses:
        raise click.ClickException(f"{cart_id} cannot be helped so: {_stands(last)}")
    with chosen.inbox(settings) as inbox:
        inbox.append(_asked(kind, last.shop, last.cart_id, last.epoch))


def _stands(checkout: Checkout | None) -> str:
    """Return how *checkout* stands, and what else helps it."""
    if checkout is None:
        return "nothing was received for it"
    command = _HELP.get(checkout.status)
    instead = f" (try `checkout-proxy {command} {checkout.unique_id}`)" if command else ""
    return story.headline(checkout) + instead


_HELP = {Status.QUARANTINED: "release", Status.DEAD: "replay"}


def _asked_of(
    ended: Iterable["DeadLetter"], kind: type[Asked], shop: str, which: chosen.Named
) -> Iterator[Asked]:
    """Yield the wish for each of *ended* that is meant."""
    return (_asked(kind, shop, e.cart_id, e.epoch) for e in ended if which.means(e.epoch))


def _asked(kind: type[A], shop: str, cart_id: str, epoch: datetime) -> A:
    at = datetime.now(UTC)
    return kind(id=uuid4().hex, shop=shop, cart_id=cart_id, received_at=at, epoch=epoch)


def _ask_for_all(inbox: Inbox, asked: Iterator[Asked], done: Callable[[int], object]) -> int:
    """Write the wishes down as facts, like everything the sender acts on; return how many."""
    count = 0
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # Together, for they share the disk's syncs; and never all of a million at once.
        while some := list(islice(asked, _AT_ONCE)):
            count += len(list(threads.map(inbox.append, some)))
            done(len(some))
    return count


_AT_ONCE = 64
