"""A page without a server asks for a session itself, where the shop lets it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy import shops
from proxy.carts import presets
from proxy.checkouts import Status
from proxy.errors import Misconfigured
from proxy.facts import StatePosted
from tests.actors import Ledger, Page, environment, judged_klaviyo, until
from tests.platform import KEY, Platform, recorded
from tests.running import Proxy
from tests.web import ORIGIN, Answer, Web, served

CART_ID = "cart_01M82D2SFH33B1SN426B380WC9"
MEDUSA = {"CARTS": "medusa", "CARTS_URL": "https://shop.example.com", "CARTS_KEY": KEY}


@pytest.fixture(scope="module")
def theme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with served(tmp_path_factory.mktemp("guests"), GUESTS="on", **MEDUSA) as web:
        yield web


def ask(web: Web, body: Any, **headers: str | None) -> Answer:
    usual: dict[str, str | None] = {"Content_Type": "text/plain", "Origin": ORIGIN}
    return web.ask("POST", "/co/session", json.dumps(body).encode(), **usual | headers)


def test_a_page_is_given_a_session_and_may_post_with_it(theme: Web) -> None:
    theme = theme.from_now_on()

    answer = ask(theme, {"cart_id": CART_ID})

    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    body = {"token": json.loads(answer.body)["token"], "email": "jane@shop-demo.io"}
    assert theme.post_state(json.dumps(body).encode(), Origin=ORIGIN).status == 202
    (state,) = theme.facts()
    assert isinstance(state, StatePosted)
    assert (state.cart_id, state.customer, state.cart) == (CART_ID, None, None)


def test_it_is_off_until_the_shop_says_so(serve: Callable[..., Web]) -> None:
    assert ask(serve(**MEDUSA), {"cart_id": CART_ID}).status == 404


@pytest.mark.parametrize(
    "cart_id", ["", "1", "cart_1", CART_ID + "A", CART_ID + "\n", "../admin", CART_ID.lower()]
)
def test_an_id_that_could_be_guessed_is_refused(theme: Web, cart_id: str) -> None:
    answer = ask(theme, {"cart_id": cart_id})

    assert answer.status == 422
    assert json.loads(answer.body)["pointer"] == "/cart_id"


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example.com", f"{ORIGIN}.evil.com", ORIGIN.replace("s:", ":")],
)
def test_only_a_page_of_the_shop_is_given_one(theme: Web, origin: str | None) -> None:
    answer = ask(theme, {"cart_id": CART_ID}, Origin=origin)

    assert answer.status == 403
    assert b"token" not in answer.body


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 422), (b"{}", 422), (b" " * 9_000, 413)]
)
def test_what_is_no_request_is_refused(theme: Web, body: bytes, status: int) -> None:
    answer = theme.ask("POST", "/co/session", body, Content_Type="text/plain", Origin=ORIGIN)

    assert answer.status == status


def test_nobody_is_a_customer_by_his_own_word(theme: Web) -> None:
    theme = theme.from_now_on()
    lie = {"external_id": "4711", "email": "boss@shop-demo.io"}
    answer = ask(theme, {"cart_id": CART_ID, "customer": lie, "cart": {"total": 1}})
    body = {"token": json.loads(answer.body)["token"], "email": "jane@shop-demo.io"}

    theme.post_state(json.dumps(body).encode(), Origin=ORIGIN)

    (state,) = theme.facts()
    assert isinstance(state, StatePosted)
    assert (state.customer, state.cart) == (None, None)


def test_a_cart_that_is_read_with_a_credential_is_not_had_without(
    serve: Callable[..., Web],
) -> None:
    web = serve(GUESTS="on", **MEDUSA | {"CARTS": "shopify"})
    cart_id = "Z2NwLWV1cm9wZS13ZXN0MTowMUpHWFQ"

    assert ask(web, {"cart_id": cart_id}).status == 422
    assert ask(web, {"cart_id": cart_id, "ref": "1f3a"}).status == 201


@pytest.mark.parametrize("carts", ["push", "signed", "magento", "shopware", "spree"])
def test_where_ids_can_be_guessed_it_is_a_mistake(carts: str) -> None:
    environ = {"CHECKOUT_PROXY_GUESTS": "on", "CHECKOUT_PROXY_CARTS": carts}

    with pytest.raises(Misconfigured, match=f"GUESTS is on, and the totals come from {carts}"):
        shops.read(environ)


def test_the_page_of_the_documentation_names_every_platform() -> None:
    docs = (Path(__file__).parents[1] / "docs" / "guests.md").read_text()
    guests = {name for name in presets.names() if "guest_pattern" in presets.read(name)}

    assert {name for name in presets.names() if f"`{name}`" in docs} == guests


# -- in the whole ------------------------------------------------------------------------


def test_a_guests_cart_is_the_shops_or_nothing(tmp_path: Path) -> None:
    unknown = "cart_00000000000000000000000000"
    with Platform(answer=recorded("medusa_eur")).serve() as shop, judged_klaviyo() as klaviyo:
        store = tmp_path / "store"
        said = MEDUSA | {"CARTS_URL": shop.url, "GUESTS": "on", "SETTLE": "0.3", "ORIGINS": ORIGIN}
        with Proxy(environment(store, klaviyo.url, **said)) as proxy:
            web = Web(url=proxy.url, store=None, marks={})  # type: ignore[arg-type]
            for cart_id in (CART_ID, unknown):
                token = json.loads(ask(web, {"cart_id": cart_id}).body)["token"]
                Page(proxy.url, token, ORIGIN).say(email="jane@shop-demo.io")

            ledger = Ledger(store, klaviyo)
            ledger.wait(CART_ID, Status.DELIVERED)
            # It is asked for twice more in half a minute, and then dropped.
            until(lambda: "another cart" in ledger.checkouts(unknown)[0].reason)

    (event,) = ledger.events(CART_ID)
    assert str(event["properties"]["value"]) == "175.83"
    assert ledger.events(unknown) == []
