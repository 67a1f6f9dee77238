"""The example for WooCommerce, run by PHP against a stand-in of the shop and a real proxy."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import Page, until
from tests.push.conftest import Pushed, run
from tests.running import ROOT

PLUGIN = ROOT / "docs/examples/push/woocommerce/checkout-proxy.php"
STAND_IN = Path(__file__).with_name("woocommerce.php")

SHIRT: dict[str, Any] = {
    "product_id": 11,
    "variation_id": 12,
    "quantity": 3,
    "sku": "TEE-BLUE-M",
    "name": "Blue Tee &amp; Co &#8211; M",
    "price_with_tax": 29.99,
    "price_without_tax": 25.2,
    "url": "https://shop-demo.io/product/blue-tee/?attribute_size=M",
    "image": 77,
    "categories": ["Shirts &amp; Tees", "Sale"],
}
MUG: dict[str, Any] = {
    "product_id": 21,
    "variation_id": 0,
    "quantity": 1,
    "sku": "",
    "name": "Mug",
    "price_with_tax": 9.0,
    "price_without_tax": 7.56,
    "url": "https://shop-demo.io/product/mug/",
    "categories": [],
}
CART: dict[str, Any] = {
    "lines": [SHIRT, MUG],
    "coupons": ["save10"],
    "with_tax": True,
    "shipping_is_known": True,
    # WooCommerce has strings and floats side by side.
    "totals": {
        "subtotal": "83.16",
        "subtotal_tax": 15.8,
        "discount_total": 8.316,
        "discount_tax": 1.58,
        "shipping_total": "4.12",
        "shipping_tax": 0.78,
        "total": "93.97",
        "total_tax": 15.006199999999999,
    },
}
EMPTY = CART | {"lines": [], "totals": dict.fromkeys(CART["totals"], 0)}
COMPUTED = ["woocommerce_after_calculate_totals", None]
PAGE_MADE = ["wp_footer", ""]


@dataclass(frozen=True)
class Came:
    """What came of a request to the shop."""

    page: str
    session: dict[str, Any]
    sent: list[tuple[str, str, int | None]]
    complaints: str

    @property
    def answers(self) -> list[tuple[str, int | None]]:
        """What was sent, and with which status the proxy answered."""
        return [(method, status) for method, _, status in self.sent]

    @property
    def token(self) -> str:
        """The one in the tag of the page."""
        found = re.search(r'<script defer src="/co/checkout.js" data-token="([\w.-]+)">', self.page)
        assert found is not None, self.page
        return found[1]


@dataclass(frozen=True)
class Shopper:
    """A shopper's browser: its session in the shop goes from request to request."""

    ask: Callable[[dict[str, Any]], Came]
    key: str
    session: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self, *hooks: list[Any], cart: Any = CART, page: str = "cart", **more: Any
    ) -> Came:
        """Send a request in the course of which *hooks* run."""
        request = {"session_key": self.key, "session": self.session, "cart": cart, "page": page}
        came = self.ask(request | {"hooks": hooks, "currency": "EUR"} | more)
        self.session.clear()
        self.session.update(came.session)
        return came


@pytest.fixture
def shopper(pushed: Pushed, tmp_path: Path) -> Shopper:
    """Return a guest, whose cart nobody has put yet."""
    if shutil.which("php") is None:
        pytest.skip("php is not installed: the example was not run")

    def ask(request: dict[str, Any]) -> Came:
        request = {"plugin": f"{PLUGIN}", "constants": pushed.shop_settings} | request
        printed, complaints = run(["php", f"{STAND_IN}"], request, {}, tmp_path)
        said = json.loads(printed)
        sent = [(method, path, status) for method, path, status in said.pop("sent")]
        return Came(sent=sent, complaints=complaints, **said)

    return Shopper(ask, f"t_{uuid4().hex[:30]}")


def test_the_cart_arrives_as_woocommerce_computed_it(shopper: Shopper, pushed: Pushed) -> None:
    came = shopper(COMPUTED)

    assert came.sent == [("PUT", f"/v1/carts/{shopper.key}", 204)]
    cart = pushed.wait(shopper.key, "93.97")
    assert cart.pop("updated_at")
    assert cart == {
        "cart_id": shopper.key,
        "completed": False,
        "warnings": cart["warnings"],
        "currency": "EUR",
        "total": "93.97",
        "subtotal": "83.16",
        "discount": "8.316",
        "tax": "15.0062",
        "shipping": "4.12",
        "coupons": ["save10"],
        "checkout_url": "https://shop-demo.io/checkout/",
        "items": [
            {
                "product_id": 12,
                "sku": "TEE-BLUE-M",
                "name": "Blue Tee & Co – M",
                "quantity": "3",
                "unit_price": "29.99",
                "row_total": "89.97",
                "product_url": "https://shop-demo.io/product/blue-tee/?attribute_size=M",
                "image_url": "https://shop-demo.io/image-77-woocommerce_thumbnail.jpg",
                "categories": ["Shirts & Tees", "Sale"],
            },
            {
                "product_id": 21,
                "name": "Mug",
                "quantity": "1",
                "unit_price": "9",
                "row_total": "9",
                "product_url": "https://shop-demo.io/product/mug/",
            },
        ],
    }


def test_prices_are_without_tax_where_the_cart_shows_them_so(
    shopper: Shopper, pushed: Pushed
) -> None:
    shopper(COMPUTED, cart=CART | {"with_tax": False})

    [shirt, _] = pushed.wait(shopper.key, "93.97")["items"]
    assert (shirt["unit_price"], shirt["row_total"]) == ("25.2", "75.6")


def test_shipping_is_unknown_before_there_is_an_address(shopper: Shopper, pushed: Pushed) -> None:
    shopper(COMPUTED, cart=CART | {"shipping_is_known": False})

    assert "shipping" not in pushed.wait(shopper.key, "93.97")


def test_a_cart_that_was_computed_three_times_is_told_once(shopper: Shopper) -> None:
    assert shopper(COMPUTED, COMPUTED, COMPUTED).answers == [("PUT", 204)]


def test_a_cart_that_did_not_change_is_not_told_again(shopper: Shopper) -> None:
    shopper(COMPUTED)

    assert shopper(COMPUTED).sent == []


def test_a_page_on_which_nothing_was_computed_tells_nothing(shopper: Shopper) -> None:
    assert shopper(PAGE_MADE).sent == []


def test_a_changed_cart_is_told_again(shopper: Shopper, pushed: Pushed) -> None:
    shopper(COMPUTED)

    shopper(COMPUTED, cart=CART | {"totals": CART["totals"] | {"total": "103.86"}, "coupons": []})

    assert "coupons" not in pushed.wait(shopper.key, "103.86")


def test_an_emptied_cart_is_taken_away(shopper: Shopper, pushed: Pushed) -> None:
    shopper(COMPUTED)
    pushed.wait(shopper.key, "93.97")

    came = shopper(["woocommerce_cart_item_removed", "key-0"], cart=EMPTY)

    assert came.answers == [("DELETE", 204)]
    pushed.wait_for_none(shopper.key)


def test_an_empty_cart_of_which_nobody_knows_is_no_news(shopper: Shopper) -> None:
    assert shopper(["woocommerce_cart_emptied", True], cart=EMPTY).sent == []


def test_what_is_typed_on_the_checkout_page_becomes_an_event_with_woocommerces_total(
    shopper: Shopper, pushed: Pushed, klaviyo: Klaviyo
) -> None:
    came = shopper(COMPUTED, PAGE_MADE, page="checkout")

    Page(pushed.url, came.token).say(email="jane@shop-demo.io")

    until(lambda: _events(klaviyo, shopper.key))
    [event] = _events(klaviyo, shopper.key)
    assert (event["value"], event["value_currency"]) == (Decimal("93.97"), "EUR")


def test_the_checkout_page_tells_the_cart_in_any_case(shopper: Shopper) -> None:
    """The last one may have been lost: the session has it before the proxy has."""
    shopper(COMPUTED)

    assert shopper(PAGE_MADE, page="checkout").answers == [("PUT", 204)]


@pytest.mark.parametrize("other", ["cart", "order-received"])
def test_other_pages_have_no_tag(shopper: Shopper, other: str) -> None:
    assert shopper(COMPUTED, PAGE_MADE, page=other).page == ""


def test_a_customers_cart_does_not_go_by_the_number_of_the_account(
    shopper: Shopper, pushed: Pushed
) -> None:
    jane = {"user_email": "jane@shop-demo.io", "first_name": "Jane", "last_name": ""}

    came = shopper(COMPUTED, PAGE_MADE, page="checkout", session_key="17", user=jane)

    [(_, path, status)] = came.sent
    cart_id = path.removeprefix("/v1/carts/")
    assert re.fullmatch("u_[0-9a-f]{32}", cart_id)
    assert status == 204
    Page(pushed.url, came.token).say()
    until(lambda: "state posted" in pushed.story(cart_id))


def test_the_cart_of_a_guest_who_logs_in_moves(shopper: Shopper, pushed: Pushed) -> None:
    shopper(COMPUTED)
    pushed.wait(shopper.key, "93.97")

    came = replace(shopper, key="18")(COMPUTED)

    assert came.answers == [("DELETE", 204), ("PUT", 204)]
    pushed.wait_for_none(shopper.key)


@pytest.mark.parametrize(
    "hook",
    ["woocommerce_checkout_order_processed", "woocommerce_store_api_checkout_order_processed"],
)
def test_an_order_forgets_the_cart(shopper: Shopper, pushed: Pushed, hook: str) -> None:
    shopper(COMPUTED)
    pushed.wait(shopper.key, "93.97")

    came = shopper(COMPUTED, [hook, int(uuid4().hex[:7], 16)])

    assert came.sent == [("POST", "/v1/orders", 202)]
    pushed.wait_for_none(shopper.key)


def test_the_cart_that_an_order_empties_is_no_news(shopper: Shopper) -> None:
    shopper(COMPUTED)
    shopper(["woocommerce_checkout_order_processed", int(uuid4().hex[:7], 16)])

    assert shopper(["woocommerce_cart_emptied", True], cart=EMPTY).sent == []


def test_the_order_of_a_guest_who_gets_an_account_by_it_is_that_of_the_guests_cart(
    shopper: Shopper, pushed: Pushed
) -> None:
    shopper(COMPUTED)
    pushed.wait(shopper.key, "93.97")

    ordered = ["woocommerce_checkout_order_processed", int(uuid4().hex[:7], 16)]
    shopper(ordered, session_key_at_last="19")

    pushed.wait_for_none(shopper.key)
    assert "order" in pushed.story(shopper.key)


def test_a_proxy_that_is_down_is_not_in_the_way(shopper: Shopper) -> None:
    nobody = {
        "CHECKOUT_PROXY_URL": "http://127.0.0.1:1",
        "CHECKOUT_PROXY_SHOP_KEY": "k",
        "CHECKOUT_PROXY_TOKEN_KEY": "k",
    }

    came = shopper(COMPUTED, PAGE_MADE, page="checkout", constants=nobody)

    assert came.answers == [("PUT", None)]
    assert came.token
    assert "checkout-proxy: cURL error 7" in came.complaints


def test_what_the_proxy_refuses_is_logged(shopper: Shopper) -> None:
    came = shopper(COMPUTED, currency="XXL")

    assert came.answers == [("PUT", 422)]
    assert "XXL" in came.complaints


def test_an_exception_is_logged_and_stays_inside(shopper: Shopper) -> None:
    came = shopper(COMPUTED, cart=CART | {"lines": [SHIRT | {"name": None}]})

    assert came.sent == []
    assert "checkout-proxy: " in came.complaints


def test_nothing_happens_in_a_shop_that_is_not_set_up(shopper: Shopper) -> None:
    came = shopper(COMPUTED, PAGE_MADE, page="checkout", constants={})

    assert (came.page, came.sent, came.complaints) == ("", [], "")


def _events(klaviyo: Klaviyo, cart_id: str) -> list[dict[str, Any]]:
    events = [event.attributes for event in klaviyo.events]
    return [event for event in events if event["properties"]["cart_id"] == cart_id]
