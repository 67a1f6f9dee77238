"""Inboxes: the files of all web workers, as the sender reads them, and salvages what is damaged."""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path

from proxy.errors import Unavailable
from proxy.store import received, salvage
from proxy.store.inbox import Inbox, identity, is_damage, reported
from proxy.store.received import Received, in_order
from proxy.store.seal import PLAIN, Seal

logger = logging.getLogger(__name__)


class Inboxes:
    """All inboxes of *folder*, as the sender reads them."""

    def __init__(self, folder: Path, seal: Seal = PLAIN) -> None:
        self._seal = seal
        self._folder = folder
        self._connections: dict[tuple[Path, int], sqlite3.Connection] = {}
        self._unreadable: set[Path] = set()

    def after(self, marks: dict[str, int], limit: int) -> list[Received]:
        """Return at most *limit* facts of each inbox that lie after its mark, oldest first."""
        self._unreadable.intersection_update([*self._paths(), *self.set_aside()])
        return in_order([self._read(path, marks, limit) for path in self._paths()], limit)

    def prune_orphans(self, marks: dict[str, int]) -> None:
        """Remove what was taken in from inboxes whose web worker is gone."""
        for path in self._paths():
            if orphan := Inbox.unless_held(path):
                with closing(orphan), suppress(Unavailable):  # It is logged, and no other suffers.
                    orphan.prune(marks)

    @property
    def is_complete(self) -> bool:
        """Whether all there is could be read the last time."""
        return not self._unreadable

    def set_aside(self) -> list[Path]:
        """Return the damaged inboxes of which nothing was salvaged yet."""
        files = sorted(self._folder.glob("inbox-*.db.corrupt-*"))
        return [path for path in files if not path.name.endswith("-wal")]

    def salvage(
        self, marks: dict[str, int], take_in: Callable[[Sequence[Received]], object]
    ) -> None:
        """Hand what can still be read of damaged inboxes to *take_in*, and say how much it was."""
        for path in self.set_aside():
            try:
                count = _salvage(path, marks, self._seal, take_in)
            except OSError as error:
                self._note_unreadable(path, error)
            else:
                logger.error(_SALVAGED, path.name.split(".corrupt-")[0], count, _retired(path))

    def tidy(self) -> None:
        """Do nothing: who writes a file removes from it what was taken in."""

    def forget_salvaged(self) -> None:
        """Remove the damaged inboxes of which all that is whole was taken in.

        Nobody can tell whom the rest of them is about.
        """
        for path in self._folder.glob("inbox-*.db.salvaged-*"):
            path.unlink(missing_ok=True)
            if not path.name.endswith("-wal"):
                logger.warning("%s is removed: somebody was erased, who may be in it", path)

    def close(self) -> None:
        """Close all files."""
        for connection in self._connections.values():
            connection.close()

    def _paths(self) -> Iterator[Path]:
        return iter(sorted(self._folder.glob("inbox-*.db")))

    def _read(self, path: Path, marks: dict[str, int], limit: int) -> Sequence[Received]:
        try:
            connection = self._opened(path)
            inbox = identity(connection)
            if inbox is None:
                return []
            rows = connection.execute(received.SELECT, (marks.get(inbox, 0), limit)).fetchall()
            found = [received.from_row(inbox, row) for row in rows]
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._note_unreadable(path, error)
            if is_damage(error):
                _have_set_aside(path, error)
            return []
        self._unreadable.discard(path)
        return found

    def _note_unreadable(self, path: Path, error: Exception) -> None:
        if path not in self._unreadable:  # once, and not ten times a second
            logger.error("%s cannot be read: %s", path, error)
            self._unreadable.add(path)

    def _opened(self, path: Path) -> sqlite3.Connection:
        # By inode too: a file may have been deleted and made anew.
        key = path, path.stat().st_ino
        if key not in self._connections:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("PRAGMA query_only = ON")
            self._connections[key] = connection
        return self._connections[key]


def _have_set_aside(path: Path, why: Exception) -> None:
    """Set the inbox at *path* aside, or ask the worker to whom it belongs."""
    if orphan := Inbox.unless_held(path):
        with closing(orphan), suppress(Unavailable):  # then it is tried again in the next round
            orphan.set_aside(why)
    else:
        reported(path).touch(mode=0o600)


def _salvage(
    path: Path, marks: dict[str, int], seal: Seal, take_in: Callable[[Sequence[Received]], object]
) -> int:
    """Take in what is whole at *path*, and return how many facts that were.

    Its mark stays where it is, so that after a crash it begins anew: a fact that is known by then
    changes nothing.
    """
    name = sha256(path.name.encode()).hexdigest()[:32]
    # By now younger ones may have come first.
    rows = (received.from_row(name, row, delayed=True) for row in salvage.rows(path, marks, seal))
    count = 0
    while batch := list(islice(rows, _SALVAGED_AT_ONCE)):
        take_in(batch)
        count += len(batch)
    return count


def _retired(path: Path) -> Path:
    """Return the new name of the damaged file at *path*, of which all was taken in."""
    retired = path.with_name(path.name.replace(".corrupt-", ".salvaged-"))
    for end in ("-wal", ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{end}").rename(f"{retired}{end}")
    return retired


_SALVAGED_AT_ONCE = 500
_SALVAGED = (
    "%s was damaged: %d facts were salvaged from it, and some may be missing. Check the disk. "
    "What is left lies at %s, with what shoppers typed: delete it when you need it no more."
)
