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

    A thread leaves its entry and waits for the pen. Whoever gets the pen first writes all that has
    gathered; the others find theirs written when their turn comes.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        self._write = write
        self._pen = threading.Lock()
        self._gathering = threading.Lock()
        self._gathered: list[_Entry[T]] = []

    def commit(self, content: T) -> None:
        """Return once *content* is written, raise what :func:`write` raised, or :exc:`Unavailable`.

        After :exc:`Unavailable` the content may still be written by the next who gets the pen.
        """
        entry = _Entry(content)
        with self._gathering:
            self._gathered.append(entry)
        with self.pen():
            if not entry.written:
                self._write_all()
        if entry.error is not None:
            raise entry.error

    @contextmanager
    def pen(self) -> Iterator[None]:
        """Hold the pen, so that nothing is written meanwhile, or raise :exc:`Unavailable`."""
        if not self._pen.acquire(timeout=PATIENCE.total_seconds()):
            raise Unavailable("The disk is too slow just now: the fact is not known to be kept.")
        try:
            yield
        finally:
            self._pen.release()

    def _write_all(self) -> None:
        with self._gathering:
            entries, self._gathered = self._gathered, []
        error = self._written(entries)
        for entry in entries:
            entry.error = error
            entry.written = True

    def _written(self, entries: "Sequence[_Entry[T]]") -> Exception | None:
        try:
            self._write([entry.content for entry in entries])
        except Exception as error:
            # Whatever it is, everyone of the batch must hear of it: silence would mean success.
            return error
        return None


class _Entry(Generic[T]):
    __slots__ = ("content", "error", "written")

    def __init__(self, content: T) -> None:
        self.content = content
        self.error: Exception | None = None
        self.written = False
