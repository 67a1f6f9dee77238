"""Retention: what is too old to be kept, found by an index and removed a little at once."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, func, select

from proxy.checkouts import Status
from proxy.store import schema

AT_ONCE = 200

_OVER = (Status.DELIVERED, Status.CANCELLED, Status.DEAD, Status.QUARANTINED)


def prune(connection: Connection, shop: str, before: datetime) -> int:
    """Remove some of what is about carts in *shop* and was *before*; return how many rows went."""
    gone = sum(_prune_checkouts(connection, shop, status, before) for status in _OVER)
    gone += _prune_facts(connection, shop, before)
    gone += _prune_carts(connection, shop, before)
    return gone + _prune_the_rest(connection, shop, before)


def left(connection: Connection, shop: str, before: datetime) -> int:
    """Return how many checkouts, facts and carts of *shop* are still to be removed."""
    which = [_over(shop, status, before) for status in _OVER]
    which += [_old(schema.facts, shop, before), _old_cart(shop, before)]
    counts = (select(func.count()).where(each) for each in which)
    return sum(connection.execute(count).scalar_one() for count in counts)


def waiting(connection: Connection, shop: str, before: datetime) -> list[tuple[str, datetime]]:
    """Return some of the checkouts that wait since *before* for somebody to say more."""
    table = schema.checkouts
    query = select(table.c.cart_id, table.c.epoch).where(_over(shop, Status.PENDING, before))
    found = connection.execute(query.order_by(table.c.acted_at).limit(AT_ONCE))
    return [(row.cart_id, row.epoch) for row in found]


def _over(shop: str, status: Status, before: datetime) -> ColumnElement[bool]:
    """Return the condition for checkouts at *status* that nothing moves; an index has them."""
    table = schema.checkouts
    return and_(
        table.c.shop == shop,
        table.c.status == status,
        table.c.due_at.is_(None),
        table.c.acted_at < before,
    )


def _old(table: Any, shop: str, before: datetime) -> ColumnElement[bool]:
    return and_(table.c.shop == shop, table.c.received_at < before)


def _old_cart(shop: str, before: datetime) -> ColumnElement[bool]:
    """Return the condition for carts that are old, and of which nothing is to be sent any more."""
    cart, checkout = schema.carts, schema.checkouts
    is_pending = exists().where(
        checkout.c.shop == cart.c.shop,
        checkout.c.cart_id == cart.c.cart_id,
        checkout.c.status == Status.PENDING,
    )
    return _old(cart, shop, before) & ~is_pending


def _prune_checkouts(connection: Connection, shop: str, status: Status, before: datetime) -> int:
    table = schema.checkouts
    query = select(table.c.cart_id, table.c.epoch).where(_over(shop, status, before))
    found = connection.execute(query.order_by(table.c.acted_at).limit(AT_ONCE)).all()
    keys = [{"of_shop": shop, "of_cart": cart_id, "of_epoch": epoch} for cart_id, epoch in found]
    for of in (schema.sent, schema.attempts, table) if keys else ():
        connection.execute(_of_key(of), keys)
    return len(keys)


def _of_key(table: Any) -> Any:
    return delete(table).where(
        table.c.shop == bindparam("of_shop"),
        table.c.cart_id == bindparam("of_cart"),
        table.c.epoch == bindparam("of_epoch"),
    )


def _prune_facts(connection: Connection, shop: str, before: datetime) -> int:
    table = schema.facts
    query = select(table.c.seq).where(_old(table, shop, before))
    seqs = connection.execute(query.order_by(table.c.received_at).limit(AT_ONCE)).scalars().all()
    if seqs:
        connection.execute(delete(table).where(table.c.seq.in_(seqs)))
    return len(seqs)


def _prune_carts(connection: Connection, shop: str, before: datetime) -> int:
    table = schema.carts
    query = select(table.c.cart_id).where(_old_cart(shop, before))
    found = connection.execute(query.order_by(table.c.received_at).limit(AT_ONCE)).scalars().all()
    if found:
        connection.execute(delete(table).where(table.c.shop == shop, table.c.cart_id.in_(found)))
    return len(found)


def _prune_the_rest(connection: Connection, shop: str, before: datetime) -> int:
    """Remove who was erased, alarms that are over, and what was told of them: these are few."""
    times = (schema.erasures.c.until, schema.alarms.c.cleared_at, schema.notices.c.at)
    gone = 0
    for at in times:
        statement = delete(at.table).where(at.table.c.shop == shop, at < before)
        gone += connection.execute(statement).rowcount
    return gone
