"""Commercetools: a token is bought, kept and bought anew, and every amount says its decimals."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.checkouts import Status
from tests.live import node_environment
from tests.live.commercetools import CLIENT, COUPON, Commercetools
from tests.live.scene import Scene, read, staged

pytestmark = pytest.mark.timeout(420)

Json = Any
VAT = {"name": "VAT", "amount": 0.2, "country": "AT", "includedInPrice": False}


@pytest.fixture(scope="module")
def commercetools() -> Iterator[Commercetools]:
    with Commercetools(node_environment()) as shop:
        yield shop


def carts(shop: Commercetools, key: str = CLIENT) -> dict[str, str]:
    return {
        "CARTS": "commercetools",
        "CARTS_URL": shop.url,
        "CARTS_KEY": key,
        "CARTS_TOKEN_URL": shop.token_url,
    }


# -- the preset --------------------------------------------------------------------------


def understood(shop: Commercetools, cart_id: str) -> Json:
    done = read(cart_id, carts(shop))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_cart_with_an_address_has_its_gross_total_and_its_tax(
    commercetools: Commercetools,
) -> None:
    cart_id = commercetools.cart(
        "EUR",
        tax=VAT,
        discountCodes=[COUPON],
        customerEmail="jane@shop-demo.io",
        shippingAddress={"country": "AT"},
    )

    said = understood(commercetools, cart_id)

    (tea,) = said.pop("items")
    assert {name: said[name] for name in ("currency", "total", "tax", "coupons", "email")} == {
        "currency": "EUR",
        "total": "35.96",
        "tax": "5.99",
        "coupons": [COUPON],
        "email": "jane@shop-demo.io",
    }
    assert (said["completed"], said["warnings"]) == (False, [])
    assert (tea["sku"], tea["name"], tea["unit_price"]) == ("TEA-1", "Grüner Tee", "9.99")
    assert (tea["quantity"], tea["row_total"]) == ("3", "29.97")


def test_without_an_address_the_tax_is_unknown(commercetools: Commercetools) -> None:
    said = understood(commercetools, commercetools.cart("EUR"))

    assert (said["total"], said.get("tax")) == ("29.97", None)


def test_yen_have_no_decimals(commercetools: Commercetools) -> None:
    said = understood(commercetools, commercetools.cart("JPY"))

    assert (said["total"], said["currency"]) == ("4500", "JPY")


def test_what_is_no_product_is_a_line_too(commercetools: Commercetools) -> None:
    wrapping = {
        "name": {"en": "Gift wrap"},
        "slug": "gift-wrap",
        "money": {"currencyCode": "EUR", "centAmount": 250},
    }

    said = understood(commercetools, commercetools.cart("EUR", customLineItems=[wrapping]))

    assert said["total"] == "32.47"
    assert [item["name"] for item in said["items"]] == ["Grüner Tee", "Gift wrap"]


def test_a_wrong_secret_is_a_refusal(commercetools: Commercetools) -> None:
    done = read(commercetools.cart("EUR"), carts(commercetools, "a-client:a-wrong-secret"))

    assert done.returncode == 1
    assert "SourceRefused: no access token is to be had" in done.stderr
    assert "a-wrong-secret" not in done.stderr


def test_a_cart_that_commercetools_does_not_know_is_gone(commercetools: Commercetools) -> None:
    done = read("00000000-0000-4000-8000-000000000000", carts(commercetools))

    assert "CartGone" in done.stderr


# -- in the whole ------------------------------------------------------------------------


def value(scene: Scene, cart_id: str) -> Decimal:
    """Return the value of the one event that comes when somebody types there."""
    scene.page(cart_id).say(email="jane@shop-demo.io")
    value: Decimal = scene.event(cart_id)["value"]
    return value


@pytest.fixture
def scene(tmp_path: Path, commercetools: Commercetools) -> Iterator[Scene]:
    with staged(tmp_path, carts(commercetools)) as scene:
        yield scene


def test_a_token_is_bought_once_and_anew_when_it_is_refused(
    scene: Scene, commercetools: Commercetools
) -> None:
    one, other, later = (commercetools.cart("EUR") for _ in range(3))
    before = commercetools.tokens

    assert [value(scene, cart_id) for cart_id in (one, other)] == [Decimal("29.97")] * 2
    assert commercetools.tokens == before + 1

    commercetools.revoke()
    assert value(scene, later) == Decimal("29.97")
    assert commercetools.tokens == 1


def test_a_cart_that_was_ordered_sends_nothing(scene: Scene, commercetools: Commercetools) -> None:
    cart_id = commercetools.cart("EUR")
    commercetools.order(cart_id)

    scene.page(cart_id).say(email="jane@shop-demo.io")

    scene.ledger.wait(cart_id, Status.CANCELLED)
    assert scene.ledger.events(cart_id) == []
