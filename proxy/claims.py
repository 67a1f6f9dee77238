"""Claims: the total that the page says it shows, beside the shop's own; it is never sent."""

from enum import StrEnum

from proxy.carts.cart import Cart
from proxy.facts import Claim
from proxy.money import minor_unit


class Compared(StrEnum):
    """How a claim stands to the total that can be trusted."""

    MATCH = "match"
    MISMATCH = "mismatch"
    OTHER_CURRENCY = "other currency"
    ABSENT = "absent"


def compared(claim: Claim | None, cart: Cart) -> Compared:
    """Return how *claim* stands to *cart*: a page may round each line by itself."""
    if claim is None:
        return Compared.ABSENT
    if claim.currency not in (None, cart.currency):
        return Compared.OTHER_CURRENCY
    slack = minor_unit(cart.currency) * len(cart.items)
    return Compared.MATCH if abs(claim.value - cart.total) <= slack else Compared.MISMATCH
