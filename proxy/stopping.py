"""Stopping: what a process does when it is told to end or to begin anew, or its parent is gone."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

# All is over within ten seconds of SIGTERM: the threads of a web worker wait two seconds for the
# disk at most, and meanwhile the sender waits five for what is in flight.
WORKERS_STOP_SECONDS = 3
SENDER_STOP_SECONDS = 6

logger = logging.getLogger(__name__)

_Act = Callable[[], object]

_STOPS = (signal.SIGTERM, signal.SIGINT)

# That is what nohup does. Looked up here, before granian sets a handler of its own.
_UNDER_NOHUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set."""
    stop = threading.Event()
    on_signals(stop.set)
    return stop


def on_signals(*stop: _Act, reload: _Act | None = None) -> None:
    """Do all of *stop*, once, when a signal says to: SIGTERM, SIGINT, or a terminal that hangs up.

    SIGHUP from somebody else, whose terminal is still there or who has none, says to *reload*.
    What is done is done in a thread of its own. Under nohup SIGHUP stays ignored.
    """
    heard: SimpleQueue[int] = SimpleQueue()
    says_to_reload = _hang_ups_to_reload()

    def wait_and_act() -> None:
        while says_to_reload(heard.get()) and reload is not None:
            _try(reload)
        for act in stop:
            act()

    threading.Thread(target=wait_and_act, daemon=True).start()
    if _UNDER_NOHUP:
        outlive_the_terminal()
    for number in _STOPS if _UNDER_NOHUP else (*_STOPS, signal.SIGHUP):
        # A handler interrupts its thread anywhere, even where that holds an event's own lock to
        # wait for it. This queue may be used there: its put is reentrant, says Python's manual.
        signal.signal(number, lambda number, _: heard.put(number))


def _hang_ups_to_reload() -> Callable[[int], bool]:
    """Return what tells a SIGHUP that somebody sends from that of the terminal that we have now."""
    had_terminal = _has_terminal()
    return lambda number: number == signal.SIGHUP and not (had_terminal and not _has_terminal())


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _try(reload: _Act) -> None:
    try:
        reload()
    except Exception:
        # Whatever it was, nobody else would hear the signal to stop.
        logger.exception("the settings cannot be read again")


def outlive_the_terminal() -> None:
    """Ignore SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def end_by_force(stop: threading.Event, seconds: float) -> None:
    """End this process *seconds* after *stop* is set, unless it has ended by itself."""

    def wait_and_end() -> None:
        stop.wait()
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


def when_orphaned(act: _Act) -> None:
    """Call *act* in a thread of its own when the process that spawned this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_and_act() -> None:
        parent.join()
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()
