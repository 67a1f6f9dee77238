"""Power cut: how a folder could look after one, rebuilt from the journal of a real run.

What is modelled, a file at a time:

- what was written before a sync of the file that has returned is there;
- of what was written or cut off since, any of it may be there: nothing, everything, a beginning
  that ends inside a write, or any 512-byte sectors in any order, so that a page can be torn and an
  older version can win over a newer one. What was never written reads as zeros;
- what one write put into a sector is whole (the disks' promise that SQLite's "powersafe overwrite"
  relies on too), though it may be there without what an earlier one put into the same sector;
- a name given or taken away is safe once the folder was synced; before, each of them may have
  happened or not, by itself.

What is not: a disk that loses what it said was synced (:func:`with_lying_disk` makes one), bytes
that rot, and the ``-shm`` file, which SQLite makes anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from shutil import rmtree

from tests.crash.vfs import (
    Deleted,
    Event,
    FolderSynced,
    Noted,
    Opened,
    Synced,
    Truncated,
    Written,
)

_SECTOR = 512

_Change = Written | Truncated


@dataclass(frozen=True)
class Image:
    """A folder after a cut before event number ``position``, and what was told before it."""

    position: int
    files: Mapping[str, bytes]
    told: Mapping[str, frozenset[str]]

    def write(self, folder: Path) -> None:
        """Make *folder* look like this."""
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def images(journal: Sequence[Event], positions: Iterable[int], chance: Random) -> Iterator[Image]:
    """Return an image for each of *positions*, from first to last."""
    disk = _Disk()
    told: dict[str, set[str]] = defaultdict(set)
    done = 0
    for position in sorted(positions):
        for number in range(done, position):
            event = journal[number]
            if isinstance(event, Noted):
                told[event.what].add(event.name)
            else:
                disk.apply(number, event)
        done = position
        so_far = {what: frozenset(names) for what, names in told.items()}
        yield Image(position, disk.after_a_cut(chance), so_far)


def syncs(journal: Sequence[Event]) -> list[int]:
    """Return the positions just before and just after every sync."""
    return [
        position
        for number, event in enumerate(journal)
        if isinstance(event, Synced | FolderSynced)
        for position in (number, number + 1)
    ]


def with_lying_disk(journal: Sequence[Event], files: str) -> list[Event]:
    """Return *journal* as it would be if syncs of *files* did nothing."""
    return [
        Synced(event.path, 0) if isinstance(event, Synced) and files in event.path else event
        for event in journal
    ]


class _Disk:
    def __init__(self) -> None:
        self._names: dict[str, _File] = {}
        self._safe_names: dict[str, _File] = {}

    def apply(self, number: int, event: Event) -> None:
        match event:
            case Opened(path, None):
                self._names[path] = _File(b"")
            case Opened(path, bytes(content)):
                self._names[path] = self._safe_names[path] = _File(content)
            case Written() | Truncated():
                self._names[event.path].change(number, event)
            case Synced(path, since):
                self._names[path].sync(since)
            case Deleted(path):
                self._names.pop(path, None)
            case FolderSynced():
                self._safe_names = dict(self._names)

    def after_a_cut(self, chance: Random) -> dict[str, bytes]:
        image = {}
        for path in sorted(self._names.keys() | self._safe_names.keys()):
            safe, newest = self._safe_names.get(path), self._names.get(path)
            file = chance.choice((safe, newest))
            if file is not None:
                image[path] = file.after_a_cut(chance)
        return image


class _File:
    """What is safe of a file, and what was done to it since, oldest first."""

    def __init__(self, content: bytes) -> None:
        self._safe = bytearray(content)
        self._since: list[tuple[int, _Change]] = []

    def change(self, number: int, change: _Change) -> None:
        self._since.append((number, change))

    def sync(self, since: int) -> None:
        for number, change in self._since:
            if number < since:
                _apply(self._safe, change)
        self._since = [(number, change) for number, change in self._since if number >= since]

    def after_a_cut(self, chance: Random) -> bytes:
        content = bytearray(self._safe)
        changes = [change for _, change in self._since]
        for change in chance.choice(_FATES)(changes, chance):
            _apply(content, change)
        return bytes(content)


def _apply(content: bytearray, change: _Change) -> None:
    if isinstance(change, Truncated):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(change.content)] = change.content


# -- what may become of changes that were not synced -------------------------------------


def _nothing(_changes: Sequence[_Change], _chance: Random) -> list[_Change]:
    return []


def _everything(changes: Sequence[_Change], _chance: Random) -> list[_Change]:
    return list(changes)


def _beginning(changes: Sequence[_Change], chance: Random) -> list[_Change]:
    parts = _sectors(changes)
    return parts[: chance.randint(0, len(parts))]


def _some(changes: Sequence[_Change], chance: Random) -> list[_Change]:
    share = chance.random()
    return [part for part in _sectors(changes) if chance.random() < share]


def _some_in_any_order(changes: Sequence[_Change], chance: Random) -> list[_Change]:
    parts = _some(changes, chance)
    chance.shuffle(parts)
    return parts


_FATES = (_nothing, _everything, _beginning, _some, _some_in_any_order)


def _sectors(changes: Sequence[_Change]) -> list[_Change]:
    """Return *changes* with each write cut at the borders of the sectors."""
    parts: list[_Change] = []
    for change in changes:
        if isinstance(change, Truncated):
            parts.append(change)
        else:
            parts += _sectors_of(change)
    return parts


def _sectors_of(write: Written) -> Iterator[Written]:
    start, end = write.offset, write.offset + len(write.content)
    borders = [start, *range(start - start % _SECTOR + _SECTOR, end, _SECTOR), end]
    for begin, stop in pairwise(borders):
        yield Written(write.path, begin, write.content[begin - start : stop - start])
