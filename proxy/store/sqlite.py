"""SQLite: the embedded store, a folder of files on one machine."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from proxy.errors import Misconfigured
from proxy.store import migration
from proxy.store.inbox import Inbox, make_folder
from proxy.store.inboxes import Inboxes
from proxy.store.seal import PLAIN, Seal

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from proxy.store.book import Book
    from proxy.store.reader import Reader

logger = logging.getLogger(__name__)

_PRUNE_SECONDS = 5.0


class SqliteStore:
    """The files of *folder*: ``inbox-<slot>.db`` for each web worker, one ``checkouts.db``.

    Everything is opened when it is asked for, so a web worker never writes the book.
    """

    def __init__(self, folder: Path, seal: Seal = PLAIN) -> None:
        self._seal = seal
        self.folder = folder
        self.place = str(folder.absolute())

    def prepare(self) -> None:
        """Make the folder, or raise :exc:`Misconfigured`."""
        prepare_folder(self.folder, "CHECKOUT_PROXY_STORE")

    def inbox(self) -> Inbox:
        """Return the file of a slot that is free."""
        return Inbox.in_free_slot(self.folder, self._seal)

    def web_inbox(self) -> Inbox:
        """Return the file of a slot that is free, and go on pruning it."""
        inbox = self.inbox()
        inbox.prune_every(_PRUNE_SECONDS, self._marks)
        return inbox

    def inboxes(self, shop: str) -> Inboxes:
        """Return all files: each shop has a folder of its own."""
        return Inboxes(self.folder, self._seal)

    def book(self) -> "Reader":
        """Return the book, to be read."""
        from proxy.store.reader import Reader

        return Reader(self._engine())

    @contextmanager
    def held(self, shop: str) -> Iterator["Book | None"]:
        """Hold the folder's lock; it is the kernel's, so it goes when this process goes."""
        self.prepare()
        lock = os.open(self.folder / "sender.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if not _is_locked(lock):
                yield None
                return
            self.migrate()
            with closing(self._book()) as book:
                yield book
        finally:
            os.close(lock)

    def _book(self) -> "Book":
        from proxy.store.book import Book

        return Book(self._engine())

    def has_sender(self, shop: str) -> bool:
        """Tell whether another process holds the folder's lock."""
        try:
            lock = os.open(self.folder / "sender.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared and for a moment: two who look are not in each other's way.
            return not _is_locked(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    @property
    def exists(self) -> bool:
        """Whether Alembic wrote its version, which it does when the last table is made."""
        if not self._path.exists():
            return False
        with closing(sqlite3.connect(self._path)) as connection:
            try:
                return connection.execute("SELECT 1 FROM alembic_version").fetchone() is not None
            except sqlite3.Error:
                return False

    @property
    def owner(self) -> int | None:
        """The user to whom the book belongs; ``None`` where there is none."""
        return self._path.stat().st_uid if self._path.exists() else None

    def migrate(self) -> None:
        """Make the folder and the tables, or bring them up to date."""
        self.prepare()
        self._path.touch(mode=0o600)
        engine = self._engine()
        with engine.begin() as connection:
            # Else Python's driver commits each table by itself, and a kill leaves half of them.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migration.upgrade(connection)
        engine.dispose()

    def _marks(self) -> dict[str, int]:
        if not self.exists:
            return {}
        with closing(sqlite3.connect(self._path)) as connection:
            return dict(connection.execute("SELECT inbox, seq FROM marks"))

    @property
    def _path(self) -> Path:
        return self.folder / "checkouts.db"

    def _engine(self) -> "Engine":
        # Only here: a web worker does without SQLAlchemy, and is up sooner and smaller for it.
        from proxy.store.sqlite_engine import engine

        return engine(self._path, self._seal)


def prepare_folder(folder: Path, setting: str) -> None:
    """Make *folder*, or raise :exc:`Misconfigured` where nothing can be written in it."""
    try:
        make_folder(folder)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Misconfigured(f"{setting} cannot be written: {error}") from error


def check_is_of_folders(folder: Path) -> None:
    """Raise :exc:`Misconfigured` where files lie in *folder* itself, as earlier versions had them.

    Beside them an empty store would be begun, and what is pending in them never be sent.
    """
    try:
        found = [
            f"{folder}/{of}" for of in _OF_A_SHOP if any(path.is_file() for path in folder.glob(of))
        ]
    except OSError:
        return  # Whoever writes there is told why it cannot be.
    if found:
        raise Misconfigured(
            f"CHECKOUT_PROXY_STORE is {folder}, where files lie that belong into a folder of their "
            "shop now: stop every process of the proxy, then as its user, with the shop's name for "
            f"SHOP, mkdir -m 700 {folder}/SHOP && mv {' '.join(found)} {folder}/SHOP/"
        )


_OF_A_SHOP = ("inbox-*", "checkouts.db*", "sender.lock")


def _is_locked(lock: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock *lock* for this process, unless another one holds it; return whether it is ours."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
