"""Relay: a road to a server on this machine, as long as one wants it, and breakable."""

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self


class Relay:
    """A TCP port that leads to *target*, where all that is said takes *one_way* seconds.

    Making a connection costs a round trip, as it does on any road.
    """

    def __init__(self, *, one_way: float = 0.0) -> None:
        self.target = 0  # the port; it may be set once the server is up
        self.loses_answers = False  # then the connection breaks as well
        self._one_way = one_way
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._writers: set[StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Its near end, where TLS is spoken."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def plain_url(self) -> str:
        """Its near end, where it is not."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        while self._writers:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _carry(self, reader: StreamReader, near: StreamWriter) -> None:
        self._writers.add(near)
        await asyncio.sleep(2 * self._one_way)
        answers, far = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(far)
        await asyncio.gather(self._pump(reader, far), self._pump(answers, near, are_answers=True))
        self._writers -= {near, far}

    async def _pump(
        self, reader: StreamReader, writer: StreamWriter, *, are_answers: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                if are_answers and self.loses_answers:
                    break
                self._loop.call_later(self._one_way, writer.write, chunk)
        self._loop.call_later(self._one_way, writer.close)
