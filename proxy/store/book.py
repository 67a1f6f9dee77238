"""Book: what the sender has taken in and decided, written by it alone, read by anybody."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from proxy import facts
from proxy.carts.cart import Cart, replaces
from proxy.checkouts import (
    INBOXES_APART,
    LONGEST_WAIT,
    Checkout,
    Rules,
    Status,
    brought_back,
    fold,
    found_at,
    ordered_at,
)
from proxy.facts import CartDeleted, CartPushed, Fact, OrderPlaced
from proxy.standing import Standing
from proxy.store import schema
from proxy.store.inbox import Received

logger = logging.getLogger(__name__)

CheckoutKey = tuple[str, datetime]
_CartKey = tuple[str, str]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What attempts did to a checkout, told as a function of how the checkout stands by then."""

    checkout: Checkout
    apply: Callable[[Checkout], Checkout]
    attempts: tuple[Attempt, ...] = ()


class Book:
    """Checkouts, carts, attempts and accounts behind *engine*."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # -- facts --

    def marks(self) -> dict[str, int]:
        """Return how far each inbox was taken in."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(schema.marks))
            return {row.inbox: row.seq for row in rows}

    def take_in(self, received: Sequence[Received], rules: Rules) -> None:
        """Fold *received* into their checkouts, once each, and move the marks, in one commit."""
        with self._engine.begin() as connection:
            folding = _Folding(connection, received, rules)
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
            return _pending(connection, shop, is_due, limit, without=without)

    def bring_back(self, shop: str, now: datetime) -> None:
        """Make due what is due later than anything waits: a clock that was ahead said so."""
        with self._engine.begin() as connection:
            is_ahead = schema.checkouts.c.due_at > now + LONGEST_WAIT
            ahead = _pending(connection, shop, is_ahead, _FEW)
            _save(connection, [brought_back(checkout, now) for checkout in ahead])

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
        with self._engine.begin() as connection:
            standing = _loaded(connection, {_key(change.checkout) for change in changes})
            changed = [_apply(standing, change) for change in changes]
            _save(connection, {(each.shop, *checkout_key(each)): each for each in changed}.values())
            _erase_closed(connection, standing)
            attempts = [row for change in changes for row in _attempt_rows(change)]
            if attempts:
                connection.execute(insert(schema.attempts), attempts)
        return changed

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
            connection.execute(_replacing(schema.accounts, connection), [row])

    # -- reading --

    def counts(self, shop: str) -> dict[Status, int]:
        """Return how many checkouts of *shop* stand where."""
        table = schema.checkouts
        count = select(table.c.status, func.count().label("many")).group_by(table.c.status)
        with self._engine.connect() as connection:
            rows = connection.execute(count.where(table.c.shop == shop))
            counted = {row.status: row.many for row in rows}
        return {status: counted.get(status, 0) for status in Status}

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
            return _loaded(connection, {(shop, cart_id)}).get((shop, cart_id), [])

    def dead(self, shop: str, reason: str | None = None) -> list[Checkout]:
        """Return the dead letters of *shop*, or only those whose reason contains *reason*."""
        table = schema.checkouts
        query = select(*_COLUMNS).where(table.c.shop == shop, table.c.status == Status.DEAD)
        if reason is not None:
            query = query.where(table.c.reason.icontains(reason, autoescape=True))
        with self._engine.connect() as connection:
            return [_checkout(row) for row in connection.execute(query.order_by(table.c.acted_at))]

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


class _Folding:
    """One batch of facts on its way into the book: all is read first and written at the end."""

    def __init__(self, connection: Connection, received: Sequence[Received], rules: Rules) -> None:
        keys = {(item.shop, item.cart_id) for item in received}
        self._connection = connection
        self._rules = rules
        self._seen = _seen(connection, received)
        self._checkouts: dict[_CartKey, Sequence[Checkout]] = dict(_loaded(connection, keys))
        self._carts: dict[_CartKey, _KeptCart | None] = dict(_kept_carts(connection, keys))
        self._changed_carts: set[_CartKey] = set()
        self._marks: dict[str, int] = {}
        self._facts: list[dict[str, Any]] = []
        self._changed: dict[_CartKey, Sequence[Checkout]] = {}

    def take(self, item: Received) -> None:
        self._marks[item.inbox] = max(item.seq, self._marks.get(item.inbox, 0))
        known = (item.shop, item.cart_id, item.id)
        if known not in self._seen:
            self._seen.add(known)
            self._note(item, self._decision(item))

    def write(self) -> None:
        _save(self._connection, [each for rows in self._changed.values() for each in rows])
        _save_carts(self._connection, {key: self._carts[key] for key in self._changed_carts})
        if self._facts:
            self._connection.execute(insert(schema.facts), self._facts)
        heard = {(fact["shop"], fact["cart_id"]) for fact in self._facts}
        _erase_closed(self._connection, {key: self._checkouts.get(key, []) for key in heard})
        marks = [{"inbox": inbox, "seq": seq} for inbox, seq in self._marks.items()]
        if marks:
            self._connection.execute(_replacing(schema.marks, self._connection), marks)

    def _decision(self, item: Received) -> str:
        key = item.shop, item.cart_id
        try:
            fact = facts.decode(item.kind, item.body)
            after = fold(self._found_by(item), fact, self._rules)
        except Exception as error:
            # One fact that nobody foresaw must not stop all that come after it.
            logger.exception("a fact of the kind %s cannot be taken in", item.kind)
            return f"cannot be taken in ({type(error).__name__})"
        if not self._keep_cart(fact, delayed=item.delayed):
            return "older than the cart that came before: changes nothing"
        self._checkouts[key] = self._changed[key] = after
        if not after:
            return "kept"
        if after[-1].status is Status.DELIVERED:
            return "delivered before this"
        return f"{after[-1].status}: {after[-1].reason}"

    def _found_by(self, item: Received) -> Sequence[Checkout]:
        known = self._checkouts.get((item.shop, item.cart_id), [])
        return known if item.delayed else found_at(known, item.received_at)

    def _keep_cart(self, fact: Fact, *, delayed: bool) -> bool:
        """Keep or remove the cart that *fact* is about, unless it is older than the one we have."""
        if not isinstance(fact, CartPushed | CartDeleted | OrderPlaced):
            return True
        kept = self._carts.get((fact.shop, fact.cart_id))
        match fact:
            case CartPushed() if delayed and self._was_bought_since(fact):
                return False
            case CartPushed() if kept is None or _overtakes(fact, kept, delayed=delayed):
                self._keep(fact, _KeptCart(fact.cart, fact.received_at))
            case CartDeleted() if kept is None or _came_later(fact, kept, delayed=delayed):
                self._keep(fact, None)
            case OrderPlaced():
                # What was bought is not what the next visit is about to buy.
                if kept is not None and _was_bought(kept, fact, delayed=delayed):
                    self._keep(fact, None)
            case _:
                return False
        return True

    def _keep(self, fact: Fact, cart: "_KeptCart | None") -> None:
        key = fact.shop, fact.cart_id
        self._carts[key] = cart
        self._changed_carts.add(key)

    def _was_bought_since(self, fact: Fact) -> bool:
        known = self._checkouts.get((fact.shop, fact.cart_id), [])
        return any(c.ordered_at is not None and fact.received_at <= c.ordered_at for c in known)

    def _note(self, item: Received, decision: str) -> None:
        # A cart is kept in its own table, and the last one only.
        body = None if item.kind == "cart" else item.body
        self._facts.append(
            {
                "shop": item.shop,
                "cart_id": item.cart_id,
                "id": item.id,
                "kind": item.kind,
                "received_at": item.received_at,
                "body": body,
                "decision": decision,
            }
        )


def _seen(connection: Connection, received: Sequence[Received]) -> set[tuple[str, str, str]]:
    # A few at a time: each cart is looked up with each id.
    starts = range(0, len(received), _FEW)
    return {
        known for start in starts for known in _known(connection, received[start : start + _FEW])
    }


_FEW = 100


def _known(connection: Connection, received: Sequence[Received]) -> Iterator[tuple[str, str, str]]:
    table = schema.facts
    query = select(table.c.shop, table.c.cart_id, table.c.id).where(
        _among(table, {(item.shop, item.cart_id) for item in received}),
        table.c.id.in_({item.id for item in received}),
    )
    return ((row.shop, row.cart_id, row.id) for row in connection.execute(query))


def _loaded(connection: Connection, keys: set[_CartKey]) -> dict[_CartKey, list[Checkout]]:
    table = schema.checkouts
    query = select(*_COLUMNS).where(_among(table, keys)).order_by(table.c.epoch)
    loaded: dict[_CartKey, list[Checkout]] = {}
    for row in connection.execute(query):
        loaded.setdefault((row.shop, row.cart_id), []).append(_checkout(row))
    return loaded


def _pending(
    connection: Connection,
    shop: str,
    which: Any,
    limit: int,
    *,
    without: Collection[CheckoutKey] = (),
) -> list[Checkout]:
    table = schema.checkouts
    query = (
        select(table.c.cart_id, table.c.epoch)
        .where(table.c.shop == shop, table.c.status == Status.PENDING, which)
        .order_by(table.c.due_at)
        .limit(limit + len(without))
    )
    found = ((row.cart_id, row.epoch) for row in connection.execute(query))
    keys = [key for key in found if key not in without][:limit]
    loaded = _loaded(connection, {(shop, cart_id) for cart_id, _ in keys})
    known = {checkout_key(each): each for of in loaded.values() for each in of}
    return [known[key] for key in keys]


def _among(table: Any, keys: set[_CartKey]) -> Any:
    """Return the condition for *keys*, and some more where several shops have one cart id.

    Not a comparison of whole rows: for more than one of them SQLite reads the table to its end.
    """
    shops, cart_ids = {shop for shop, _ in keys}, {cart_id for _, cart_id in keys}
    return table.c.shop.in_(shops) & table.c.cart_id.in_(cart_ids)


def _checkout(row: Row[Any]) -> Checkout:
    return Checkout(**dict(zip(_CHECKOUT, row, strict=True)))


_CHECKOUT = [field.name for field in fields(Checkout)]
_COLUMNS = [schema.checkouts.c[name] for name in _CHECKOUT]
_ATTEMPT = [field.name for field in fields(Attempt)]


def _save(connection: Connection, checkouts: Iterable[Checkout]) -> None:
    rows = [{name: getattr(checkout, name) for name in _CHECKOUT} for checkout in checkouts]
    if rows:
        connection.execute(_replacing(schema.checkouts, connection), rows)


def _key(checkout: Checkout) -> _CartKey:
    return checkout.shop, checkout.cart_id


def _apply(standing: dict[_CartKey, list[Checkout]], change: Change) -> Checkout:
    """Return the checkout that *change* is about after it, and put it among those *standing*."""
    checkouts = standing[_key(change.checkout)]
    place = next(n for n, each in enumerate(checkouts) if each.epoch == change.checkout.epoch)
    checkouts[place] = change.apply(checkouts[place])
    return checkouts[place]


def _attempt_rows(change: Change) -> Iterator[dict[str, Any]]:
    about = change.checkout
    row = {"shop": about.shop, "cart_id": about.cart_id, "epoch": about.epoch}
    for attempt in change.attempts:
        yield row | {name: getattr(attempt, name) for name in _ATTEMPT}


def _erase_closed(connection: Connection, standing: Mapping[_CartKey, Sequence[Checkout]]) -> None:
    """Erase what was received for carts of which nothing will be sent any more."""
    closed = {key: checkouts for key, checkouts in standing.items() if _is_closed(checkouts)}
    if closed:
        keys = [{"of_shop": shop, "of_cart": cart_id} for shop, cart_id in closed]
        connection.execute(_ERASE_BODIES, keys)
        _erase_addresses_of_carts(connection, closed)


def _is_closed(checkouts: Sequence[Checkout]) -> bool:
    closed = (Status.DELIVERED, Status.CANCELLED)
    return bool(checkouts) and all(checkout.status in closed for checkout in checkouts)


def _erase_addresses_of_carts(
    connection: Connection, closed: Mapping[_CartKey, Sequence[Checkout]]
) -> None:
    """Erase the addresses in these carts, but those that came later: they are the next visit's."""
    nobodys: dict[_CartKey, _KeptCart | None] = {}
    for key, kept in _kept_carts(connection, set(closed)).items():
        until = max((each.settled_at for each in closed.get(key, ())), default=_NEVER)
        if kept.cart.email is not None and kept.received_at <= until:
            cart = msgspec.structs.replace(kept.cart, email=None)
            nobodys[key] = _KeptCart(cart, kept.received_at)
    _save_carts(connection, nobodys)


_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _KeptCart:
    cart: Cart
    received_at: datetime


def _kept_carts(connection: Connection, keys: set[_CartKey]) -> dict[_CartKey, _KeptCart]:
    rows = connection.execute(select(schema.carts).where(_among(schema.carts, keys)))
    return {(row.shop, row.cart_id): _KeptCart(row.cart, row.received_at) for row in rows}


def _overtakes(pushed: CartPushed, kept: _KeptCart, *, delayed: bool) -> bool:
    came_later = _came_later(pushed, kept, delayed=delayed)
    return replaces(pushed.cart, kept.cart, came_later=came_later)


def _was_bought(kept: _KeptCart, order: OrderPlaced, *, delayed: bool) -> bool:
    is_ahead = not delayed and kept.received_at - order.received_at > INBOXES_APART
    return is_ahead or kept.received_at <= ordered_at(order)


def _came_later(fact: Fact, kept: _KeptCart, *, delayed: bool) -> bool:
    """Tell whether *fact* was received after the cart that is kept.

    Two workers' inboxes are read within a moment of each other. What seems to be far older than
    what was read before it was received under a clock that has been set back meanwhile, unless it
    was *delayed* on its way to us.
    """
    behind: timedelta = kept.received_at - fact.received_at
    return behind <= timedelta(0) or (behind > INBOXES_APART and not delayed)


def _save_carts(connection: Connection, carts: Mapping[_CartKey, _KeptCart | None]) -> None:
    put = [
        {"shop": shop, "cart_id": cart_id, "cart": kept.cart, "received_at": kept.received_at}
        for (shop, cart_id), kept in carts.items()
        if kept is not None
    ]
    if put:
        connection.execute(_replacing(schema.carts, connection), put)
    for key in (key for key, kept in carts.items() if kept is None):
        connection.execute(_of(schema.carts.delete(), schema.carts, key))


def _of(statement: Any, table: Any, key: _CartKey) -> Any:
    return statement.where(table.c.shop == key[0], table.c.cart_id == key[1])


def _replacing(table: Any, connection: Connection) -> Any:
    """Return the statement that puts rows into *table*, in the place of those with the same key."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    keys = {column.name for column in table.primary_key}
    new = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if column.name not in keys
    }
    return statement.on_conflict_do_update(index_elements=list(keys), set_=new)


_ERASE_BODIES = (
    update(schema.facts)
    .where(
        schema.facts.c.shop == bindparam("of_shop"),
        schema.facts.c.cart_id == bindparam("of_cart"),
        schema.facts.c.body.is_not(None),
    )
    .values(body=None)
)
