"""Rows: how checkouts and carts lie in the tables, read and written many at a time."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from proxy.carts.cart import Cart
from proxy.checkouts import Checkout, Status
from proxy.facts import SignedOut
from proxy.store import schema
from proxy.store.received import Received
from proxy.tallies import Tally

CartKey = tuple[str, str]


def cart_key(checkout: Checkout) -> CartKey:
    """Return the shop and the cart that *checkout* is about."""
    return checkout.shop, checkout.cart_id


def loaded(connection: Connection, keys: set[CartKey]) -> dict[CartKey, list[Checkout]]:
    """Return the checkouts of each cart, oldest first."""
    table = schema.checkouts
    loaded: dict[CartKey, list[Checkout]] = {}
    for some in _parts(keys):
        query = select(*_COLUMNS).where(among(table, some)).order_by(table.c.epoch)
        for row in connection.execute(query):
            loaded.setdefault((row.shop, row.cart_id), []).append(_checkout_of(row))
    return loaded


def _parts(keys: set[CartKey]) -> Iterator[set[CartKey]]:
    """Yield *keys* in parts: an address that many share may be erased, and a query has its limit.

    One part at least for each shop: of several, each cart would be looked for in each of them.
    """
    for shop, ours in groupby(sorted(keys), key=itemgetter(0)):
        cart_ids = iter([cart_id for _, cart_id in ours])
        while some := list(islice(cart_ids, _AT_ONCE)):
            yield {(shop, cart_id) for cart_id in some}


_AT_ONCE = 5_000


def among(table: Any, keys: set[CartKey]) -> Any:
    """Return the condition for *keys*, and some more where several shops have one cart id.

    Not a comparison of whole rows: for more than one of them SQLite reads the table to its end.
    """
    shops, cart_ids = {shop for shop, _ in keys}, {cart_id for _, cart_id in keys}
    return table.c.shop.in_(shops) & table.c.cart_id.in_(cart_ids)


def _checkout_of(row: Row[Any]) -> Checkout:
    """Return the checkout that lies in *row*, which has the columns that we select."""
    return Checkout(**dict(zip(_FIELDS, row, strict=True)))


_FIELDS = Checkout.__struct_fields__
_COLUMNS = [schema.checkouts.c[name] for name in _FIELDS]


def save(connection: Connection, checkouts: Iterable[Checkout]) -> None:
    """Write *checkouts* down, in the place of what they were."""
    rows = [{name: getattr(checkout, name) for name in _FIELDS} for checkout in checkouts]
    if rows:
        connection.execute(replacing(schema.checkouts, connection), rows)


def update_changed(connection: Connection, pairs: Iterable[tuple[Checkout, Checkout]]) -> None:
    """Write down what is new in each checkout, which comes as it was and as it is."""
    of_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for before, after in pairs:
        # What is the same is the same object: a changed checkout is a copy.
        names = tuple(n for n in _FIELDS if getattr(before, n) is not getattr(after, n))
        row = {f"to_{name}": getattr(after, name) for name in names}
        key = {"of_shop": after.shop, "of_cart": after.cart_id, "of_epoch": after.epoch}
        of_columns.setdefault(names, []).append(row | key)
    for names, changed in of_columns.items():
        if names:
            connection.execute(_updating(names), changed)


@cache
def _updating(names: tuple[str, ...]) -> Any:
    table = schema.checkouts
    return (
        update(table)
        .where(
            table.c.shop == bindparam("of_shop"),
            table.c.cart_id == bindparam("of_cart"),
            table.c.epoch == bindparam("of_epoch"),
        )
        .values({name: bindparam(f"to_{name}") for name in names})
    )


def erase_closed(connection: Connection, standing: Mapping[CartKey, Sequence[Checkout]]) -> None:
    """Erase what was received for carts of which nothing will be sent any more."""
    closed = {key: checkouts for key, checkouts in standing.items() if is_closed(checkouts)}
    if closed:
        keys = [{"of_shop": shop, "of_cart": cart_id} for shop, cart_id in closed]
        connection.execute(ERASE_BODIES, keys)
        _erase_addresses_of_carts(connection, closed)


def is_closed(checkouts: Sequence[Checkout]) -> bool:
    """Tell whether nothing will be sent any more of a cart's *checkouts*."""
    closed = (Status.DELIVERED, Status.CANCELLED)
    return bool(checkouts) and all(checkout.status in closed for checkout in checkouts)


def _erase_addresses_of_carts(
    connection: Connection, closed: Mapping[CartKey, Sequence[Checkout]]
) -> None:
    """Erase the addresses in these carts, but those that came later: they are the next visit's."""
    nobodys: dict[CartKey, KeptCart | None] = {}
    naming = (_carts(connection, _naming(some)) for some in _parts(set(closed)))
    for key, kept in chain.from_iterable(each.items() for each in naming):
        until = max((each.settled_at for each in closed.get(key, ())), default=_NEVER)
        if kept.received_at <= until:
            cart = msgspec.structs.replace(kept.cart, email=None)
            nobodys[key] = KeptCart(cart, kept.received_at)
    save_carts(connection, nobodys)


def _naming(keys: set[CartKey]) -> Any:
    """Return the condition for carts of *keys* that name an address: few do."""
    return among(schema.carts, keys) & schema.carts.c.has_email


_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class KeptCart:
    """The last cart that the shop's server put, and when it was received."""

    cart: Cart
    received_at: datetime


def kept_carts(connection: Connection, keys: set[CartKey]) -> dict[CartKey, KeptCart]:
    """Return the carts that are kept, of *keys* and perhaps of some more."""
    found: dict[CartKey, KeptCart] = {}
    for some in _parts(keys):
        found |= _carts(connection, among(schema.carts, some))
    return found


def _carts(connection: Connection, which: Any) -> dict[CartKey, KeptCart]:
    rows = connection.execute(select(schema.carts).where(which))
    return {(row.shop, row.cart_id): KeptCart(row.cart, row.received_at) for row in rows}


def save_carts(connection: Connection, carts: Mapping[CartKey, KeptCart | None]) -> None:
    """Write *carts* down; where there is ``None``, forget the cart."""
    put = [_cart_row(key, kept) for key, kept in carts.items() if kept is not None]
    if put:
        connection.execute(replacing(schema.carts, connection), put)
    for key in (key for key, kept in carts.items() if kept is None):
        connection.execute(_of(schema.carts.delete(), schema.carts, key))


def _cart_row(key: CartKey, kept: KeptCart) -> dict[str, Any]:
    shop, cart_id = key
    has_email = kept.cart.email is not None
    about = {"shop": shop, "cart_id": cart_id, "received_at": kept.received_at}
    return about | {"cart": kept.cart, "has_email": has_email}


def add_up(connection: Connection, shop: str, tally: Tally) -> None:
    """Add what *tally* counted to what was counted before."""
    counted = [
        {"shop": shop, "minute": minute, "what": what, "detail": detail, "many": many}
        for minute, what, detail, many in tally
    ]
    if counted:
        table = schema.tallies
        statement = _insert(table, connection)
        more = {"many": table.c.many + statement.excluded.many}
        keys = list(table.primary_key)
        adding = statement.on_conflict_do_update(index_elements=keys, set_=more)
        connection.execute(adding, counted)


def save_questions(connection: Connection, asked: Sequence[Received]) -> None:
    """Write down what was *asked*, and let it lie nowhere else; what is known stays as it is."""
    if not asked:
        return
    statement = _insert(schema.questions, connection).on_conflict_do_nothing()
    connection.execute(statement, [_question_row(item) for item in asked])
    if connection.dialect.name == "postgresql":
        # A file of SQLite's loses what was taken in within seconds, a partition after its day.
        for item in asked:
            about = {"shop": item.shop, "inbox": item.inbox, "seq": item.seq}
            connection.execute(ERASE_RECEIVED, about)


def save_sign_outs(connection: Connection, ends: Sequence[SignedOut]) -> None:
    """Write down which operators' sessions were ended."""
    rows = {
        (each.shop, each.session): {
            "shop": each.shop,
            "session": each.session or "",
            "id": each.id,
            "at": each.received_at,
        }
        for each in ends
    }
    if rows:
        connection.execute(replacing(schema.sign_outs, connection), list(rows.values()))


def _question_row(item: Received) -> dict[str, Any]:
    return {"shop": item.shop, "id": item.id, "asked_at": item.received_at, "body": item.body}


ERASE_RECEIVED = text(
    "UPDATE inbox SET body = '' WHERE shop = :shop AND inbox = :inbox AND seq = :seq"
)


def _of(statement: Any, table: Any, key: CartKey) -> Any:
    return statement.where(table.c.shop == key[0], table.c.cart_id == key[1])


def replacing(table: Any, connection: Connection, names: Collection[str] = ()) -> Any:
    """Return the statement that puts rows into *table*, in the place of those with the same key.

    Where there are *names*, only the columns of those names are replaced.
    """
    statement = _insert(table, connection)
    keys = {column.name for column in table.primary_key}
    new = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if column.name not in keys and (not names or column.name in names)
    }
    return statement.on_conflict_do_update(index_elements=list(keys), set_=new)


def _insert(table: Any, connection: Connection) -> Any:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table)


ERASE_BODIES = (
    update(schema.facts)
    .where(
        schema.facts.c.shop == bindparam("of_shop"),
        schema.facts.c.cart_id == bindparam("of_cart"),
        schema.facts.c.body.is_not(None),
    )
    .values(body=None)
)
