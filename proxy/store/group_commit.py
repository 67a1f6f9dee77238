"""Group commit: many threads, one transaction, one fsync."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Generic, TypeVar

from proxy.errors import Unavailable

T = TypeVar("T")

# Rather a 503 than a shopper's browser kept waiting for longer.
PATIENCE = timedelta(seconds=2)


class GroupCommit(Generic[T]):
    """Hand what many threads bring to *write* in batches, each thread waiting for its own.

    Who comes while nobody has the pen takes it and writes all that has gathered. Who comes later
    waits, and is woken once: when its entry is written, or to be given the pen.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        self._write = write
        self._pen = threading.Lock()
        self._gathering = threading.Lock()
        self._gathered: list[_Entry[T]] = []

    def commit(self, content: T) -> None:
        """Return once *content* is written, raise what :func:`write` raised, or :exc:`Unavailable`.

        After :exc:`Unavailable` the content may still be written, by who has it in hand just now.
        """
        entry = _Entry(content)
        with self._gathering:
            self._gathered.append(entry)
            has_pen = self._pen.acquire(blocking=False)
        if has_pen or self._is_given_pen(entry):
            self._write_all()
        if entry.error is not None:
            raise entry.error

    @contextmanager
    def pen(self) -> Iterator[None]:
        """Hold the pen, so that nothing is written meanwhile, or raise :exc:`Unavailable`."""
        if not self._pen.acquire(timeout=PATIENCE.total_seconds()):
            raise _too_slow()
        try:
            yield
        finally:
            self._pass_pen_on()

    def _is_given_pen(self, entry: "_Entry[T]") -> bool:
        """Wait for *entry*'s turn, and return whether it is to write or is written already."""
        if entry.turn.acquire(timeout=PATIENCE.total_seconds()):
            return not entry.written
        with self._gathering:
            # In this very moment its turn may have come, and nobody else would pass the pen on.
            if not entry.turn.acquire(blocking=False):
                if entry in self._gathered:
                    self._gathered.remove(entry)
                raise _too_slow()
        return not entry.written

    def _write_all(self) -> None:
        entries: list[_Entry[T]] = []
        try:
            with self._gathering:
                entries, self._gathered = self._gathered, entries
            error = self._written(entries)
        finally:
            # Before all else: the next batch is on its way to the disk while this one is answered.
            self._pass_pen_on()
        for entry in entries:
            entry.error = error
            entry.written = True
            entry.turn.release()

    def _pass_pen_on(self) -> None:
        with self._gathering:
            if self._gathered:
                self._gathered[0].turn.release()
            else:
                self._pen.release()

    def _written(self, entries: "Sequence[_Entry[T]]") -> Exception | None:
        try:
            self._write([entry.content for entry in entries])
        except Exception as error:
            # Whatever it is, everyone of the batch must hear of it: silence would mean success.
            return error
        return None


class _Entry(Generic[T]):
    __slots__ = ("content", "error", "turn", "written")

    def __init__(self, content: T) -> None:
        self.content = content
        self.error: Exception | None = None
        self.written = False
        # Locked until there is something to wake for.
        self.turn = threading.Lock()
        self.turn.acquire()


def _too_slow() -> Unavailable:
    return Unavailable("The disk is too slow just now: the fact is not known to be kept.")
