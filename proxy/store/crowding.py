"""Crowding: which of the checkouts that are due came among too many of the same client."""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, func, select

from proxy.checkouts import Checkout
from proxy.crowds import Limit
from proxy.identity import is_vouched
from proxy.store import schema

_TABLE = schema.checkouts


def crowded(
    connection: Connection, shop: str, due: Sequence[Checkout], limit: Limit
) -> Iterator[Checkout]:
    """Yield those of *due* that *limit* is exceeded around, whatever became of the others.

    They are counted by when they settled, which nobody can say for us: a page says when the shopper
    acted.
    """
    if limit.spares_vouched:
        due = [checkout for checkout in due if not is_vouched(checkout.latest)]
    suspects = _suspects(connection, shop, due, limit)
    for checkout in due:
        if getattr(checkout, limit.column) in suspects and _is_crowded(connection, checkout, limit):
            yield checkout


def _suspects(
    connection: Connection, shop: str, due: Sequence[Checkout], limit: Limit
) -> Collection[str]:
    """Return who has more than *limit* in all of the time around *due*, in one question for all."""
    names = {getattr(each, limit.column) for each in due} - {None}
    if not names:
        return ()
    column, settled_at = _TABLE.c[limit.column], _TABLE.c.settled_at
    first, last = (end(each.settled_at for each in due) for end in (min, max))
    query = (
        select(column)
        .where(_TABLE.c.shop == shop, column.in_(names))
        .where(settled_at.between(first - limit.within, last + limit.within))
        .group_by(column)
        .having(func.count() > limit.most)
    )
    return set(connection.execute(query).scalars())


def _is_crowded(connection: Connection, checkout: Checkout, limit: Limit) -> bool:
    column, settled_at = _TABLE.c[limit.column], _TABLE.c.settled_at
    first, last = checkout.settled_at - limit.within, checkout.settled_at + limit.within
    # No more of them are looked at than decide it.
    some = (
        select(settled_at)
        .where(_TABLE.c.shop == checkout.shop, column == getattr(checkout, limit.column))
        .where(settled_at.between(first, last))
        .limit(limit.most + 1)
        .subquery()
    )
    query = select(func.count()).select_from(some)
    return connection.execute(query).scalar_one() > limit.most
