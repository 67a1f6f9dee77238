"""Actors: the shop's server and the shopper's page, as they speak to a served proxy."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from openapi_client.models.event_create_query_v2 import EventCreateQueryV2
from openapi_client.models.events_bulk_create_job import EventsBulkCreateJob

from proxy.checkouts import Checkout, Status
from proxy.sandbox.klaviyo import Event, Klaviyo
from proxy.store import Store
from proxy.store.reader import Attempt

SHOP_KEY = "a-shop-key-0123456789"
TOKEN_KEYS = "an-old-key-0123456789,a-new-key-0123456789"
KLAVIYO_KEY = "pk_0123456789abcdef"

TEA: dict[str, Any] = {
    "product_id": "tea-1",
    "sku": "TEA-1",
    "name": "Green tea",
    "quantity": 2,
    "unit_price": "10.00",
    "row_total": "20.00",
    "product_url": "https://shop-demo.io/tea",
    "image_url": "https://shop-demo.io/tea.jpg",
    "categories": ["Tea"],
}
CART: dict[str, Any] = {"currency": "EUR", "total": "20.00", "items": [TEA]}


# A test is a crowd of its own, and its name servers know nothing of its shoppers' domains.
UNLIMITED = {
    "BUDGETS": "token=0 cart=0 address=0 client=0",
    "MOST_CHECKOUTS": "client=0 address=0",
    "DNS": "off",
}


def environment(store: object, klaviyo_url: str, **more: str) -> dict[str, str]:
    """Return what an operator would set, with *more* settings by their names without prefix."""
    settings = {
        "TOKEN_KEYS": TOKEN_KEYS,
        "SHOP_KEY": SHOP_KEY,
        "KLAVIYO_KEY": KLAVIYO_KEY,
        "KLAVIYO_URL": klaviyo_url,
        "STORE": f"sqlite:///{store}",
        "SETTLE": "0",
        **UNLIMITED,
    }
    return {f"CHECKOUT_PROXY_{name}": value for name, value in (settings | more).items()}


def marks(store: Store) -> dict[str, int]:
    """Return how far the sender has read each inbox: nothing, where none ever ran."""
    if not store.exists:
        return {}
    with closing(store.book()) as book:
        return book.marks()


@contextmanager
def judged_klaviyo(key: str = KLAVIYO_KEY) -> Iterator[Klaviyo]:
    """Serve a stand-in Klaviyo; at the end the models of Klaviyo's own SDK judge what it got."""
    with Klaviyo(key=key).serve() as klaviyo:
        yield klaviyo
    for request in (each for each in klaviyo.requests if each.method == "POST"):
        is_bulk = request.path.endswith("bulk-create-jobs")
        (EventsBulkCreateJob if is_bulk else EventCreateQueryV2).model_validate_json(request.body)


@dataclass(frozen=True)
class Shop:
    """The shop's server: it speaks to the proxy at *url* under the shop's *key*."""

    url: str
    key: str = SHOP_KEY

    def token(self, cart_id: str, **more: Any) -> str:
        """Return a token for *cart_id*, with a customer, a cart or a ref."""
        answer = self._call("POST", "/v1/sessions", {"cart_id": cart_id, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def push(self, cart_id: str, cart: Mapping[str, Any] = CART) -> None:
        """Put *cart*."""
        answer = self._call("PUT", f"/v1/carts/{cart_id}", cart)
        assert answer.status_code == 204, answer.text

    def delete(self, cart_id: str) -> None:
        """Take the cart away."""
        assert self._call("DELETE", f"/v1/carts/{cart_id}", None).status_code == 204

    def order(self, cart_id: str, **more: Any) -> None:
        """Say that an order was placed."""
        order = {"cart_id": cart_id, "order_id": "o-1", **more}
        assert self._call("POST", "/v1/orders", order).status_code == 202

    def _call(self, method: str, path: str, body: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=15)


@dataclass(frozen=True)
class Page:
    """A page of the shop: it posts to the proxy at *url* with the token it was given.

    It is one of the proxy's own host, unless it is of *origin*.
    """

    url: str
    token: str
    origin: str | None = None

    def post(self, **state: Any) -> requests.Response:
        """Post a state and return the answer, whatever it is."""
        body = {"id": uuid4().hex, "token": self.token, **state}
        headers = {} if self.origin is None else {"Origin": self.origin}
        return requests.post(self.url + "/co/state", json=body, headers=headers, timeout=15)

    def say(self, **state: Any) -> None:
        """Post a state that is taken."""
        answer = self.post(**state)
        assert answer.status_code == 202, answer.text


@dataclass(frozen=True)
class Ledger:
    """What an outsider can know of a cart: Klaviyo's side, and how the proxy says it stands."""

    store: Path
    klaviyo: Klaviyo

    def events(self, cart_id: str) -> list[dict[str, Any]]:
        """Return what Klaviyo counted for *cart_id*."""
        return [event.attributes for event in self._of(self.klaviyo.events, cart_id)]

    def answered_yes(self, cart_id: str) -> int:
        """Return how often Klaviyo said 202 for *cart_id*, whether it counted or not."""
        return len(self._of(self.klaviyo.accepted, cart_id))

    def checkouts(self, cart_id: str) -> list[Checkout]:
        """Return how the checkouts of *cart_id* stand, oldest first."""
        store = Store.of("shop", f"sqlite:///{self.store}")
        if not store.exists:
            return []
        with closing(store.book()) as book:
            return book.checkouts("shop", cart_id)

    def attempts(self, cart_id: str) -> list[Attempt]:
        """Return every try to send the checkouts of *cart_id*."""
        with closing(Store.of("shop", f"sqlite:///{self.store}").book()) as book:
            return book.attempts("shop", cart_id)

    def wait(self, cart_id: str, *statuses: Status, timeout: float = 30) -> list[Checkout]:
        """Return the checkouts of *cart_id* once they stand at *statuses*."""
        store = Store.of("shop", f"sqlite:///{self.store}")
        until(lambda: store.exists, timeout)
        # Opened once: that takes ten times as long as to look.
        with closing(store.book()) as book:

            def found() -> list[Checkout]:
                return book.checkouts("shop", cart_id)

            with suppress(AssertionError):
                until(lambda: [each.status for each in found()] == list(statuses), timeout)
            assert [each.status for each in found()] == list(statuses), found()
            return found()

    def _of(self, events: Sequence[Event], cart_id: str) -> list[Event]:
        return [event for event in events if event.attributes["properties"]["cart_id"] == cart_id]


def until(condition: Callable[[], object], timeout: float = 30) -> None:
    """Return as soon as *condition* holds; it is about another process, which cannot call back."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < timeout, "what was waited for did not happen"
        # To look takes time off the other one: the longer it takes, the less often.
        time.sleep(min(max(waited / 50, 0.01), 0.1))
