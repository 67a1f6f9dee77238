"""Deadline: HTTP in which an exchange ends by a given time, however slowly the bytes come.

The time-outs of requests are for each read alone: a server that sends one byte a second keeps its
client waiting for ever.
"""

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """An adapter under which sending a request and reading its answer take *seconds* at most.

    As many *connections* are kept open as there are threads that use it.
    What comes later raises the time-out of a read. To connect, and to agree on keys, has the
    time-out of the request for itself.
    """

    def __init__(self, seconds: float, *, connections: int) -> None:
        self._seconds = seconds
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of connections that keep the deadline."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._seconds)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Return the same for a proxy that the environment names (``HTTPS_PROXY``)."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _pools(self._seconds)
        return manager


def _pools(seconds: float) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(_Timed, HTTPConnection):  # type: ignore[misc]
        limit = seconds

    class SecureConnection(_Timed, HTTPSConnection):  # type: ignore[misc]
        limit = seconds

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


class _Timed:
    """What makes a connection of urllib3's keep *limit* seconds an exchange."""

    limit: float
    sock: socket.socket | None
    _until = 0.0

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._until = time.monotonic() + self.limit
        if self.sock is not None:
            # A large body may take longer than a connection may take to come about.
            self.sock.settimeout(self.limit)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> HTTPResponse:
        response = HTTPResponse(sock, *args, **kwargs)
        timed = _UntilThen(sock.makefile("rb", buffering=0), sock, self._until)
        response.fp.close()
        response.fp = io.BufferedReader(timed)
        return response


class _UntilThen(io.RawIOBase):
    """Read *raw*, whose socket is *sock*, until the moment *until* of the monotonic clock."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
