"""One state's way from the page to Klaviyo: a served proxy, a strict stand-in, nothing mocked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from proxy.checkouts import Status
from proxy.sandbox.faults import Answer, Challenge, Cut, Hang
from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import (
    CART,
    TEA,
    Ledger,
    Page,
    Shop,
    environment,
    judged_klaviyo,
    until,
)
from tests.running import TWO, Proxy

PHONE = "/data/attributes/profile/data/attributes/phone_number"


@dataclass(frozen=True)
class Scene:
    """A served proxy and one cart that nobody else uses."""

    url: str
    shop: Shop
    klaviyo: Klaviyo
    ledger: Ledger
    cart_id: str

    def page(self, **session: Any) -> Page:
        return Page(self.url, self.shop.token(self.cart_id, **session))

    def event(self) -> dict[str, Any]:
        """Return the one event, once the proxy has nothing more to do for the cart."""
        self.ledger.wait(self.cart_id, Status.DELIVERED)
        (event,) = self.ledger.events(self.cart_id)
        return event


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Ledger]]:
    store = tmp_path_factory.mktemp("journey") / "store"
    with (
        judged_klaviyo() as klaviyo,
        Proxy(environment(store, klaviyo.url, SETTLE="0.3"), *TWO) as proxy,
    ):
        yield proxy.url, Ledger(store, klaviyo)


@pytest.fixture
def scene(stage: tuple[str, Ledger]) -> Iterator[Scene]:
    url, ledger = stage
    yield Scene(url, Shop(url), ledger.klaviyo, ledger, f"cart-{uuid4().hex[:12]}")
    ledger.klaviyo.behave()


def test_a_checkout_becomes_a_started_checkout(scene: Scene) -> None:
    scene.shop.push(
        scene.cart_id, CART | {"coupons": ["TEA10"], "checkout_url": "https://shop-demo.io/pay"}
    )

    scene.page().say(email="jane@shop-demo.io", first_name="Jane")

    event = scene.event()
    assert event["metric"]["data"]["attributes"] == {"name": "Started Checkout"}
    assert event["profile"]["data"]["attributes"] == {
        "email": "jane@shop-demo.io",
        "first_name": "Jane",
    }
    assert (event["value"], event["value_currency"]) == (Decimal("20.00"), "EUR")
    assert event["properties"]["CheckoutURL"] == "https://shop-demo.io/pay"
    assert event["properties"]["DiscountCode"] == "TEA10"
    assert event["properties"]["Items"][0]["RowTotal"] == Decimal("20.00")


def test_three_typings_of_one_address_are_one_event_to_the_last(scene: Scene) -> None:
    page = scene.page()

    refused = page.post(email="jane@gmial")
    page.say(email="jane@gmial.com")
    page.say(email="jane@shop-demo.io", claimed={"value": 0.01, "currency": "EUR"})
    scene.shop.push(scene.cart_id)

    event = scene.event()
    assert refused.status_code == 422
    assert event["profile"]["data"]["attributes"] == {"email": "jane@shop-demo.io"}
    assert event["value"] == Decimal("20.00")


def test_a_hundred_posts_at_once_are_one_event(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    page = scene.page()

    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda n: page.post(email="jane@shop-demo.io", age_ms=n), range(100))
        )

    assert {answer.status_code for answer in answers} == {202}
    scene.event()
    assert scene.ledger.answered_yes(scene.cart_id) == 1


def test_a_state_posted_twice_under_one_id_is_taken_once(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    page = scene.page()

    page.say(id="the-same", email="jane@shop-demo.io")
    page.say(id="the-same", email="not-jane@shop-demo.io")

    assert scene.event()["profile"]["data"]["attributes"] == {"email": "jane@shop-demo.io"}


def test_the_cart_id_of_the_body_has_no_effect(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    scene.shop.push("somebody-elses", CART | {"total": "999"})

    scene.page().say(email="jane@shop-demo.io", cart_id="somebody-elses", shop="another")

    assert scene.event()["value"] == Decimal("20.00")
    assert scene.ledger.checkouts("somebody-elses") == []


@pytest.mark.parametrize(
    ("currency", "total", "sent"),
    [
        ("JPY", "23541.1", "23541"),
        ("KWD", "1.2345", "1.235"),
        ("USD", "0.30000000000000004", "0.30"),
        ("EUR", 175.828, "175.83"),
        ("EUR", "0", "0.00"),
    ],
)
def test_the_exact_figure_arrives(
    scene: Scene, currency: str, total: str | float, sent: str
) -> None:
    scene.shop.push(scene.cart_id, CART | {"currency": currency, "total": total})

    scene.page().say(email="jane@shop-demo.io")

    event = scene.event()
    assert str(event["value"]) == sent
    assert event["value_currency"] == currency


def test_gifts_and_discounts_are_lines_like_others(scene: Scene) -> None:
    gift = {"product_id": 7, "name": "Sample", "quantity": 1, "unit_price": 0}
    discount = {"product_id": "d", "name": "Discount", "quantity": 1, "unit_price": "-2.50"}
    scene.shop.push(scene.cart_id, CART | {"total": "17.50", "items": [TEA, gift, discount]})

    scene.page().say(email="jane@shop-demo.io")

    prices = [str(item["ItemPrice"]) for item in scene.event()["properties"]["Items"]]
    assert prices == ["10.00", "0.00", "-2.50"]


def test_no_cart_no_event_until_one_is_pushed(scene: Scene) -> None:
    scene.page().say(email="jane@shop-demo.io")
    until(lambda: any(row.attempts for row in scene.ledger.checkouts(scene.cart_id)))

    scene.shop.push(scene.cart_id)

    assert scene.event()["value"] == Decimal("20.00")


def test_an_older_version_of_the_cart_changes_nothing(scene: Scene) -> None:
    scene.shop.push(scene.cart_id, CART | {"version": 2, "total": "20"})
    scene.shop.push(scene.cart_id, CART | {"version": 1, "total": "10"})

    scene.page().say(email="jane@shop-demo.io")

    assert scene.event()["value"] == Decimal("20.00")


def test_an_order_placed_in_time_cancels(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)

    scene.page().say(email="jane@shop-demo.io")
    scene.shop.order(scene.cart_id)

    scene.ledger.wait(scene.cart_id, Status.CANCELLED)
    assert scene.ledger.events(scene.cart_id) == []


def test_the_next_visit_after_an_order_is_a_new_event(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    page = scene.page()
    page.say(email="jane@shop-demo.io")
    scene.event()

    scene.shop.order(scene.cart_id)
    scene.shop.push(scene.cart_id)
    page.say(email="jane@shop-demo.io")

    scene.ledger.wait(scene.cart_id, Status.DELIVERED, Status.DELIVERED)
    first, second = scene.ledger.events(scene.cart_id)
    assert first["unique_id"] != second["unique_id"]


def test_what_the_customer_is_known_by_comes_from_the_token(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    customer = {"email": "jane@shop-demo.io", "external_id": "c-1", "phone_number": "030"}

    scene.page(customer=customer).say()

    profile = scene.event()["profile"]["data"]["attributes"]
    assert profile == {"email": "jane@shop-demo.io", "external_id": "c-1"}


def test_a_checkout_without_a_name_waits_for_one(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    page = scene.page()
    page.say()
    until(
        lambda: (
            [row.reason for row in scene.ledger.checkouts(scene.cart_id)]
            == ["waiting for an address"]
        )
    )

    page.say(email="jane@shop-demo.io")

    scene.event()


def test_a_withdrawal_cancels_what_is_pending(scene: Scene) -> None:
    page = scene.page()
    page.say(email="jane@shop-demo.io", consent="granted")

    page.say(consent="denied")
    scene.shop.push(scene.cart_id)

    scene.ledger.wait(scene.cart_id, Status.CANCELLED)
    assert scene.ledger.events(scene.cart_id) == []


def test_an_old_state_is_recorded_without_starting_a_flow(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    thirteen_hours = 13 * 3600 * 1000

    scene.page().say(email="jane@shop-demo.io", age_ms=thirteen_hours)

    event = scene.event()
    assert event["backfill"] is True
    acted = datetime.now(UTC) - datetime.fromisoformat(event["time"])
    assert abs(acted - timedelta(hours=13)) < timedelta(minutes=1)


def test_an_address_kept_for_examples_is_quarantined(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)

    scene.page().say(email="jane@example.com")

    scene.ledger.wait(scene.cart_id, Status.QUARANTINED)
    assert scene.ledger.answered_yes(scene.cart_id) == 0


def test_a_secret_cart_id_is_never_shown_to_klaviyo(scene: Scene) -> None:
    secret = f"gid://shopify/Cart/{scene.cart_id}?key=s3cret"
    scene.shop.push(secret.replace("/", "%2F").replace("?", "%3F"))

    Page(scene.url, scene.shop.token(secret)).say(email="jane@shop-demo.io")

    scene.ledger.wait(secret, Status.DELIVERED)
    assert not any(b"s3cret" in request.body for request in scene.klaviyo.requests)


@pytest.mark.parametrize(
    "fault",
    [
        Answer(503),
        pytest.param(Answer(500, counted=True), marks=pytest.mark.slow),
        pytest.param(Cut(), marks=pytest.mark.slow),
        Cut(counted=True),
        Challenge(),
    ],
    ids=["503", "500 though counted", "cut", "202 lost on the wire", "Cloudflare"],
)
def test_trouble_at_klaviyo_ends_in_one_event(scene: Scene, fault: Any) -> None:
    scene.shop.push(scene.cart_id)
    scene.klaviyo.misbehave(fault)

    scene.page().say(email="jane@shop-demo.io")

    event = scene.event()
    assert event["unique_id"] == scene.ledger.checkouts(scene.cart_id)[0].unique_id


def test_klaviyo_is_asked_again_exactly_when_it_said(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    scene.klaviyo.misbehave(Answer(429, retry_after=2))
    before = len(scene.klaviyo.requests)

    scene.page().say(email="jane@shop-demo.io")

    scene.event()
    refused, taken = scene.klaviyo.requests[before:]
    wait = taken.received_at - refused.received_at
    assert timedelta(seconds=2) <= wait < timedelta(seconds=4)


def test_a_phone_number_that_is_none_is_not_sent(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)

    scene.page().say(email="jane@shop-demo.io", phone_number="+49 30 nonsense")

    assert scene.event()["profile"]["data"]["attributes"] == {"email": "jane@shop-demo.io"}


def test_a_phone_number_that_klaviyo_refuses_costs_the_number_and_not_the_event(
    scene: Scene,
) -> None:
    scene.shop.push(scene.cart_id)
    scene.klaviyo.misbehave(Answer(400, pointer=PHONE))

    scene.page().say(email="jane@shop-demo.io", phone_number="+4930901820")

    assert scene.event()["profile"]["data"]["attributes"] == {"email": "jane@shop-demo.io"}
    assert len(scene.ledger.attempts(scene.cart_id)) == 2


def test_who_is_known_by_a_refused_phone_number_alone_is_a_dead_letter(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    scene.klaviyo.misbehave(Answer(400, pointer=PHONE))

    scene.page().say(phone_number="+4930901820")

    (dead,) = scene.ledger.wait(scene.cart_id, Status.DEAD)
    assert dead.reason.endswith(f"({PHONE})")


def test_klaviyo_that_hangs_holds_up_no_page(scene: Scene) -> None:
    scene.shop.push(scene.cart_id)
    scene.klaviyo.misbehave(Hang())
    page = scene.page()
    before = len(scene.klaviyo.requests)
    page.say(email="jane@shop-demo.io")
    scene.klaviyo.wait_for_requests(before + 1, timeout=15)

    answers = [page.post(email="jane@shop-demo.io", age_ms=n) for n in range(20)]

    slowest = max(answer.elapsed for answer in answers)
    assert {answer.status_code for answer in answers} == {202}
    assert slowest < timedelta(seconds=1)
    scene.klaviyo.release()
    scene.event()
