"""Signed: the snapshot of the cart that the shop's server put into the token."""

from proxy.carts.source import CartRef, Reading, trusted
from proxy.errors import CartInvalid


class SignedCarts:
    """Read carts out of the tokens themselves."""

    def fetch(self, ref: CartRef) -> Reading:
        """Return the newest token's snapshot, or raise :exc:`CartInvalid`, :exc:`CartGone`."""
        if ref.snapshot is None:
            raise CartInvalid("the token carries no cart (carts are read from it: signed)")
        return trusted(ref.snapshot)
