"""Stopping: what a process does when it is told to end, or when its parent is gone."""

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

# That is what nohup does. Looked up here, before granian sets a handler of its own.
_UNDER_NOHUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set."""
    stop = threading.Event()
    on_stop_signals(stop.set)
    return stop


def on_stop_signals(*acts: Callable[[], object]) -> None:
    """Call *acts* one after the other, once, in a thread of its own, when a signal says to stop.

    These are SIGTERM, SIGINT and SIGHUP: a terminal that hangs up tells all processes, as Ctrl-C
    does. Under nohup SIGHUP stays ignored.
    """
    heard: SimpleQueue[int] = SimpleQueue()

    def wait_and_act() -> None:
        heard.get()
        for act in acts:
            act()

    threading.Thread(target=wait_and_act, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A handler interrupts its thread anywhere, even where that holds an event's own lock to
        # wait for it. This queue may be used there: its put is reentrant, says Python's manual.
        signal.signal(number, lambda number, _: heard.put(number))
    if _UNDER_NOHUP:
        outlive_the_terminal()


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


def when_orphaned(act: Callable[[], object]) -> None:
    """Call *act* in a thread of its own when the process that spawned this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_and_act() -> None:
        parent.join()
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()
