"""Book: what the sender has taken in and decided, written by it alone, read by anybody."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, func, insert, select

from proxy.carts.cart import Cart
from proxy.checkouts import (
    INBOXES_APART,
    LONGEST_WAIT,
    Checkout,
    Rules,
    Status,
    brought_back,
)
from proxy.claims import Compared
from proxy.standing import Standing
from proxy.store import rows, schema
from proxy.store.folding import Folding
from proxy.store.received import Received
from proxy.store.rows import CartKey, cart_key

CheckoutKey = tuple[str, datetime]


def checkout_key(checkout: Checkout) -> CheckoutKey:
    """Return what tells *checkout* from the others of its shop."""
    return checkout.cart_id, checkout.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to send a checkout: when, what Klaviyo answered, in words."""

    at: datetime
    status: int | None
    request_id: str | None
    reason: str


class DeadLetter(NamedTuple):
    """A checkout that was given up, and why."""

    cart_id: str
    epoch: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What attempts did to a checkout, told as a function of how the checkout stands by then."""

    checkout: Checkout
    apply: Callable[[Checkout], Checkout]
    attempts: tuple[Attempt, ...] = ()


class Book:
    """Checkouts, carts, attempts and accounts behind *engine*.

    Who writes it is alone, so what was handed out to be sent is remembered, and need not be read
    again for each thing that becomes of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[CartKey, list[Checkout]] = {}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

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

    def carts(self, shop: str, cart_ids: Collection[str]) -> dict[str, Cart]:
        """Return the last carts that the shop's server pushed under *cart_ids*."""
        table = schema.carts
        query = select(table.c.cart_id, table.c.cart).where(
            table.c.shop == shop, table.c.cart_id.in_(cart_ids)
        )
        with self._engine.connect() as connection:
            return {row.cart_id: row.cart for row in connection.execute(query)}

    def cart(self, shop: str, cart_id: str) -> Cart | None:
        """Return the last cart that the shop's server pushed."""
        return self.carts(shop, [cart_id]).get(cart_id)

    def change(self, changes: Sequence[Change]) -> list[Checkout]:
        """Apply *changes* to the checkouts as they stand, in one commit; return them after it."""
        carts = {cart_key(change.checkout) for change in changes}
        known = {key: self._known[key] for key in carts if key in self._known}
        self._forget(carts)
        with self._engine.begin() as connection:
            before = known | rows.loaded(connection, carts - known.keys())
            after = {key: list(checkouts) for key, checkouts in before.items()}
            changed = [_apply(after, change) for change in changes]
            pairs = (zip(before[key], after[key], strict=True) for key in carts)
            rows.update_changed(connection, chain.from_iterable(pairs))
            rows.erase_closed(connection, after)
            attempts = [row for change in changes for row in _attempt_rows(change)]
            if attempts:
                connection.execute(insert(schema.attempts), attempts)
        self._known.update((key, of) for key, of in after.items() if not rows.is_closed(of))
        return changed

    def _forget(self, carts: Iterable[CartKey]) -> None:
        for key in carts:
            self._known.pop(key, None)

    def standing(self, shop: str) -> Standing:
        """Return whether *shop*'s account may be sent to."""
        table = schema.accounts
        columns = (table.c[field.name] for field in fields(Standing))
        query = select(*columns).where(table.c.shop == shop)
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return Standing() if row is None else Standing(**row._asdict())

    def set_standing(self, shop: str, standing: Standing) -> None:
        """Write down whether *shop*'s account may be sent to."""
        row = {"shop": shop, **asdict(standing)}
        with self._engine.begin() as connection:
            connection.execute(rows.replacing(schema.accounts, connection), [row])

    # -- reading --

    def counts(self, shop: str) -> dict[Status, int]:
        """Return how many checkouts of *shop* stand where."""
        table = schema.checkouts
        count = select(table.c.status, func.count().label("many")).group_by(table.c.status)
        with self._engine.connect() as connection:
            found = connection.execute(count.where(table.c.shop == shop))
            counted = {row.status: row.many for row in found}
        return {status: counted.get(status, 0) for status in Status}

    def claims(self, shop: str) -> dict[Compared, int]:
        """Return how the pages' totals stood to those that were sent, and how often."""
        table = schema.checkouts
        sent = (table.c.shop == shop) & (table.c.status == Status.DELIVERED)
        query = select(table.c.claim, func.count().label("many")).where(sent)
        with self._engine.connect() as connection:
            counted = {
                row.claim: row.many for row in connection.execute(query.group_by(table.c.claim))
            }
        return {claim: counted.get(claim, 0) for claim in Compared}

    def oldest_due(self, shop: str) -> datetime | None:
        """Return since when the checkout that is longest due has been due."""
        table = schema.checkouts
        query = select(func.min(table.c.due_at)).where(
            table.c.shop == shop, table.c.status == Status.PENDING
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def checkouts(self, shop: str, cart_id: str) -> list[Checkout]:
        """Return the checkouts of one cart, oldest first."""
        with self._engine.connect() as connection:
            return rows.loaded(connection, {(shop, cart_id)}).get((shop, cart_id), [])

    def dead(
        self, shop: str, *, reason: str | None = None, cart_id: str | None = None
    ) -> Iterator[DeadLetter]:
        """Yield the dead letters of *shop*: all, those whose reason contains *reason*, a cart's.

        After three days without Klaviyo there may be a million of them.
        """
        table = schema.checkouts
        columns = table.c.cart_id, table.c.epoch, table.c.reason
        query = select(*columns).where(table.c.shop == shop, table.c.status == Status.DEAD)
        if reason is not None:
            query = query.where(table.c.reason.icontains(reason, autoescape=True))
        if cart_id is not None:
            query = query.where(table.c.cart_id == cart_id)
        with self._engine.connect() as connection:
            some_at_once = connection.execution_options(yield_per=1_000)
            for row in some_at_once.execute(query.order_by(table.c.acted_at)):
                yield DeadLetter(*row)

    def received(self, shop: str, cart_id: str) -> list[Row[Any]]:
        """Return what was received for one cart: ``received_at``, ``kind``, ``decision``."""
        table = schema.facts
        query = (
            select(table.c.received_at, table.c.kind, table.c.decision)
            .where(table.c.shop == shop, table.c.cart_id == cart_id)
            .order_by(table.c.seq)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def attempts(self, shop: str, cart_id: str) -> list[Attempt]:
        """Return every attempt to send one cart's checkouts, oldest first."""
        table = schema.attempts
        query = (
            select(*(table.c[field.name] for field in fields(Attempt)))
            .where(table.c.shop == shop, table.c.cart_id == cart_id)
            .order_by(table.c.seq)
        )
        with self._engine.connect() as connection:
            return [Attempt(**row._asdict()) for row in connection.execute(query)]


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


def _attempt_rows(change: Change) -> Iterator[dict[str, Any]]:
    about = change.checkout
    row = {"shop": about.shop, "cart_id": about.cart_id, "epoch": about.epoch}
    for attempt in change.attempts:
        yield row | {name: getattr(attempt, name) for name in _ATTEMPT}
