"""Facts: what was received and when, written down once and never changed."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from proxy.carts.cart import Cart
from proxy.steps import Step
from proxy.wire import Strict

Line = Annotated[str, Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class ConsentState(StrEnum):
    """What the shopper said about being written to."""

    GRANTED = "granted"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Consent:
    """The shopper's word, the tool that took it down, and that tool's own record of it."""

    state: ConsentState
    source: str | None = None
    evidence: str | None = None


class Customer(Strict, frozen=True, kw_only=True):
    """Who the session belongs to, in the words of the shop's server."""

    email: Line | None = None
    phone_number: Line | None = None
    external_id: Line | None = None
    first_name: Line | None = None
    last_name: Line | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Claim:
    """The total the page says it shows: compared, never sent."""

    value: Decimal
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """The part every fact has. *id* is the same when the same fact is posted again."""

    id: str
    shop: str
    cart_id: str = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StatePosted(Fact):
    """The page posted how the checkout stands.

    ``acted_at`` is when the shopper acted: the time of receipt less the age the page reports.
    ``email`` to ``claimed`` are the page's words, ``customer`` to ``region`` the shop's (they come
    out of the signed token). ``gpc`` is the browser's Global Privacy Control, ``region_seen`` what
    a header of the shop's CDN says. ``client`` stands for the network address that posted, until
    the day is over; ``automated`` says that a program did.
    """

    acted_at: datetime
    email: str | None = None
    phone_number: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    kx: str | None = None
    consent: Consent | None = None
    gpc: bool = False
    checkout_url: str | None = None
    locale: str | None = None
    claimed: Claim | None = None
    customer: Customer | None = None
    cart: Cart | None = None
    ref: str | None = None
    region: str | None = None
    region_seen: str | None = None
    client: str | None = None
    automated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CartPushed(Fact):
    """The shop's server put a cart."""

    cart: Cart


@dataclass(frozen=True, slots=True, kw_only=True)
class CartDeleted(Fact):
    """The shop's server took a cart away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced(Fact):
    """The shop's server says that the cart became an order."""

    order_id: str
    placed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Fact):
    """An operator wants something of the checkout that began at ``epoch``."""

    epoch: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAsked(Asked):
    """A dead letter is to be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HurryAsked(Asked):
    """What waits is to be sent now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked(Asked):
    """The checkout is not to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAsked(Asked):
    """What is in quarantine is believed all the same."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ErasureAsked(Fact):
    """A person's data is to be erased, wherever it lies.

    It is that of whom ``email`` or ``phone_number`` (in E.164) names, of whom ``address_hash``
    stands for, which may be a number's as well, and of the cart, where there is a ``cart_id``.
    """

    email: str | None = None
    phone_number: str | None = None
    address_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneAsked(Fact):
    """What was before ``before`` is to be removed, and not kept for as long as usual."""

    before: datetime


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class QuestionAsked(Fact):
    """An operator asks what would be sent, and nothing is: the answer comes into the book.

    It is about the checkout that began at ``epoch``; or else about ``state``, were it posted now,
    which has come through the steps ``before``.
    """

    epoch: datetime | None = None
    state: StatePosted | None = None
    before: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Fact):
    """A web worker counted what left no other fact: how many, by what it was and its detail."""

    counts: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOut(Fact):
    """An operator ended a session, or every one where it names none."""

    session: str | None = None


_KINDS: dict[str, type[Fact]] = {
    "state": StatePosted,
    "cart": CartPushed,
    "cart-deleted": CartDeleted,
    "order": OrderPlaced,
    "replay": ReplayAsked,
    "hurry": HurryAsked,
    "cancel": CancelAsked,
    "erasure": ErasureAsked,
    "release": ReleaseAsked,
    "prune": PruneAsked,
    "question": QuestionAsked,
    "counted": Counted,
    "signed-out": SignedOut,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _KINDS.items()}


def kinds() -> Collection[str]:
    """Return the names of all kinds."""
    return _KINDS.keys()


def kind(fact: Fact) -> str:
    """Return the name under which *fact*'s kind is stored."""
    return _NAMES[type(fact)]


def encode(fact: Fact) -> bytes:
    """Return *fact* as the JSON that :func:`decode` reads back, amounts to the last digit."""
    return msgspec.json.encode(fact)


def decode(kind: str, body: bytes) -> Fact:
    """Return the fact of *kind* written in *body*, or raise :exc:`ValueError`."""
    if kind not in _DECODERS:
        raise ValueError(f"a fact of the unknown kind {kind!r}")
    return _DECODERS[kind].decode(body)
