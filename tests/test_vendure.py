"""A real Vendure: its carts, read by the served proxy with a key that can do nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.carts import answer, shown
from proxy.checkouts import Status
from tests.actors import until
from tests.live import node_environment
from tests.live.scene import Scene, read, staged
from tests.live.vendure import Administrator, Shopper, Vendure
from tests.platform import recipe_of, recorded
from tests.relay import Relay

# One Vendure for all of them, and the first may have to be fetched before it starts.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

GOODS = {"L2201308": 1, "TEE-M": 3, "TEA-1": 7}
COUPON = "SAVE10"
RECORDED = "8AF964MUHARPMM4W"
QUERY = recipe_of("vendure").request.graphql or ""
TOTAL, TOTAL_WITHOUT_COUPON = Decimal("1524.83"), Decimal("1693.08")


@dataclass(frozen=True)
class Keys:
    """Credentials that the shop gave out."""

    reads_orders: str
    reads_goods: str


@pytest.fixture(scope="module")
def vendure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendure]:
    with Vendure(tmp_path_factory.mktemp("vendure") / "database", node_environment()) as shop:
        yield shop


@pytest.fixture(scope="module")
def keys(vendure: Vendure) -> Keys:
    administrator = Administrator(vendure)
    administrator.offer(COUPON, percent=10)
    return Keys(administrator.key("ReadOrder"), administrator.key("ReadCatalog"))


@pytest.fixture
def shopper(vendure: Vendure, keys: Keys) -> Shopper:
    return Shopper(vendure)


@pytest.fixture
def cart_id(shopper: Shopper) -> str:
    """Return the code of a cart with three lines and a coupon, on its way to Austria."""
    return shopper.fill(GOODS, COUPON)


# -- the preset --------------------------------------------------------------------------


def carts(url: str, key: str) -> dict[str, str]:
    return {"CARTS": "vendure", "CARTS_URL": url, "CARTS_KEY": key}


def test_a_cart_has_the_total_that_vendure_computed(
    vendure: Vendure, keys: Keys, cart_id: str
) -> None:
    done = read(cart_id, carts(vendure.url, keys.reads_orders))

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["total"], said["currency"]) == (str(TOTAL), "USD")
    assert (said["completed"], said["warnings"]) == (False, [])


def test_the_recorded_answer_is_what_vendure_says_today(
    vendure: Vendure, keys: Keys, cart_id: str
) -> None:
    once = answer.read(answer.parsed(recorded("vendure")), recipe_of("vendure"), RECORDED)
    then = json.loads(shown.as_json(cart_id, once))

    now = json.loads(read(cart_id, carts(vendure.url, keys.reads_orders)).stdout)

    assert now | {"updated_at": then["updated_at"]} == then


def test_a_key_that_may_not_read_orders_is_refused(
    vendure: Vendure, keys: Keys, cart_id: str
) -> None:
    done = read(cart_id, carts(vendure.url, keys.reads_goods))

    assert done.returncode == 1
    assert "SourceRefused: the shop says FORBIDDEN" in done.stderr


def test_a_key_that_vendure_does_not_know_is_refused(vendure: Vendure, cart_id: str) -> None:
    assert "SourceRefused" in read(cart_id, carts(vendure.url, "unknown-key")).stderr


def test_vendure_has_every_field_that_is_asked_for_and_none_is_deprecated(
    vendure: Vendure,
) -> None:
    assert vendure.complaints(QUERY) == []
    # It would say so if one were missing.
    assert "totalWithVat" in vendure.complaints(QUERY.replace("totalWithTax", "totalWithVat"))[0]


# -- in the whole ------------------------------------------------------------------------


TYPED = {"email": "jane@shop-demo.io"}


def total(event: dict[str, Any]) -> tuple[Decimal, str]:
    return event["value"], event["currency"]


@pytest.fixture(scope="module")
def road(vendure: Vendure) -> Iterator[Relay]:
    """Return the road from the proxy to the shop; shoppers have another."""
    with Relay() as road:
        road.target = vendure.port
        yield road


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, road: Relay, keys: Keys) -> Iterator[Scene]:
    # Long enough for somebody to take a coupon back on a busy machine.
    settings = carts(road.plain_url, keys.reads_orders)
    with staged(tmp_path_factory.mktemp("scene"), settings, settle="3") as scene:
        yield scene


def test_a_page_that_lies_about_the_total_changes_nothing(scene: Scene, cart_id: str) -> None:
    scene.page(cart_id).say(**TYPED, claimed={"value": 1, "currency": "EUR"})

    assert total(scene.event(cart_id)) == (TOTAL, "USD")


def test_a_coupon_that_is_taken_back_before_the_event_is_due_is_not_in_it(
    scene: Scene, shopper: Shopper, cart_id: str
) -> None:
    page = scene.page(cart_id)
    page.say(**TYPED)

    shopper.remove(COUPON)
    page.say(first_name="Jane")

    assert total(scene.event(cart_id)) == (TOTAL_WITHOUT_COUPON, "USD")


def test_an_order_placed_while_the_shop_does_not_answer_us_cancels_the_event(
    scene: Scene, road: Relay, shopper: Shopper, cart_id: str
) -> None:
    road.loses_answers = True
    scene.page(cart_id).say(**TYPED)
    until(lambda: scene.was_asked_in_vain(cart_id))

    shopper.order()
    road.loses_answers = False

    scene.ledger.wait(cart_id, Status.CANCELLED)
    assert scene.ledger.events(cart_id) == []


def test_an_event_that_is_due_while_the_shop_is_dead_comes_once_it_is_back(
    tmp_path: Path, vendure: Vendure, keys: Keys, cart_id: str
) -> None:
    with staged(tmp_path, carts(vendure.url, keys.reads_orders)) as scene:
        vendure.kill()
        scene.page(cart_id).say(**TYPED)
        until(lambda: scene.was_asked_in_vain(cart_id))
        assert scene.ledger.events(cart_id) == []

        vendure.start()

        # It may be a minute until the fifth try.
        assert total(scene.event(cart_id, timeout=100)) == (TOTAL, "USD")
