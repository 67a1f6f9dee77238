"""Told to stop: every request is answered in full or not at all, and what was promised arrives."""

import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count as count_from
from pathlib import Path
from typing import Self
from uuid import uuid4

import msgspec
import psutil
import pytest

from proxy.carts.cart import Cart
from proxy.sandbox.klaviyo import Klaviyo
from proxy.tokens import Session, Tokens
from tests.actors import CART, TOKEN_KEYS, environment, judged_klaviyo, until
from tests.crash.reckoning import Reckoning
from tests.crash.test_kill import children, has_open
from tests.running import TWO, Proxy, hang_ups
from tests.said import JANE

# All is over within this time after the signal, with a second for a busy machine.
TEN_SECONDS = 11


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signals") / "store"


@pytest.fixture
def proxy(klaviyo: Klaviyo, store: Path) -> Iterator[Proxy]:
    with (
        hang_ups(signal.SIG_DFL),
        Proxy(environment(store, klaviyo.url, CARTS="signed"), *TWO) as proxy,
    ):
        yield proxy


def request(cart_id: str) -> bytes:
    """Return a post of a state as it goes over the wire."""
    session = Session(shop="shop", cart_id=cart_id, cart=msgspec.convert(CART, Cart, strict=False))
    tokens = Tokens(TOKEN_KEYS.split(","), shop="shop", max_age=timedelta(hours=24))
    body = msgspec.json.encode({"token": tokens.sign(session), "email": JANE})
    head = f"POST /co/state HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: text/plain\r\n\r\n" + body


def answer(connection: socket.socket) -> bytes:
    """Return the answer as far as it comes: all of it, a part, or nothing."""
    read = bytearray()
    with suppress(ConnectionError):
        while not is_whole(read) and (piece := connection.recv(65536)):
            read += piece
    return bytes(read)


def is_whole(read: bytes | bytearray) -> bool:
    head, end, body = bytes(read).partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) == int(length[1])


class Talkers:
    """Connections kept alive, on which one state after the other is posted."""

    def __init__(self, port: int, count: int = 16) -> None:
        name = uuid4().hex[:8]
        self._name = name
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._carts = (f"{name}-{number}" for number in count_from(1))
        self._threads = [threading.Thread(target=self._talk) for _ in range(count)]
        self.posted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.torn: list[bytes] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= wanted)

    def reckoning(self, klaviyo: Klaviyo) -> Reckoning:
        carts = (event.attributes["properties"]["cart_id"] for event in klaviyo.events)
        ours = tuple(cart_id for cart_id in carts if cart_id.startswith(self._name))
        return Reckoning(frozenset(self.posted), frozenset(self.acknowledged), ours)

    def _talk(self) -> None:
        while not self._stop.wait(0.05):
            with (
                suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", self._port), timeout=15) as connection,
            ):
                while self._post(connection) and not self._stop.wait(0.05):
                    pass

    def _post(self, connection: socket.socket) -> bool:
        """Post a state; return whether the connection may be used again."""
        with self._lock:
            cart_id = next(self._carts)
        self.posted.add(cart_id)
        connection.sendall(request(cart_id))
        came = answer(connection)
        if came.startswith(b"HTTP/1.1 202"):
            self.acknowledged.add(cart_id)
        if came and not is_whole(came):
            self.torn.append(came)
        return is_whole(came) and b"connection: close" not in came.lower()


# -- under load --------------------------------------------------------------------------


def test_under_load_each_request_is_answered_in_full_or_not_at_all(
    proxy: Proxy, klaviyo: Klaviyo
) -> None:
    with Talkers(proxy.port) as talkers:
        talkers.wait_for_more(100)
        told_at = time.monotonic()

        status = proxy.stop()
        took = time.monotonic() - told_at
        proxy.start()
        talkers.wait_for_more(50)

    assert status == 0
    assert took < TEN_SECONDS
    assert talkers.torn == []
    until(lambda: not talkers.reckoning(klaviyo).lost)
    assert talkers.reckoning(klaviyo).is_even


def test_half_an_answer_is_seen() -> None:
    """The control of the test above."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-length: 21\r\n\r\n{")
        theirs.shutdown(socket.SHUT_WR)

        came = answer(ours)

    assert came
    assert not is_whole(came)


@pytest.mark.slow
def test_half_a_body_holds_up_no_end_and_becomes_nothing(proxy: Proxy, klaviyo: Klaviyo) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as connection:
        connection.sendall(request("half")[:-100])
        told_at = time.monotonic()

        status = proxy.stop()

        assert answer(connection) == b""
    assert status == 0
    assert time.monotonic() - told_at < TEN_SECONDS
    proxy.start()
    assert post(proxy, "whole").startswith(b"HTTP/1.1 202")
    until(lambda: counts(klaviyo, "whole"))
    assert not counts(klaviyo, "half")


def post(proxy: Proxy, cart_id: str) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as connection:
        connection.sendall(request(cart_id))
        return answer(connection)


def counts(klaviyo: Klaviyo, cart_id: str) -> bool:
    return any(f'"{cart_id}"'.encode() in event.body for event in klaviyo.events)


# -- by which signal ---------------------------------------------------------------------


def alone(number: signal.Signals, *, times: int = 1) -> Callable[[int], None]:
    def tell(pid: int) -> None:
        for _ in range(times):
            os.kill(pid, number)

    return tell


def all_of_the_terminal(number: signal.Signals) -> Callable[[int], None]:
    return lambda pid: os.killpg(pid, number)


@pytest.mark.parametrize(
    "tell",
    [
        # What Ctrl-C says to all of them these say to one.
        pytest.param(alone(signal.SIGTERM, times=2), marks=pytest.mark.slow),
        pytest.param(alone(signal.SIGINT), marks=pytest.mark.slow),
        all_of_the_terminal(signal.SIGINT),
    ],
    ids=["SIGTERM-twice", "SIGINT", "Ctrl-C"],
)
def test_it_stops_in_order_within_ten_seconds(
    proxy: Proxy, klaviyo: Klaviyo, tell: Callable[[int], None]
) -> None:
    with Talkers(proxy.port, count=4) as talkers:
        talkers.wait_for_more(5)

        tell(proxy.pid)

        status = proxy.wait(TEN_SECONDS)
    assert status == 0
    assert talkers.torn == []
    proxy.start()
    until(lambda: not talkers.reckoning(klaviyo).lost)


class ProxyInTerminal(Proxy):
    """A proxy in a terminal of its own, which can hang up."""

    def start(self) -> None:
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            ("setsid", "--ctty", *self._command),
            env=self._env,
            stdin=theirs,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(theirs)
        self._wait_until_up(self._process)

    def hang_up(self) -> None:
        os.close(self._terminal)


@pytest.mark.slow
def test_when_its_terminal_hangs_up_it_stops_in_order_within_ten_seconds(
    klaviyo: Klaviyo, store: Path
) -> None:
    env = environment(store, klaviyo.url, CARTS="signed")
    with hang_ups(signal.SIG_DFL), ProxyInTerminal(env) as proxy:
        with Talkers(proxy.port, count=4) as talkers:
            talkers.wait_for_more(5)

            proxy.hang_up()

            status = proxy.wait(TEN_SECONDS)
        assert status == 0
        assert talkers.torn == []
        proxy.start()
        until(lambda: not talkers.reckoning(klaviyo).lost)
        proxy.hang_up()
        proxy.wait(TEN_SECONDS)


def test_in_a_terminal_that_is_still_there_a_hang_up_says_to_read_the_settings_again(
    klaviyo: Klaviyo, store: Path
) -> None:
    env = environment(store, klaviyo.url, CARTS="signed")
    with hang_ups(signal.SIG_DFL), ProxyInTerminal(env) as proxy:
        os.kill(proxy.pid, signal.SIGHUP)

        until(lambda: "the settings were read again: shop shop" in proxy.log)
        until(proxy.is_up)
        proxy.hang_up()
        assert proxy.wait(2 * TEN_SECONDS) == 0


def web_workers(proxy: Proxy) -> list[psutil.Process]:
    """Return the web workers that are ready."""
    return [child for child in children(proxy) if has_open(child, "inbox-*.lock")]


def test_under_nohup_it_outlives_the_terminal(klaviyo: Klaviyo, store: Path) -> None:
    env = environment(store, klaviyo.url, CARTS="signed")
    with hang_ups(signal.SIG_IGN), Proxy(env, *TWO) as proxy:
        # Until its inbox is open a worker is granian's, which has an answer of its own.
        until(lambda: len(web_workers(proxy)) == 2)
        alive = psutil.Process(proxy.pid).children(recursive=True)

        with Talkers(proxy.port, count=4) as talkers:
            os.killpg(proxy.pid, signal.SIGHUP)
            talkers.wait_for_more(20)

        assert all(map(psutil.Process.is_running, alive)), proxy.log
        until(lambda: not talkers.reckoning(klaviyo).lost)
