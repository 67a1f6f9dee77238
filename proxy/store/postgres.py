"""PostgreSQL: the store of many machines, one database for all of them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from proxy.errors import AccountLost, CheckoutProxyError, StoreAway
from proxy.store import days, migration
from proxy.store.database import Connection, Database
from proxy.store.remote_inbox import RemoteInbox
from proxy.store.seal import PLAIN, Seal
from proxy.store.spool import Spool
from proxy.store.sqlite import prepare_folder
from proxy.store.streams import Streams

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from proxy.store.book import Book
    from proxy.store.reader import Reader

_Lost = Callable[[], CheckoutProxyError]


class PostgresStore:
    """The database at *url*; while it is away the web half keeps facts in the folder *spool*."""

    def __init__(self, url: str, spool: Path, seal: Seal = PLAIN) -> None:
        self._seal = seal
        self._database = Database(url)
        self.folder = spool
        self.place = self._database.place
        self._away = partial(StoreAway, f"{self.place} has hung up")

    def prepare(self) -> None:
        """Make the spool, or raise :exc:`Misconfigured`; the database may be away."""
        prepare_folder(self.folder, "CHECKOUT_PROXY_SPOOL")

    def inbox(self) -> RemoteInbox:
        """Return streams of this process' own, which are unavailable while the database is."""
        return RemoteInbox(self._database, self._seal)

    def web_inbox(self) -> Spool:
        """Return streams of this process' own, with a local inbox behind them."""
        return Spool(self.inbox(), self.folder, self._database, self._seal)

    def inboxes(self, shop: str) -> Streams:
        """Return the streams of *shop*."""
        return Streams(self._database, shop)

    def book(self) -> "Reader":
        """Return the book, to be read."""
        from proxy.store.reader import Reader

        engine = self._made(self._connected, self._away)
        return Reader(engine.execution_options(postgresql_readonly=True))

    @contextmanager
    def held(self, shop: str) -> Iterator["Book | None"]:
        """Hold the account by a lock that lives in the very connection that writes the book.

        So who lost the lock cannot write any more, and who has it is alone.
        """
        with closing(self._connected()) as connection:
            if not self._is_locked(connection, shop):
                yield None
                return
            self.migrate()
            lost = partial(AccountLost, f"the account of {shop} is lost")
            with closing(_book(self._made(_only(connection, lost), lost))) as book:
                yield book

    def _is_locked(self, connection: Connection, shop: str) -> bool:
        with self._database.reached():
            query = "SELECT pg_try_advisory_lock(%s)"
            (is_ours,) = connection.execute(query, [_number(f"account {shop}")]).fetchone() or ()
            connection.commit()
            return bool(is_ours)

    def has_sender(self, shop: str) -> bool:
        """Tell whether some connection holds the account's lock, without a try at it."""
        number = _number(f"account {shop}") % 2**64
        with self._database.reached(), closing(self._database.connect()) as connection:
            found = connection.execute(_HELD, [number >> 32, number % 2**32])
            return found.fetchone() is not None

    @property
    def owner(self) -> None:
        """Nobody of this machine's users: the database knows others."""
        return None

    @property
    def exists(self) -> bool:
        """Whether all tables were made, or raise :exc:`StoreAway`."""
        with self._database.reached(), closing(self._database.connect()) as connection:
            try:
                found = connection.execute("SELECT FROM alembic_version").fetchone()
            except psycopg.errors.UndefinedTable:
                return False
            return found is not None

    def migrate(self) -> None:
        """Bring the tables up to date, one at a time where several try, or raise StoreAway."""
        with closing(self._connected()) as plain:
            with self._made(lambda: plain, self._away).begin() as connection:
                # It is let go with the end of the transaction, in which all is done or nothing.
                lock = "SELECT pg_advisory_xact_lock(%s)"
                connection.exec_driver_sql(lock, (_number("migration"),))
                migration.upgrade(connection)
            plain.autocommit = True
            days.make_ahead(plain)

    def _connected(self) -> Connection:
        return self._database.connect(autocommit=False)

    def _made(self, connect: Callable[[], Connection], lost: _Lost) -> "Engine":
        # Only here: a web worker does without SQLAlchemy, and is up sooner and smaller for it.
        from proxy.store.postgres_engine import engine

        return engine(connect, lost, self._seal)


# A number of 64 bits stands there in two halves (pg_locks, PostgreSQL's documentation).
_HELD = """
SELECT FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid = %s::bigint::oid AND objid = %s::bigint::oid
"""


def _only(connection: Connection, lost: _Lost) -> Callable[[], Connection]:
    """Return what connects to *connection* once, and raises *lost* ever after."""
    once = iter([connection])

    def connect() -> Connection:
        for only in once:
            return only
        raise lost()

    return connect


def _book(engine: "Engine") -> "Book":
    from proxy.store.book import Book

    return Book(engine)


def _number(name: str) -> int:
    """Return the number under which PostgreSQL locks *name*."""
    digest = hashlib.sha256(f"checkout-proxy {name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
