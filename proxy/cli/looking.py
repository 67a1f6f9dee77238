"""Looking: the commands that say what is going on, and what became of a cart."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import msgspec

from proxy import advice, shops, story
from proxy.checkouts import Status
from proxy.claims import Compared
from proxy.cli import chosen
from proxy.settings import Settings
from proxy.standing import Standing
from proxy.tallies import Sight, What

if TYPE_CHECKING:
    from proxy.alarms import RaisedAlarm
    from proxy.store.reader import Reader


@click.command()
@chosen.option
def status(name: str | None) -> None:
    """Say how many checkouts stand where, what is stuck, and whether sending is held up."""
    known = shops.read(os.environ) if name is None else [chosen.shop(name)]
    for number, settings in enumerate(known):
        if len(known) > 1:
            click.secho("\n" * bool(number) + settings.shop, bold=True)
        try:
            _say_status(settings)
        except click.ClickException as error:
            if len(known) == 1:
                raise
            # A shop that was added just now has no store yet, and hides no other.
            click.echo(error.message)


def _say_status(settings: Settings) -> None:
    with chosen.book(settings) as book:
        for standing, count in book.counts(settings.shop).items():
            click.echo(f"{standing:<12} {count:>8}")
        _say_claims(book.claims(settings.shop))
        if settings.audit == "on":
            _say_audit(book, settings.shop)
        _say_alarms(book.alarms(settings.shop))
        if not _say_if_held(book.standing(settings.shop)):
            _say_oldest(book.oldest_due(settings.shop))
    if damaged := shops.store(settings).damaged:
        listed = ", ".join(path.name for path in damaged)
        words = f"{len(damaged)} set aside as damaged, see the log, then delete: {listed}"
        click.secho(words, fg="yellow")


def _say_claims(claims: dict[Compared, int]) -> None:
    """Say how the pages' totals stood to the shop's, where a page has said any."""
    if sum(claims.values()) > claims[Compared.ABSENT]:
        counted = ", ".join(f"{claim} {count}" for claim, count in claims.items())
        click.echo(f"totals that pages said, beside the shop's: {counted}")


def _say_audit(book: "Reader", shop: str) -> None:
    """Say of how many events that Klaviyo took it is known whether they are there."""
    now = datetime.now(UTC)
    seen = book.by_detail(shop, What.AUDITED, now - timedelta(days=1), now)
    counted = ", ".join(f"{sight} {seen.get(sight, 0)}" for sight in Sight)
    click.echo(f"looked for in Klaviyo in the last day: {counted}")


def _say_alarms(alarms: "list[RaisedAlarm]") -> None:
    """Say which alarms stand, and what to do."""
    for alarm in alarms:
        if alarm.cleared_at is None:
            since = _time(alarm.raised_at)
            click.secho(f"alarm since {since}: {alarm.name}: {alarm.words}", fg="red")
            click.echo(click.wrap_text(alarm.remedy, 78, "  ", "  "))


def _say_if_held(standing: Standing) -> bool:
    """Say why nothing is sent just now; return whether that is so."""
    if standing.paused_until is None or not standing.waits(datetime.now(UTC)):
        return False
    click.secho(
        f"sending waits until {_time(standing.paused_until)}: {standing.reason}", fg="yellow"
    )
    if standing.stopped:
        click.echo("  Is CHECKOUT_PROXY_KLAVIYO_KEY right, with the scope events:write?")
    return True


def _say_oldest(due_at: datetime | None) -> None:
    if due_at is None:
        click.echo("Nothing is due.")
    elif due_at > datetime.now(UTC):
        click.echo(f"The next is due at {_time(due_at)}.")
    else:
        click.echo(f"The oldest has been due since {_time(due_at)}: is the sender at work?")


@click.command()
@click.argument("cart_id")
@chosen.option
@click.option("--event", "shows_events", is_flag=True, help="What Klaviyo took, too, as JSON.")
def trace(cart_id: str, name: str | None, *, shows_events: bool) -> None:
    """Tell the whole story of CART_ID: what came in, what was decided, what was tried.

    An event's id, under which Klaviyo shows it, does as well.
    """
    settings = chosen.shop(name)
    with chosen.book(settings) as book:
        which = chosen.named(book, settings.shop, cart_id)
        told = story.tell(book, settings.shop, which.cart_id or cart_id)
        events = [book.event(each.shop, each.cart_id, each.epoch) for each in told.checkouts]
    if not told.lines:
        raise click.ClickException(f"nothing was received for the cart {cart_id}")
    for line in told.lines:
        click.echo(f"{_time(line.at)}  {line.what:<16}  {line.words}")
    for checkout, event in zip(told.checkouts, events, strict=True):
        click.echo()
        click.secho(checkout.unique_id, bold=True)
        click.echo(f"  {story.headline(checkout)}")
        click.echo(f"  consent: {story.consent(checkout)}")
        if shows_events and event is not None:
            click.echo(msgspec.json.format(event, indent=2).decode())
    if any(checkout.status is Status.PENDING for checkout in told.checkouts):
        _say_if_held(told.standing)


@click.command()
@chosen.option
@click.option("--reason", help="Only those whose reason contains this.")
def dead(name: str | None, reason: str | None) -> None:
    """List the dead letters, by reason: what was given up, and why, by the ids of the events."""
    counts: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    settings = chosen.shop(name)
    with chosen.book(settings) as book:
        for letter in book.dead(settings.shop, reason=reason):
            counts[letter.reason] += 1
            if counts[letter.reason] <= _SHOWN:
                shown.setdefault(letter.reason, []).append(letter.unique_id)
    for words, count in counts.most_common():
        more = count - len(shown[words])
        unique_ids = " ".join(shown[words]) + (f" and {more} more" if more else "")
        click.echo(f"{count:>6}  {words}")
        click.echo(click.wrap_text(unique_ids, 78, " " * 8, " " * 8))
        click.echo(click.wrap_text(f"To do: {advice.about(words)}", 78, " " * 8, " " * 8))
    if not counts:
        click.echo("No dead letters.")


_SHOWN = 20


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
