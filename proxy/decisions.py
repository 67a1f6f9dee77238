"""Decisions: what became of a checkout, told to the log: by ids and hashes, never who it was."""

import logging
from collections.abc import Iterable

from proxy.carts.cart import public_id
from proxy.checkouts import Checkout, Status

logger = logging.getLogger(__name__)


def tell(steps: Iterable[tuple[Checkout | None, Checkout]]) -> None:
    """Tell the log of each checkout, as it was before and is after, that was decided upon."""
    if logger.isEnabledFor(logging.INFO):
        for before, after in steps:
            if _is_decision(before, after):
                _tell(after)


def _is_decision(before: Checkout | None, after: Checkout) -> bool:
    if after is before:
        return False
    if after.status is Status.PENDING:
        return before is not None and after.attempts > before.attempts
    return before is None or after.status is not before.status


def _tell(checkout: Checkout) -> None:
    address = checkout.address_hash
    of_whom = f" (address {address})" if address else ""
    logger.info(
        "%s: %s %s: %s%s",
        checkout.shop,
        checkout.unique_id,
        checkout.status,
        checkout.reason,
        of_whom,
        extra={
            "shop": checkout.shop,
            "event": checkout.unique_id,
            "cart": public_id(checkout.cart_id),
            "status": str(checkout.status),
            "reason": checkout.reason,
            "address": address,
        },
    )
