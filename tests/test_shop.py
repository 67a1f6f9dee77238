"""The surface for the shop's server: sessions, carts and orders, under its bearer key."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.facts import CartDeleted, CartPushed, Customer, ErasureAsked, OrderPlaced
from proxy.shop import MAX_BYTES, MAX_TOKEN
from proxy.tokens import Session, Tokens
from tests.web import SHOP_KEY, TOKEN_KEY, Answer, Web, token

Serve = Callable[..., Web]

ITEM: dict[str, Any] = {
    "product_id": "17",
    "name": "Teapot",
    "quantity": "2",
    "unit_price": "22.40",
}
CART: dict[str, Any] = {"currency": "EUR", "total": "44.80", "items": [ITEM]}
ORDER: dict[str, Any] = {"cart_id": "c-1", "order_id": "1001"}
TOKENS = Tokens([TOKEN_KEY], shop="shop", max_age=timedelta(hours=24))


def pushed(web: Web, cart: dict[str, Any] | bytes, path: str = "/v1/carts/c-1") -> CartPushed:
    """Put *cart* and return it as it was kept."""
    web = web.from_now_on()
    answer = web.call("PUT", path, cart)
    assert answer.status == 204, answer.body
    [fact] = web.facts()
    assert isinstance(fact, CartPushed)
    return fact


def refused(web: Web, method: str, path: str, body: Any) -> Answer:
    """Send what is refused and return the problem; nothing of it may have been kept."""
    web = web.from_now_on()
    answer = web.call(method, path, body)
    assert answer.status >= 400
    assert web.facts() == []
    return answer


def written(member: str, value: str) -> bytes:
    """Return a cart with *value* written at *member* as it stands, not as Python would."""
    return json.dumps(CART | {member: "here"}).replace('"here"', value).encode()


# -- the key -----------------------------------------------------------------------------

SURFACE = [
    ("POST", "/v1/sessions", {"cart_id": "c-1"}),
    ("PUT", "/v1/carts/c-1", CART),
    ("DELETE", "/v1/carts/c-1", None),
    ("POST", "/v1/orders", ORDER),
    ("POST", "/v1/erasures", {"email": "jane@shop-demo.io"}),
]


@pytest.mark.parametrize(("method", "path", "body"), SURFACE)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer x",
        f"Bearer {SHOP_KEY}x",
        f"Bearer {SHOP_KEY[:-1]}",
        f"Bearer {SHOP_KEY.upper()}",
        f"Bearer {SHOP_KEY}, Bearer x",
        f"Basic {SHOP_KEY}",
        SHOP_KEY,
        "Bearer é",
        "Bearer " + "x" * 5_000,
    ],
)
def test_without_the_shops_key_nothing_is_done(
    web: Web, method: str, path: str, body: Any, authorization: str | None
) -> None:
    answer = web.call(method, path, body, Authorization=authorization)

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "CHECKOUT_PROXY_SHOP_KEY" in answer.json()["detail"]
    assert SHOP_KEY not in answer.body.decode()
    assert web.facts() == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_is_written_as_http_allows(web: Web, scheme: str) -> None:
    answer = web.call("POST", "/v1/orders", ORDER, Authorization=f"{scheme} {SHOP_KEY}")

    assert answer.status == 202


def test_a_page_cannot_do_with_its_token_what_the_shop_does(web: Web) -> None:
    answer = web.call("POST", "/v1/orders", ORDER, Authorization=f"Bearer {token()}")

    assert answer.status == 401


def test_where_no_key_is_set_the_surface_is_closed_to_everybody(serve: Serve) -> None:
    web = serve(SHOP_KEY="", CARTS="signed")

    answers = [
        web.call("POST", "/v1/orders", ORDER, Authorization=authorization)
        for authorization in (None, "Bearer", "Bearer None", f"Bearer {SHOP_KEY}")
    ]

    assert {answer.status for answer in answers} == {401}
    assert answers[0].json()["detail"] == (
        "CHECKOUT_PROXY_SHOP_KEY is not set here, so /v1 is closed."
    )


def test_a_body_that_is_too_large_is_not_read_before_the_key(web: Web) -> None:
    answer = web.call("PUT", "/v1/carts/c-1", b"x" * (MAX_BYTES + 1), Authorization=None)

    assert answer.status == 401


# -- sessions ----------------------------------------------------------------------------


def test_a_session_becomes_a_token_that_the_page_can_post(web: Web) -> None:
    answer = web.call("POST", "/v1/sessions", {"cart_id": "c-1"})

    assert answer.status == 201
    posted = web.post_state(json.dumps({"token": answer.json()["token"]}))
    assert posted.status == 202
    assert [fact.cart_id for fact in web.facts()] == ["c-1"]


def test_a_token_says_when_it_ends(web: Web) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    answer = web.call("POST", "/v1/sessions", {"cart_id": "c-1"})

    ends = datetime.fromisoformat(answer.json()["expires_at"])
    assert before <= ends - timedelta(hours=24) <= datetime.now(UTC)


def test_a_session_carries_all_that_the_shop_knows(web: Web) -> None:
    customer = {"email": "jane@shop.com", "external_id": "17"}
    asked = {"cart_id": "c-1", "customer": customer, "cart": CART, "ref": "r-1"}

    answer = web.call("POST", "/v1/sessions", asked)

    session = TOKENS.read(answer.json()["token"], datetime.now(UTC))
    assert session == Session(
        shop="shop",
        cart_id="c-1",
        customer=Customer(email="jane@shop.com", external_id="17"),
        cart=pushed(web, CART).cart,
        ref="r-1",
    )


def test_a_session_is_no_fact(web: Web) -> None:
    web.call("POST", "/v1/sessions", {"cart_id": "c-1"})

    assert web.facts() == []


def test_a_cart_that_makes_the_token_too_long_to_post_is_to_be_pushed(web: Web) -> None:
    # Names that do not repeat themselves, or the token would be packed small.
    items = [ITEM | {"name": sha256(bytes([i % 256, i // 256])).hexdigest()} for i in range(500)]

    answer = refused(
        web, "POST", "/v1/sessions", {"cart_id": "c-1", "cart": CART | {"items": items}}
    )

    assert (answer.status, answer.pointer) == (422, "/cart")
    assert f"may have {MAX_TOKEN}" in answer.json()["detail"]
    assert "PUT /v1/carts/{cart_id}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("pointer", "asked"),
    [
        (None, {}),
        (None, {"cart_id": "c-1", "shop": "another"}),
        (None, {"cart_id": "c-1", "custmer": {}}),
        ("/cart_id", {"cart_id": 17}),
        ("/cart_id", {"cart_id": ""}),
        ("/cart_id", {"cart_id": "c 1"}),
        ("/cart_id", {"cart_id": "c-1\n"}),
        ("/cart_id", {"cart_id": "c" * 256}),
        ("/customer", {"cart_id": "c-1", "customer": "jane@shop.com"}),
        ("/customer", {"cart_id": "c-1", "customer": {"mail": "jane@shop.com"}}),
        ("/customer/email", {"cart_id": "c-1", "customer": {"email": "jane\n"}}),
        ("/customer/external_id", {"cart_id": "c-1", "customer": {"external_id": 17}}),
        ("/cart/items/0/quantity", {"cart_id": "c-1", "cart": {**CART, "items": [
            {**ITEM, "quantity": None}]}}),
        ("/ref", {"cart_id": "c-1", "ref": "r" * 4_001}),
    ],
    ids=lambda case: repr(case)[:60],
)  # fmt: skip
def test_a_session_that_cannot_be_is_pointed_at(
    web: Web, pointer: str | None, asked: dict[str, Any]
) -> None:
    answer = refused(web, "POST", "/v1/sessions", asked)

    assert (answer.status, answer.pointer) == (422, pointer)


# -- carts -------------------------------------------------------------------------------


def test_a_cart_is_on_disk_before_it_is_answered(web: Web) -> None:
    fact = pushed(web, CART)

    assert (fact.shop, fact.cart_id) == ("shop", "c-1")
    assert fact.cart.total == Decimal("44.80")
    assert [item.name for item in fact.cart.items] == ["Teapot"]


def test_a_cart_may_be_empty(web: Web) -> None:
    assert pushed(web, CART | {"total": "0", "items": []}).cart.items == ()


def test_a_cart_that_is_gone_is_told_so(web: Web) -> None:
    answer = web.call("DELETE", "/v1/carts/c-1")

    assert (answer.status, answer.body) == (204, b"")
    [fact] = web.facts()
    assert isinstance(fact, CartDeleted)
    assert fact.cart_id == "c-1"


def test_a_cart_that_was_never_there_may_be_gone_too(web: Web) -> None:
    assert web.call("DELETE", "/v1/carts/never").status == 204


@pytest.mark.parametrize(
    ("written_as", "read_as"),
    [
        ('"44.80"', "44.80"),
        ("44.80", "44.80"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ('"0.30000000000000004"', "0.30000000000000004"),
        ("1e2", "1E+2"),
        ('"1e2"', "1E+2"),
        ("1e-2", "0.01"),
        ("0", "0"),
        ("-0.0", "-0.0"),
        ("100", "100"),
        ("1.0", "1.0"),
        ("999999999999999", "999999999999999"),
        ("999999999999999.99", "999999999999999.99"),
        ('"0.' + "1" * 40 + '"', "0." + "1" * 40),
        ("0." + "1" * 40, "0." + "1" * 40),
        ("1e-400", "1E-400"),
    ],
)
def test_an_amount_is_read_to_its_last_digit(web: Web, written_as: str, read_as: str) -> None:
    assert str(pushed(web, written("total", written_as)).cart.total) == read_as


@given(
    st.decimals(0, Decimal("999999999999999"), allow_nan=False),
    st.sampled_from(["{}", '"{}"']),
)
def test_every_amount_is_read_to_its_last_digit(one_web: Web, amount: Decimal, form: str) -> None:
    web = one_web.from_now_on()

    answer = web.call("PUT", "/v1/carts/c-1", written("total", form.format(amount)))

    assert answer.status == 204, answer.body
    [fact] = web.facts()
    assert isinstance(fact, CartPushed)
    assert fact.cart.total.as_tuple() == amount.as_tuple()


@pytest.mark.parametrize(
    "amount",
    [
        '"NaN"',
        '"sNaN"',
        '"Infinity"',
        '"-Infinity"',
        "1000000000000000",
        '"1e15"',
        "99999999999999999999999999",
        "1e400",
        "1" + "0" * 300,
        "1" + "0" * 5_000,
        "1e999999999",
        '"1e999999999"',
        "-0.01",
        "null",
        "true",
        "[]",
        '""',
        '"19,90"',
        '"1,000.00"',
        '"1.000,00"',
        '"€19.90"',
        '"19.90 EUR"',
        '"0x1F"',
        '"1\u00a0000"',
        '"1 000"',
    ],
    ids=lambda amount: amount[:20],
)  # fmt: skip
def test_what_is_no_amount_is_refused(web: Web, amount: str) -> None:
    answer = refused(web, "PUT", "/v1/carts/c-1", written("total", amount))

    assert answer.status == 422


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1_000", "1000"), (" 1\n", "1"), ("+1", "1"), (".5", "0.5"), ("١٢", "12"), ("１２", "12")],
)
def test_a_text_that_means_one_amount_only_is_read_as_that(
    web: Web, text: str, amount: str
) -> None:
    assert pushed(web, CART | {"total": text}).cart.total == Decimal(amount)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "+1", "01", ".5", "1.", "0x1"])
def test_what_json_calls_no_number_is_no_json(web: Web, amount: str) -> None:
    answer = refused(web, "PUT", "/v1/carts/c-1", written("total", amount))

    assert (answer.status, answer.code) == (400, "not-json")


@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD", "CLF"])
def test_a_currency_is_kept(web: Web, currency: str) -> None:
    assert pushed(web, CART | {"currency": currency}).cart.currency == currency


@pytest.mark.parametrize("currency", ["eur", "EURO", "€", "", "XAU", "XXX", "BTC", "EUR "])
def test_what_is_no_currency_is_refused_and_repeated(web: Web, currency: str) -> None:
    answer = refused(web, "PUT", "/v1/carts/c-1", CART | {"currency": currency})

    assert answer.status == 422
    assert answer.json()["detail"] == (
        f"currency must be an ISO 4217 code in capitals, got {currency!r}."
    )


@pytest.mark.parametrize(
    ("member", "value", "detail"),
    [
        ("quantity", "0", "quantity must be above zero, got 0."),
        ("quantity", "-1", "quantity must be above zero, got -1."),
        ("quantity", "NaN", "quantity must be an amount below 10^15, got NaN."),
        ("unit_price", "1e15", "unit_price must be an amount below 10^15, got 1E+15."),
        ("row_total", "-Infinity", "row_total must be an amount below 10^15, got -Infinity."),
    ],
)
def test_an_amount_in_an_item_that_cannot_be_is_named(
    web: Web, member: str, value: str, detail: str
) -> None:
    items = [ITEM, ITEM | {member: value}]

    answer = refused(web, "PUT", "/v1/carts/c-1", CART | {"items": items})

    assert (answer.status, answer.pointer) == (422, "/items/1")
    assert answer.json()["detail"] == detail


@pytest.mark.parametrize(
    "item", [{"unit_price": "0"}, {"unit_price": "-3"}, {"quantity": "0.5"}, {"product_id": 17}]
)
def test_gifts_discounts_and_half_a_pound_are_items(web: Web, item: dict[str, Any]) -> None:
    assert pushed(web, CART | {"items": [ITEM | item]})


@pytest.mark.parametrize(
    ("pointer", "cart"),
    [
        (None, {}),
        (None, CART | {"grand_total": "1"}),
        ("/items", CART | {"items": None}),
        ("/items", CART | {"items": {}}),
        ("/items/0", CART | {"items": [17]}),
        ("/items/0", CART | {"items": [{"name": "Teapot"}]}),
        ("/items/1", CART | {"items": [ITEM, ITEM | {"prise": "1"}]}),
        ("/items/0/product_id", CART | {"items": [ITEM | {"product_id": ""}]}),
        ("/items/0/product_id", CART | {"items": [ITEM | {"product_id": 1.5}]}),
        ("/items/0/product_url", CART | {"items": [ITEM | {"product_url": "/teapot"}]}),
        ("/items/0/image_url", CART | {"items": [ITEM | {"image_url": "javascript:x"}]}),
        ("/items/0/categories/1", CART | {"items": [ITEM | {"categories": ["Tea", 1]}]}),
        ("/subtotal", CART | {"subtotal": "x"}),
        ("/version", CART | {"version": "1"}),
        ("/version", CART | {"version": 1.5}),
        ("/updated_at", CART | {"updated_at": "2026-01-01T12:00:00"}),
        ("/updated_at", CART | {"updated_at": "2026-01-01"}),
        ("/updated_at", CART | {"updated_at": 1_767_268_800}),
        ("/updated_at", CART | {"updated_at": "2026-02-30T12:00:00Z"}),
        ("/coupons", CART | {"coupons": "TEA10"}),
        ("/checkout_url", CART | {"checkout_url": "//evil.example"}),
        ("/email", CART | {"email": "e" * 255}),
    ],
    ids=lambda case: repr(case)[:60],
)
def test_a_cart_that_cannot_be_is_pointed_at(
    web: Web, pointer: str | None, cart: dict[str, Any]
) -> None:
    answer = refused(web, "PUT", "/v1/carts/c-1", cart)

    assert (answer.status, answer.pointer) == (422, pointer)


def test_a_misspelt_member_is_named(web: Web) -> None:
    answer = refused(web, "PUT", "/v1/carts/c-1", CART | {"grand_total": "1"})

    assert answer.json()["detail"] == "Object contains unknown field `grand_total`."


@pytest.mark.parametrize(
    "member",
    [
        "version",
        "updated_at",
        "subtotal",
        "discount",
        "tax",
        "shipping",
        "checkout_url",
        "email",
        "coupons",
    ],
)
def test_null_is_the_same_as_left_out(web: Web, member: str) -> None:
    assert pushed(web, CART | {member: None}).cart == pushed(web, CART).cart


@pytest.mark.parametrize(
    "member",
    [
        "row_total",
        "sku",
        "variant",
        "product_url",
        "image_url",
        "categories",
    ],
)
def test_null_in_an_item_is_the_same_as_left_out(web: Web, member: str) -> None:
    cart = CART | {"items": [ITEM | {member: None}]}

    assert pushed(web, cart).cart == pushed(web, CART).cart


def test_a_cart_of_more_than_ten_thousand_items_is_refused(web: Web) -> None:
    body = json.dumps(CART | {"items": []}).replace("[]", "[" + "{}," * 10_000 + "{}]")

    assert refused(web, "PUT", "/v1/carts/c-1", body.encode()).status == 422


def test_a_moment_with_a_time_zone_is_kept(web: Web) -> None:
    cart = pushed(web, CART | {"updated_at": "2026-01-01T13:00:00+01:00", "version": 7}).cart

    assert cart.updated_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert cart.version == 7


def test_a_body_nested_ten_thousand_deep_is_refused(web: Web) -> None:
    answer = refused(web, "PUT", "/v1/carts/c-1", b'{"items":' + b"[" * 10_000 + b"]" * 10_000)

    assert answer.status == 422


def test_a_cart_of_256_kibibytes_is_taken_and_a_byte_more_is_not(web: Web) -> None:
    cart = json.dumps(CART).encode().ljust(MAX_BYTES)

    assert web.call("PUT", "/v1/carts/c-1", cart).status == 204
    assert web.call("PUT", "/v1/carts/c-1", cart + b" ").status == 413


def test_a_cart_in_chunks_cannot_be_larger_either(web: Web) -> None:
    cart = json.dumps(CART).encode().ljust(MAX_BYTES)

    answer = web.ask(
        "PUT",
        "/v1/carts/c-1",
        [cart, b"garbage"],
        Content_Type="application/json",
        Authorization=f"Bearer {SHOP_KEY}",
    )

    assert answer.status == 413


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_the_shops_server_speaks_json(web: Web, media_type: str) -> None:
    answer = web.call("PUT", "/v1/carts/c-1", CART, Content_Type=media_type)

    assert answer.status == 415
    assert answer.json()["detail"] == f"The body is {media_type}; send it as application/json."


# -- cart ids in paths -------------------------------------------------------------------


@pytest.mark.parametrize(
    "cart_id",
    [
        "gid://shopify/Cart/abc?key=s3cret",
        "a/b",
        "a//b",
        "a/",
        "a/../b",
        "..",
        ".",
        "a+b",
        "a%2Fb",
        "a#b",
        "a?b",
        "a;b",
        "a\\b",
        "é🛒",
        "/a",
        "//a",
        "c" * 255,
        "é" * 255,
    ],
)
def test_a_cart_id_may_be_anything_that_is_percent_encoded(web: Web, cart_id: str) -> None:
    path = f"/v1/carts/{quote(cart_id, safe='')}"

    assert pushed(web, CART, path).cart_id == cart_id


@pytest.mark.parametrize("cart_id", [" ", "a b", "\n", "a\0", "a\x7f", "c" * 256])
def test_a_cart_id_that_no_token_can_name_is_refused(web: Web, cart_id: str) -> None:
    answer = refused(web, "PUT", f"/v1/carts/{quote(cart_id, safe='')}", CART)

    assert answer.status == 422
    assert answer.json()["detail"].startswith("The cart's id in the path: ")


@pytest.mark.parametrize("path", ["/v1/carts/", "/v1/carts", "/v1//carts/c-1"])
def test_a_path_without_a_cart_id_is_not_found(web: Web, path: str) -> None:
    assert refused(web, "PUT", path, CART).status == 404


def test_a_cart_id_that_was_not_encoded_is_not_cut_at_its_question_mark(web: Web) -> None:
    answer = refused(web, "PUT", "/v1/carts/gid://shopify/Cart/abc?key=s3cret", CART)

    assert answer.status in (400, 422)


def test_a_cart_id_that_is_no_utf_8_is_refused(web: Web) -> None:
    answer = refused(web, "PUT", "/v1/carts/%FF", CART)

    assert answer.status in (400, 404, 422)


# -- orders ------------------------------------------------------------------------------


def test_an_order_is_on_disk_before_it_is_accepted(web: Web) -> None:
    answer = web.call("POST", "/v1/orders", ORDER)

    assert (answer.status, answer.json()) == (202, {"status": "accepted"})
    [fact] = web.facts()
    assert isinstance(fact, OrderPlaced)
    assert (fact.cart_id, fact.order_id, fact.placed_at) == ("c-1", "1001", None)


def test_an_orders_id_may_be_a_number_and_its_moment_may_be_told(web: Web) -> None:
    order = {"cart_id": "c-1", "order_id": 1001, "placed_at": "2026-01-01T13:00:00+01:00"}

    assert web.call("POST", "/v1/orders", order).status == 202

    [fact] = web.facts()
    assert isinstance(fact, OrderPlaced)
    assert fact.order_id == "1001"
    assert fact.placed_at == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pointer", "order"),
    [
        (None, {"cart_id": "c-1"}),
        (None, {"order_id": "1001"}),
        (None, ORDER | {"total": "1"}),
        ("/cart_id", ORDER | {"cart_id": 17}),
        ("/cart_id", ORDER | {"cart_id": ""}),
        ("/order_id", ORDER | {"order_id": 1.5}),
        ("/order_id", ORDER | {"order_id": None}),
        ("/placed_at", ORDER | {"placed_at": "2026-01-01T12:00:00"}),
        ("/placed_at", ORDER | {"placed_at": "yesterday"}),
        ("/placed_at", ORDER | {"placed_at": "0001-01-01T00:00:00+14:00"}),
        ("/placed_at", ORDER | {"placed_at": "1970-01-01T00:00:00Z"}),
        ("/placed_at", ORDER | {"placed_at": "9999-12-31T23:59:59-14:00"}),
    ],
    ids=lambda case: repr(case)[:70],
)
def test_an_order_that_cannot_be_is_pointed_at(
    web: Web, pointer: str | None, order: dict[str, Any]
) -> None:
    answer = refused(web, "POST", "/v1/orders", order)

    assert (answer.status, answer.pointer) == (422, pointer)


def test_an_order_that_is_no_json_is_refused_as_that(web: Web) -> None:
    answer = refused(web, "POST", "/v1/orders", b"cart_id=c-1&order_id=1001")

    assert (answer.status, answer.code) == (400, "not-json")


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/orders", "/v1/carts/c-1", "/v1/refunds"])
def test_what_the_surface_does_not_offer_is_a_problem_too(web: Web, path: str) -> None:
    answer = web.call("PATCH", path)

    assert answer.status in (404, 405)
    assert answer.headers["Content-Type"] == "application/problem+json"


# -- erasures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"email": " Jane@shop-demo.io"}, ("Jane@shop-demo.io", None, "")),
        ({"phone_number": "+49 (30) 123456"}, (None, "+4930123456", "")),
        ({"cart_id": "c-1"}, (None, None, "c-1")),
    ],
)
def test_an_erasure_is_kept_whoever_it_is_about(
    web: Web, body: dict[str, str], kept: tuple[str | None, str | None, str]
) -> None:
    answer = web.call("POST", "/v1/erasures", body)

    assert (answer.status, answer.json()) == (202, {"status": "accepted"})
    (fact,) = web.facts()
    assert isinstance(fact, ErasureAsked)
    assert (fact.email, fact.phone_number, fact.cart_id) == kept


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, None),
        ({"email": "jane@shop-demo.io", "cart_id": "c-1"}, None),
        ({"email": "jane"}, "/email"),
        ({"email": "@"}, "/email"),
        ({"phone_number": "030 123456"}, "/phone_number"),
        ({"cart_id": ""}, "/cart_id"),
        ({"e-mail": "jane@shop-demo.io"}, "/e-mail"),
        ({"email": 7}, "/email"),
    ],
)
def test_an_erasure_of_nobody_is_refused_without_saying_who_was_meant(
    web: Web, body: dict[str, Any], pointer: str | None
) -> None:
    answer = refused(web, "POST", "/v1/erasures", body)

    assert answer.status == 422
    assert answer.pointer in (pointer, None)
    assert b"jane" not in answer.body
