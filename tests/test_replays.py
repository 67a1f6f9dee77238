"""Replays: what is posted again is one event, and what who stole a token can do, and no more."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import requests

from proxy.checkouts import Status
from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import CART, Ledger, Page, Shop, environment, judged_klaviyo
from tests.running import Proxy
from tests.said import JANE

MALLORY = "mallory@shop-demo.io"
SIGNED = {"CARTS": "signed"}


@dataclass(frozen=True)
class Scene:
    """A proxy that sends two seconds after the last word, and what an outsider sees of it."""

    proxy: Proxy
    ledger: Ledger

    def page(self, cart_id: str) -> Page:
        return Page(self.proxy.url, Shop(self.proxy.url).token(cart_id, cart=CART))

    def post(self, body: bytes) -> int:
        return requests.post(f"{self.proxy.url}/co/state", data=body, timeout=15).status_code

    def addressees(self, cart_id: str) -> list[str]:
        profiles = [event["profile"]["data"] for event in self.ledger.events(cart_id)]
        return [profile["attributes"]["email"] for profile in profiles]


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, klaviyo: Klaviyo) -> Iterator[Scene]:
    store: Path = tmp_path_factory.mktemp("replays") / "store"
    with Proxy(environment(store, klaviyo.url, SETTLE="2", **SIGNED)) as proxy:
        yield Scene(proxy=proxy, ledger=Ledger(store, klaviyo))


def captured(page: Page, **said: Any) -> bytes:
    """Return the bytes that *page* posts."""
    return msgspec.json.encode({"id": uuid4().hex, "token": page.token, "email": JANE, **said})


@pytest.mark.parametrize("ids", ["the same", "a new one each"])
def test_a_captured_body_that_is_posted_again_and_again_is_one_event(
    scene: Scene, ids: str
) -> None:
    cart_id = f"c-{uuid4().hex}"
    body = captured(scene.page(cart_id))

    for _ in range(20):
        again = msgspec.json.decode(body) | ({} if ids == "the same" else {"id": uuid4().hex})
        assert scene.post(msgspec.json.encode(again)) == 202
    scene.ledger.wait(cart_id, Status.DELIVERED)
    assert scene.post(body) == 202
    (checkout,) = scene.ledger.wait(cart_id, Status.DELIVERED)

    assert scene.addressees(cart_id) == [JANE]
    assert len(scene.ledger.attempts(cart_id)) == 1
    assert checkout.latest.email is None


def test_who_stole_a_token_can_name_another_addressee_of_that_one_checkout(scene: Scene) -> None:
    mine, others = f"c-{uuid4().hex}", f"c-{uuid4().hex}"
    page = scene.page(mine)
    scene.page(others).say(email=JANE)
    page.say(email=JANE)

    stolen = Page(scene.proxy.url, page.token)
    stolen.say(email=MALLORY, cart_id=others, claimed={"value": 0.01, "currency": "EUR"})
    for cart_id in (mine, others):
        scene.ledger.wait(cart_id, Status.DELIVERED)

    assert scene.addressees(mine) == [MALLORY]
    assert scene.addressees(others) == [JANE]
    assert [event["value"] for event in scene.ledger.events(mine)] == [20.0]


def test_who_stole_a_token_can_send_nothing_more_once_it_was_sent(scene: Scene) -> None:
    cart_id = f"c-{uuid4().hex}"
    page = scene.page(cart_id)
    page.say(email=JANE)
    scene.ledger.wait(cart_id, Status.DELIVERED)

    Page(scene.proxy.url, page.token).say(email=MALLORY)
    # What comes later is read later: once this one is sent, the one before was taken in.
    last = f"c-{uuid4().hex}"
    scene.page(last).say(email=JANE)
    scene.ledger.wait(last, Status.DELIVERED)

    assert scene.addressees(cart_id) == [JANE]


def test_at_the_fourth_address_nobody_is_written_to(scene: Scene) -> None:
    cart_id = f"c-{uuid4().hex}"
    page = scene.page(cart_id)

    for number in range(4):
        page.say(email=f"victim-{number}@shop-demo.io")
    (checkout,) = scene.ledger.wait(cart_id, Status.QUARANTINED)

    assert checkout.reason == "more than 3 addresses were typed"
    assert scene.addressees(cart_id) == []


# What subscribes somebody in Klaviyo's API ("Bulk Subscribe Profiles"), or might be taken for it.
WORDS = ("subscri", "consent", "marketing", "opt_in")


def keys(value: object) -> Iterator[str]:
    """Yield the name of every member in *value*."""
    if isinstance(value, dict):
        yield from value
    for each in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from keys(each)


def subscribing(body: bytes) -> list[str]:
    """Return the members of *body* that say something about being written to."""
    return [key for key in keys(msgspec.json.decode(body)) if any(w in key.lower() for w in WORDS)]


def test_the_event_of_who_granted_consent_subscribes_nobody(scene: Scene, klaviyo: Klaviyo) -> None:
    cart_id = f"c-{uuid4().hex}"
    consent = {"state": "granted", "source": "Our banner", "evidence": "c-4711"}
    scene.page(cart_id).say(email=JANE, phone_number="+4930123456", consent=consent)

    scene.ledger.wait(cart_id, Status.DELIVERED)

    assert {request.path for request in klaviyo.requests} <= {
        "/api/events",
        "/api/event-bulk-create-jobs",
    }
    assert [
        subscribing(request.body) for request in klaviyo.requests if subscribing(request.body)
    ] == []
    assert b"c-4711" not in b"".join(request.body for request in klaviyo.requests)


def test_a_body_that_subscribed_somebody_would_be_noticed() -> None:
    profile = {"email": JANE, "subscriptions": {"email": {"marketing": {"consent": "SUBSCRIBED"}}}}

    assert subscribing(msgspec.json.encode({"data": [profile]})) == [
        "subscriptions",
        "marketing",
        "consent",
    ]
