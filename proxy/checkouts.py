"""Checkouts: the laws, as pure functions from what was received to what becomes of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from proxy import regions
from proxy.claims import Compared
from proxy.facts import (
    Asked,
    CancelAsked,
    CartDeleted,
    CartPushed,
    Consent,
    ConsentState,
    Customer,
    Fact,
    HurryAsked,
    OrderPlaced,
    ReleaseAsked,
    ReplayAsked,
    StatePosted,
)
from proxy.identity import Profile, address_hash
from proxy.latest import Latest, value
from proxy.money import Amount
from proxy.wire import Discreet


class Status(StrEnum):
    """Where a checkout stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


class ConsentMode(StrEnum):
    """What the shop asks of its shoppers before their checkout may be sent."""

    OPT_OUT = "opt-out"
    REQUIRED = "required"
    OFF = "off"


class Permission(StrEnum):
    """What was decided about consent."""

    GIVEN = "may be sent"
    AWAITED = "waits for consent"
    REFUSED = "must not be sent"


class Decided(Discreet, frozen=True, kw_only=True):
    """What was decided about consent, since when, under which mode, and on what evidence.

    ``region`` is where the shopper is, and ``region_by`` who says so: the token, or a header.
    """

    permission: Permission
    mode: ConsentMode
    at: datetime
    consent: Consent | None = None
    gpc: bool = False
    region: str | None = None
    region_by: str | None = None


class Trouble(StrEnum):
    """Why a checkout that is due could not be sent yet."""

    NO_CART = "no cart"
    CART_GONE = "cart gone"
    KLAVIYO = "Klaviyo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The shop's choices that the laws depend on.

    ``consent`` is asked of shoppers everywhere but in the ``regions`` that have a mode of their
    own.
    """

    settle: timedelta
    epoch: timedelta
    consent: ConsentMode
    regions: Mapping[str, ConsentMode] = field(default_factory=dict)
    address_key: bytes = field(default=b"", repr=False)
    """What addresses are hashed with; where it is empty, they are not."""
    person_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """All keys that who was erased is known by afterwards, the newest last."""

    def named(self, region: str | None) -> str | None:
        """Return what of *region* has a mode of its own: itself, or its country; else ``None``."""
        if not region:
            return None
        named = (each for each in (region, regions.country(region)) if each in self.regions)
        return next(named, None)

    def mode(self, region: str | None) -> ConsentMode:
        """Return what is asked of shoppers in *region*, the shop's default where it is unknown."""
        return self.regions.get(self.named(region) or "", self.consent)


class Checkout(Struct, frozen=True, kw_only=True):
    """One checkout of one cart: what was said, what was decided, what was tried.

    ``epoch`` is the second it began and never changes; with the cart id it makes ``unique_id``,
    under which Klaviyo counts the event once. ``acted_at`` is the shopper's last act;
    ``settled_at`` the first moment the event may go; ``due_at`` the moment the sender takes it up,
    or ``None`` while it waits for somebody. ``addressee`` is the profile that an unanswered attempt
    may already have reached: a later correction cannot change it, nor can a later attempt that
    fails, or one checkout would count for two people. ``maybe_sent`` remembers that there was one
    after it was erased: such a checkout is not opened again. ``total`` is what was, or was about
    to be, sent, and ``claim`` how the page's total stood to it. ``address_hash`` is by what the
    checkout is found under its address, also once that is erased. ``called_off`` says that an
    operator does not want it sent, whatever the shopper goes on to say; ``released`` that one
    believes it, whatever speaks against that. ``client`` stands for the network address that posted
    last, as long as the day lasts. ``erased_at`` is until when what was said in it was erased at
    the person's request; what comes later is another checkout. ``consent`` is what was decided
    about that before it was sent or closed; it outlives the words.
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

    def __repr__(self) -> str:
        # Without a word about the person.
        return f"<Checkout {self.unique_id} {self.status}: {self.reason}>"


MAX_ADDRESSES = 3

# The shop's clock may be behind ours: an order ends what was going on until so long after it.
_CLOCK_SKEW = timedelta(minutes=5)
# No order is older than that when we hear of it, whatever is said.
_OLDEST_ORDER = timedelta(days=30)

# No event settles for longer, and no retry waits for longer: a Retry-After that is longer holds up
# the whole account.
LONGEST_WAIT = timedelta(hours=1)

# The inboxes of several web workers are read within a moment of each other.
INBOXES_APART = timedelta(minutes=1)


def public_id(cart_id: str) -> str:
    """Return *cart_id* as logs and Klaviyo may see it: a hash, where it is a secret or an address.

    Shopify's cart ids carry the secret that opens the cart after ``?key=`` (shopify.dev, changelog
    "Storefront API cart ID now includes key param").
    """
    if _SECRET.search(cart_id) or "@" in cart_id or len(cart_id) > 200:
        return sha256(cart_id.encode()).hexdigest()[:32]
    return cart_id


_SECRET = re.compile(r"([?&]|%3f|%26)key(=|%3d)", re.IGNORECASE)


# -- taking facts in ---------------------------------------------------------------------


def fold(checkouts: Sequence[Checkout], fact: Fact, rules: Rules) -> Sequence[Checkout]:
    """Return the checkouts of one cart, oldest first, with *fact* taken in."""
    match fact:
        case StatePosted():
            return _take_state(checkouts, fact, rules)
        case OrderPlaced():
            return _take_order(checkouts, fact, rules)
        case CartPushed():
            # It is the newest visit's cart; an older one that still waits has been overtaken.
            newest = [_take_cart(checkout, fact, rules) for checkout in checkouts[-1:]]
            return [*checkouts[:-1], *newest]
        case CartDeleted():
            return [_without_cart(checkout) for checkout in checkouts]
        case Asked():
            return [_asked(checkout, fact, rules) for checkout in checkouts]
    return checkouts


def _take_state(
    checkouts: Sequence[Checkout], state: StatePosted, rules: Rules
) -> Sequence[Checkout]:
    place = _place(checkouts, state.acted_at, rules)
    if place == len(checkouts):
        return [*checkouts, _heard(_begun(checkouts, state, state.acted_at), state, rules)]
    heard = _heard(checkouts[place], state, rules)
    return [*checkouts[:place], heard, *checkouts[place + 1 :]]


def _place(checkouts: Sequence[Checkout], acted_at: datetime, rules: Rules) -> int:
    """Return the index of the checkout that *acted_at* falls into: one past the last for a new one.

    What happened before an order belongs to the checkout that was ordered, however late we hear,
    and so it is with an erasure.
    """
    for index, checkout in enumerate(checkouts):
        if any(end is not None and acted_at <= end for end in _ends(checkout)):
            return index
    newest = len(checkouts) - 1
    return newest + 1 if newest < 0 or _is_over(checkouts[newest], acted_at, rules) else newest


def _is_over(checkout: Checkout, acted_at: datetime, rules: Rules) -> bool:
    has_ended = any(end is not None for end in _ends(checkout))
    return has_ended or acted_at - checkout.acted_at > rules.epoch


def _ends(checkout: Checkout) -> tuple[datetime | None, ...]:
    return checkout.ordered_at, checkout.erased_at


def _begun(checkouts: Sequence[Checkout], fact: Fact, at: datetime) -> Checkout:
    epoch = at.replace(microsecond=0)
    if checkouts:
        # An order and the next visit may fall into one second; the id must still be a new one.
        epoch = max(epoch, checkouts[-1].epoch + timedelta(seconds=1))
    return Checkout(
        shop=fact.shop,
        cart_id=fact.cart_id,
        epoch=epoch,
        unique_id=f"{public_id(fact.cart_id)}_{epoch.timestamp():.0f}",
        acted_at=at,
        settled_at=at,
    )


def _heard(checkout: Checkout, state: StatePosted, rules: Rules) -> Checkout:
    if checkout.erased_at is not None:
        return checkout
    typed = set() if state.email is None else {state.email.casefold()}
    latest = checkout.latest.joined(Latest.of(state))
    heard = replace(
        checkout,
        latest=latest,
        address_hash=_address_hash(latest, rules) or checkout.address_hash,
        client=value(latest.client) or checkout.client,
        addresses=tuple(sorted(typed | set(checkout.addresses))[: MAX_ADDRESSES + 1]),
        acted_at=max(checkout.acted_at, state.acted_at),
        settled_at=max(checkout.settled_at, state.received_at + rules.settle),
    )
    return _judged(_relieved(heard), rules, state.received_at)


def _address_hash(latest: Latest, rules: Rules) -> str | None:
    email = value(latest.email) or (value(latest.customer) or Customer()).email
    return address_hash(email, rules.address_key) if email and rules.address_key else None


def _take_order(
    checkouts: Sequence[Checkout], order: OrderPlaced, rules: Rules
) -> Sequence[Checkout]:
    at = ordered_at(order)
    if not checkouts:
        checkouts = [_begun(checkouts, order, at)]
    return [_ordered(checkout, at, rules, order.received_at) for checkout in checkouts]


def ordered_at(order: OrderPlaced) -> datetime:
    """Return until when what was said and put belongs to *order*."""
    if order.placed_at is None:
        return order.received_at
    placed_at = max(order.placed_at, order.received_at - _OLDEST_ORDER)
    return min(placed_at + _CLOCK_SKEW, order.received_at)


def _ordered(checkout: Checkout, at: datetime, rules: Rules, heard_at: datetime) -> Checkout:
    if checkout.acted_at > at:
        return checkout
    at = max(at, checkout.ordered_at or at)
    ordered = replace(checkout, ordered_at=at, settled_at=max(checkout.settled_at, at))
    return _judged(ordered, rules, heard_at)


def _take_cart(checkout: Checkout, pushed: CartPushed, rules: Rules) -> Checkout:
    if checkout.status is not Status.PENDING:
        return checkout
    settled_at = max(checkout.settled_at, pushed.received_at)
    settled = replace(checkout, settled_at=settled_at)
    return _judged(_relieved(settled), rules, pushed.received_at)


def _without_cart(checkout: Checkout) -> Checkout:
    if checkout.status is Status.DELIVERED:
        return checkout
    reason = "the shop took the cart away"
    cancelled = replace(checkout, status=Status.CANCELLED, reason=reason, due_at=None)
    return erased_if_closed(cancelled)


def _asked(checkout: Checkout, asked: Asked, rules: Rules) -> Checkout:
    """Return *checkout* as an operator wants it, where that can be."""
    if checkout.epoch != asked.epoch:
        return checkout
    # A cart that was put for a dead letter belongs to it, and forgets its address with it.
    at = asked.received_at
    settled_later = replace(checkout, settled_at=max(checkout.settled_at, at))
    match asked, checkout.status:
        case ReplayAsked(), Status.DEAD:
            return _judged(untroubled(replace(settled_later, status=Status.PENDING)), rules, at)
        case HurryAsked(), Status.PENDING:
            settled_at = min(checkout.settled_at, at)
            return _judged(replace(checkout, settled_at=settled_at, retry_at=None), rules, at)
        case CancelAsked(), status if status is not Status.DELIVERED:
            return _judged(replace(settled_later, called_off=True), rules, at)
        case ReleaseAsked(), Status.QUARANTINED:
            released = replace(settled_later, status=Status.PENDING, released=True)
            return _judged(released, rules, at)
    return checkout


def judged_again(checkout: Checkout, rules: Rules, now: datetime) -> Checkout:
    """Return *checkout* as *rules* judge it now: the shop may have changed them since."""
    return _judged(checkout, rules, now) if checkout.status is Status.PENDING else checkout


# -- a clock that was set back -----------------------------------------------------------


def found_at(checkouts: Sequence[Checkout], received_at: datetime) -> Sequence[Checkout]:
    """Return *checkouts* as a fact finds them that was received at *received_at*.

    Facts come in the order in which they were received. What seems to be far later than this one
    was written under a clock that has been set back meanwhile: it came before.
    """
    latest, before = received_at + INBOXES_APART, received_at - INBOXES_APART
    return [
        brought_back(checkout, before) if _last_heard(checkout) > latest else checkout
        for checkout in checkouts
    ]


def _last_heard(checkout: Checkout) -> datetime:
    return max(checkout.acted_at, checkout.ordered_at or checkout.acted_at)


def brought_back(checkout: Checkout, now: datetime) -> Checkout:
    """Return *checkout* with no time after *now*, under a clock that was set back.

    Its epoch and its ``unique_id`` stay: they say which event it is, and not when.
    """
    return replace(
        checkout,
        acted_at=min(checkout.acted_at, now),
        settled_at=min(checkout.settled_at, now),
        due_at=_earlier(checkout.due_at, now),
        ordered_at=_earlier(checkout.ordered_at, now),
        erased_at=_earlier(checkout.erased_at, now),
        troubled_at=_earlier(checkout.troubled_at, now),
        retry_at=_earlier(checkout.retry_at, now),
        latest=checkout.latest.not_after(now),
        consent=checkout.consent and replace(checkout.consent, at=min(checkout.consent.at, now)),
    )


def _earlier(at: datetime | None, now: datetime) -> datetime | None:
    return None if at is None else min(at, now)


# -- judging -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where a checkout stands by its words alone, and why, unless it is simply due."""

    status: Status
    reason: str = ""


def _judged(checkout: Checkout, rules: Rules, at: datetime) -> Checkout:
    """Return *checkout* with the status, the reason and the due time that its words lead to."""
    judgement = _judgement(checkout, rules)
    # Only an operator opens a dead letter again; but an order or a denial ends it too.
    stays_dead = checkout.status is Status.DEAD and judgement.status is not Status.CANCELLED
    if checkout.status is Status.DELIVERED or checkout.maybe_sent or stays_dead:
        return erased_if_closed(checkout)
    still_troubled = checkout.trouble is not None and checkout.status is Status.PENDING
    judged = replace(
        checkout,
        status=judgement.status,
        reason=judgement.reason or (checkout.reason if still_troubled else "settling"),
        due_at=None if judgement.reason else when_due(checkout),
        consent=decided(checkout, rules, at),
    )
    return erased_if_closed(judged)


def _judgement(checkout: Checkout, rules: Rules) -> Judgement:
    if checkout.erased_at is not None:
        return Judgement(Status.CANCELLED, ERASED)
    if checkout.ordered_at is not None:
        return Judgement(Status.CANCELLED, "an order was placed for the cart")
    if checkout.called_off:
        return Judgement(Status.CANCELLED, "an operator called it off")
    judgement = consent_judgement(checkout.latest, rules)
    suspicion = suspicion_of(checkout)
    if judgement.status is Status.PENDING and suspicion:
        return Judgement(Status.QUARANTINED, suspicion)
    return judgement


def suspicion_of(checkout: Checkout) -> str:
    """Return why *checkout* is not believed by its words alone; nothing where it is."""
    if checkout.released:
        return ""
    if len(checkout.addresses) > MAX_ADDRESSES:
        return f"more than {MAX_ADDRESSES} addresses were typed"
    return "a bot's user agent" if value(checkout.latest.automated) else ""


def consent_judgement(latest: Latest, rules: Rules) -> Judgement:
    """Return what the shopper's word on consent leads to, or the silence about it."""
    mode, consent = rules.mode(region_of(latest)), value(latest.consent)
    if mode is ConsentMode.OFF:
        return Judgement(Status.PENDING)
    if consent is None and value(latest.gpc):
        return Judgement(Status.CANCELLED, "the browser sends Global Privacy Control")
    if consent is None:
        waiting = "waiting for consent" if mode is ConsentMode.REQUIRED else ""
        return Judgement(Status.PENDING, waiting)
    if consent.state is ConsentState.DENIED:
        return Judgement(Status.CANCELLED, "the shopper denied consent")
    return Judgement(Status.PENDING)


def region_of(latest: Latest) -> str | None:
    """Return where the shopper is: the shop's word in the token goes before a header's."""
    return value(latest.region) or value(latest.region_seen)


def decided(checkout: Checkout, rules: Rules, at: datetime) -> Decided:
    """Return what *rules* decide at *at* about consent, or what was decided before, if the same."""
    latest = checkout.latest
    region = region_of(latest)
    by = "token" if latest.region else "header"
    now = Decided(
        permission=_permission(consent_judgement(latest, rules)),
        mode=rules.mode(region),
        at=at,
        consent=value(latest.consent),
        gpc=latest.gpc is not None and latest.gpc.value,
        region=region,
        region_by=by if region else None,
    )
    before = checkout.consent
    return before if before and replace(before, at=at) == now else now


def _permission(judgement: Judgement) -> Permission:
    if judgement.status is Status.CANCELLED:
        return Permission.REFUSED
    return Permission.AWAITED if judgement.reason else Permission.GIVEN


def when_due(checkout: Checkout) -> datetime:
    """Return when *checkout* may be taken up: it has settled, and no retry has to wait."""
    return max(checkout.settled_at, checkout.retry_at or checkout.settled_at)


def _relieved(checkout: Checkout) -> Checkout:
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
        maybe_sent=checkout.maybe_sent or checkout.addressee is not None,
    )


# -- erasing, at a person's request ------------------------------------------------------

ERASED = "erased at the person's request"


def was_before(at: datetime, asked_at: datetime, *, delayed: bool) -> bool:
    """Tell whether what was at *at* was before an erasure was asked for at *asked_at*.

    What seems to have been far later was under a clock that has been set back meanwhile, unless
    the erasure was *delayed* on its way to us.
    """
    ahead = at - asked_at
    return ahead <= timedelta(0) or (ahead > INBOXES_APART and not delayed)


def erased(checkout: Checkout, until: datetime, rules: Rules, *, delayed: bool = True) -> Checkout:
    """Return *checkout* without what was said in it *until* then, or a trace of who said it.

    Where nothing was said since, it is closed. *delayed* is as in :func:`was_before`.
    """
    if checkout.erased_at is not None:
        return checkout
    if was_before(checkout.acted_at, until, delayed=delayed):
        return _forgotten(checkout, until)
    return _begun_anew(checkout, until, rules)


def _begun_anew(checkout: Checkout, until: datetime, rules: Rules) -> Checkout:
    """Return *checkout* as if nothing had been said before *until*."""
    latest = checkout.latest.since(until)
    typed = value(latest.email)
    known = replace(
        checkout,
        latest=latest,
        address_hash=_address_hash(latest, rules),
        addresses=() if typed is None else (typed.casefold(),),
        addressee=None,
        maybe_sent=checkout.maybe_sent or checkout.addressee is not None,
    )
    return _judged(known, rules, until) if checkout.status is Status.PENDING else known


def _forgotten(checkout: Checkout, until: datetime) -> Checkout:
    forgotten = replace(
        checkout,
        latest=Latest(),
        address_hash=None,
        client=None,
        consent=checkout.consent and replace(checkout.consent, consent=None),
        erased_at=until,
        due_at=None,
        retry_at=None,
        trouble=None,
        troubled_at=None,
    )
    if checkout.status not in (Status.DELIVERED, Status.CANCELLED):
        forgotten = replace(forgotten, status=Status.CANCELLED, reason=ERASED)
    return erased_if_closed(forgotten)
