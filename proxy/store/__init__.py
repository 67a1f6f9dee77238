"""Store: where the two halves meet; facts go in on one side, decisions come out on the other."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event

from proxy.errors import Misconfigured
from proxy.store.book import Attempt, Book, Change, CheckoutKey, checkout_key
from proxy.store.inbox import Inbox, Inboxes

__all__ = [
    "Attempt",
    "Book",
    "Change",
    "CheckoutKey",
    "Inbox",
    "Inboxes",
    "Store",
    "checkout_key",
]

_BUSY = timedelta(seconds=10)


class Store:
    """The store at *url*: ``sqlite:///`` and a folder.

    The folder has one ``inbox-<slot>.db`` for each web worker and one ``checkouts.db`` for the
    sender. Everything is opened when it is asked for, so a web worker never writes the book.
    """

    def __init__(self, url: str) -> None:
        self.folder = Path(url.removeprefix("sqlite:///"))

    def prepare(self) -> None:
        """Make the folder, or raise :exc:`Misconfigured` where nothing can be written in it."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise Misconfigured(f"CHECKOUT_PROXY_STORE cannot be written: {error}") from error

    def inbox(self) -> Inbox:
        """Return an inbox that is this process' own."""
        return Inbox.in_free_slot(self.folder)

    def inboxes(self) -> Inboxes:
        """Return all inboxes, for the sender to read."""
        return Inboxes(self.folder)

    def book(self) -> Book:
        """Return the book of checkouts; :meth:`migrate` must have made it."""
        return Book(self._engine())

    def marks(self) -> dict[str, int]:
        """Return how far the sender has read each inbox: nothing, where none ever ran."""
        if not self.exists:
            return {}
        with closing(self.book()) as book:
            return book.marks()

    @property
    def exists(self) -> bool:
        """Whether a sender has made its tables here: half of them are none yet."""
        if not self._path.exists():
            return False
        with closing(sqlite3.connect(self._path)) as connection:
            try:
                # Alembic writes its version when the last table is made.
                return connection.execute("SELECT 1 FROM alembic_version").fetchone() is not None
            except sqlite3.Error:
                return False

    @property
    def sender_lock(self) -> Path:
        """The file that the one sender holds locked."""
        return self.folder / "sender.lock"

    def migrate(self) -> None:
        """Bring the book's tables up to date."""
        self.prepare()
        self._path.touch(mode=0o600)
        config = Config()
        config.set_main_option("script_location", "proxy:store/migrations")
        engine = self._engine()
        with engine.begin() as connection:
            # Else Python's driver commits each table by itself, and a kill leaves half of them.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        engine.dispose()

    @property
    def _path(self) -> Path:
        return self.folder / "checkouts.db"

    def _engine(self) -> Engine:
        engine = create_engine(
            f"sqlite:///{self._path}",
            connect_args={"timeout": _BUSY.total_seconds()},
            hide_parameters=True,  # an error would tell the log whose address it was about
        )
        event.listen(engine, "connect", _durable)
        return engine


def _durable(connection, _record) -> None:  # type: ignore[no-untyped-def]
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # What is erased is overwritten.
