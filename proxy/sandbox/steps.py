"""Steps: a checkout's way from the page to Klaviyo, in words for the page beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from proxy.checkouts import Checkout, Status, Trouble
from proxy.story import Story

Json = dict[str, Any]


class State(StrEnum):
    """How far a step is."""

    LATER = "later"
    NOW = "now"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step in words; ``code`` is JSON to show as it is, ``seconds`` counts down."""

    key: str
    state: State
    title: str
    text: str
    lines: tuple[str, ...] = ()
    code: str | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What the page posted to ``/co/state``, and what it was answered."""

    at: datetime
    body: bytes
    status: int
    answer: bytes
    seconds: float

    @property
    def said(self) -> Json:
        """The body's members; none where it is no JSON object."""
        return _members(self.body)


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the stand-in Klaviyo answered with 202."""

    received_at: datetime
    status: str
    profile: str
    attributes: msgspec.Raw

    @property
    def body(self) -> bytes:
        """The request's body, with every digit as it was sent, indented for reading."""
        whole = b'{"data":{"type":"event","attributes":' + bytes(self.attributes) + b"}}"
        return msgspec.json.format(whole, indent=2)

    @property
    def unique_id(self) -> str | None:
        """What Klaviyo knows the event by."""
        return _members(self.attributes).get("unique_id")

    @property
    def value(self) -> Decimal | None:
        """The event's amount."""
        return _members(self.attributes).get("value")

    @property
    def addressee(self) -> str:
        """Who it is about: an address, or what else the profile was found by."""
        return self.profile.partition(":")[2] or self.profile

    @property
    def counts(self) -> bool:
        """Whether it is neither a duplicate nor dropped."""
        return self.status == "counted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is known about one cart: by the page, the shop, the store and Klaviyo."""

    posts: Sequence[Post]
    total: Decimal
    story: Story
    arrivals: Sequence[Arrival]

    @property
    def checkout(self) -> Checkout | None:
        """The checkout that is going on, or was the last."""
        return self.story.checkouts[-1] if self.story.checkouts else None

    @property
    def tries(self) -> tuple[str, ...]:
        """What Klaviyo answered, try by try."""
        lines = (line for line in self.story.lines if line.what == "sent to Klaviyo")
        return tuple(f"{line.at:%H:%M:%S} {line.words}" for line in lines)


def steps(known: Known, now: datetime) -> tuple[Step, ...]:
    """Return the way of an address from the page to Klaviyo, as it stands *now*."""
    return _posted(known), _settled(known, now), _cart(known), _sent(known, now), _counted(known)


def headline(told: Sequence[Step]) -> str:
    """Return the one thing to say about *told*, without the seconds: it is read aloud."""
    return next((step for step in reversed(told) if step.state is not State.LATER), told[0]).title


def euros(amount: Decimal) -> str:
    """Return *amount* as the shop writes it."""
    return f"€{amount:,.2f}"


# -- the steps ---------------------------------------------------------------------------


def _posted(known: Known) -> Step:
    if not known.posts:
        text = "Type an e-mail address and leave the field. The script on this page does the rest."
        return Step(key="posted", state=State.NOW, title="Waiting for an address", text=text)
    post = known.posts[-1]
    accepted = post.status == 202
    fate = "it is on disk, and survives a crash from here on" if accepted else _refusal(post)
    text = f"POST /co/state was answered {post.status} in {post.seconds * 1000:.0f} ms: {fate}."
    if len(known.posts) > 1:
        text += f" {len(known.posts)} posts so far, and still one checkout."
    return Step(
        key="posted",
        state=State.DONE if accepted else State.STOPPED,
        title="The page posted" if accepted else "The page’s post was refused",
        text=text,
        code=_readable(post),
    )


def _refusal(post: Post) -> str:
    return str(_members(post.answer).get("detail", "the proxy is not there")).rstrip(".")


def _settled(known: Known, now: datetime) -> Step:
    checkout = known.checkout
    if checkout is None:
        text = "The event waits a little, so that a mistyped address can be corrected."
        return Step(key="settled", state=State.LATER, title="Settle", text=text)
    if checkout.status is Status.PENDING and now < checkout.settled_at:
        text = "Correct the address now, and only the corrected one is sent."
        left = _seconds_until(checkout.settled_at, now)
        return Step(key="settled", state=State.NOW, title="Settling", text=text, seconds=left)
    if checkout.status is Status.CANCELLED:
        text = f"{checkout.reason[:1].upper()}{checkout.reason[1:]}."
        return Step(key="settled", state=State.STOPPED, title="Cancelled", text=text)
    text = f"It is the checkout {checkout.unique_id}: the same on every retry, made only once."
    return Step(key="settled", state=State.DONE, title="Settled", text=text)


def _cart(known: Known) -> Step:
    claim = next((post.said["claimed"] for post in reversed(known.posts) if _claims(post)), None)
    lines = () if claim is None else (_about(claim, _total(known)),)
    checkout = known.checkout
    if checkout is not None and checkout.trouble in (Trouble.NO_CART, Trouble.CART_GONE):
        text = f"{checkout.reason}. Without a total that can be trusted, nothing is sent."
        return Step(key="cart", state=State.NOW, title="Looking for the cart", text=text)
    if not known.tries and not known.arrivals:
        text = f"The total comes from the shop’s server: {euros(known.total)} at the moment."
        title = "Read the cart"
        return Step(key="cart", state=State.LATER, title=title, text=text, lines=lines)
    text = "Pushed by the shop’s server. The browser had no say in it."
    title = f"The cart is {euros(_total(known))}"
    return Step(key="cart", state=State.DONE, title=title, text=text, lines=lines)


def _claims(post: Post) -> bool:
    claimed = post.said.get("claimed")
    return isinstance(claimed, dict) and isinstance(claimed.get("value"), Decimal | int)


def _about(claim: Json, total: Decimal) -> str:
    claimed = Decimal(claim["value"])
    if claimed == total:
        return f"The page claims {euros(claimed)}, too."
    return f"The page claims {euros(claimed)}. Noted, and never sent."


def _total(known: Known) -> Decimal:
    """Return what was sent, or else what the cart is at the moment."""
    sent = known.arrivals[-1].value if known.arrivals else None
    return known.total if sent is None else Decimal(sent)


def _sent(known: Known, now: datetime) -> Step:
    state, title, text = _fate(known.checkout, now)
    return Step(
        key="sent",
        state=state,
        title=title,
        text=text,
        lines=known.tries,
        seconds=_until_retry(known.checkout, now) if title == _AGAIN else None,
    )


def _fate(checkout: Checkout | None, now: datetime) -> tuple[State, str, str]:
    match None if checkout is None else checkout.status:
        case Status.DELIVERED:
            return State.DONE, "Klaviyo answered 202", "That, too, is on disk. The work is done."
        case Status.CANCELLED:
            return State.STOPPED, "Not sent", "Nobody is written to about this checkout."
        case Status.QUARANTINED:
            return State.STOPPED, "Kept back", f"Not sent: {_reason(checkout)}."
        case Status.DEAD:
            return State.STOPPED, "A dead letter", f"{_reason(checkout)}. It can be replayed."
    return _going(checkout, now)


def _going(checkout: Checkout | None, now: datetime) -> tuple[State, str, str]:
    if checkout is not None and checkout.due_at is None:
        return State.NOW, "Waiting", f"{_reason(checkout)}."
    if checkout is None or now < checkout.settled_at:
        return State.LATER, "Send it to Klaviyo", "Again and again, until Klaviyo says yes or no."
    if _until_retry(checkout, now) is not None:
        return State.NOW, _AGAIN, "Nothing is lost, and the shopper never notices."
    return State.NOW, "Sending", "The request is on its way to Klaviyo."


_AGAIN = "Trying again"


def _until_retry(checkout: Checkout | None, now: datetime) -> int | None:
    if checkout is None or checkout.retry_at is None or checkout.retry_at <= now:
        return None
    return _seconds_until(checkout.retry_at, now)


def _reason(checkout: Checkout | None) -> str:
    return "" if checkout is None else checkout.reason


def _counted(known: Known) -> Step:
    counted = next((arrival for arrival in known.arrivals if arrival.counts), None)
    if counted is None and known.checkout is not None and known.checkout.status in _UNSENT:
        text = "Klaviyo has not counted anything for this checkout."
        return Step(key="counted", state=State.LATER, title="No event", text=text)
    if counted is None:
        text = "Started Checkout appears here, exactly as Klaviyo receives it."
        return Step(key="counted", state=State.LATER, title="The event", text=text)
    return Step(
        key="counted",
        state=State.DONE,
        title=f"Started Checkout, for {counted.addressee}",
        text=f"{euros(_total(known))}. {_times(known)}",
        code=counted.body.decode(),
    )


_UNSENT = (Status.CANCELLED, Status.QUARANTINED, Status.DEAD)


def _times(known: Known) -> str:
    times = len(known.arrivals)
    if times > 1:
        return f"Received {times} times, counted once: every try had the same unique_id."
    if known.checkout is not None and known.checkout.status is Status.PENDING:
        return "Klaviyo has it. The proxy has not heard so, and will send it again."
    return "Received once, counted once."


# -- words -------------------------------------------------------------------------------


def _seconds_until(then: datetime, now: datetime) -> int:
    return max(1, round((then - now).total_seconds()))


_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _members(body: bytes | msgspec.Raw) -> Json:
    try:
        decoded = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _readable(post: Post) -> str:
    said = post.said
    if "token" in said:
        said["token"] = f"{str(said['token'])[:16]}…"
    return msgspec.json.format(_ENCODER.encode(said), indent=2).decode()
