"""Days: the partitions of PostgreSQL's inbox, made ahead, and dropped once all in them is read."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any, LiteralString, cast

from psycopg import Cursor, errors, sql

from proxy.store.database import Connection

_AHEAD = 3
# A statement that waits for the whole table makes every web worker wait behind it.
_BRIEFLY = "SET LOCAL lock_timeout = '500ms'"
_PREFIX, _NET = "inbox_", "inbox_other"


def make_ahead(connection: Connection) -> None:
    """Make the partitions of today and of the days to come, as far as they are missing.

    A day of which something lies in the net already stays there.
    """
    today, known = _today(connection), _known(connection)
    for day in (today + timedelta(days=ahead) for ahead in range(_AHEAD + 1)):
        if _name(day) not in known:
            _attempt(connection, _make, _name(day))


def drop_finished(connection: Connection) -> None:
    """Drop every day that is over and taken in; empty the net once all in it is taken in."""
    today = _name(_today(connection))
    for name in _known(connection):
        if name == _NET:
            _attempt(connection, _empty, name)
        elif name < today:
            _attempt(connection, _drop, name)


def _attempt(connection: Connection, act: Callable[[Connection, str], object], name: str) -> None:
    """Do *act* in a transaction; where something is in its way, leave it to the next time."""
    with suppress(*_IN_THE_WAY), connection.transaction():
        connection.execute(_BRIEFLY)
        act(connection, name)


_IN_THE_WAY = (
    errors.LockNotAvailable,  # somebody writes for long
    errors.DeadlockDetected,
    errors.CheckViolation,  # the net has something of that day
    errors.DuplicateTable,  # another sender was faster
    errors.UndefinedTable,
)


def _make(connection: Connection, name: str) -> None:
    day = date.fromisoformat(name.removeprefix(_PREFIX))
    connection.execute(
        sql.SQL("CREATE TABLE {} PARTITION OF inbox FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(name), day, day + timedelta(days=1)
        )
    )


def _drop(connection: Connection, name: str) -> None:
    # The parent too, as dropping needs it: who locks it last could wait for whom it holds up.
    connection.execute("LOCK TABLE ONLY inbox IN ACCESS EXCLUSIVE MODE")
    if _is_taken_in(connection, name):
        _do(connection, "DROP TABLE {}", name)


def _empty(connection: Connection, name: str) -> None:
    if _is_empty(connection, name) or not _is_taken_in(connection, name):
        return
    connection.execute(
        sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(name))
    )
    if _is_taken_in(connection, name):
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(name)))


def _is_empty(connection: Connection, name: str) -> bool:
    return _do(connection, "SELECT FROM {} LIMIT 1", name).fetchone() is None


def _is_taken_in(connection: Connection, name: str) -> bool:
    """Tell whether no stream has anything in the partition that lies after its mark."""
    return _do(connection, _UNREAD, name).fetchone() is None


def _do(connection: Connection, statement: LiteralString, name: str) -> Cursor[tuple[Any, ...]]:
    return connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


# One look into the index a stream, and not one at each row.
_UNREAD = """
SELECT FROM streams LEFT JOIN marks ON marks.inbox = streams.inbox
WHERE EXISTS (
    SELECT FROM {} AS kept
    WHERE kept.shop = streams.shop AND kept.inbox = streams.inbox
        AND kept.seq > coalesce(marks.seq, 0)
)
LIMIT 1
"""


def _today(connection: Connection) -> date:
    (today,) = connection.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone() or ()
    return cast(date, today)


def _known(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'inbox'::regclass ORDER BY 1"
    )
    return [name for (name,) in rows]


def _name(day: date) -> str:
    return f"{_PREFIX}{day:%Y%m%d}"
