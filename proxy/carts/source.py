"""Source: where a cart that may be trusted comes from."""

from dataclasses import dataclass, field
from typing import Protocol

from proxy.carts.cart import Cart
from proxy.errors import CartGone


@dataclass(frozen=True, slots=True, kw_only=True)
class CartRef:
    """Which cart is asked for, and what the shop's server has said of it.

    ``snapshot`` and ``credential`` (the token's ``ref``) come out of the newest verified token,
    ``pushed`` is the last cart put.
    """

    shop: str
    cart_id: str = field(repr=False)
    credential: str | None = field(default=None, repr=False)
    snapshot: Cart | None = field(default=None, repr=False)
    pushed: Cart | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A cart as it was read, whether it was ordered by then, and what about it is odd."""

    cart: Cart
    completed: bool = False
    warnings: tuple[str, ...] = ()


class CartSource(Protocol):
    """Something that can be asked for a cart."""

    def fetch(self, ref: CartRef) -> Reading:
        """Return the cart as the shop shows it now, or raise :exc:`CartError`."""


def trusted(cart: Cart) -> Reading:
    """Return *cart* as it was read, or raise :exc:`CartGone` where there is nothing to buy."""
    if not cart.items:
        raise CartGone("the cart is empty")
    return Reading(cart=cart)
