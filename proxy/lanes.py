"""Lanes: a few threads that wait for others' servers, so that nobody else has to."""

import threading
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

R = TypeVar("R")


class Lanes(Generic[R]):
    """*count* daemon threads that do work and put what came out into *results*.

    Daemons, unlike an executor's threads: one that waits for Klaviyo must not hold up the end.
    They begin with the first work: of many shops few have something to do. The work may not raise.
    """

    def __init__(self, count: int, results: SimpleQueue[R]) -> None:
        self._count = count
        self._work: SimpleQueue[Callable[[], R] | None] = SimpleQueue()
        self._results = results
        self._begun = False

    def do(self, work: Callable[[], R]) -> None:
        """Do *work* on a lane that is free; all works come from one thread."""
        if not self._begun:
            self._begun = True
            for _ in range(self._count):
                threading.Thread(target=self._run, daemon=True).start()
        self._work.put(work)

    def close(self) -> None:
        """Let the threads end when they are done; this waits for nobody."""
        for _ in range(self._count):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            self._results.put(work())


def gathered(results: SimpleQueue[R], patience: timedelta) -> list[R]:
    """Return all *results*, after waiting *patience* at most for the first."""
    done: list[R] = []
    try:
        done.append(results.get(timeout=patience.total_seconds()))
        while True:
            done.append(results.get_nowait())
    except Empty:
        return done
