"""Crowd: shoppers who post checkouts until told to stop, and the ledger of what they were told."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from uuid import uuid4

import msgspec
import requests

from proxy.carts.cart import Cart
from proxy.sandbox.klaviyo import Klaviyo
from proxy.tokens import Session, Tokens
from tests.actors import CART, TOKEN_KEYS, until

_PACE_SECONDS = 0.02


class Crowd:
    """A few threads that post, to one of *urls* after the other, carts that are signed.

    ``acknowledged`` holds the carts for which 202 came back, ``refused`` what else came back, and
    ``slowest`` the longest time an answer took, in seconds.
    """

    def __init__(self, *urls: str, count: int = 4) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._post, args=(urls,)) for _ in range(count)]
        self.acknowledged: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.slowest = 0.0

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int, timeout: float = 60) -> None:
        """Return once *count* more are acknowledged than now."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + count, timeout)

    def _post(self, urls: Sequence[str]) -> None:
        with requests.Session() as session:
            for url in cycle(urls):
                if self._stop.wait(_PACE_SECONDS):
                    return
                self._post_one(session, url)

    def _post_one(self, session: requests.Session, url: str) -> None:
        cart_id, begun = f"cart-{uuid4().hex[:12]}", time.monotonic()
        body = {"id": uuid4().hex, "token": token(cart_id), "email": "jane@shop-demo.io"}
        try:
            said = str(session.post(f"{url}/co/state", json=body, timeout=15).status_code)
        except requests.RequestException as error:
            said = type(error).__name__
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if said == "202":
                self.acknowledged.add(cart_id)
            else:
                self.refused[said] += 1


def token(cart_id: str) -> str:
    """Return a token for *cart_id* with the cart in it."""
    keys = Tokens(TOKEN_KEYS.split(","), shop="shop", max_age=timedelta(hours=24))
    cart = msgspec.json.decode(json.dumps(CART), type=Cart)
    return keys.sign(Session(shop="shop", cart_id=cart_id, cart=cart))


def lost(crowd: Crowd, klaviyo: Klaviyo) -> set[str]:
    """Return the carts that were acknowledged and that Klaviyo has not counted."""
    return crowd.acknowledged - set(_counted(klaviyo))


def assert_each_counts_once(crowd: Crowd, klaviyo: Klaviyo, timeout: float = 90) -> None:
    """Return once Klaviyo has counted every acknowledged cart, and each of them once."""
    until(lambda: not lost(crowd, klaviyo), timeout)
    counted = _counted(klaviyo)
    assert len(counted) == len(set(counted))


def _counted(klaviyo: Klaviyo) -> list[str]:
    return [event.attributes["properties"]["cart_id"] for event in klaviyo.events]
