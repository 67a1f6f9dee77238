"""Story: one cart's checkouts told in order, what was received, decided and tried."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from proxy.checkouts import Checkout, Status
from proxy.standing import Standing

if TYPE_CHECKING:
    from proxy.store.reader import Attempt, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that happened: when, what kind of thing, in words."""

    at: datetime
    what: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The checkouts of a cart as they stand, what led there, and whether anything is sent now."""

    checkouts: list[Checkout]
    lines: list[Line]
    standing: Standing


def tell(book: "Reader", shop: str, cart_id: str) -> Story:
    """Return the story of one cart; it is empty where nothing was received."""
    received = [
        Line(at=row.received_at, what=_KINDS.get(row.kind, row.kind), words=row.decision)
        for row in book.received(shop, cart_id)
    ]
    tried = [
        Line(at=attempt.at, what="sent to Klaviyo", words=_answer(attempt))
        for attempt in book.attempts(shop, cart_id)
    ]
    lines = sorted([*received, *tried], key=lambda line: line.at)
    return Story(checkouts=book.checkouts(shop, cart_id), lines=lines, standing=book.standing(shop))


def _answer(attempt: "Attempt") -> str:
    """Return what Klaviyo said, with the id under which its support finds the request."""
    named = "" if attempt.request_id is None else f" [request {attempt.request_id}]"
    return attempt.reason + named


_KINDS = {
    "state": "state posted",
    "cart": "cart pushed",
    "cart-deleted": "cart deleted",
    "order": "order placed",
    "replay": "replay asked",
    "hurry": "hurry asked",
    "cancel": "cancel asked",
    "looked for": "looked for",
    "erasure": "erasure asked",
}


def headline(checkout: Checkout) -> str:
    """Return how *checkout* stands, in a sentence."""
    if checkout.status is Status.PENDING and checkout.due_at is not None:
        return f"pending: {checkout.reason} (due {checkout.due_at:%Y-%m-%d %H:%M:%S}Z)"
    return f"{checkout.status}: {checkout.reason}"
