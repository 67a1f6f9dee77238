"""Killed at any step: what was acknowledged arrives, and counts once."""

import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import requests

from proxy.checkouts import Status
from proxy.sandbox.faults import Answer, Cut, Hang
from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.running import Proxy


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def children(proxy: Proxy) -> list[psutil.Process]:
    """Return the web workers and the sender of *proxy*."""
    below = psutil.Process(proxy.pid).children(recursive=True)
    # Python's own helper beside spawned processes is neither.
    return [child for child in below if "resource_tracker" not in " ".join(child.cmdline())]


def is_alive(process: psutil.Process) -> bool:
    """Tell whether *process* still runs: one that only nobody has waited for yet does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


class Shoppers:
    """Threads that post checkouts until told to stop, and remember what was acknowledged."""

    def __init__(self, proxy: Proxy) -> None:
        self._url = proxy.url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post) for _ in range(4)]
        self._lock = threading.Lock()
        self.acknowledged: set[str] = set()

    def __enter__(self) -> "Shoppers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        until(lambda: len(self.acknowledged) >= count)

    def _post(self) -> None:
        shop = Shop(self._url)
        while not self._stop.is_set():
            cart_id = f"cart-{uuid4().hex[:12]}"
            try:
                shop.push(cart_id)
                answer = Page(self._url, shop.token(cart_id)).post(email="jane@shop-demo.io")
            except (requests.RequestException, AssertionError):
                continue
            if answer.status_code == 202:
                with self._lock:
                    self.acknowledged.add(cart_id)


def assert_each_counts_once(ledger: Ledger, acknowledged: set[str]) -> None:
    def counted() -> list[str]:
        events = ledger.klaviyo.events
        return [event.attributes["properties"]["cart_id"] for event in events]

    until(lambda: acknowledged <= set(counted()), timeout=60)
    arrived = counted()
    assert len(arrived) == len(set(arrived))


def test_web_workers_and_the_sender_killed_under_load_lose_nothing(
    klaviyo: Klaviyo, store: Path
) -> None:
    chance = random.Random(7)
    with Proxy(environment(store, klaviyo.url)) as proxy, Shoppers(proxy) as shoppers:
        for seen in (20, 60, 100):
            shoppers.wait_for(seen)
            chance.choice(children(proxy)).kill()

    with Proxy(environment(store, klaviyo.url)):
        assert_each_counts_once(Ledger(store, klaviyo), shoppers.acknowledged)


def test_everything_killed_at_once_loses_nothing(klaviyo: Klaviyo, store: Path) -> None:
    with Proxy(environment(store, klaviyo.url)) as proxy, Shoppers(proxy) as shoppers:
        shoppers.wait_for(40)
        proxy.kill()

    with Proxy(environment(store, klaviyo.url)):
        assert_each_counts_once(Ledger(store, klaviyo), shoppers.acknowledged)


@pytest.mark.parametrize("fault", [Hang(counted=True), Hang()], ids=["counted", "not counted"])
def test_killed_between_klaviyos_yes_and_our_commit_it_counts_once(
    klaviyo: Klaviyo, store: Path, fault: Hang
) -> None:
    ledger = Ledger(store, klaviyo)
    klaviyo.misbehave(fault)
    with Proxy(environment(store, klaviyo.url)) as proxy:
        Shop(proxy.url).push("c-1")
        page = Page(proxy.url, Shop(proxy.url).token("c-1"))
        page.say(email="jane@shop-demo.io")
        klaviyo.wait_for_requests(1, timeout=15)
        proxy.kill()

    with Proxy(environment(store, klaviyo.url)):
        ledger.wait("c-1", Status.DELIVERED)

    assert len(ledger.events("c-1")) == 1


def test_a_correction_while_an_attempt_is_unanswered_does_not_count_for_two_people(
    klaviyo: Klaviyo, store: Path
) -> None:
    ledger = Ledger(store, klaviyo)
    klaviyo.misbehave(Cut(counted=True))
    with Proxy(environment(store, klaviyo.url)) as proxy:
        Shop(proxy.url).push("c-1")
        page = Page(proxy.url, Shop(proxy.url).token("c-1"))
        page.say(email="jane@gmial.com")
        klaviyo.wait_for_requests(1, timeout=15)

        page.say(email="jane@shop-demo.io")

        ledger.wait("c-1", Status.DELIVERED)
    assert len(ledger.events("c-1")) == 1
    assert ledger.answered_yes("c-1") == 2


def test_the_sender_stops_within_ten_seconds_while_klaviyo_hangs(
    klaviyo: Klaviyo, store: Path
) -> None:
    klaviyo.misbehave(Hang())
    with Proxy(environment(store, klaviyo.url)) as proxy:
        Shop(proxy.url).push("c-1")
        Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
        klaviyo.wait_for_requests(1, timeout=15)
        everything = [psutil.Process(proxy.pid), *children(proxy)]

        everything[0].terminate()

        until(lambda: not any(map(is_alive, everything)), timeout=10)


def test_a_web_worker_that_hangs_does_not_hold_up_the_end(klaviyo: Klaviyo, store: Path) -> None:
    with Proxy(environment(store, klaviyo.url)) as proxy:
        everything = [psutil.Process(proxy.pid), *children(proxy)]
        for child in everything[1:]:
            child.suspend()

        everything[0].terminate()

        until(lambda: not any(map(is_alive, everything)), timeout=10)


def test_nothing_outlives_the_main_process(klaviyo: Klaviyo, store: Path) -> None:
    with (
        Proxy(environment(store, klaviyo.url)) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as half_a_request,
    ):
        half_a_request.sendall(b"POST /co/state HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        below = children(proxy)

        psutil.Process(proxy.pid).kill()

        until(lambda: not any(map(is_alive, below)), timeout=10)


def test_only_one_sender_is_at_work_on_a_store(klaviyo: Klaviyo, store: Path) -> None:
    with Proxy(environment(store, klaviyo.url)) as one, Proxy(environment(store, klaviyo.url)):
        shop = Shop(one.url)
        for number in range(20):
            shop.push(f"c-{number}")
            Page(one.url, shop.token(f"c-{number}")).say(email="jane@shop-demo.io")

        klaviyo.wait_for_events(20, timeout=30)

    assert len(klaviyo.accepted) == 20


def test_a_refused_key_burns_nothing(klaviyo: Klaviyo, store: Path) -> None:
    ledger = Ledger(store, klaviyo)
    with Proxy(environment(store, klaviyo.url, KLAVIYO_KEY="pk_wrong")) as proxy:
        Shop(proxy.url).push("c-1")
        Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
        klaviyo.wait_for_requests(1, timeout=15)

    with Proxy(environment(store, klaviyo.url)):
        (checkout,) = ledger.wait("c-1", Status.DELIVERED)

    assert len(ledger.events("c-1")) == 1
    assert checkout.attempts == 0


def test_an_outage_of_klaviyo_outlives_a_restart_of_ours(klaviyo: Klaviyo, store: Path) -> None:
    ledger = Ledger(store, klaviyo)
    klaviyo.misbehave(Answer(503))
    with Proxy(environment(store, klaviyo.url)) as proxy:
        Shop(proxy.url).push("c-1")
        Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
        until(lambda: ledger.checkouts("c-1") and ledger.attempts("c-1"))

    (waiting,) = ledger.checkouts("c-1")
    with Proxy(environment(store, klaviyo.url)):
        ledger.wait("c-1", Status.DELIVERED)

    refused, taken = ledger.attempts("c-1")
    assert (refused.status, taken.status) == (503, 202)
    assert waiting.retry_at is not None
    assert taken.at >= waiting.retry_at
