"""Server: the web half under granian, and the sender beside it, started and stopped as one."""

import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import Interfaces

from proxy.errors import Misconfigured
from proxy.settings import Settings
from proxy.stopping import (
    SENDER_STOP_SECONDS,
    WORKERS_STOP_SECONDS,
    on_stop_signals,
    outlive_the_terminal,
    stop_on_signals,
    when_orphaned,
)
from proxy.store import Store

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger(__name__)

_SPAWN = multiprocessing.get_context("spawn")
# Each web worker waits for the disk in one commit with all others, so threads are cheap here.
_THREADS = 20

_RESTART_SECONDS = 1.0


class _WithoutThreadsAdvice(logging.Filter):
    """Leave out granian's advice to have fewer threads: it cannot know what they wait for."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Python threads" not in record.getMessage()


_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {"advice": {"()": _WithoutThreadsAdvice}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["advice"]}
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"alembic": {"level": "WARNING"}, "_granian": {"level": "INFO"}},
}


def log_to_stderr() -> None:
    """Write what happens to standard error, a line a decision."""
    logging.config.dictConfig(_LOGGING)


def serve(settings: Settings, *, host: str, port: int, workers: int, web_only: bool) -> None:
    """Serve the web half at *host*:*port*, and the sender unless *web_only*, until stopped."""
    Store.of(settings.shop, settings.store, settings.spool).prepare()
    check_free(host, port)
    # Not forked: a fork of a process with threads can inherit a lock that nobody opens again.
    multiprocessing.set_start_method("spawn", force=True)
    server = Granian(
        "proxy.server:web_worker",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=_THREADS,
        respawn_failed_workers=True,
        # A worker's signal handler sets an event for which its thread may just be about to wait,
        # holding the event's lock: told to stop in that instant, it waits for itself for ever.
        workers_kill_timeout=WORKERS_STOP_SECONDS,
        websockets=False,
        log_access=False,
        log_dictconfig=_LOGGING,
    )
    to_stop: list[Callable[[], object]] = [server.signal_handler_interrupt]
    if not web_only:
        sender = SenderProcess(settings)
        server.on_startup(sender.start)
        server.on_shutdown(sender.stop)
        to_stop.append(sender.stop)
    # In the place of granian's own handler, which does in this process what the workers' does.
    server.on_startup(lambda: on_stop_signals(*to_stop))
    server.serve()


def check_free(host: str, port: int) -> None:
    """Raise :exc:`Misconfigured` where *host*:*port* is not ours to listen at.

    The web workers share the port (SO_REUSEPORT), and so would a second proxy: it would be dealt
    half of the requests, under whatever keys it was started with.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # "::" is every address, those of IPv4 too.
        socket.create_server((host, port), family=family, dualstack_ipv6=host == "::").close()
    except OSError as error:
        raise Misconfigured(f"{host}:{port} cannot be had: {error.strerror}") from error


class SenderProcess:
    """The sender as a process of its own, started again when it dies."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._watch: threading.Thread | None = None
        self._process: SpawnProcess | None = None

    def start(self) -> None:
        """Start the process, and a thread that watches over it."""
        self._watch = threading.Thread(target=self._keep_alive, daemon=True)
        self._watch.start()

    def stop(self) -> None:
        """Stop the process, by force where it does not stop by itself."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        if self._watch is not None:
            self._watch.join(SENDER_STOP_SECONDS)
        if self._process is not None and self._process.is_alive():
            self._process.kill()

    def _keep_alive(self) -> None:
        while not self._stopping.is_set():
            process = _SPAWN.Process(target=_work_beside, args=(self._settings,))
            process.start()
            self._process = process
            if self._stopping.is_set():  # since it was looked at above: nobody else would tell it
                process.terminate()
            process.join()
            if not self._stopping.wait(_RESTART_SECONDS):
                logger.error("the sender died (%s); it is started again", process.exitcode)


def _work_beside(settings: Settings) -> None:
    """Work as a child: until told to stop, or until the parent is gone."""
    # Each process imports its own half alone, and is up sooner and smaller for it.
    from proxy.work import work

    log_to_stderr()
    stop = stop_on_signals()
    when_orphaned(stop.set)
    work(settings, stop)


def web_worker() -> "Flask":
    """Return the web half for one of granian's processes, which ends when the parent is gone.

    It reads the settings from the environment, as under any other WSGI server.
    """
    from proxy.app import create_app

    when_orphaned(_end)
    # Its end is told to every process at once; the parent hears of it too and stops this one.
    outlive_the_terminal()
    return create_app()


def _end() -> None:
    """End this process as the parent would have done: asked first, then by force."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(WORKERS_STOP_SECONDS)
    os._exit(1)
