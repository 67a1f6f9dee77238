"""Shown: a cart as it is understood, in words for a terminal and as JSON for a program."""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.carts.cart import LineItem
from proxy.carts.source import Reading
from proxy.money import rounded


def as_json(cart_id: str, reading: Reading) -> str:
    """Return the members of ``PUT /v1/carts``, amounts as text, and what else is known."""
    about = {"cart_id": cart_id, "completed": reading.completed, "warnings": reading.warnings}
    said = about | _known(reading.cart) | {"items": [_known(item) for item in reading.cart.items]}
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode()


def _known(of: msgspec.Struct) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(of)
    return {name: value for name, value in said.items() if value is not None}


def in_words(reading: Reading) -> Iterator[str]:
    """Yield the lines and sums of a cart, and what is odd about it."""
    cart = reading.cart
    for item in cart.items:
        yield f"{item.quantity:>6} x {item.name[:44]:<44} {rounded(_row(item), cart.currency):>14}"
    for name in ("subtotal", "discount", "tax", "shipping", "total"):
        amount = getattr(cart, name)
        known = "unknown" if amount is None else f"{rounded(amount, cart.currency)}"
        label = f"total in {cart.currency}" if name == "total" else name
        yield f"{label:>53} {known:>14}"
    if cart.coupons:
        yield f"Coupons: {', '.join(cart.coupons)}"
    if reading.completed:
        yield "It became an order: nothing is sent for it."
    for warning in reading.warnings:
        yield f"Odd, and perhaps right: {warning}."


def _row(item: LineItem) -> Any:
    return item.unit_price * item.quantity if item.row_total is None else item.row_total
