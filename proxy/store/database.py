"""Database: PostgreSQL as a URL names it, connected to so that a lost line is noticed soon."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from proxy.errors import StoreAway

Connection = psycopg.Connection[tuple[Any, ...]]

# A peer that is gone without a word is given up nine seconds later, on both ends: whoever waits
# for its locks has them well within 15.
_IDLE, _INTERVAL, _COUNT, _TIMEOUT_MS = 3, 2, 3, 9000
_OURS = {
    "application_name": "checkout-proxy",
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": _IDLE,
    "keepalives_interval": _INTERVAL,
    "keepalives_count": _COUNT,
    "tcp_user_timeout": _TIMEOUT_MS,
}
_SESSION = (
    f"-c tcp_keepalives_idle={_IDLE} -c tcp_keepalives_interval={_INTERVAL} "
    f"-c tcp_keepalives_count={_COUNT} -c tcp_user_timeout={_TIMEOUT_MS} -c timezone=UTC"
)
# Acknowledged means synced, on the synchronous standby too where there is one. Whoever has set
# more than that keeps it.
_NEVER_WEAKER = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
"""


class Database:
    """The database at *url*, a URI as libpq reads it, also with several hosts."""

    def __init__(self, url: str) -> None:
        parts: dict[str, Any] = {**_OURS, **conninfo_to_dict(url)}
        asked = parts.get("options") or ""
        self._parts = parts | {"options": f"{_SESSION} {asked}", "client_encoding": "utf8"}
        hosts = parts.get("host") or parts.get("hostaddr") or "localhost"
        self.place = f"postgresql://{hosts}/{parts.get('dbname') or ''}"
        """Host and database, for people: never who, and never a password."""

    def connect(self, *, autocommit: bool = True) -> Connection:
        """Return a connection that may write, or raise :exc:`StoreAway`."""
        with self.reached():
            connection = psycopg.connect(**self._parts, autocommit=True)
            try:
                connection.execute(_NEVER_WEAKER)
                connection.autocommit = autocommit
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Raise :exc:`StoreAway` where what happens meanwhile finds the database away."""
        try:
            yield
        except psycopg.OperationalError as error:
            raise StoreAway(f"{self.place} cannot be reached: {words(error)}") from error


def words(error: Exception) -> str:
    """Return what *error* says, without the DETAIL in which PostgreSQL quotes whole rows."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split())


class Line:
    """The socket of a connection, to be cut by another thread than the one that waits for it."""

    def __init__(self, connection: Connection) -> None:
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))

    def cut(self) -> None:
        """Let whoever waits for the database hear that it is gone; a second time does nothing."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket, which lives on for the connection."""
        self._socket.close()
