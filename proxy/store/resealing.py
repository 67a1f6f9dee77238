"""Resealing: a book gone through once, row by row, so that all in it lies under the newest key."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    LargeBinary,
    RowMapping,
    Table,
    bindparam,
    select,
    tuple_,
    type_coerce,
    update,
)

from proxy.errors import StoreSealed
from proxy.store import schema

logger = logging.getLogger(__name__)

# By what a shop's rows are gone through; each has an index for it.
KEYS = {
    schema.facts: ("cart_id", "id"),
    schema.carts: ("cart_id",),
    schema.checkouts: ("cart_id", "epoch"),
    schema.questions: ("id",),
    schema.locks: ("place",),
}


class Resealing:
    """Go through what *engine*'s tables say of *shop*, a part each time, and then no more.

    What comes in meanwhile is under the newest key already. What cannot be opened stays as it is.
    """

    def __init__(self, engine: Engine, shop: str) -> None:
        self._engine = engine
        self._shop = shop
        self._seal = schema.seal_of(engine.dialect)
        self._left = list(KEYS) if self._seal.has_keys else []
        self._after: RowMapping | None = None
        self._changed = self._unopened = 0

    @property
    def is_done(self) -> bool:
        """Whether all was gone through."""
        return not self._left

    def go_on(self, limit: int) -> None:
        """Go through at most *limit* rows."""
        if self.is_done:
            return
        with self._engine.begin() as connection:
            rows = self._next(connection, self._left[0], limit)
            changed = [row for row in map(self._resealed, rows) if row]
            _write(connection, self._left[0], self._shop, changed)
        self._changed += len(changed)
        self._after = rows[-1] if len(rows) == limit else None
        if self._after is None:
            self._left.pop(0)
            if self.is_done:
                self._end()

    def _next(self, connection: Connection, table: Table, limit: int) -> Sequence[RowMapping]:
        keys = [table.c[name] for name in KEYS[table]]
        # As they lie there: most are to stay so, and some cannot be opened.
        raw = [type_coerce(column, LargeBinary).label(column.name) for column in sealed(table)]
        query = select(*keys, *raw).where(table.c.shop == self._shop).order_by(*keys).limit(limit)
        if self._after is not None:
            after = [self._after[name] for name in KEYS[table]]
            query = query.where(tuple_(*keys) > tuple_(*after))
        return connection.execute(query).mappings().all()

    def _resealed(self, row: RowMapping) -> dict[str, Any]:
        """Return what is to change in *row*, with its keys; nothing where it lies as it should."""
        table = self._left[0]
        old = {name: value for name, value in row.items() if name not in KEYS[table]}
        stale = {n: v for n, v in old.items() if v is not None and not self._seal.is_current(v)}
        new = {name: self._anew(value) for name, value in stale.items()}
        if new == stale:
            return {}
        keys = {f"of_{name}": row[name] for name in KEYS[table]}
        return keys | {f"to_{name}": value for name, value in (old | new).items()}

    def _anew(self, content: bytes) -> bytes:
        try:
            return self._seal.sealed(self._seal.opened(content))
        except (StoreSealed, ValueError):
            self._unopened += 1
            return content

    def _end(self) -> None:
        if self._unopened:
            words = "%s: %d values in the book cannot be opened: `checkout-proxy doctor` says why"
            logger.warning(words, self._shop, self._unopened)
        if not self._changed:
            return
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                # What they were before lies in the log until something else is written there.
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        words = "%s: %d rows of the book lie as CHECKOUT_PROXY_STORE_KEYS says now"
        logger.info(words, self._shop, self._changed)


def sealed(table: Table) -> list[Any]:
    """Return the columns of *table* that are sealed."""
    kinds = schema.Sealed, schema.SealedJson
    return [column for column in table.columns if isinstance(column.type, kinds)]


def _write(
    connection: Connection, table: Table, shop: str, changed: Sequence[Mapping[str, Any]]
) -> None:
    if changed:
        which = [table.c[name] == bindparam(f"of_{name}") for name in KEYS[table]]
        values = dict(_bound(table))
        statement = update(table).where(table.c.shop == shop, *which).values(values)
        connection.execute(statement, changed)


def _bound(table: Table) -> Iterator[tuple[str, Any]]:
    for column in sealed(table):
        yield column.name, bindparam(f"to_{column.name}", type_=LargeBinary)
