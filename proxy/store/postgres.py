"""PostgreSQL: the store of many machines, one database for all of them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psycopg
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError

from proxy.errors import AccountLost, CheckoutProxyError, StoreAway
from proxy.store import days, migration
from proxy.store.book import Book
from proxy.store.database import Connection, Database, words
from proxy.store.remote_inbox import RemoteInbox
from proxy.store.spool import Spool
from proxy.store.sqlite import make_folder
from proxy.store.streams import Streams

_Lost = Callable[[], CheckoutProxyError]


class PostgresStore:
    """The database at *url*; while it is away the web half keeps facts in the folder *spool*."""

    def __init__(self, url: str, spool: Path) -> None:
        self._database = Database(url)
        self.folder = spool
        self.place = self._database.place
        self._away = partial(StoreAway, f"{self.place} has hung up")

    def prepare(self) -> None:
        """Make the spool, or raise :exc:`Misconfigured`; the database may be away."""
        make_folder(self.folder, "CHECKOUT_PROXY_SPOOL")

    def inbox(self) -> RemoteInbox:
        """Return streams of this process' own, which are unavailable while the database is."""
        return RemoteInbox(self._database)

    def web_inbox(self) -> Spool:
        """Return streams of this process' own, with a local inbox behind them."""
        return Spool(self.inbox(), self.folder, self._database)

    def inboxes(self, shop: str | None) -> Streams:
        """Return the streams of *shop*, or of all."""
        return Streams(self._database, shop)

    def book(self) -> Book:
        """Return the book, to read only: who writes it holds an account."""
        engine = _engine(self._connected, self._away)
        return Book(engine.execution_options(postgresql_readonly=True))

    @contextmanager
    def held(self, shop: str) -> Iterator[Book | None]:
        """Hold the account by a lock that lives in the very connection that writes the book.

        So who lost the lock cannot write any more, and who has it is alone.
        """
        with closing(self._connected()) as connection:
            if not self._is_locked(connection, shop):
                yield None
                return
            self.migrate()
            lost = partial(AccountLost, f"the account of {shop} is lost")
            with closing(Book(_engine(_only(connection, lost), lost))) as book:
                yield book

    def _is_locked(self, connection: Connection, shop: str) -> bool:
        with self._database.reached():
            query = "SELECT pg_try_advisory_lock(%s)"
            (is_ours,) = connection.execute(query, [_number(f"account {shop}")]).fetchone() or ()
            connection.commit()
            return bool(is_ours)

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
            with _engine(lambda: plain, self._away).begin() as connection:
                # It is let go with the end of the transaction, in which all is done or nothing.
                connection.execute(select(func.pg_advisory_xact_lock(_number("migration"))))
                migration.upgrade(connection)
            plain.autocommit = True
            days.make_ahead(plain)

    def _connected(self) -> Connection:
        return self._database.connect(autocommit=False)


def _only(connection: Connection, lost: _Lost) -> Callable[[], Connection]:
    """Return what connects to *connection* once, and raises *lost* ever after."""
    once = iter([connection])

    def connect() -> Connection:
        for only in once:
            return only
        raise lost()

    return connect


def _engine(connect: Callable[[], Connection], lost: _Lost) -> Engine:
    """Return an engine on one connection at a time; whoever was using one that broke gets *lost*.

    Its errors are without the DETAIL in which PostgreSQL quotes whole rows.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=1,
        max_overflow=0,
        # Lanes wait for the one connection as long as a statement takes: there is no other.
        pool_timeout=None,
        hide_parameters=True,  # an error would tell the log whose address it was about
    )

    @event.listens_for(engine, "handle_error")
    def tell(context: ExceptionContext) -> BaseException | None:
        if context.is_disconnect:
            return lost()
        return _without_detail(context)

    return engine


def _without_detail(context: ExceptionContext) -> BaseException | None:
    error = context.original_exception
    if not isinstance(error, psycopg.Error):
        return None
    error.args = (words(error),)
    return DBAPIError.instance(
        context.statement, None, error, psycopg.Error, hide_parameters=True, dialect=context.dialect
    )


def _number(name: str) -> int:
    """Return the number under which PostgreSQL locks *name*."""
    digest = hashlib.sha256(f"checkout-proxy {name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
