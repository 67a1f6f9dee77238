"""Pages: shoppers' pages that post checkouts to a served proxy, and a ledger of its answers."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Self
from uuid import uuid4

import requests

from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import CART, Page, Shop, until


class Pages:
    """Four pages that post one checkout after the other, while the block lasts.

    An answer is a 202, or a 503 that names a time to come back, or the test fails.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.answers: Counter[int] = Counter()
        self.slowest = timedelta(0)

    def __enter__(self) -> Self:
        self._posting = [self._pool.submit(self._go_on) for _ in range(4)]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Return once every page has its answer."""
        self._stop.set()
        self._pool.shutdown()
        for posting in self._posting:
            posting.result()

    def wait_for(
        self,
        status: int,
        count: int,
        *,
        at_least: timedelta = timedelta(0),
        meanwhile: Callable[[], object] = bool,
    ) -> None:
        """Return once *count* more posts were answered with *status*, and *at_least* has passed."""
        wanted = self.answers[status] + count
        earliest = time.monotonic() + at_least.total_seconds()

        def answered() -> bool:
            meanwhile()
            enough = self.answers[status] >= wanted and time.monotonic() >= earliest
            return enough or any(posting.done() for posting in self._posting)

        until(answered, timeout=30 + at_least.total_seconds())

    @property
    def figures(self) -> tuple[int, int, timedelta]:
        """How many posts were refused, out of how many, and how long the slowest waited."""
        return self.answers[503], self.answers.total(), self.slowest

    def _go_on(self) -> None:
        while not self._stop.is_set():
            self._post(f"cart-{uuid4().hex}")

    def _post(self, cart_id: str) -> None:
        page = Page(self._url, Shop(self._url).token(cart_id, cart=CART))
        began = time.monotonic()
        answer = page.post(id=cart_id, email=f"{cart_id}@shop-demo.io")
        took = timedelta(seconds=time.monotonic() - began)
        self.slowest = max(self.slowest, took)
        self.answers[answer.status_code] += 1
        if answer.status_code == 202:
            self.acknowledged.add(cart_id)
        else:
            check_refusal(answer)
            self.refused.add(cart_id)
            # A page would come back in five seconds; others come meanwhile.
            self._stop.wait(0.1)


def check_refusal(answer: requests.Response) -> None:
    """Check that *answer* refuses in words, and names a time to come back."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:checkout-proxy:unavailable"


def carts(klaviyo: Klaviyo) -> list[str]:
    """Return the carts that Klaviyo counted an event for."""
    return [event.attributes["properties"]["cart_id"] for event in klaviyo.events]


def check_each_arrives_once(
    klaviyo: Klaviyo, acknowledged: Iterable[str], timeout: float = 60
) -> None:
    """Return once Klaviyo counted each of *acknowledged*; none may be counted twice."""
    expected = set(acknowledged)
    until(lambda: expected <= set(carts(klaviyo)), timeout)
    arrived = carts(klaviyo)
    assert len(arrived) == len(set(arrived))
