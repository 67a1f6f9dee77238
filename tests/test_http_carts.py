"""A shop's own API says the total, or nobody does: an answer of 200 proves nothing."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.carts import answer, presets
from proxy.carts.http import HttpCarts
from proxy.carts.recipe import Recipe
from proxy.carts.source import CartRef, Reading
from proxy.checkouts import Status
from proxy.errors import (
    CartError,
    CartGone,
    CartInvalid,
    Misconfigured,
    SourceDown,
    SourceRefused,
)
from proxy.money import rounded
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.platform import KEY, Platform, changed, recipe_of, recorded
from tests.running import Proxy

MEDUSA_EUR = ("medusa", "medusa_eur", "cart_01M82D2SFH33B1SN426B380WC9")
MEDUSA_JPY = ("medusa", "medusa_jpy", "cart_01M82D2W4KHS0KH3Z5NKPD5KX9")
VENDURE = ("vendure", "vendure", "8AF964MUHARPMM4W")
LIVE = [MEDUSA_EUR, MEDUSA_JPY, VENDURE]

Json = Any


def read(preset: str, body: bytes, cart_id: str) -> Reading:
    return answer.read(answer.parsed(body), recipe_of(preset), cart_id)


# -- what live shops answered ------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "total", "lines"),
    [(MEDUSA_EUR, "175.83", 2), (MEDUSA_JPY, "23541", 2), (VENDURE, "1524.83", 3)],
)
def test_the_total_is_the_shops_own(live: tuple[str, str, str], total: str, lines: int) -> None:
    preset, name, cart_id = live

    reading = read(preset, recorded(name), cart_id)

    assert str(rounded(reading.cart.total, reading.cart.currency)) == total
    assert len(reading.cart.items) == lines
    assert (reading.completed, reading.warnings) == (False, ())


def test_a_vendure_cart_comes_with_all_that_vendure_knows() -> None:
    cart = read(*VENDURE[:1], recorded("vendure"), VENDURE[2]).cart

    said = msgspec.to_builtins(cart)
    laptop = said.pop("items")[0]
    assert {name: value for name, value in said.items() if value is not None} == {
        "currency": "USD",
        "total": "1524.83",
        "subtotal": "1512.83",
        "discount": "168.25",
        "tax": "243.78",
        "shipping": "12.00",
        "coupons": ("SAVE10",),
        "email": "shopper@example.com",
        "updated_at": "2026-11-22T19:52:41Z",
    }
    assert {name: value for name, value in laptop.items() if value is not None} == {
        "product_id": "1",
        "sku": "L2201308",
        "name": "Laptop",
        "variant": "13 inch / 8GB",
        "quantity": "1",
        "unit_price": "1558.80",
        "row_total": "1401.65",
        "categories": (),
    }


def test_a_medusa_cart_comes_with_all_that_medusa_knows() -> None:
    cart = read("medusa", recorded("medusa_eur"), MEDUSA_EUR[2]).cart

    said = msgspec.to_builtins(cart)
    tee = said.pop("items")[0]
    assert {name: value for name, value in said.items() if value is not None} == {
        "currency": "EUR",
        "total": "175.828",
        "subtotal": "170.928",
        "discount": "18.992",
        "tax": "28.073378151260503",
        "shipping": "4.9",
        "coupons": ("SAVE10",),
        "email": "shopper@example.com",
    }
    assert {name: value for name, value in tee.items() if value is not None} == {
        "product_id": "prod_01M82BC1R99D8939K0M6QK7TGP",
        "sku": "TEE-M",
        "name": "Blue Tee",
        "variant": "M",
        "quantity": "3",
        "unit_price": "29.99",
        "row_total": "80.973",
        "image_url": "https://cdn.example/TEE-M.jpg",
    }


# -- answers that are no cart ------------------------------------------------------------


ORDER = "data.orders.items.0"


@pytest.mark.parametrize(
    ("live", "path", "value", "error"),
    [
        (MEDUSA_EUR, "cart", None, CartGone),
        (MEDUSA_EUR, "cart", ..., CartGone),
        (MEDUSA_EUR, "cart.id", "cart_01M82D2W4KHS0KH3Z5NKPD5KX9", CartGone),
        (MEDUSA_EUR, "cart.items", [], CartGone),
        (MEDUSA_EUR, "cart.items", None, CartGone),
        (MEDUSA_EUR, "cart.items", {"0": {}}, CartInvalid),
        (MEDUSA_EUR, "cart.items.0", "a line", CartInvalid),
        (MEDUSA_EUR, "cart.id", None, CartGone),
        (MEDUSA_EUR, "cart.id", True, CartGone),
        (MEDUSA_EUR, "cart.total", ..., CartInvalid),
        (MEDUSA_EUR, "cart.total", "abc", CartInvalid),
        (MEDUSA_EUR, "cart.total", True, CartInvalid),
        (MEDUSA_EUR, "cart.total", {"value": 1}, CartInvalid),
        (MEDUSA_EUR, "cart.total", -1, CartInvalid),
        (MEDUSA_EUR, "cart.total", 10**15, CartInvalid),
        (MEDUSA_EUR, "cart.total", "1e3", CartInvalid),
        (MEDUSA_EUR, "cart.total", "١٢", CartInvalid),
        (MEDUSA_EUR, "cart.currency_code", ..., CartInvalid),
        (MEDUSA_EUR, "cart.currency_code", "euro", CartInvalid),
        (MEDUSA_EUR, "cart.items.0.quantity", 0, CartInvalid),
        (MEDUSA_EUR, "cart.items.0.unit_price", None, CartInvalid),
        (VENDURE, "data", None, CartGone),
        (VENDURE, "data.orders.items", [], CartGone),
        (VENDURE, f"{ORDER}.code", "AAAAAAAAAAAAAAAA", CartGone),
        (VENDURE, f"{ORDER}.lines", [], CartGone),
        (VENDURE, f"{ORDER}.totalWithTax", 1524.83, CartInvalid),
        (VENDURE, f"{ORDER}.totalWithTax", ..., CartInvalid),
        (VENDURE, f"{ORDER}.currencyCode", 7, CartInvalid),
    ],
)
def test_an_answer_that_lacks_something_is_no_cart(
    live: tuple[str, str, str], path: str, value: Json, error: type[CartError]
) -> None:
    preset, name, cart_id = live

    with pytest.raises(error) as told:
        read(preset, changed(name, path, value), cart_id)

    assert "shopper@example.com" not in str(told.value)


@pytest.mark.parametrize("body", [b"", b"<!doctype html>", b'{"cart":', b"NaN", b"[" * 100_000])
def test_what_is_no_json_is_a_shop_that_is_down(body: bytes) -> None:
    with pytest.raises(SourceDown, match="no JSON"):
        read("medusa", body, MEDUSA_EUR[2])


@pytest.mark.parametrize(
    ("written", "total"), [("0.00000000", "0"), ("1.5e2", "150"), ("1e-7", "1e-7")]
)
def test_a_number_is_one_however_json_writes_it(written: str, total: str) -> None:
    body = changed("medusa_eur", "cart.total", "@").replace(b'"@"', written.encode())

    assert read("medusa", body, MEDUSA_EUR[2]).cart.total == Decimal(total)


@pytest.mark.parametrize("written", ["1e99999999999999999999", "-1e99999999999999999999"])
def test_a_number_beyond_all_numbers_is_no_json(written: str) -> None:
    body = changed("medusa_eur", "cart.note", "@").replace(b'"@"', written.encode())

    with pytest.raises(SourceDown, match="no JSON"):
        read("medusa", body, MEDUSA_EUR[2])


@pytest.mark.parametrize(
    "taxes", [["sNaN"], ["Infinity", "-Infinity"], ["9e999999"], [{}], [[1]], "no list"]
)
def test_a_sum_of_what_cannot_be_summed_is_no_amount(taxes: Json) -> None:
    body = changed("vendure", f"{ORDER}.taxSummary", [{"taxTotal": tax} for tax in taxes])

    with pytest.raises(CartInvalid):
        read("vendure", body, VENDURE[2])


def test_a_number_that_is_none_is_no_json() -> None:
    body = changed("medusa_eur", "cart.total", float("nan"))

    with pytest.raises(SourceDown, match="no JSON"):
        read("medusa", body, MEDUSA_EUR[2])


@pytest.mark.parametrize(
    ("errors", "error"),
    [
        ([{"message": "no", "extensions": {"code": "FORBIDDEN"}}], SourceRefused),
        ([{"message": "no", "extensions": {"code": "unauthenticated"}}], SourceRefused),
        ([{"extensions": {"exception": {"code": "PermissionDenied"}}}], SourceRefused),
        ([{"message": "no", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}], SourceDown),
        ([{"message": "jane@shop-demo.io"}], SourceDown),
        ("odd", SourceDown),
    ],
)
def test_graphqls_errors_come_under_status_200(errors: Json, error: type[CartError]) -> None:
    body = json.dumps({"data": {"orders": None}, "errors": errors}).encode()

    with pytest.raises(error) as told:
        read("vendure", body, VENDURE[2])

    assert "jane" not in str(told.value)


@pytest.mark.parametrize(
    ("live", "path", "value"),
    [
        (MEDUSA_EUR, "cart.completed_at", "2026-11-22T20:00:00.000Z"),
        (VENDURE, f"{ORDER}.active", False),
    ],
)
def test_a_cart_that_was_ordered_says_so(
    live: tuple[str, str, str], path: str, value: Json
) -> None:
    preset, name, cart_id = live

    assert read(preset, changed(name, path, value), cart_id).completed


def test_sums_that_do_not_add_up_are_a_warning() -> None:
    reading = read("medusa", changed("medusa_eur", "cart.total", 99), MEDUSA_EUR[2])

    (warning,) = reading.warnings
    assert "the total is 99" in warning


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
PATHS = {
    "medusa_eur": ("cart", "cart.items", "cart.items.0", "cart.promotions", "cart.email"),
    "vendure": (ORDER, f"{ORDER}.taxSummary", f"{ORDER}.lines.0.productVariant", "data"),
}


@given(value=JSON, path=st.sampled_from([(n, p) for n, paths in PATHS.items() for p in paths]))
def test_whatever_stands_there_it_is_a_cart_or_an_error_of_ours(
    value: Json, path: tuple[str, str]
) -> None:
    name, where = path
    preset, _, cart_id = VENDURE if name == "vendure" else MEDUSA_EUR

    with suppress(CartError):
        reading = read(preset, changed(name, where, value), cart_id)
        assert reading.cart.total.is_finite()


# -- money -------------------------------------------------------------------------------


def recipe(**money: Json) -> Recipe:
    return msgspec.structs.replace(
        recipe_of("vendure"), money=msgspec.convert(money, type(recipe_of("vendure").money))
    )


@pytest.mark.parametrize(
    ("exponent", "total"), [(2, "1524.83"), (0, "152483"), (3, "152.483"), ("precision", "15.2483")]
)
def test_how_many_digits_are_decimals_is_the_shops_to_say(exponent: Json, total: str) -> None:
    body = changed("vendure", f"{ORDER}.precision", 4)

    reading = answer.read(answer.parsed(body), recipe(unit="minor", exponent=exponent), VENDURE[2])

    assert str(reading.cart.total) == total


@pytest.mark.parametrize(
    ("currency", "total"), [("EUR", "1524.83"), ("jpy", "152483"), ("KWD", "152.483")]
)
def test_they_may_be_as_many_as_iso_4217_gives_the_currency(currency: str, total: str) -> None:
    body = changed("vendure", f"{ORDER}.currencyCode", currency)

    reading = answer.read(answer.parsed(body), recipe(unit="minor", exponent="iso4217"), VENDURE[2])

    assert str(reading.cart.total) == total


def test_a_currency_that_is_none_has_no_decimals() -> None:
    body = changed("vendure", f"{ORDER}.currencyCode", "XXQ")

    with pytest.raises(CartInvalid, match="digits"):
        answer.read(answer.parsed(body), recipe(unit="minor", exponent="iso4217"), VENDURE[2])


@pytest.mark.parametrize("said", [None, "2", 2.5, -1, 7, True])
def test_a_shop_that_does_not_say_it_has_no_amounts(said: Json) -> None:
    body = changed("vendure", f"{ORDER}.precision", said)

    with pytest.raises(CartInvalid, match="digits"):
        answer.read(answer.parsed(body), recipe(unit="minor", exponent="precision"), VENDURE[2])


@given(units=st.integers(0, 10**14), exponent=st.integers(0, 6))
def test_a_minor_amount_keeps_every_digit(units: int, exponent: int) -> None:
    body = changed("vendure", f"{ORDER}.totalWithTax", units)

    reading = answer.read(answer.parsed(body), recipe(unit="minor", exponent=exponent), VENDURE[2])

    assert reading.cart.total * 10**exponent == units


# -- recipes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_a_recipe(name: str) -> None:
    recipe_of(name)


def test_all_mistakes_of_a_recipe_are_said_at_once() -> None:
    said = {
        "id_pattern": "(",
        "request": {"path": "/"},
        "money": {"unit": "cents", "exponent": 2},
        "cart": {"root": "@", "id": "id", "currency": "currency[", "items": "items"},
        "item": {"product_id": "id", "name": "name", "quantity": "quantity"},
    }

    with pytest.raises(Misconfigured) as error:
        Recipe.parse(said)

    told = "\n".join(error.value.mistakes)
    assert len(error.value.mistakes) == 6
    for words in ("[cart] lacks total", "cart.currency is no JMESPath", "[item] lacks unit_price"):
        assert words in told
    for words in ("id_pattern", "money.unit", "money.exponent"):
        assert words in told


# -- asking ------------------------------------------------------------------------------


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform(answer=recorded("medusa_eur")).serve() as platform:
        yield platform


@pytest.fixture
def medusa(platform: Platform) -> Iterator[HttpCarts]:
    carts = HttpCarts(recipe_of("medusa"), url=platform.url, key=KEY)
    with closing(carts):
        yield carts


def ref(cart_id: str = MEDUSA_EUR[2], credential: str | None = None) -> CartRef:
    return CartRef(shop="shop", cart_id=cart_id, credential=credential)


def test_one_request_reads_a_cart(platform: Platform, medusa: HttpCarts) -> None:
    assert medusa.fetch(ref()).cart.total == Decimal("175.828")

    (asked,) = platform.asked
    assert asked.method == "GET"
    assert asked.path.startswith(f"/store/carts/{MEDUSA_EUR[2]}?fields=id%2Cemail")
    assert asked.headers["x-publishable-api-key"] == KEY
    assert "cookie" not in asked.headers


def test_graphql_takes_the_id_as_a_variable() -> None:
    with (
        Platform(answer=recorded("vendure")).serve() as platform,
        closing(HttpCarts(recipe_of("vendure"), url=platform.url, key=KEY)) as carts,
    ):
        assert carts.fetch(ref(VENDURE[2])).cart.total == Decimal("1524.83")

    (asked,) = platform.asked
    body = json.loads(asked.body)
    assert (asked.method, asked.path) == ("POST", "/admin-api")
    assert body["variables"] == {"code": VENDURE[2]}
    assert VENDURE[2] not in body["query"]


@pytest.mark.parametrize(
    "cart_id",
    [
        *("../../admin/orders", "..", "x?admin=1", "x#frag", "", "gid://shopify/Cart/1", "é" * 31),
        *("cart_" + "A" * 25, "cart_" + "A" * 27, "cart_" + "A" * 25 + "\n"),
        "cart_{key}" + "A" * 21,
    ],
)
def test_an_id_of_another_form_is_not_asked_for(
    platform: Platform, medusa: HttpCarts, cart_id: str
) -> None:
    with pytest.raises(CartInvalid, match="form"):
        medusa.fetch(ref(cart_id))

    assert platform.asked == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, SourceRefused),  # Medusa's word for a publishable key that is missing.
        (401, SourceRefused),
        (403, SourceRefused),
        (404, CartGone),
        (410, CartGone),
        (422, CartInvalid),
        (429, SourceDown),
        (204, SourceDown),
        (500, SourceDown),
        (503, SourceDown),
    ],
)
def test_each_status_means_what_it_means(
    platform: Platform, medusa: HttpCarts, status: int, error: type[CartError]
) -> None:
    platform.status = status

    with pytest.raises(error, match=f"the shop answered {status}"):
        medusa.fetch(ref())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_our_credential(
    platform: Platform, medusa: HttpCarts, status: int
) -> None:
    with Platform(answer=recorded("medusa_eur")).serve() as elsewhere:
        platform.status = status
        platform.headers = {"Location": f"{elsewhere.url}/latest/meta-data/"}

        with pytest.raises(SourceRefused, match=str(status)):
            medusa.fetch(ref())

    assert elsewhere.asked == []


def test_neither_a_netrc_nor_a_proxy_has_a_say(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login mallory password of-the-netrc")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    with closing(HttpCarts(recipe_of("medusa"), url=platform.url, key=KEY)) as carts:
        carts.fetch(ref())

    assert "authorization" not in platform.asked[0].headers


def hang(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read()


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    with suppress(OSError):
        while True:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            threading.Event().wait(0.1)


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    with suppress(OSError):
        for _ in range(1600):
            handler.wfile.write(b" " * 65_536)


def bomb(handler: BaseHTTPRequestHandler) -> None:
    packed = gzip.compress(b" " * 100_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    handler.wfile.write(head.encode() + packed)


@pytest.mark.parametrize("reply", [hang, cut, drip, flood, bomb])
def test_a_hostile_shop_is_a_shop_that_is_down(
    platform: Platform, medusa: HttpCarts, reply: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    platform.reply = reply
    began = time.monotonic()

    with pytest.raises(SourceDown):
        medusa.fetch(ref())

    assert time.monotonic() - began < 5


def test_where_nobody_listens_the_shop_is_down() -> None:
    carts = HttpCarts(recipe_of("medusa"), url="http://127.0.0.1:9", key=KEY)
    with closing(carts), pytest.raises(SourceDown, match="does not answer"):
        carts.fetch(ref())


def test_a_shop_that_refuses_us_is_let_alone(
    platform: Platform, medusa: HttpCarts, caplog: pytest.LogCaptureFixture
) -> None:
    platform.status = 401
    for _ in range(5):
        with pytest.raises(SourceRefused):
            medusa.fetch(ref())

    assert len(platform.asked) == 1
    assert caplog.messages == ["carts cannot be read: the shop answered 401"]


def test_a_shop_that_asks_for_patience_gets_it(platform: Platform, medusa: HttpCarts) -> None:
    platform.status = 429
    platform.headers = {"Retry-After": "7"}
    for _ in range(5):
        with pytest.raises(SourceDown) as error:
            medusa.fetch(ref())
        assert error.value.retry_after is not None
        assert error.value.retry_after.total_seconds() == 7

    assert len(platform.asked) == 1


def test_who_asks_the_same_meanwhile_shares_the_answer(
    platform: Platform, medusa: HttpCarts
) -> None:
    platform.open.clear()
    with ThreadPoolExecutor(8) as threads:
        readings = [threads.submit(medusa.fetch, ref()) for _ in range(8)]
        until(lambda: platform.asked)
        platform.open.set()

        totals = {reading.result().cart.total for reading in readings}

    assert totals == {Decimal("175.828")}
    assert len(platform.asked) < 8


def test_a_backlog_does_not_become_a_flood(platform: Platform, medusa: HttpCarts) -> None:
    platform.open.clear()
    with ThreadPoolExecutor(16) as threads:
        ids = [f"cart_{number:026}" for number in range(16)]
        readings = [threads.submit(medusa.fetch, ref(cart_id)) for cart_id in ids]
        until(lambda: len(platform.asked) == 4)
        platform.open.set()
        for reading in readings:
            with pytest.raises(CartGone, match="another cart"):
                reading.result()

    assert len(platform.asked) == 16


def test_the_credential_is_in_no_repr_and_no_error(platform: Platform, medusa: HttpCarts) -> None:
    told = [repr(medusa), repr(ref(credential="secret-of-the-shopper"))]
    for status in (400, 404, 500):
        platform.status = status
        with pytest.raises(CartError) as error:
            medusa.fetch(ref())
        told.append(f"{error.value!r} {error.value.__cause__!r}")

    assert KEY not in "".join(told)
    assert "secret-of-the-shopper" not in "".join(told)


@pytest.mark.parametrize("status", [401, 403])
def test_a_shoppers_bad_credential_is_about_his_cart_alone(platform: Platform, status: int) -> None:
    medusa = recipe_of("medusa")
    request = msgspec.structs.replace(medusa.request, headers={"Cart-Token": "{credential}"})
    with closing(
        HttpCarts(msgspec.structs.replace(medusa, request=request), url=platform.url)
    ) as carts:
        platform.status = status
        with pytest.raises(CartInvalid, match="to the token's ref"):
            carts.fetch(ref(credential="stale"))
        platform.status = 200

        assert carts.fetch(ref(credential="good")).cart.currency == "EUR"


@pytest.mark.parametrize("credential", ["a\r\nx: y", "ключ", " lead"])
def test_a_credential_that_fits_into_no_header_is_said_without_it(
    platform: Platform, credential: str
) -> None:
    medusa = recipe_of("medusa")
    request = msgspec.structs.replace(medusa.request, headers={"Cart-Token": "{credential}"})
    with (
        closing(
            HttpCarts(msgspec.structs.replace(medusa, request=request), url=platform.url)
        ) as carts,
        pytest.raises(CartError) as error,
    ):
        carts.fetch(ref(credential=credential))

    assert credential not in f"{error.value!r} {error.value.__cause__!r}"


@pytest.mark.parametrize("step", [".", ".."])
def test_no_id_leads_a_step_up(platform: Platform, step: str) -> None:
    own = msgspec.structs.replace(recipe_of("medusa"), id_pattern="[a-z.]{1,9}")

    with closing(HttpCarts(own, url=platform.url)) as carts, pytest.raises(CartInvalid):
        carts.fetch(ref(step))

    assert platform.asked == []


def test_a_recipe_that_needs_a_credential_says_so(platform: Platform) -> None:
    medusa = recipe_of("medusa")
    request = msgspec.structs.replace(medusa.request, headers={"Cart-Token": "{credential}"})
    needy = msgspec.structs.replace(medusa, request=request)

    with closing(HttpCarts(needy, url=platform.url, key=KEY)) as carts:
        with pytest.raises(CartInvalid, match="no ref"):
            carts.fetch(ref())
        carts.fetch(ref(credential="{key}"))

    # What is filled in is not filled again.
    assert platform.asked[0].headers["cart-token"] == "{key}"


# -- in the whole ------------------------------------------------------------------------


@dataclass
class Scene:
    """A proxy that asks *platform* for its carts, and one cart there."""

    platform: Platform
    url: str
    ledger: Ledger
    cart_id: str = ""

    def has(self, **members: Json) -> None:
        """Have the shop answer with the cart, in which *members* stand."""
        said = json.loads(recorded("medusa_eur"))
        said["cart"] |= {"id": self.cart_id, **members}
        self.platform.answer = json.dumps(said).encode()

    def someone_types(self) -> None:
        token = Shop(self.url).token(self.cart_id)
        Page(self.url, token).say(email="jane@shop-demo.io", claimed={"value": 1})

    def event(self) -> dict[str, Any]:
        self.ledger.wait(self.cart_id, Status.DELIVERED)
        (event,) = self.ledger.events(self.cart_id)
        properties: dict[str, Any] = event["properties"]
        return properties


_NUMBERS = count()


@contextmanager
def staged(folder: Path) -> Iterator[Scene]:
    with Platform().serve() as platform, judged_klaviyo() as klaviyo:
        carts = {"CARTS": "medusa", "CARTS_URL": platform.url, "CARTS_KEY": KEY}
        store = folder / "store"
        with Proxy(environment(store, klaviyo.url, SETTLE="0.3", **carts)) as proxy:
            yield Scene(platform, proxy.url, Ledger(store, klaviyo), f"cart_{next(_NUMBERS):026}")


@pytest.fixture(scope="module")
def one_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with staged(tmp_path_factory.mktemp("scene")) as scene:
        yield scene


@pytest.fixture
def scene(one_scene: Scene) -> Scene:
    """Return the one scene with another cart."""
    one_scene.cart_id = f"cart_{next(_NUMBERS):026}"
    one_scene.platform.status = 200
    one_scene.platform.asked.clear()
    one_scene.has()
    return one_scene


def test_the_total_in_klaviyo_is_that_of_the_shops_api(scene: Scene) -> None:
    scene.someone_types()

    event = scene.event()
    assert (event["value"], event["currency"]) == (Decimal("175.83"), "EUR")
    assert event["item_names"] == ["Blue Tee", "White Jeans"]


def test_what_changes_before_the_cart_is_read_is_in_the_event(scene: Scene) -> None:
    scene.someone_types()
    scene.has(total=150)

    assert scene.event()["value"] == 150


def test_a_shop_that_is_away_is_asked_again(scene: Scene) -> None:
    scene.platform.status = 503
    scene.someone_types()
    until(lambda: scene.platform.asked)
    assert scene.ledger.events(scene.cart_id) == []

    scene.platform.status = 200

    assert scene.event()["currency"] == "EUR"


def test_a_cart_that_was_ordered_meanwhile_is_cancelled(scene: Scene) -> None:
    scene.has(completed_at="2026-11-22T20:00:00Z")

    scene.someone_types()

    scene.ledger.wait(scene.cart_id, Status.CANCELLED)
    assert scene.ledger.events(scene.cart_id) == []


def test_a_key_that_is_refused_burns_nothing(tmp_path: Path) -> None:
    with staged(tmp_path) as scene:
        scene.platform.status = 401
        scene.someone_types()

        def reason() -> str:
            return next((each.reason for each in scene.ledger.checkouts(scene.cart_id)), "")

        until(lambda: "401" in reason())
        (checkout,) = scene.ledger.checkouts(scene.cart_id)

    assert (checkout.status, checkout.attempts) == (Status.PENDING, 0)
