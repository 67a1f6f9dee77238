"""Presets: what each platform answers becomes its cart, and none of its traps becomes a total.

No shop was run for these. The answers in ``tests/carts`` have the members and the types of

- saleor: its schema.graphql and the members a live 3.23 has shown;
- woocommerce: those that a live 11.0 has shown in its Store API;
- commercetools: the Cart of its API reference and of PyPI's ``commercetools``;
- bigcommerce: checkouts.v3.yml of its documentation, which has whole answers;
- shopify: the schema of 2026-04, of which ``shopify.graphql`` has what is needed;
- spree: npm's ``@spree/sdk`` 1.2 and the serializers of its Store API v3;
- sylius: the answers that its own test-suite expects of ``/api/v2/shop/orders``;
- magento: answers in its issues 5404 and 5589, and the source of its CartTotalRepository;
- shopware: storeApiSchema.json (6.7.13) of npm's ``@shopware/api-client``;

with figures that add up.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from proxy.carts.http import HttpCarts
from proxy.carts.source import CartRef, Reading
from proxy.errors import CartError, CartGone, CartInvalid, SourceDown, SourceRefused
from tests.platform import KEY, RECORDED, Platform, changed, recipe_of, recorded

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A cart that the token names, and where the platform answers what of it."""

    preset: str
    cart_id: str
    credential: str | None = None
    base: str = ""
    answers: dict[str, bytes]
    headers: dict[str, str] = field(default_factory=dict)
    key: str = KEY

    def but(self, **answers: bytes) -> "Case":
        """Return this case with other answers, each under the last part of its path."""
        said = {
            path: answers.get(path.rpartition("/")[2], body) for path, body in self.answers.items()
        }
        return replace(self, answers=said)

    def with_answer(self, path: str, value: Json) -> "Case":
        """Return this case with *value* at *path* of the answer to its first request."""
        first = next(iter(self.answers))
        return replace(self, answers=self.answers | {first: changed(self.preset, path, value)})


def session(user_id: str) -> dict[str, str]:
    """Return the header in which WooCommerce says whose cart it has answered with."""
    claims = json.dumps({"user_id": user_id, "exp": 1796000000, "iss": "store-api"})
    middle = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    return {"Cart-Token": f"eyJhbGciOiJIUzI1NiJ9.{middle}.c2lnbmF0dXJl"}


SALEOR = Case(
    preset="saleor",
    cart_id="Q2hlY2tvdXQ6NmQ2ZjBiN2EtM2M0Yi00ZjYxLTljMWUtOGIxYTJmM2Q0ZTVm",
    answers={"/graphql/": recorded("saleor")},
)
WOOCOMMERCE = Case(
    preset="woocommerce",
    cart_id="t_0123456789abcdef0123456789abcd",
    credential="the-shoppers-cart-token",
    answers={"/wp-json/wc/store/v1/cart": recorded("woocommerce")},
    headers=session("t_0123456789abcdef0123456789abcd"),
)
COMMERCETOOLS = Case(
    preset="commercetools",
    cart_id="2f3c1e9a-5b7d-4c0e-9a41-6d8e0f1a2b3c",
    base="/acme",
    answers={
        "/acme/carts/2f3c1e9a-5b7d-4c0e-9a41-6d8e0f1a2b3c": recorded("commercetools"),
        "/oauth/token": b'{"access_token": "the-token-that-was-bought", "expires_in": 172800}',
    },
    key="client:secret",
)
BIGCOMMERCE = Case(
    preset="bigcommerce",
    cart_id="306d57d7-124e-4112-82cd-35e060c0d4d9",
    base="/stores/abc123",
    answers={
        "/stores/abc123/v3/checkouts/306d57d7-124e-4112-82cd-35e060c0d4d9": recorded("bigcommerce")
    },
)
SHOPIFY = Case(
    preset="shopify",
    cart_id="hWN2XbdRzYp0wGkC1uVqT5aE",
    credential="5f0c3b1e9a7d4286",
    answers={"/api/2026-04/graphql.json": recorded("shopify")},
)
SPREE = Case(
    preset="spree",
    cart_id="cart_gbHJdmfrXB",
    credential="zTEpsukRq_yEUcXVCSv0uw1632867307450",
    answers={"/api/v3/store/carts/cart_gbHJdmfrXB": recorded("spree")},
)
SYLIUS = Case(
    preset="sylius",
    cart_id="nTWt5pYJ9xR2",
    answers={"/api/v2/shop/orders/nTWt5pYJ9xR2": recorded("sylius")},
)
MAGENTO = Case(
    preset="magento",
    cart_id="202",
    base="/rest/default",
    answers={
        "/rest/default/V1/carts/202": recorded("magento"),
        "/rest/default/V1/carts/202/totals": recorded("magento_totals"),
    },
)
SHOPWARE = Case(
    preset="shopware",
    cart_id="order-in-the-making-7",
    credential="mFZKN2kWDq7xE0d3hVYbUiTGCrnXsPLo",
    answers={
        "/store-api/checkout/cart": recorded("shopware"),
        "/store-api/context": recorded("shopware_context"),
    },
)


@contextmanager
def served(case: Case) -> Iterator[tuple[Platform, HttpCarts]]:
    with Platform(answers=case.answers, headers=case.headers).serve() as platform:
        carts = HttpCarts(
            recipe_of(case.preset),
            url=platform.url + case.base,
            key=case.key,
            token_url=f"{platform.url}/oauth/token",
        )
        with closing(carts):
            yield platform, carts


def read(case: Case) -> Reading:
    with served(case) as (_, carts):
        return carts.fetch(ref(case))


def ref(case: Case) -> CartRef:
    return CartRef(shop="shop", cart_id=case.cart_id, credential=case.credential)


def known(said: Json) -> dict[str, Json]:
    return {name: value for name, value in said.items() if value is not None}


# -- whole carts -------------------------------------------------------------------------


def line(product_id: str, name: str, quantity: str, price: str, row: str, **more: Json) -> Json:
    amounts = {"quantity": quantity, "unit_price": price, "row_total": row}
    return {"product_id": product_id, "name": name, **amounts, **more}


WHOLE: list[tuple[Case, dict[str, Json], list[Json]]] = [
    (
        SALEOR,
        {
            "currency": "EUR",
            "total": "95.0",
            "subtotal": "90.0",
            "discount": "10.0",
            "tax": "15.17",
            "shipping": "5.0",
            "coupons": ("SAVE10",),
            "updated_at": "2026-11-24T10:15:30.123456Z",
        },
        [
            line(
                *("UHJvZHVjdDoxNTI=", "Blue Tee", "2", "18.0", "36.0"),
                variant="M",
                sku="TEE-M",
                image_url="https://cdn.example/tee.png",
                categories=("Shirts",),
            ),
            line("UHJvZHVjdDoxNTM=", "White Jeans", "1", "54.0", "54.0", variant="32"),
        ],
    ),
    (
        WOOCOMMERCE,
        {
            "currency": "EUR",
            "total": "113.05",
            "subtotal": "100.00",
            "discount": "10.00",
            "tax": "18.05",
            "shipping": "5.00",
            "coupons": ("save10",),
        },
        [
            line(
                *("42", "Blue Tee", "2", "20.00", "36.00"),
                variant="M",
                sku="TEE-M",
                product_url="https://shop.example/product/blue-tee/",
                image_url="https://shop.example/blue-tee.jpg",
            ),
            line(
                *("43", "White Jeans", "1", "60.00", "54.00"),
                sku="JEANS-32",
                product_url="https://shop.example/product/white-jeans/",
                image_url="https://shop.example/white-jeans.jpg",
            ),
        ],
    ),
    (
        COMMERCETOOLS,
        {
            "currency": "EUR",
            "total": "116.62",
            "discount": "10.00",
            "tax": "18.62",
            "shipping": "5.00",
            "coupons": ("SAVE10",),
            "updated_at": "2026-11-24T10:15:30.123000Z",
            "version": 14,
        },
        [
            line(
                *("7e1c2a90-1111-4222-8333-444455556666", "Blue Tee", "2", "20.00", "40.00"),
                sku="TEE-M",
                image_url="https://cdn.example/tee.jpg",
            ),
            line(
                *("7e1c2a90-1111-4222-8333-444455557777", "White Jeans", "1", "60.00", "60.00"),
                sku="JEANS-32",
                image_url="https://cdn.example/jeans.jpg",
            ),
            line(
                *("0b8f6d1c-0003-4a00-8000-000000000003", "Gift wrap", "1", "3.00", "3.00"),
                sku="gift-wrap",
            ),
        ],
    ),
    (
        BIGCOMMERCE,
        {
            "currency": "USD",
            "total": "86.5",
            "subtotal": "84.0",
            "discount": "5.5",
            "tax": "4.0",
            "shipping": "8.0",
            "coupons": ("SAVE10",),
            "updated_at": "2026-11-24T10:15:30Z",
            "version": 7,
        },
        [
            line(
                *("188", "Blue Tee", "2", "19.99", "39.98"),
                sku="TEE-M",
                product_url="https://shop.example/blue-tee/",
                image_url="https://cdn.example/blue-tee.jpg",
            ),
            line(
                *("189", "Denim Book", "1", "10.02", "10.02"),
                sku="BOOK",
                product_url="https://shop.example/denim-book/",
                image_url="https://cdn.example/denim-book.jpg",
            ),
            line(
                *("c1b0a1f2-0000-4000-8000-000000000003", "25.00 Gift Certificate"),
                *("1", "25", "25"),
            ),
            line(
                *("c1b0a1f2-0000-4000-8000-000000000004", "Engraving", "1", "5", "5"),
                sku="ENGRAVE",
            ),
        ],
    ),
    (
        SHOPIFY,
        {
            "currency": "USD",
            "total": "95.0",
            "subtotal": "90.0",
            "discount": "10.0",
            "shipping": "5.0",
            "coupons": ("SAVE10",),
            "checkout_url": "https://shop.example/cart/c/hWN2XbdRzYp0wGkC1uVqT5aE"
            "?key=5f0c3b1e9a7d4286",
            "updated_at": "2026-11-24T10:15:30Z",
        },
        [
            line(
                *("7982904", "Blue Tee", "2", "20.0", "36.0"),
                variant="M",
                sku="TEE-M",
                product_url="https://shop.example/products/blue-tee",
                image_url="https://cdn.example/tee.jpg",
                categories=("Shirts",),
            ),
            line(
                *("7982905", "White Jeans", "1", "60.0", "54.0"),
                variant="32",
                sku="JEANS-32",
                categories=(),
            ),
        ],
    ),
    (
        SPREE,
        {
            "currency": "USD",
            "total": "104.0",
            "subtotal": "100.0",
            "discount": "10.0",
            "tax": "9.0",
            "shipping": "5.0",
            "coupons": ("SAVE10",),
        },
        [
            line(
                *("variant_EfhxLZ9ck8", "Blue Tee", "2", "20.0", "39.6"),
                variant="Size: M",
                image_url="https://cdn.example/blue-tee.webp",
            ),
            line(
                *("variant_uw2YK1rnl0", "White Jeans", "1", "60.0", "59.4"),
                variant="Size: 32",
                image_url="https://cdn.example/white-jeans.webp",
            ),
        ],
    ),
    (
        SYLIUS,
        {
            "currency": "EUR",
            "total": "95.00",
            "subtotal": "90.00",
            "discount": "10.00",
            "tax": "15.17",
            "shipping": "5.00",
        },
        [
            line("TEE_M", "Blue Tee", "2", "20.00", "36.00", sku="TEE_M"),
            line("JEANS_32", "White Jeans", "1", "60.00", "54.00", sku="JEANS_32"),
        ],
    ),
    (
        MAGENTO,
        {
            "currency": "USD",
            "total": "105",
            "subtotal": "110",
            "discount": "10",
            "tax": "10",
            "shipping": "5",
            "coupons": ("SAVE10",),
        },
        [
            line("JEANS-32", "White Jeans", "1", "66", "66", sku="JEANS-32"),
            line("TEE-M", "Blue Tee", "2", "22", "44", sku="TEE-M"),
        ],
    ),
    (
        SHOPWARE,
        {
            "currency": "EUR",
            "total": "95.0",
            "subtotal": "90.0",
            "discount": "10.0",
            "tax": "15.17",
            "shipping": "5.0",
            "coupons": ("SAVE10",),
        },
        [
            line(
                *("0fa91ce3e96a4bc2be4bd9ce752c3425", "Blue Tee", "2", "20.0", "40.0"),
                variant="M",
                sku="TEE-M",
                image_url="https://cdn.example/tee-m.jpg",
            ),
            line(
                *("1fa91ce3e96a4bc2be4bd9ce752c3426", "White Jeans", "1", "60.0", "60.0"),
                sku="JEANS-32",
                image_url="https://cdn.example/jeans-32.jpg",
            ),
        ],
    ),
]


def named(case: Case) -> str:
    return case.preset


CASES = [case for case, _, _ in WHOLE]


@pytest.mark.parametrize(("case", "figures", "lines"), WHOLE, ids=[named(case) for case in CASES])
def test_a_cart_comes_with_all_that_the_platform_knows(
    case: Case, figures: dict[str, Json], lines: list[Json]
) -> None:
    reading = read(case)

    said = known(msgspec.to_builtins(reading.cart))
    assert [known(each) for each in said.pop("items")] == lines
    assert said == figures | {"email": "shopper@example.com"}
    assert (reading.completed, reading.warnings) == (False, ())


@pytest.mark.parametrize(
    ("case", "header", "text"),
    [
        (WOOCOMMERCE, "cart-token", "the-shoppers-cart-token"),
        (COMMERCETOOLS, "authorization", "Bearer the-token-that-was-bought"),
        (BIGCOMMERCE, "x-auth-token", KEY),
        (SHOPIFY, "shopify-storefront-private-token", KEY),
        (SPREE, "x-spree-api-key", KEY),
        (SPREE, "x-spree-token", "zTEpsukRq_yEUcXVCSv0uw1632867307450"),
        (MAGENTO, "authorization", f"Bearer {KEY}"),
        (SHOPWARE, "sw-access-key", KEY),
        (SHOPWARE, "sw-context-token", "mFZKN2kWDq7xE0d3hVYbUiTGCrnXsPLo"),
    ],
)
def test_the_credential_is_where_the_platform_looks_for_it(
    case: Case, header: str, text: str
) -> None:
    with served(case) as (platform, carts):
        carts.fetch(ref(case))

    asked = [each for each in platform.asked if each.path.startswith(f"{case.base}/")]
    assert {each.headers[header] for each in asked if "oauth" not in each.path} == {text}


@pytest.mark.parametrize("case", [SALEOR, SYLIUS], ids=named)
def test_a_cart_that_is_its_own_secret_needs_no_credential(case: Case) -> None:
    with served(case) as (platform, carts):
        carts.fetch(ref(case))

    assert KEY not in str(platform.asked)


@pytest.mark.parametrize("case", [WOOCOMMERCE, SHOPIFY, SPREE, SHOPWARE], ids=named)
def test_a_shoppers_cart_is_not_asked_for_without_their_credential(case: Case) -> None:
    with (
        served(replace(case, credential=None)) as (platform, carts),
        pytest.raises(CartInvalid, match="no ref"),
    ):
        carts.fetch(ref(replace(case, credential=None)))

    assert platform.asked == []


# What a stranger's cart would be told by.
IDENTITY = [
    (SALEOR, "data.checkout.id", "Q2hlY2tvdXQ6MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAw"),
    (COMMERCETOOLS, "id", "00000000-5b7d-4c0e-9a41-6d8e0f1a2b3c"),
    (BIGCOMMERCE, "data.id", "00000000-124e-4112-82cd-35e060c0d4d9"),
    (SHOPIFY, "data.cart.id", "gid://shopify/Cart/AnotherCartOfSomebody?key=5f0c3b1e9a7d4286"),
    (SPREE, "id", "cart_UkLWZg9DAJ"),
    (SYLIUS, "tokenValue", "another-token"),
    (MAGENTO, "id", 203),
    (SHOPWARE, "token", "another-session-that-was-begun"),
]


@pytest.mark.parametrize(("case", "path", "other"), IDENTITY)
def test_another_cart_than_the_one_that_was_asked_for_is_none(
    case: Case, path: str, other: Json
) -> None:
    with pytest.raises(CartGone, match="another cart"):
        read(case.with_answer(path, other))


ORDERED = [
    (COMMERCETOOLS, "cartState", "Ordered"),
    (BIGCOMMERCE, "data.order_id", "118"),
    (SYLIUS, "checkoutState", "completed"),
    (MAGENTO, "is_active", False),
]


@pytest.mark.parametrize(("case", "path", "value"), ORDERED)
def test_a_cart_that_was_ordered_says_so(case: Case, path: str, value: Json) -> None:
    assert read(case.with_answer(path, value)).completed


# -- Saleor ------------------------------------------------------------------------------


def test_saleors_checkout_is_null_once_it_was_ordered() -> None:
    with pytest.raises(CartGone, match="does not know"):
        read(SALEOR.with_answer("data.checkout", None))


@pytest.mark.parametrize(
    ("code", "error"), [("PermissionDenied", SourceRefused), ("GraphQLError", SourceDown)]
)
def test_saleors_null_with_an_error_is_not_a_cart_that_is_gone(
    code: str, error: type[CartError]
) -> None:
    said = {"errors": [{"extensions": {"exception": {"code": code}}}], "data": {"checkout": None}}

    with pytest.raises(error):
        read(SALEOR.but(**{"": json.dumps(said).encode()}))


# -- WooCommerce -------------------------------------------------------------------------


def test_woocommerces_cart_of_another_session_is_none() -> None:
    stranger = replace(WOOCOMMERCE, headers=session("t_ffffffffffffffffffffffffffffff"))

    with pytest.raises(CartGone, match="another cart"):
        read(stranger)


@pytest.mark.parametrize("headers", [{}, {"Cart-Token": "no.token"}, {"Cart-Token": "a.b.c"}])
def test_woocommerces_cart_of_a_session_unknown_is_none(headers: dict[str, str]) -> None:
    with pytest.raises(CartGone, match="another cart"):
        read(replace(WOOCOMMERCE, headers=headers))


def test_woocommerces_empty_cart_comes_with_200_and_is_none() -> None:
    with pytest.raises(CartGone, match="empty"):
        read(WOOCOMMERCE.with_answer("items", []))


def test_woocommerces_shoppers_with_an_account_are_known_by_their_number() -> None:
    reading = read(replace(WOOCOMMERCE, cart_id="7", headers=session("7")))

    assert str(reading.cart.total) == "113.05"


@pytest.mark.parametrize(("digits", "total"), [(2, "113.05"), (0, "11305"), (3, "11.305")])
def test_how_many_decimals_woocommerce_has_is_its_own_setting(digits: int, total: str) -> None:
    reading = read(WOOCOMMERCE.with_answer("totals.currency_minor_unit", digits))

    assert str(reading.cart.total) == total


def test_woocommerces_yen_can_have_two_decimals() -> None:
    reading = read(WOOCOMMERCE.with_answer("totals.currency_code", "JPY"))

    assert (reading.cart.currency, str(reading.cart.total)) == ("JPY", "113.05")


def test_woocommerces_shipping_is_unknown_before_there_is_an_address() -> None:
    assert read(WOOCOMMERCE.with_answer("totals.total_shipping", None)).cart.shipping is None


# -- commercetools -----------------------------------------------------------------------


def test_commercetools_knows_no_tax_before_there_is_an_address() -> None:
    cart = read(COMMERCETOOLS.with_answer("taxedPrice", ...)).cart

    assert (str(cart.total), cart.tax) == ("98.00", None)


def test_commercetools_says_how_many_digits_are_decimals() -> None:
    yen = {
        "type": "centPrecision",
        "currencyCode": "JPY",
        "centAmount": 9800,
        "fractionDigits": 0,
    }
    cart = read(COMMERCETOOLS.with_answer("totalPrice", yen)).cart

    assert (cart.currency, str(cart.total)) == ("JPY", "11662")


def test_commercetools_names_come_in_many_languages_and_the_first_is_taken() -> None:
    names = {"de": "Blaues T-Shirt", "en": "Blue Tee"}

    assert read(COMMERCETOOLS.with_answer("lineItems.0.name", names)).cart.items[0].name == (
        "Blaues T-Shirt"
    )


def test_commercetools_price_that_is_reduced_is_the_lower_one() -> None:
    reduced = {"value": {"centAmount": 1500, "currencyCode": "EUR", "fractionDigits": 2}}

    cart = read(COMMERCETOOLS.with_answer("lineItems.0.price.discounted", reduced)).cart

    assert str(cart.items[0].unit_price) == "15.00"


def test_commercetools_code_that_is_not_expanded_is_left_out() -> None:
    cart = read(COMMERCETOOLS.with_answer("discountCodes.0.discountCode.obj", ...)).cart

    assert cart.coupons == ()


# -- BigCommerce -------------------------------------------------------------------------


def test_bigcommerces_discount_is_that_of_the_cart_and_of_its_coupons() -> None:
    cart = read(BIGCOMMERCE.with_answer("data.cart.discount_amount", 2)).cart

    assert str(cart.discount) == "7.5"


def test_bigcommerces_doubles_stay_exact() -> None:
    cart = read(BIGCOMMERCE.with_answer("data.grand_total", 1524.83)).cart

    assert str(cart.total) == "1524.83"


def test_bigcommerces_cart_with_nothing_in_its_four_lists_is_empty() -> None:
    lists = ("physical_items", "digital_items", "gift_certificates", "custom_items")

    with pytest.raises(CartGone, match="empty"):
        read(BIGCOMMERCE.with_answer("data.cart.line_items", {name: [] for name in lists}))


# -- Shopify -----------------------------------------------------------------------------


def test_shopifys_id_may_come_back_without_its_key() -> None:
    bare = SHOPIFY.with_answer("data.cart.id", "gid://shopify/Cart/hWN2XbdRzYp0wGkC1uVqT5aE")

    assert str(read(bare).cart.total) == "95.0"


def test_shopify_is_asked_with_the_key_of_the_cart() -> None:
    with served(SHOPIFY) as (platform, carts):
        carts.fetch(ref(SHOPIFY))

    assert json.loads(platform.asked[0].body)["variables"] == {
        "id": "gid://shopify/Cart/hWN2XbdRzYp0wGkC1uVqT5aE?key=5f0c3b1e9a7d4286"
    }


def test_shopifys_discounts_are_those_of_the_cart_and_of_its_lines() -> None:
    on_cart = [{"discountedAmount": {"amount": "2.5"}}]

    cart = read(SHOPIFY.with_answer("data.cart.discountAllocations", on_cart)).cart

    assert str(cart.discount) == "12.5"


def test_shopifys_shipping_is_unknown_before_an_option_is_chosen() -> None:
    groups = {"nodes": [{"selectedDeliveryOption": None}]}

    assert read(SHOPIFY.with_answer("data.cart.deliveryGroups", groups)).cart.shipping is None


def test_shopify_tells_no_address_without_the_key() -> None:
    assert read(SHOPIFY.with_answer("data.cart.buyerIdentity.email", None)).cart.email is None


@pytest.fixture
def graphql() -> Json:
    return pytest.importorskip("graphql", reason="graphql-core is not installed")


def shopifys_schema(graphql: Json) -> Json:
    return graphql.build_schema((RECORDED / "shopify.graphql").read_text(encoding="utf-8"))


def test_shopifys_query_is_one_of_its_schema(graphql: Json) -> None:
    schema = shopifys_schema(graphql)
    query = graphql.parse(recipe_of("shopify").request.graphql)

    assert graphql.validate(schema, query) == []
    assert graphql.validate(schema, query, [graphql.NoDeprecatedCustomRule]) == []


_KINDS = {
    "BaseCartLine": "CartLine",
    "CartDiscountAllocation": "CartCodeDiscountAllocation",
    "Merchandise": "ProductVariant",
}


def test_shopifys_answer_is_one_of_its_schema(graphql: Json) -> None:
    said = json.loads(recorded("shopify"))["data"]

    told = graphql.graphql_sync(
        shopifys_schema(graphql),
        recipe_of("shopify").request.graphql,
        said,
        variable_values={"id": said["cart"]["id"]},
        type_resolver=lambda _value, _info, kind: _KINDS[kind.name],
    )

    assert (told.data, told.errors) == (said, None)


# -- Spree -------------------------------------------------------------------------------


def test_sprees_taxes_may_be_in_the_prices() -> None:
    included = json.loads(recorded("spree")) | {
        "included_tax_total": "8.18",
        "additional_tax_total": "0.0",
        "tax_total": "8.18",
        "total": "95.0",
    }

    cart = read(SPREE.but(cart_gbHJdmfrXB=json.dumps(included).encode())).cart

    assert (str(cart.total), str(cart.tax)) == ("95.0", "8.18")


def test_spree_hides_its_prices_from_guests_who_may_not_see_them() -> None:
    with pytest.raises(CartInvalid, match="total"):
        read(SPREE.with_answer("total", None))


# -- Sylius ------------------------------------------------------------------------------


def test_syliuss_yen_are_in_hundredths_too() -> None:
    yen = json.loads(recorded("sylius")) | {"currencyCode": "JPY", "total": 1_100_000}

    cart = read(SYLIUS.but(nTWt5pYJ9xR2=json.dumps(yen).encode())).cart

    assert (cart.currency, str(cart.total)) == ("JPY", "11000.00")


# -- Magento -----------------------------------------------------------------------------


def test_magentos_total_is_the_segments_and_not_the_one_without_tax() -> None:
    assert json.loads(recorded("magento_totals"))["grand_total"] == 95
    assert str(read(MAGENTO).cart.total) == "105"


def test_magentos_totals_without_that_segment_are_no_cart() -> None:
    totals = changed("magento_totals", "total_segments.4", ...)

    with pytest.raises(CartInvalid, match="total"):
        read(MAGENTO.but(totals=totals))


def test_magentos_quote_that_was_ordered_has_no_totals_any_more() -> None:
    case = MAGENTO.with_answer("is_active", False)

    with pytest.raises(CartGone, match="404"):
        read(case.but(totals=b""))


# -- Shopware ----------------------------------------------------------------------------


def test_shopwares_promotion_without_a_code_is_no_coupon() -> None:
    cart = read(SHOPWARE.with_answer("lineItems.2.payload.code", "")).cart

    assert (cart.coupons, str(cart.discount), len(cart.items)) == ((), "10.0", 2)


def test_shopwares_new_session_has_an_empty_cart() -> None:
    with pytest.raises(CartGone, match="empty"):
        read(SHOPWARE.with_answer("lineItems", []))


def test_shopwares_cart_of_promotions_alone_is_empty() -> None:
    promotion = json.loads(recorded("shopware"))["lineItems"][2]

    with pytest.raises(CartGone, match="empty"):
        read(SHOPWARE.with_answer("lineItems", [promotion]))
