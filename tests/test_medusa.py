"""A real Medusa: carts that it does not round, in euros and in yen, read by the served proxy."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from proxy.carts import answer, paths, shown
from proxy.checkouts import Status
from tests import postgres
from tests.actors import until
from tests.live import medusa, node_environment
from tests.live.medusa import Administrator, Medusa, Shopper
from tests.live.scene import Scene, read, staged
from tests.platform import recipe_of, recorded
from tests.postgres import Postgres
from tests.relay import Relay

# One Medusa for all of them: to fetch it, to make its tables and to start it may take minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Json = Any

GOODS = {"TEE-M": 3, "JEANS-32": 1}
COUPON = "SAVE10"
RECIPE = recipe_of("medusa")
FIELDS = RECIPE.request.query["fields"]
RECORDED = {"eur": "cart_01M82D2SFH33B1SN426B380WC9", "jpy": "cart_01M82D2W4KHS0KH3Z5NKPD5KX9"}
# The tax is in the prices in euros, and on top of those in yen, for which the coupon is not.
EXACT = {
    "eur": (3 * Decimal("29.99") + Decimal("99.95")) * Decimal("0.9") + Decimal("4.90"),
    "jpy": (3 * 3300 + 11001 + 500) * Decimal("1.1"),
}
ROUNDED = {"eur": Decimal("175.83"), "jpy": Decimal("23541")}


@pytest.fixture(scope="module")
def shop(server: Postgres) -> Iterator[Medusa]:
    with Medusa(postgres.fresh(server), node_environment(medusa.HERE)) as shop:
        yield shop


@pytest.fixture(scope="module")
def key(shop: Medusa) -> str:
    """Return the publishable key of a shop that sells two products in Germany and in Japan."""
    administrator = Administrator(shop)
    administrator.deal_in(eur=True, jpy=False)
    administrator.open("de", "eur", tax=19)
    administrator.open("jp", "jpy", tax=10)
    administrator.sell("TEE-M", "Blue Tee", "M", eur=29.99, jpy=3300)
    administrator.sell("JEANS-32", "White Jeans", "32", eur=99.95, jpy=11001)
    administrator.ship("de", "jp", eur=4.90, jpy=500)
    administrator.offer(COUPON, percent=10, currency="eur")
    return administrator.key


@pytest.fixture
def shopper(shop: Medusa, key: str) -> Shopper:
    return Shopper(shop, key)


@pytest.fixture
def cart_id(shopper: Shopper) -> str:
    """Return the id of a cart of euros with two lines and a coupon, on its way to Germany."""
    return shopper.fill("eur", GOODS, COUPON)


# -- the preset --------------------------------------------------------------------------


def carts(url: str, key: str) -> dict[str, str]:
    return {"CARTS": "medusa", "CARTS_URL": url, "CARTS_KEY": key}


def understood(cart_id: str, shop: Medusa, key: str) -> Json:
    done = read(cart_id, carts(shop.url, key))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("currency", EXACT)
def test_a_cart_has_the_total_that_medusa_computed(
    shop: Medusa, key: str, shopper: Shopper, currency: str
) -> None:
    cart_id = shopper.fill(currency, GOODS, COUPON)

    said = understood(cart_id, shop, key)

    cart = shopper.cart(cart_id, FIELDS)
    summed = sum((line["total"] for line in cart["items"]), cart["shipping_total"])
    assert Decimal(said["total"]) == cart["total"] == summed == EXACT[currency]
    assert (said["currency"], said["completed"], said["warnings"]) == (currency.upper(), False, [])


def without_ids(said: Json) -> Json:
    items = [without(item, "product_id") for item in said["items"]]
    return without(said, "cart_id") | {"items": items}


def without(said: Json, name: str) -> Json:
    return {each: value for each, value in said.items() if each != name}


@pytest.mark.parametrize("currency", RECORDED)
def test_the_recorded_answer_is_what_medusa_says_today(
    shop: Medusa, key: str, shopper: Shopper, currency: str
) -> None:
    cart_id = RECORDED[currency]
    once = answer.read(answer.parsed(recorded(f"medusa_{currency}")), RECIPE, cart_id)
    then = json.loads(shown.as_json(cart_id, once))

    now = understood(shopper.fill(currency, GOODS, COUPON), shop, key)

    assert without_ids(now) == without_ids(then)


def test_medusa_has_every_field_that_is_asked_for_and_a_value_wherever_we_look(
    shopper: Shopper, cart_id: str
) -> None:
    cart = shopper.cart(cart_id, FIELDS)

    asked_for = {name.lstrip("*") for name in FIELDS.split(",")}
    assert asked_for - set(cart) == set()
    of_cart = {name: path for name, path in RECIPE.cart.items() if name != "root"}
    assert empty(of_cart, cart) == []
    assert [empty(RECIPE.item, line) for line in cart["items"]] == [[], []]


def empty(looked_for: dict[str, str], within: Json) -> list[str]:
    return [n for n, path in looked_for.items() if paths.find(path, within) in (None, "", [])]


def test_a_key_that_medusa_does_not_know_is_refused(shop: Medusa, cart_id: str) -> None:
    done = read(cart_id, carts(shop.url, "pk_unknown"))

    assert done.returncode == 1
    assert "SourceRefused" in done.stderr


def test_a_cart_that_medusa_does_not_know_is_gone(shop: Medusa, key: str) -> None:
    assert "CartGone" in read(RECORDED["eur"], carts(shop.url, key)).stderr


def test_a_cart_that_was_ordered_says_so(
    shop: Medusa, key: str, shopper: Shopper, cart_id: str
) -> None:
    shopper.order(cart_id)

    said = understood(cart_id, shop, key)

    assert (said["completed"], Decimal(said["total"])) == (True, EXACT["eur"])


# -- in the whole ------------------------------------------------------------------------


TYPED = {"email": "jane@shop-demo.io"}


@pytest.fixture(scope="module")
def road(shop: Medusa) -> Iterator[Relay]:
    """Return the road from the proxy to the shop; shoppers have another."""
    with Relay() as road:
        road.target = shop.port
        yield road


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, road: Relay, key: str) -> Iterator[Scene]:
    with staged(tmp_path_factory.mktemp("scene"), carts(road.plain_url, key)) as scene:
        yield scene


@pytest.mark.parametrize("currency", ROUNDED)
def test_a_page_that_lies_about_the_total_changes_nothing(
    scene: Scene, shopper: Shopper, currency: str
) -> None:
    cart_id = shopper.fill(currency, GOODS, COUPON)

    scene.page(cart_id).say(**TYPED, claimed={"value": 1, "currency": "USD"})

    properties = scene.event(cart_id)
    (event,) = scene.ledger.events(cart_id)
    total = (ROUNDED[currency], currency.upper())
    assert (properties["value"], properties["currency"]) == total
    assert (event["value"], event["value_currency"]) == total


def test_an_order_placed_before_medusa_has_answered_us_cancels_the_event(
    scene: Scene, road: Relay, shopper: Shopper, cart_id: str
) -> None:
    road.loses_answers = True
    scene.page(cart_id).say(**TYPED)
    until(lambda: scene.was_asked_in_vain(cart_id))

    shopper.order(cart_id)
    road.loses_answers = False

    scene.ledger.wait(cart_id, Status.CANCELLED)
    assert scene.ledger.events(cart_id) == []
