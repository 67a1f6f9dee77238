"""Checkouts: what is known of one, and where it stands by that, as pure functions."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from proxy import consents
from proxy.claims import Compared
from proxy.consents import Decided, Modes, Permission
from proxy.identity import Profile
from proxy.latest import Latest, value
from proxy.money import Amount


class Status(StrEnum):
    """Where a checkout stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


class Trouble(StrEnum):
    """Why a checkout that is due could not be sent yet."""

    NO_CART = "no cart"
    CART_GONE = "cart gone"
    KLAVIYO = "Klaviyo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The shop's choices that the laws depend on."""

    settle: timedelta
    epoch: timedelta
    modes: Modes
    address_key: bytes = field(default=b"", repr=False)
    """What addresses are hashed with; where it is empty, they are not."""


class Checkout(Struct, frozen=True, kw_only=True):
    """One checkout of one cart: what was said, what was decided, what was tried.

    ``epoch`` is the second it began and never changes; with the cart id it makes ``unique_id``,
    under which Klaviyo counts the event once. ``acted_at`` is the shopper's last act, as the page
    says, and ``heard_at`` when we last heard of one; ``settled_at`` the first moment the event may
    go; ``due_at`` the moment the sender takes it up, or ``None`` while it waits for somebody.
    ``addressee`` is the profile that an unanswered attempt may already have reached: a later
    correction cannot change it, nor can a later attempt that fails, or one checkout would count for
    two people. ``maybe_sent`` remembers that there was one after it was erased: such a checkout is
    not opened again. ``total`` is what was, or was about to be, sent, and ``claim`` how the page's
    total stood to it. ``address_hash`` is by what the checkout is found under its address, also
    once that is erased, and ``phone_hash`` by what under its telephone number. ``called_off`` says
    that an operator does not want it sent, whatever the shopper goes on to say; ``released`` that
    one believes it, whatever speaks against that. ``client`` stands for the network address that
    posted last before it was sent, as long as the day lasts. ``erased_at`` is until when what was
    said in it was erased at the person's request; what comes later is another checkout. ``consent``
    is what was decided about that before it was sent or closed; it outlives the words.
    """

    shop: str
    cart_id: str
    epoch: datetime
    unique_id: str
    acted_at: datetime
    settled_at: datetime
    status: Status = Status.PENDING
    reason: str = "settling"
    due_at: datetime | None = None
    ordered_at: datetime | None = None
    attempts: int = 0
    trouble: Trouble | None = None
    troubled_at: datetime | None = None
    retry_at: datetime | None = None
    latest: Latest = Latest()
    addresses: tuple[str, ...] = ()
    addressee: Profile | None = None
    maybe_sent: bool = False
    claim: Compared | None = None
    total: Amount | None = None
    delivered_at: datetime | None = None
    address_hash: str | None = None
    called_off: bool = False
    erased_at: datetime | None = None
    released: bool = False
    client: str | None = None
    consent: Decided | None = None
    heard_at: datetime | None = None
    phone_hash: str | None = None

    @property
    def is_bound(self) -> bool:
        """Whether an attempt may have reached somebody, whom alone its event can go to now."""
        return self.addressee is not None

    def __repr__(self) -> str:
        # Without a word about the person.
        return f"<Checkout {self.unique_id} {self.status}: {self.reason}>"


MAX_ADDRESSES = 3

# No event settles for longer, and no retry waits for longer: a Retry-After that is longer holds up
# the whole account.
LONGEST_WAIT = timedelta(hours=1)

ERASED = "erased at the person's request"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where a checkout stands by its words alone, and why, unless it is simply due."""

    status: Status
    reason: str = ""


def judged(checkout: Checkout, rules: Rules, at: datetime) -> Checkout:
    """Return *checkout* with the status, the reason and the due time that its words lead to."""
    judgement = _judgement(checkout, rules)
    # Only an operator opens a dead letter again; but an order or a denial ends it too.
    stays_dead = checkout.status is Status.DEAD and judgement.status is not Status.CANCELLED
    if checkout.status is Status.DELIVERED or checkout.maybe_sent or stays_dead:
        return erased_if_closed(checkout)
    still_troubled = checkout.trouble is not None and checkout.status is Status.PENDING
    after = replace(
        checkout,
        status=judgement.status,
        reason=judgement.reason or (checkout.reason if still_troubled else "settling"),
        due_at=None if judgement.reason else when_due(checkout),
        consent=consents.decided(checkout.latest, rules.modes, at, checkout.consent),
    )
    return erased_if_closed(after)


def judged_again(checkout: Checkout, rules: Rules, now: datetime) -> Checkout:
    """Return *checkout* as *rules* judge it now: the shop may have changed them since."""
    return judged(checkout, rules, now) if checkout.status is Status.PENDING else checkout


def _judgement(checkout: Checkout, rules: Rules) -> Judgement:
    if checkout.erased_at is not None:
        return Judgement(Status.CANCELLED, ERASED)
    if checkout.ordered_at is not None:
        return Judgement(Status.CANCELLED, "an order was placed for the cart")
    if checkout.called_off:
        return Judgement(Status.CANCELLED, "an operator called it off")
    permission, why = consents.judged(checkout.latest, rules.modes)
    if permission is Permission.REFUSED:
        return Judgement(Status.CANCELLED, why)
    if suspicion := suspicion_of(checkout):
        return Judgement(Status.QUARANTINED, suspicion)
    return Judgement(Status.PENDING, why)


def suspicion_of(checkout: Checkout) -> str:
    """Return why *checkout* is not believed by its words alone; nothing where it is."""
    if checkout.released:
        return ""
    if len(checkout.addresses) > MAX_ADDRESSES:
        return f"more than {MAX_ADDRESSES} addresses were typed"
    return "a bot's user agent" if value(checkout.latest.automated) else ""


def when_due(checkout: Checkout) -> datetime:
    """Return when *checkout* may be taken up: it has settled, and no retry has to wait."""
    return max(checkout.settled_at, checkout.retry_at or checkout.settled_at)


def relieved(checkout: Checkout) -> Checkout:
    """Return *checkout* without its trouble, where that was the cart's, of which there is news."""
    cart_trouble = checkout.trouble in (Trouble.NO_CART, Trouble.CART_GONE)
    is_final = checkout.status in (Status.DELIVERED, Status.DEAD)
    return untroubled(checkout) if cart_trouble and not is_final else checkout


def untroubled(checkout: Checkout) -> Checkout:
    """Return *checkout* as if no attempt had met with trouble."""
    return replace(checkout, trouble=None, troubled_at=None, retry_at=None, attempts=0)


def erased_if_closed(checkout: Checkout) -> Checkout:
    """Return *checkout* without a person's data, where nothing will be sent any more."""
    if checkout.status not in (Status.DELIVERED, Status.CANCELLED):
        return checkout
    return replace(
        checkout,
        latest=checkout.latest.erased(),
        addresses=(),
        addressee=None,
        maybe_sent=checkout.maybe_sent or checkout.is_bound,
    )
