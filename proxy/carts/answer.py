"""Answer: what a platform said of a cart becomes ours, by its recipe, or it is no trusted cart."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from proxy.carts import paths
from proxy.carts.cart import Cart
from proxy.carts.fields import Fields
from proxy.carts.source import Reading
from proxy.errors import CartGone, CartInvalid, SourceDown, SourceRefused
from proxy.money import as_amount, exponent_of, minor_unit

Json = Any


def read(answer: Json, fields: Fields, cart_id: str) -> Reading:
    """Return the cart in *answer*, or raise :exc:`CartError`: a 200 proves nothing.

    *cart_id* is that of the cart that was asked for, in the form that the platform gives it.
    """
    cart = _found(fields.cart["root"], answer)
    if not cart:
        _check_errors(answer)
        raise CartGone("the shop does not know the cart")
    if _text(_found(fields.cart["id"], cart)) != cart_id:
        raise CartGone("the shop answered with another cart")
    if not _found(fields.cart["items"], cart):
        raise CartGone("the cart is empty")
    ours = _cart(fields, cart)
    completed = _truth("completed", _found(fields.cart.get("completed", "`false`"), cart))
    return Reading(cart=ours, completed=completed, warnings=tuple(_warnings(ours)))


def _text(id_: Json) -> str | None:
    """Return an id as text, and nothing where it is none: ``None`` is no cart's id."""
    return str(id_) if isinstance(id_, str | int | UUID) and not isinstance(id_, bool) else None


def _truth(name: str, value: Json) -> bool:
    # Any other value would be true: "false" too, and a cart that was ordered is sent to nobody.
    if value not in (None, False, True):
        raise CartInvalid(f"{name} is neither true nor false")
    return bool(value)


def parsed(body: bytes) -> Json:
    """Return what *body* says, every decimal figure as a :class:`Decimal`."""
    try:
        # Never a float: 1524.83 is no binary fraction.
        return json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError, ArithmeticError):  # 1e99999999999999999999 is too large.
        raise SourceDown("the shop's answer is no JSON") from None


def _no_number(word: str) -> Json:
    raise ValueError(f"{word} is no JSON")


# What GraphQL servers call it where the one who asks may not.
_FORBIDDEN = frozenset({"FORBIDDEN", "UNAUTHENTICATED", "UNAUTHORIZED", "PERMISSIONDENIED"})


def _check_errors(answer: Json) -> None:
    """Raise where *answer*, which has no cart, has errors: GraphQL's come under status 200.

    Those beside a cart are about members that we can do without or will miss below.
    """
    if not _found("errors", answer):
        return
    codes_at = "errors[].[extensions.code, extensions.exception.code][]"
    codes = {str(code).upper().replace("_", "") for code in _found(codes_at, answer) or ()}
    if codes & _FORBIDDEN:
        raise SourceRefused(f"the shop says {', '.join(sorted(codes & _FORBIDDEN))}")
    raise SourceDown("the shop answered with errors and no cart")


# -- from theirs to ours -----------------------------------------------------------------


def _cart(fields: Fields, cart: Json) -> Cart:
    amount = _amount_of(fields, cart)
    said = {
        name: _value(name, _found(path, cart), amount)
        for name, path in fields.cart.items()
        if name not in _NOT_OURS
    }
    lines = _found(fields.cart["items"], cart)
    if not isinstance(lines, list):
        raise CartInvalid("items is no list")
    said["items"] = [
        {name: _value(name, _found(path, line), amount) for name, path in fields.item.items()}
        for line in lines
    ]
    try:
        return msgspec.convert(_without_nothing(said), Cart, strict=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise CartInvalid(f"the shop's cart cannot be read: {error}") from None


_NOT_OURS = frozenset({"root", "id", "items", "completed"})
_AMOUNTS = frozenset({"total", "subtotal", "tax", "shipping", "unit_price", "row_total"})


def _found(path: str, within: Json) -> Json:
    try:
        return paths.find(path, within)
    except LookupError:
        raise CartInvalid(
            f"the shop's answer has something else where {path} is looked for"
        ) from None


def _value(name: str, value: Json, amount: Callable[[str, Json], Decimal]) -> Json:
    if value is None or value == "":
        return None
    if name == "discount":
        return abs(amount(name, value))  # A shop may write it as what it takes away.
    if name in _AMOUNTS:
        return amount(name, value)
    match name:
        case "currency":
            return str(value).upper()
        case "quantity":
            return _number(name, value)
        case "product_id" | "sku" | "name" | "variant":
            return str(value)
    return value


def _amount_of(fields: Fields, cart: Json) -> Callable[[str, Json], Decimal]:
    """Return what makes an amount of what stands in *cart*, in the currency's major unit."""
    if fields.money.unit == "major":
        return _number
    digits = _digits(fields, cart)
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 6:
        raise CartInvalid("the shop does not say how many digits of an amount are decimals")
    return lambda name, value: _whole(name, value).scaleb(-digits)


def _digits(fields: Fields, cart: Json) -> Json:
    exponent = fields.money.exponent
    if isinstance(exponent, int):
        return exponent
    if exponent == "iso4217":
        return exponent_of(str(_found(fields.cart["currency"], cart)).upper())
    return _found(str(exponent), cart)


def _number(name: str, value: Json) -> Decimal:
    """Return the number that *value* is, or is written in; a float would have lost digits."""
    if isinstance(value, float):
        raise CartInvalid(f"{name} is a float, which has lost digits: give a decimal or a text")
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise CartInvalid(f"{name} is no number")
    amount = as_amount(value)
    if amount is None:
        raise CartInvalid(f"{name} is no number of at most 15 digits before its point")
    return amount


def _whole(name: str, value: Json) -> Decimal:
    number = _number(name, value)
    if number != number.to_integral_value():
        raise CartInvalid(f"{name} is no whole number of minor units")
    return number


def _without_nothing(said: Mapping[str, Json]) -> Json:
    kept = {name: value for name, value in said.items() if value is not None}
    kept["items"] = [
        {name: value for name, value in line.items() if value is not None} for line in said["items"]
    ]
    return kept


def _warnings(cart: Cart) -> Any:
    """Say what does not add up. It may be right all the same: shops round, and spread discounts."""
    rows = [
        line.row_total if line.row_total is not None else line.unit_price * line.quantity
        for line in cart.items
    ]
    slack = minor_unit(cart.currency) * (len(rows) + 1)
    with_shipping = sum(rows, cart.shipping or Decimal(0))
    # Rows may be those before or after the discount, and taxes in them or not.
    sums = with_shipping, with_shipping - (cart.discount or 0)
    taxed = [each + (cart.tax or 0) for each in sums]
    if all(abs(cart.total - each) > slack for each in (*sums, *taxed)):
        yield f"the lines and the shipping make {with_shipping}, the total is {cart.total}"
