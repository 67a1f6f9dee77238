"""Salvage: the facts that can still be read of a damaged inbox, page by page and without SQLite.

SQLite reads a table along its tree, and gives up where the tree is broken. Here every page is
looked at by itself, those of the write-ahead log too, as the file format describes them
(https://www.sqlite.org/fileformat2.html). What is no whole fact any more is left out.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from proxy import facts
from proxy.store.seal import PLAIN, Seal

_PAGE = 4096  # SQLite's own default, which no inbox changes
_LEAF = 13
_LOG_HEADER, _FRAME_HEADER = 32, 24
# How much of a row lies in its page; the rest is in a chain of pages of its own.
_MOST_IN_PAGE = _PAGE - 35
_LEAST_IN_PAGE = (_PAGE - 12) * 32 // 255 - 23

_MOST_IN_ROW = 2**24

# What reading garbage can end in.
_NONSENSE = (ValueError, IndexError, OSError)

Row = tuple[int, str, str, str, str, str, bytes]
_Value = str | bytes | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page lies."""

    file: int
    offset: int

    def read(self) -> bytes:
        return os.pread(self.file, _PAGE, self.offset)


def rows(path: Path, marks: dict[str, int], seal: Seal = PLAIN) -> Iterator[Row]:
    """Return the rows after its mark that are whole in the inbox at *path* or in its log, in order.

    Some may be known already, where not even the inbox's name can be read. Raises :exc:`OSError`
    where the file cannot be opened, :exc:`StoreSealed` where *seal* lacks the key.
    """
    with ExitStack() as stack:
        log = path.with_name(f"{path.name}-wal")
        opened = _opened(path, stack), _opened(log, stack) if log.exists() else None
        damaged = _Damaged(*opened, seal)
        yield from damaged.rows(marks)


def is_cut_short(log: Path, end: int) -> bool:
    """Tell whether commits follow in *log* behind a damaged page, where SQLite stops at *end*.

    A commit that ends in whole pages is one during which a process was killed: SQLite knows best.
    """
    with ExitStack() as stack, suppress(FileNotFoundError):
        file = _opened(log, stack)
        frames = dict(_frames(file))
        while end + 1 in frames and _is_whole(file, end + 1):
            end += 1
        return any(frame.ends_commit for number, frame in frames.items() if number > end)
    return False


def _opened(path: Path, stack: ExitStack) -> int:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, file)
    return file


class _Damaged:
    def __init__(self, database: int, log: int | None, seal: Seal) -> None:
        self._seal = seal
        self._database = database
        self._log = [] if log is None else [frame for _, frame in _frames(log)]
        # Of two versions of a page the later one counts.
        self._newest = {frame.page: frame.place for frame in self._log}

    def rows(self, marks: dict[str, int]) -> Iterator[Row]:
        # Only where they lie is kept of each: there may be a million.
        found: dict[int, tuple[_Place, int]] = {}
        mark = 0
        for place, pointer, (seq, values) in self._records():
            if len(values) == 1:
                mark = max(mark, marks.get(str(values[0]), 0))
            elif _row(seq, values, self._seal) is not None:
                found.setdefault(seq, (place, pointer))
        for seq in sorted(seq for seq in found if seq > mark):
            place, pointer = found[seq]
            row = _row(*self._record(place.read(), pointer), self._seal)
            if row is not None:
                yield row

    def _records(self) -> Iterator[tuple[_Place, int, tuple[int, list[_Value]]]]:
        for place in self._places():
            with suppress(OSError):
                page = place.read()
                for pointer in _pointers(page):
                    with suppress(*_NONSENSE):
                        yield place, pointer, self._record(page, pointer)

    def _places(self) -> Iterator[_Place]:
        yield from (frame.place for frame in reversed(self._log))
        for offset in range(0, os.fstat(self._database).st_size, _PAGE):
            yield _Place(self._database, offset)

    def _record(self, page: bytes, pointer: int) -> tuple[int, list[_Value]]:
        size, at = _varint(page, pointer)
        seq, at = _varint(page, at)
        if size > _MOST_IN_ROW:
            raise ValueError("no fact is as long as that")
        return seq, _columns(self._payload(page, at, size))

    def _payload(self, page: bytes, at: int, size: int) -> bytes:
        if size <= _MOST_IN_PAGE:
            return page[at : at + size]
        here = _LEAST_IN_PAGE + (size - _LEAST_IN_PAGE) % (_PAGE - 4)
        here = here if here <= _MOST_IN_PAGE else _LEAST_IN_PAGE
        payload, next_page = page[at : at + here], _number(page, at + here)
        while len(payload) < size:
            page = self._page(next_page)
            payload, next_page = payload + page[4:], _number(page, 0)
        return payload[:size]

    def _page(self, number: int) -> bytes:
        place = _Place(self._database, (number - 1) * _PAGE)
        page = self._newest.get(number, place).read()
        if len(page) < _PAGE:
            raise ValueError("a page is missing")
        return page


@dataclass(frozen=True, slots=True)
class _Frame:
    """A page in the log, and whether it is the last of a commit."""

    page: int
    place: _Place
    ends_commit: bool


def _frames(log: int) -> Iterator[tuple[int, _Frame]]:
    """Number the pages of the log from 1, without those that were left of an earlier log."""
    salts = os.pread(log, 8, 16)
    offsets = range(_LOG_HEADER, os.fstat(log).st_size, _FRAME_HEADER + _PAGE)
    for number, offset in enumerate(offsets, start=1):
        header = os.pread(log, _FRAME_HEADER, offset)
        if header[8:16] == salts:
            place = _Place(log, offset + _FRAME_HEADER)
            yield number, _Frame(_number(header, 0), place, _number(header, 4) > 0)


def _is_whole(log: int, number: int) -> bool:
    """Tell whether the sums of a page in the log follow from those of the page before it."""
    start = _LOG_HEADER + (number - 1) * (_FRAME_HEADER + _PAGE)
    before = _LOG_HEADER - 8 if number == 1 else start - _PAGE - 8
    frame = os.pread(log, _FRAME_HEADER + _PAGE, start)
    if len(frame) < _FRAME_HEADER + _PAGE:
        return False
    order = ">" if os.pread(log, 4, 0)[3] & 1 else "<"
    one, two = struct.unpack(">2I", os.pread(log, 8, before))
    for left, right in struct.iter_unpack(f"{order}2I", frame[:8] + frame[_FRAME_HEADER:]):
        one = (one + left + two) & 0xFFFFFFFF
        two = (two + right + one) & 0xFFFFFFFF
    return (one, two) == struct.unpack(">2I", frame[16:_FRAME_HEADER])


def _pointers(page: bytes) -> Iterator[int]:
    """Return where the rows of *page* begin: none where it is no page of a table."""
    if len(page) == _PAGE and page[0] == _LEAF:
        for at in range(8, min(8 + 2 * int.from_bytes(page[3:5]), _PAGE - 1), 2):
            yield int.from_bytes(page[at : at + 2])


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of variable length at *at*, and where it ends."""
    value = 0
    for length in range(1, 9):
        byte = data[at + length - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + length
    return value << 8 | data[at + 8], at + 9


def _columns(payload: bytes) -> list[_Value]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[_Value, int]:
    if kind == 0:
        return None, at
    if kind < 12:
        raise ValueError("no column of an inbox holds a number")
    size = (kind - 12) // 2
    content = payload[at : at + size]
    if len(content) < size:
        raise ValueError("the row ends too early")
    return content.decode() if kind % 2 else content, at + size


def _row(seq: int, values: list[_Value], seal: Seal) -> Row | None:
    """Return the row, or ``None`` where it is no fact, or one whose columns and body disagree."""
    match values:
        case [None, str(name), str(shop), str(kind), str(cart_id), str(at), bytes(body)]:
            with suppress(ValueError):
                datetime.fromisoformat(at)
                fact = facts.decode(kind, seal.opened(body))
                if (fact.id, fact.shop, fact.cart_id) == (name, shop, cart_id):
                    return seq, name, shop, kind, cart_id, at, body
    return None
