"""Sender process: the sender beside the web half, as a process that is started again when it dies.

In a module of its own: the process imports what its target stands beside, and has no use for the
web server.
"""

import logging
import multiprocessing
import threading
from multiprocessing.context import SpawnProcess

from proxy import logs
from proxy.settings import Settings
from proxy.stopping import (
    SENDER_STOP_SECONDS,
    end_by_force,
    outlive_the_terminal,
    stop_on_signals,
    when_orphaned,
)

logger = logging.getLogger(__name__)

_SPAWN = multiprocessing.get_context("spawn")
_RESTART_SECONDS = 1.0


class SenderProcess:
    """The sender as a process of its own, started again when it dies."""

    def __init__(self, served: tuple[Settings, ...]) -> None:
        self._served = served
        self._stopping = threading.Event()
        self._begins_anew = False
        self._watch: threading.Thread | None = None
        self._process: SpawnProcess | None = None
        # Around each start and each stop, so that no process begins that nobody would stop.
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process, and a thread that watches over it."""
        self._watch = threading.Thread(target=self._keep_alive, daemon=True)
        self._watch.start()

    def begin_anew(self, served: tuple[Settings, ...]) -> None:
        """Let another process take over when this one is done, for the shops *served*."""
        with self._lock:
            self._served, self._begins_anew = served, True
            self._tell()

    def stop(self) -> None:
        """Stop the process, by force where it does not stop by itself."""
        with self._lock:
            self._stopping.set()
            self._tell()
        if self._watch is not None:
            self._watch.join(SENDER_STOP_SECONDS)
        if self._process is not None and self._process.is_alive():
            self._process.kill()

    def _tell(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def _keep_alive(self) -> None:
        while (process := self._begun()) is not None:
            process.join()
            if not self._begins_anew and not self._stopping.wait(_RESTART_SECONDS):
                logger.error("the sender died (%s); it is started again", process.exitcode)

    def _begun(self) -> SpawnProcess | None:
        """Return a process that has begun, or ``None`` where all is to end."""
        with self._lock:
            if self._stopping.is_set():
                return None
            self._begins_anew = False
            self._process = _SPAWN.Process(target=_work_beside, args=(self._served,))
            self._process.start()
            return self._process


def _work_beside(served: tuple[Settings, ...]) -> None:
    """Work as a child: until told to stop, or until the parent is gone."""
    # Each process imports its own half alone, and is up sooner and smaller for it.
    from proxy.work import work

    logs.configure()
    stop = stop_on_signals()
    # As of a web worker: the parent hears of it too.
    outlive_the_terminal()
    when_orphaned(stop.set)
    end_by_force(stop, SENDER_STOP_SECONDS)
    work(served, stop)
