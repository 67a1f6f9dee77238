"""Reckoning: what shoppers posted and were promised, against what Klaviyo counted."""

import random
import threading
from collections import Counter
from dataclasses import dataclass
from itertools import count as count_from
from typing import Self
from uuid import uuid4

import requests

from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import Page, Shop, until

# How soon a page that got no answer tries again.
_AGAIN_SECONDS = 0.1


@dataclass(frozen=True)
class Reckoning:
    """The three books of an outsider: cart ids posted, acknowledged, and counted by Klaviyo."""

    posted: frozenset[str]
    acknowledged: frozenset[str]
    counted: tuple[str, ...]

    @property
    def lost(self) -> frozenset[str]:
        """What was acknowledged and does not count."""
        return self.acknowledged - set(self.counted)

    @property
    def twice(self) -> frozenset[str]:
        """What counts more than once."""
        return frozenset(cart for cart, times in Counter(self.counted).items() if times > 1)

    @property
    def made_up(self) -> frozenset[str]:
        """What counts although nobody posted it."""
        return frozenset(self.counted) - self.posted

    @property
    def is_even(self) -> bool:
        """Whether nothing is lost, counted twice or made up."""
        return not (self.lost or self.twice or self.made_up)

    def __str__(self) -> str:
        return (
            f"posted {len(self.posted)}, acknowledged {len(self.acknowledged)}, "
            f"counted {len(self.counted)}, lost {len(self.lost)}, twice {len(self.twice)}, "
            f"made up {len(self.made_up)}"
        )


class Shoppers:
    """Threads that post a checkout after the other, and remember what was acknowledged.

    As the snippet does, one that gets no answer posts the same state again, under the same id.
    Each waits *pause* seconds at most between two checkouts.
    """

    def __init__(self, url: str, *, count: int = 4, pause: float = 0) -> None:
        self._url = url
        self._pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._shop) for _ in range(count)]
        self._lock = threading.Lock()
        self._posts = 0
        self._name = uuid4().hex[:8]
        self._numbers = count_from(1)
        self._posted: set[str] = set()
        self._acknowledged: set[str] = set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> int:
        """How many checkouts were acknowledged."""
        return len(self._acknowledged)

    @property
    def posts(self) -> int:
        """How often a state was posted, also in vain."""
        return self._posts

    def wait_for_more(self, count: int, timeout: float = 60) -> None:
        """Return once *count* more checkouts are acknowledged."""
        wanted = self.acknowledged + count
        until(lambda: self.acknowledged >= wanted, timeout)

    def reckoning(self, klaviyo: Klaviyo) -> Reckoning:
        """Return how things stand."""
        with self._lock:
            posted, acknowledged = frozenset(self._posted), frozenset(self._acknowledged)
        carts = (event.attributes["properties"]["cart_id"] for event in klaviyo.events)
        ours = tuple(cart_id for cart_id in carts if cart_id.startswith(self._name))
        return Reckoning(posted, acknowledged, ours)

    def assert_each_counts_once(self, klaviyo: Klaviyo, timeout: float = 60) -> Reckoning:
        """Return the final reckoning once nothing is owed; nothing may count twice meanwhile."""
        until(lambda: not self.reckoning(klaviyo).lost, timeout)
        final = self.reckoning(klaviyo)
        assert final.is_even, final
        return final

    def _shop(self) -> None:
        while not self._stop.is_set():
            cart_id = f"{self._name}-{next(self._numbers)}"
            try:
                token = self._token(cart_id)
            except (requests.RequestException, AssertionError):
                self._stop.wait(_AGAIN_SECONDS)
                continue
            self._post_until_taken(cart_id, Page(self._url, token))
            self._stop.wait(random.uniform(0, self._pause))

    def _token(self, cart_id: str) -> str:
        shop = Shop(self._url)
        shop.push(cart_id)
        return shop.token(cart_id)

    def _post_until_taken(self, cart_id: str, page: Page) -> None:
        state_id = uuid4().hex
        with self._lock:
            self._posted.add(cart_id)
        while not self._is_taken(page, state_id):
            if self._stop.wait(_AGAIN_SECONDS):
                return
        with self._lock:
            self._acknowledged.add(cart_id)

    def _is_taken(self, page: Page, state_id: str) -> bool:
        with self._lock:
            self._posts += 1
        try:
            return page.post(id=state_id, email="jane@shop-demo.io").status_code == 202
        except requests.RequestException:
            return False
