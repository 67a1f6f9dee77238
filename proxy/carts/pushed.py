"""Pushed: the cart that the shop's server put last."""

from collections.abc import Callable

from proxy.carts.cart import Cart
from proxy.carts.source import CartRef, trusted
from proxy.errors import CartNotReady


class PushedCarts:
    """Read carts with *last*, which returns the last one put for a shop and a cart id."""

    def __init__(self, last: Callable[[str, str], Cart | None]) -> None:
        self._last = last

    def fetch(self, ref: CartRef) -> Cart:
        """Return the last cart pushed, or raise :exc:`CartNotReady`, :exc:`CartGone`."""
        cart = self._last(ref.shop, ref.cart_id)
        if cart is None:
            raise CartNotReady("no cart was pushed (PUT /v1/carts/{cart_id})")
        return trusted(cart)
