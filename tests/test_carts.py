"""A cart counts only where a source that may be trusted says it, and the newest one counts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.carts.cart import Cart, LineItem, public_id, replaces
from proxy.carts.pushed import PushedCarts
from proxy.carts.signed import SignedCarts
from proxy.carts.source import CartRef, CartSource
from proxy.errors import CartError, CartGone, CartInvalid, CartNotReady

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

TEA = LineItem(product_id="t", name="Tea", quantity=Decimal(1), unit_price=Decimal(5))
CART = Cart(currency="EUR", total=Decimal(5), items=(TEA,))
EMPTY = Cart(currency="EUR", total=Decimal(0), items=())


# -- the sources -------------------------------------------------------------------------


def pushed(cart: Cart | None) -> Cart:
    """Return what the source of pushed carts makes of *cart*."""
    source: CartSource = PushedCarts()
    # A snapshot is not this source's business.
    return source.fetch(CartRef(shop="shop", cart_id="c-1", snapshot=EMPTY, pushed=cart)).cart


def signed(cart: Cart | None) -> Cart:
    """Return what the source of signed carts makes of *cart*."""
    source: CartSource = SignedCarts()
    return source.fetch(CartRef(shop="shop", cart_id="c-1", snapshot=cart, pushed=EMPTY)).cart


@pytest.mark.parametrize("fetch", [pushed, signed])
def test_a_cart_comes_as_the_shop_said_it(fetch: Callable[[Cart | None], Cart]) -> None:
    assert fetch(CART) is CART


@pytest.mark.parametrize("fetch", [pushed, signed])
def test_a_cart_without_a_line_is_gone(fetch: Callable[[Cart | None], Cart]) -> None:
    with pytest.raises(CartGone, match="the cart is empty"):
        fetch(EMPTY)


@pytest.mark.parametrize("fetch", [pushed, signed])
def test_a_free_cart_is_a_cart(fetch: Callable[[Cart | None], Cart]) -> None:
    free = Cart(currency="EUR", total=Decimal(0), items=(TEA,))

    assert fetch(free).total == 0


def test_a_cart_that_was_not_pushed_yet_may_still_come() -> None:
    with pytest.raises(CartNotReady, match="PUT /v1/carts"):
        pushed(None)


def test_a_token_without_a_cart_will_never_have_one() -> None:
    with pytest.raises(CartInvalid, match="the token carries no cart"):
        signed(None)


@pytest.mark.parametrize(("fetch", "cart"), [(pushed, None), (pushed, EMPTY), (signed, None)])
def test_no_error_tells_which_cart_it_is_about(
    fetch: Callable[[Cart | None], Cart], cart: Cart | None
) -> None:
    with pytest.raises(CartError) as error:
        fetch(cart)

    assert "c-1" not in str(error.value)


def test_no_repr_tells_what_is_in_a_cart() -> None:
    ref = CartRef(shop="shop", cart_id="canary?key=1", snapshot=CART)

    assert "canary" not in repr(ref)
    assert repr([CART, TEA]) == "[<Cart>, <LineItem>]"


# -- which of two carts is newer ---------------------------------------------------------


def cart(version: int | None = None, minute: int | None = None) -> Cart:
    updated_at = None if minute is None else NOON + timedelta(minutes=minute)
    return Cart(
        currency="EUR", total=Decimal(5), items=(TEA,), version=version, updated_at=updated_at
    )


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (cart(version=2), cart(version=1), True),
        (cart(version=1), cart(version=1), True),
        (cart(version=1), cart(version=2), False),
        (cart(version=0), cart(version=-1), True),
        (cart(version=-1), cart(version=0), False),
        (cart(minute=2), cart(minute=1), True),
        (cart(minute=1), cart(minute=1), True),
        (cart(minute=1), cart(minute=2), False),
        (cart(version=2, minute=1), cart(version=1, minute=2), True),
        (cart(version=1, minute=2), cart(version=2, minute=1), False),
        (cart(version=1, minute=1), cart(minute=2), False),
        (cart(minute=2), cart(version=9, minute=1), True),
        (cart(version=1), cart(minute=2), True),
        (cart(minute=1), cart(version=2), True),
        (cart(version=1), cart(), True),
        (cart(), cart(version=2, minute=2), True),
        (cart(), cart(), True),
    ],
)
def test_the_version_decides_or_else_the_time_or_else_who_came_last(
    new: Cart, old: Cart, *, expected: bool
) -> None:
    assert replaces(new, old, came_later=True) is expected


def test_of_two_carts_that_do_not_say_the_one_that_came_later_counts() -> None:
    assert not replaces(cart(), cart(), came_later=False)
    assert replaces(cart(version=2), cart(version=1), came_later=False)


def test_two_clocks_of_the_shop_s_are_one_time() -> None:
    berlin = msgspec.json.decode(b'"2026-11-22T13:30:00+01:00"', type=datetime)
    half_past = msgspec.structs.replace(CART, updated_at=berlin)

    assert replaces(half_past, cart(minute=30), came_later=True)
    assert not replaces(half_past, cart(minute=31), came_later=True)


VERSIONED = st.builds(cart, version=st.integers(-5, 5), minute=st.none() | st.integers(0, 5))


@settings(max_examples=60)
@given(st.lists(VERSIONED, min_size=1, max_size=6))
def test_whatever_order_carts_come_in_the_highest_version_stays(carts: list[Cart]) -> None:
    kept = carts[0]
    for new in carts[1:]:
        kept = new if replaces(new, kept, came_later=True) else kept

    assert kept.version == max(cart.version for cart in carts if cart.version is not None)


# -- what is no cart ---------------------------------------------------------------------


def read(**changes: Any) -> Cart:
    """Return the cart that a shop's server writes, but for *changes*."""
    line = {"product_id": "t", "name": "Tea", "quantity": 1, "unit_price": "5.00"}
    written = {"currency": "EUR", "total": "5.00", "items": [line]}
    written |= {name: value for name, value in changes.items() if name in Cart.__struct_fields__}
    line |= {name: value for name, value in changes.items() if name not in written}
    return msgspec.json.decode(msgspec.json.encode(written), type=Cart)


@pytest.mark.parametrize("amount", ["5.00", 5, 5.0, "5e0"])
def test_an_amount_is_a_number_or_a_number_in_a_string(amount: object) -> None:
    assert read(total=amount).total == 5


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"total": "-0.01"}, "total must not be negative"),
        ({"total": "NaN"}, "total must be an amount"),
        ({"total": "Infinity"}, "total must be an amount"),
        ({"total": "1e15"}, "total must be an amount below"),
        ({"shipping": "-1e15"}, "shipping must be an amount below"),
        ({"currency": "eur"}, "ISO 4217 code in capitals, got 'eur'"),
        ({"currency": "EURO"}, "ISO 4217"),
        ({"currency": "XAU"}, "ISO 4217"),
        ({"quantity": 0}, "quantity must be above zero"),
        ({"quantity": "-1"}, "quantity must be above zero"),
        ({"unit_price": "sNaN"}, "unit_price must be an amount"),
        ({"row_total": "1e99"}, "row_total must be an amount"),
        ({"product_id": ""}, "length >= 1"),
        ({"product_url": "javascript:alert(1)"}, "regex"),
        ({"checkout_url": "/relative"}, "regex"),
        ({"updated_at": "2026-11-22T12:00:00"}, "timezone"),
        ({"prise": "5.00"}, "unknown field `prise`"),
    ],
)
def test_what_cannot_be_a_cart_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        read(**changes)


def test_a_discount_line_and_a_gift_are_lines() -> None:
    assert read(unit_price="-5.00").items[0].unit_price == -5
    assert read(unit_price=0).items[0].unit_price == 0


def test_a_cart_id_of_200_characters_is_told_as_it_is() -> None:
    assert public_id("c" * 200) == "c" * 200
