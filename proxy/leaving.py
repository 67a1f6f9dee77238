"""Leaving: a web worker that ends takes nothing more first, and then answers nothing more."""

import os
import signal
import socket
import threading
from pathlib import Path

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GO = signal.SIGUSR1
# What has connected has so long to say what it wants. Whoever connects speaks at once.
_LINGER_SECONDS = 0.25


def leave_in_order() -> None:
    """Let this process, which is a web worker, end in order when a signal says to.

    Its server ends at once, and closes a connection on which nothing was said yet: whoever has just
    connected is sent away. So first it is made to accept no more, which leaves who connects then to
    the other workers. Call it in the main thread, before there are others.
    """
    # In all threads, those too that the server makes, so that it is the one below that hears.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    signal.signal(_GO, lambda *_: _go())
    threading.Thread(target=_leave, daemon=True).start()


def _leave() -> None:
    signal.sigwait(_SIGNALS)
    accept_no_more()
    # Whoever says it twice is in a hurry.
    signal.sigtimedwait(_SIGNALS, _LINGER_SECONDS)
    # The server's handler may be called in the main thread alone.
    signal.pthread_kill(threading.main_thread().ident or 0, _GO)


def _go() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(signal.SIGTERM, None)
    else:  # The server was not there yet.
        os._exit(0)


def accept_no_more() -> None:
    """Put a socket to which nobody comes in the place of each at which this process listens.

    The queue of connections is that of all workers, so it cannot be closed, and the server keeps no
    handle to it that one could take away.
    """
    with socket.create_server(("127.0.0.1", 0)) as lonely:
        lonely.setblocking(False)
        for name in sorted(path.name for path in Path("/dev/fd").iterdir()):
            if int(name) != lonely.fileno() and _listens(int(name)):
                os.dup2(lonely.fileno(), int(name), inheritable=False)


def _listens(number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)) as found:
            return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
