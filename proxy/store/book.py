"""Book: what the sender has taken in and decided, written by it alone, read by anybody."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import chain, starmap
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from proxy import tallies
from proxy.checkouts import (
    INBOXES_APART,
    LONGEST_WAIT,
    Checkout,
    Rules,
    Status,
    brought_back,
)
from proxy.standing import Standing
from proxy.store import rows, schema
from proxy.store.folding import Folding
from proxy.store.reader import Attempt, Reader
from proxy.store.received import Received
from proxy.store.rows import CartKey, cart_key
from proxy.tallies import Count, Tally

CheckoutKey = tuple[str, datetime]


def checkout_key(checkout: Checkout) -> CheckoutKey:
    """Return what tells *checkout* from the others of its shop."""
    return checkout.cart_id, checkout.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What attempts did to a checkout, told as a function of how the checkout stands by then."""

    checkout: Checkout
    apply: Callable[[Checkout], Checkout]
    attempts: tuple[Attempt, ...] = ()
    event: bytes | None = None
    """What Klaviyo took, without what is about a person."""


class Book(Reader):
    """The same to be written.

    Who writes it is alone, so what was handed out to be sent is remembered, and need not be read
    again for each thing that becomes of it.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._known: dict[CartKey, list[Checkout]] = {}

    # -- facts --

    def marks(self) -> dict[str, int]:
        """Return how far each inbox was taken in."""
        with self._engine.connect() as connection:
            found = connection.execute(select(schema.marks))
            return {row.inbox: row.seq for row in found}

    def take_in(self, received: Sequence[Received], rules: Rules) -> None:
        """Fold *received* into their checkouts, once each, and move the marks, in one commit."""
        self._forget((item.shop, item.cart_id) for item in received)
        with self._engine.begin() as connection:
            folding = Folding(connection, received, rules)
            for item in received:
                folding.take(item)
            folding.write()

    # -- sending --

    def due(
        self, shop: str, now: datetime, limit: int, *, without: Collection[CheckoutKey] = ()
    ) -> list[Checkout]:
        """Return at most *limit* checkouts of *shop* that may go by *now*, longest due first.

        Those *without* which the caller can do, say because it has them in hand, are left out.
        """
        with self._engine.connect() as connection:
            is_due = schema.checkouts.c.due_at <= now
            keys = _pending(connection, shop, is_due, limit + len(without))
            keys = [key for key in keys if key not in without][:limit]
            loaded = rows.loaded(connection, {(shop, cart_id) for cart_id, _ in keys})
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update(loaded)
        return _picked(loaded, keys)

    def bring_back(self, shop: str, now: datetime) -> None:
        """Make due what is due later than anything waits: a clock that was ahead said so.

        It was said before all that is on its way into the book.
        """
        with self._engine.begin() as connection:
            is_ahead = schema.checkouts.c.due_at > now + LONGEST_WAIT
            keys = _pending(connection, shop, is_ahead, _AT_ONCE)
            if keys:
                carts = {(shop, cart_id) for cart_id, _ in keys}
                self._forget(carts)
                ahead = _picked(rows.loaded(connection, carts), keys)
                rows.save(connection, [brought_back(each, now - INBOXES_APART) for each in ahead])

    def change(
        self, shop: str, changes: Sequence[Change], now: datetime, more: Iterable[Count] = ()
    ) -> list[Checkout]:
        """Apply *changes* to *shop*'s checkouts as they stand, in one commit; return them after it.

        What that comes to is counted as of *now*, and *more* with it.
        """
        carts = {cart_key(change.checkout) for change in changes}
        known = {key: self._known[key] for key in carts if key in self._known}
        self._forget(carts)
        with self._engine.begin() as connection:
            before = known | rows.loaded(connection, carts - known.keys())
            after = {key: list(checkouts) for key, checkouts in before.items()}
            changed = [_apply(after, change) for change in changes]
            each = (zip(before[key], after[key], strict=True) for key in carts)
            pairs = list(chain.from_iterable(each))
            rows.update_changed(connection, pairs)
            rows.erase_closed(connection, after)
            rows.add_up(connection, shop, _counted(changes, pairs, now, more))
            events = [row for change in changes for row in _event_rows(change)]
            if events:
                connection.execute(rows.replacing(schema.sent, connection), events)
            attempts = [row for change in changes for row in _attempt_rows(change)]
            if attempts:
                connection.execute(insert(schema.attempts), attempts)
        self._known.update((key, of) for key, of in after.items() if not rows.is_closed(of))
        return changed

    def _forget(self, carts: Iterable[CartKey]) -> None:
        for key in carts:
            self._known.pop(key, None)

    def set_standing(self, shop: str, standing: Standing) -> None:
        """Write down whether *shop*'s account may be sent to."""
        row = {"shop": shop, **asdict(standing)}
        with self._engine.begin() as connection:
            connection.execute(rows.replacing(schema.accounts, connection), [row])


def _pending(connection: Connection, shop: str, which: Any, limit: int) -> list[CheckoutKey]:
    table = schema.checkouts
    query = (
        select(table.c.cart_id, table.c.epoch)
        .where(table.c.shop == shop, table.c.status == Status.PENDING, which)
        .order_by(table.c.due_at)
        .limit(limit)
    )
    return [(row.cart_id, row.epoch) for row in connection.execute(query)]


def _picked(
    loaded: Mapping[CartKey, Sequence[Checkout]], keys: Iterable[CheckoutKey]
) -> list[Checkout]:
    known = {checkout_key(each): each for of in loaded.values() for each in of}
    return [known[key] for key in keys]


_AT_ONCE = 100
_MOST_KNOWN = 10_000
_ATTEMPT = [field.name for field in fields(Attempt)]


def _apply(standing: dict[CartKey, list[Checkout]], change: Change) -> Checkout:
    """Return the checkout that *change* is about after it, and put it among those *standing*."""
    checkouts = standing[cart_key(change.checkout)]
    place = next(n for n, each in enumerate(checkouts) if each.epoch == change.checkout.epoch)
    checkouts[place] = change.apply(checkouts[place])
    return checkouts[place]


def _counted(
    changes: Sequence[Change],
    pairs: Iterable[tuple[Checkout, Checkout]],
    now: datetime,
    more: Iterable[Count],
) -> Tally:
    tally = Tally()
    tally.add(now, more)
    tally.add(now, chain.from_iterable(starmap(tallies.of_step, pairs)))
    for attempt in chain.from_iterable(change.attempts for change in changes):
        tally.add(attempt.at, tallies.of_answer(attempt.status))
    return tally


def _event_rows(change: Change) -> Iterator[dict[str, Any]]:
    if change.event is not None:
        about = change.checkout
        row = {"shop": about.shop, "cart_id": about.cart_id, "epoch": about.epoch}
        yield row | {"event": change.event}


def _attempt_rows(change: Change) -> Iterator[dict[str, Any]]:
    about = change.checkout
    row = {"shop": about.shop, "cart_id": about.cart_id, "epoch": about.epoch}
    for attempt in change.attempts:
        yield row | {name: getattr(attempt, name) for name in _ATTEMPT}
