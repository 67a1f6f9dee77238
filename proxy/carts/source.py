"""Source: where a cart that may be trusted comes from."""

from dataclasses import dataclass, field
from typing import Protocol

from proxy.carts.cart import Cart
from proxy.errors import CartGone


@dataclass(frozen=True, slots=True, kw_only=True)
class CartRef:
    """Which cart is asked for, and what the shop's server has said of it.

    ``snapshot`` comes out of the newest verified token, ``pushed`` is the last cart put.
    """

    shop: str
    cart_id: str = field(repr=False)
    snapshot: Cart | None = field(default=None, repr=False)
    pushed: Cart | None = field(default=None, repr=False)


class CartSource(Protocol):
    """Something that can be asked for a cart."""

    def fetch(self, ref: CartRef) -> Cart:
        """Return the cart as the shop shows it now, or raise :exc:`CartError`."""


def trusted(cart: Cart) -> Cart:
    """Return *cart*, or raise :exc:`CartGone` where there is nothing in it to buy."""
    if not cart.items:
        raise CartGone("the cart is empty")
    return cart
