"""Inbox: the append-only file of one web worker, where a fact is on disk before it is answered."""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from pathlib import Path
from uuid import uuid4

from proxy import facts
from proxy.errors import Unavailable
from proxy.facts import Fact
from proxy.store import log, pragmas, received, salvage
from proxy.store.group_commit import PATIENCE, GroupCommit
from proxy.store.received import Received
from proxy.store.seal import PLAIN, Seal

logger = logging.getLogger(__name__)

_Row = tuple[str, str, str, str, str, bytes]
_Step = Callable[[sqlite3.Connection], object]

_MAX_SLOTS = 1024


class Inbox:
    """Append facts to one file of *folder*; safe to call from many threads.

    The file's slot belongs to this process while it lives, by a file lock, so that no other
    process ever writes to it: SQLite would make it sleep. A process that starts again finds the
    file of one that is gone.
    """

    def __init__(self, path: Path, lock: int, seal: Seal = PLAIN) -> None:
        self._path = path
        self._lock = lock
        self._seal = seal
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._closed = threading.Event()
        self._log_has_deleted = True  # by who had the file before
        self._group = GroupCommit[_Row | _Step](self._write)

    @classmethod
    def in_free_slot(cls, folder: Path, seal: Seal = PLAIN) -> "Inbox":
        """Return the first inbox of *folder* that no living process holds, to seal with *seal*."""
        make_folder(folder)
        for slot in range(_MAX_SLOTS):
            if inbox := cls.unless_held(folder / f"inbox-{slot}.db", seal):
                return inbox
        raise Unavailable(
            f"All {_MAX_SLOTS} inboxes of {folder} are taken: end the processes of the proxy that "
            f"are left over (`fuser {folder}/inbox-*.lock` names them)."
        )

    @classmethod
    def unless_held(cls, path: Path, seal: Seal = PLAIN) -> "Inbox | None":
        """Return the inbox at *path*, or ``None`` while another process, or user, has it."""
        try:
            lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            logger.warning("%s belongs to another user, and is left out: %s", path, error)
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return cls(path, lock, seal)

    def append(self, fact: Fact) -> None:
        """Return once *fact* is on disk, or raise :exc:`Unavailable`: it is not known to be."""
        # Here and not where the batch is written: there all who wait would wait for each.
        at, body = fact.received_at.strftime(_TIME), self._seal.sealed(facts.encode(fact))
        self._group.commit((fact.id, fact.shop, facts.kind(fact), fact.cart_id, at, body))

    def probe(self) -> None:
        """Return once something was written to disk, or raise :exc:`Unavailable`."""
        self._group.commit(lambda connection: connection.execute(_REWRITE_VERSION))

    def oldest(self, limit: int) -> list[Received]:
        """Return the oldest facts that lie here, or raise :exc:`sqlite3.Error`."""
        if not self._path.exists():
            return []
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            inbox = identity(connection)
            rows = connection.execute(received.SELECT, (0, limit)).fetchall() if inbox else []
            return [received.from_row(inbox or "", row) for row in rows]

    def prune(self, marks: dict[str, int]) -> None:
        """Remove what the sender has taken in: of each inbox, all up to its mark."""

        def delete(connection: sqlite3.Connection) -> None:
            through = marks.get(identity(connection) or "", 0)
            deleted = connection.execute(_DELETE, (through,)).rowcount
            # What is deleted lies in the log, and in the file until the log is moved there.
            if deleted or self._log_has_deleted:
                self._log_has_deleted = not log.emptied(connection)

        self._group.commit(delete)

    def prune_every(self, seconds: float, marks: Callable[[], dict[str, int]]) -> None:
        """Go on pruning in the background until the process ends."""
        threading.Thread(target=self._keep_pruning, args=(seconds, marks), daemon=True).start()

    def _keep_pruning(self, seconds: float, marks: Callable[[], dict[str, int]]) -> None:
        while not self._closed.wait(seconds):
            try:
                if reported(self._path).exists():
                    self.set_aside("the sender could not read it")
                self.prune(marks())
            except (Unavailable, sqlite3.Error, OSError) as error:
                logger.warning("%s cannot be pruned just now: %s", self._path, error)

    def set_aside(self, why: object) -> None:
        """Leave the file to the sender, to salvage it; the next fact begins a new one.

        Raise :exc:`Unavailable` where it cannot be renamed, or where another thread is writing.
        """
        with self._group.pen():
            if self._closed.is_set():  # The slot may be somebody else's by now.
                raise Unavailable("The inbox is closed.")
            try:
                self._set_aside(why)
            except OSError as error:
                raise Unavailable(f"{self._path} cannot be set aside: {error}") from error

    def close(self) -> None:
        """Give the slot back; a second time does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        # SQLite crashes where a connection is closed under a thread that writes. One that writes
        # for ever keeps its slot until the process ends.
        with suppress(Unavailable), self._group.pen():
            if self._connection is not None:
                self._connection.close()
            os.close(self._lock)

    def _write(self, entries: Sequence[_Row | _Step]) -> None:
        if self._closed.is_set():
            raise Unavailable("The proxy is stopping; come back when it is up again.")
        try:
            self._keep(entries)
        except (sqlite3.Error, OSError) as error:
            logger.error("%s cannot be written: %s", self._path, error)
            raise Unavailable("The store cannot write just now.") from error

    def _keep(self, entries: Sequence[_Row | _Step]) -> None:
        """Write in the file, or in a new one where it is damaged."""
        try:
            self._commit(entries)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
            self._commit(entries)

    def _set_aside(self, why: object) -> None:
        aside = self._path.with_name(f"{self._path.name}.corrupt-{datetime.now(UTC):{_STAMP}}")
        # The log first: a new file must never find the log of an old one.
        for end in ("-wal", ""):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{end}").rename(f"{aside}{end}")
        Path(f"{self._path}-shm").unlink(missing_ok=True)
        # Not before: of a file that has not moved SQLite would write a damaged log into the pages.
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        reported(self._path).unlink(missing_ok=True)
        logger.error("%s is damaged: %s; it is set aside as %s", self._path, why, aside.name)

    def _commit(self, entries: Sequence[_Row | _Step]) -> None:
        connection = self._connected()
        # One statement for all facts, which is its own transaction: at each one Python's driver
        # lets the other threads go on, and waits for its turn among them.
        if rows := [entry for entry in entries if isinstance(entry, tuple)]:
            connection.execute(_insert(len(rows)), list(chain.from_iterable(rows)))
        for step in entries:
            if not isinstance(step, tuple):
                step(connection)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or _inode(self._path) != self._inode:
            # The first time, or somebody deleted the file: what is written there nobody would find.
            self._connection = _created(self._path)
            self._inode = _inode(self._path)
            _check_log(self._connection, Path(f"{self._path}-wal"))
        return self._connection


# SQL as it is: SQLAlchemy's compiler would cost more than the INSERT itself, and its import a web
# worker a third of its memory.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS identity (inbox VARCHAR(32) NOT NULL PRIMARY KEY)",
    # AUTOINCREMENT, so that a sequence never begins again: a new fact would hide behind the mark.
    """
    CREATE TABLE IF NOT EXISTS inbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id VARCHAR(64) NOT NULL,
        shop VARCHAR(64) NOT NULL,
        kind VARCHAR(16) NOT NULL,
        cart_id VARCHAR(255) NOT NULL,
        received_at DATETIME NOT NULL,
        body BLOB NOT NULL
    )
    """,
)
_INSERT = "INSERT INTO inbox (id, shop, kind, cart_id, received_at, body) VALUES "
_DELETE = "DELETE FROM inbox WHERE seq <= ?"
# Even the version it has already makes a page and an fsync.
_REWRITE_VERSION = "PRAGMA user_version = 1"
_TIME = "%Y-%m-%d %H:%M:%S.%f"
_STAMP = "%Y%m%dT%H%M%S.%f"


class _LogCutShort(sqlite3.DatabaseError):
    """SQLite takes a log as ended where it is damaged, and would write over all that follows."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _check_log(connection: sqlite3.Connection, path: Path) -> None:
    _, end, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if salvage.is_cut_short(path, end):
        raise _LogCutShort("the log goes on behind a damaged page")


def make_folder(folder: Path) -> None:
    """Make *folder* so that it is still there after a power cut, as its files will be."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def is_damage(error: Exception) -> bool:
    """Tell whether *error* says that a file's content is wrong, and not that it is out of reach."""
    if not isinstance(error, sqlite3.Error):
        return isinstance(error, ValueError | TypeError)
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python itself found text that is no UTF-8.
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def reported(path: Path) -> Path:
    """Return the file by which the sender tells a worker that it cannot read the inbox *path*."""
    return path.with_suffix(".damaged")


@cache
def _insert(facts: int) -> str:
    """Return the statement that inserts so many facts."""
    return _INSERT + ", ".join(["(?, ?, ?, ?, ?, ?)"] * facts)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _created(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = sqlite3.connect(
        path,
        timeout=PATIENCE.total_seconds(),
        isolation_level=None,
        check_same_thread=False,  # one thread at a time, the one that holds the pen
    )
    pragmas.tell(connection)
    # In one commit, so that the sender never sees half a file.
    connection.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        connection.execute(table)
    if identity(connection) is None:
        connection.execute("INSERT INTO identity VALUES (?)", (uuid4().hex,))
    connection.execute("COMMIT")
    return connection


def identity(connection: sqlite3.Connection) -> str | None:
    """Return the name of this very file, or ``None`` while it is being made.

    A file that was deleted and made anew has another name, so the sender reads it from its start.
    """
    made = "SELECT 1 FROM sqlite_master WHERE name = 'identity'"
    if connection.execute(made).fetchone() is None:
        return None
    row = connection.execute("SELECT inbox FROM identity").fetchone()
    return None if row is None else row[0]
