"""Pushed: the cart that the shop's server put last."""

from proxy.carts.source import CartRef, Reading, trusted
from proxy.errors import CartNotReady


class PushedCarts:
    """Read the carts that lie beside the checkouts in the store."""

    def fetch(self, ref: CartRef) -> Reading:
        """Return the last cart pushed, or raise :exc:`CartNotReady`, :exc:`CartGone`."""
        if ref.pushed is None:
            raise CartNotReady(
                "no cart was pushed, or none since its order (PUT /v1/carts/{cart_id})"
            )
        return trusted(ref.pushed)
