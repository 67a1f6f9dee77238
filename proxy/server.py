"""Server: the web half under granian, and the sender beside it, started and stopped as one."""

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.net import SocketSpec  # type: ignore[attr-defined]
from granian.server.mp import MPServer

from proxy import logs, shops
from proxy.errors import Misconfigured
from proxy.leaving import leave_in_order
from proxy.sender_process import SenderProcess
from proxy.settings import Settings
from proxy.stopping import WORKERS_STOP_SECONDS, on_signals, outlive_the_terminal, when_orphaned

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger(__name__)

# Each web worker waits for the disk in one commit with all others, so threads are cheap here.
_THREADS = 20

# So long an old web worker goes on beside its successor. One that takes longer to be up loses
# nothing: what comes meanwhile waits in the queue.
_OVERLAP_SECONDS = 2.0


def serve(read: shops.Read, *, host: str, port: int, workers: int, web_only: bool) -> None:
    """Serve the web half at *host*:*port*, and the sender unless *web_only*, until stopped.

    The settings are those that *read* returns, now and whenever they are to be read again.
    """
    served = read()
    shops.prepare(served)
    check_free(host, port)
    # Not forked: a fork of a process with threads can inherit a lock that nobody opens again.
    multiprocessing.set_start_method("spawn", force=True)
    server = _Granian(
        "proxy.app:create_app",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=_THREADS,
        respawn_failed_workers=True,
        respawn_interval=_OVERLAP_SECONDS,
        # A worker's signal handler sets an event for which its thread may just be about to wait,
        # holding the event's lock: told to stop in that instant, it waits for itself for ever.
        workers_kill_timeout=WORKERS_STOP_SECONDS,
        websockets=False,
        log_access=False,
        log_dictconfig=logs.configuration(served[0].log),
    )
    web_half = _WebHalf(served)
    sender = None if web_only else SenderProcess(served)
    to_stop: list[Callable[[], object]] = [server.signal_handler_interrupt]
    if sender is not None:
        to_stop.append(sender.stop)

    def reload() -> None:
        if (now := shops.read_again(read, web_half.served)) is not None:
            web_half.served = now
            server.signal_handler_reload()  # type: ignore[no-untyped-call]
            if sender is not None:
                sender.begin_anew(now)

    # In the place of granian's own handler, which does in this process what the workers' does; and
    # before there is a child: one that is born while granian's own stands is not under nohup.
    server.on_startup(lambda: on_signals(*to_stop, reload=reload))
    if sender is not None:
        server.on_startup(sender.start)
        server.on_shutdown(sender.stop)
    logger.info("serving the %s", shops.in_words(served))
    server.serve(target_loader=web_half, wrap_loader=False)


class _WebHalf:
    """What makes the web half in each of granian's processes.

    It is passed on as it is when a process begins, so that one that begins later, in the place of
    one that died, has the settings that were checked, and not a file that somebody edits just now.
    """

    def __init__(self, served: tuple[Settings, ...]) -> None:
        self.served = served

    def __call__(self) -> "Flask":
        from proxy.app import create_app

        leave_in_order()
        when_orphaned(_end)
        # Its end is told to every process at once; the parent hears of it too and stops this one.
        outlive_the_terminal()
        return create_app(self.served)


class _Granian(MPServer):
    """Granian with one queue of connections for all workers, as it has it on other systems.

    On Linux each of its workers would have a queue of its own, and what waits in that when the
    worker ends is lost.
    """

    def _init_shared_socket(self) -> None:
        held = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd = held  # type: ignore[assignment]
        self._sso = socket.socket(fileno=held.get_fd())
        self._sso.set_inheritable(True)


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


def _end() -> None:
    """End this process as the parent would have done: asked first, then by force."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(WORKERS_STOP_SECONDS)
    os._exit(1)
