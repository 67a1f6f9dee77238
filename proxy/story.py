"""Story: one cart's checkouts told in order, what was received, decided and tried."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from proxy.checkouts import Checkout, Status
from proxy.consents import ConsentMode, Decided
from proxy.facts import Consent
from proxy.latest import value
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
    """The checkouts of a cart as they stand, what led there, and whether anything is sent now.

    Of what was received ``untold`` came before, and is not among the lines.
    """

    checkouts: list[Checkout]
    lines: list[Line]
    standing: Standing
    untold: int = 0


def tell(book: "Reader", shop: str, cart_id: str, newest: int | None = None) -> Story:
    """Return the story of one cart; it is empty where nothing was received.

    Of what was received it has all, or the *newest* so many: who holds a token may post on and on.
    """
    received = [
        Line(at=row.received_at, what=kind_in_words(row.kind), words=row.decision)
        for row in book.received(shop, cart_id, newest)
    ]
    is_all = newest is None or len(received) < newest
    untold = 0 if is_all else book.many_received(shop, cart_id) - len(received)
    tried = [
        Line(at=attempt.at, what="sent to Klaviyo", words=_answer(attempt))
        for attempt in book.attempts(shop, cart_id)
    ]
    lines = sorted([*received, *tried], key=lambda line: line.at)
    return Story(
        checkouts=book.checkouts(shop, cart_id),
        lines=lines,
        standing=book.standing(shop),
        untold=untold,
    )


def _answer(attempt: "Attempt") -> str:
    """Return what Klaviyo said, with the id under which its support finds the request."""
    named = "" if attempt.request_id is None else f" [request {attempt.request_id}]"
    return attempt.reason + named


def kind_in_words(kind: str) -> str:
    """Return what came in, where it lies under *kind*: of a version to come, that itself."""
    return KINDS.get(kind, kind)


# With what the sender notes by itself.
KINDS = {
    "state": "state posted",
    "cart": "cart pushed",
    "cart-deleted": "cart deleted",
    "order": "order placed",
    "replay": "replay asked",
    "release": "release asked",
    "hurry": "hurry asked",
    "cancel": "cancel asked",
    "looked for": "looked for",
    "erasure": "erasure asked",
    "prune": "prune asked",
    "question": "question asked",
    "counted": "counted",
    "signed-out": "signed out",
}


def headline(checkout: Checkout) -> str:
    """Return how *checkout* stands, in a sentence."""
    if checkout.status is Status.PENDING and checkout.due_at is not None:
        return f"pending: {checkout.reason} (due {checkout.due_at:%Y-%m-%d %H:%M:%S}Z)"
    return f"{checkout.status}: {checkout.reason}"


def consent(checkout: Checkout) -> str:
    """Return what was decided about consent, since when, under which mode, on what evidence."""
    decided, latest = checkout.consent, checkout.latest
    if decided is None:
        # An earlier version wrote down what was said alone.
        return _said(value(latest.consent), gpc=latest.gpc is not None and latest.gpc.value)
    at = f"{decided.at:%Y-%m-%d %H:%M:%S}Z"
    mode = f"{decided.permission}, by the mode {decided.mode}{_in_region(decided)}, since {at}"
    if decided.mode is ConsentMode.OFF:
        return mode
    return f"{mode}: {_said(decided.consent, gpc=decided.gpc)}"


def _in_region(decided: Decided) -> str:
    if decided.region is None:
        return " (no region is known)"
    return (
        f" ({decided.region}, says {'the token' if decided.region_by == 'token' else 'a header'})"
    )


def _said(said: Consent | None, *, gpc: bool) -> str:
    sent = ", and the browser sends Global Privacy Control" * gpc
    if said is None:
        return f"nothing was said{sent}"
    kept = ", ".join(_short(each) for each in (said.source, said.evidence) if each)
    return f"{said.state}{f' ({kept})' if kept else ''}{sent}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


# A TC string may have thousands of characters.
_LONGEST = 200
