"""Enrich: a checkout that is due becomes an event, or the reason why there is none yet."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from proxy import checkouts, consents, crowds, domains, outcomes, payload
from proxy.carts.cart import Cart, public_id
from proxy.carts.source import CartRef, CartSource
from proxy.checkouts import Checkout, Rules, Trouble
from proxy.claims import Compared, compared
from proxy.consents import Decided
from proxy.crowds import Crowd
from proxy.errors import CartError, CartGone, CartNotReady, SourceDown, SourceRefused
from proxy.identity import Profile, identify
from proxy.latest import value
from proxy.payload import Event, PropertyNames
from proxy.store.book import CheckoutKey, checkout_key

logger = logging.getLogger(__name__)

# A shop that refuses us is asked again now and then: somebody may have mended it.
_REFUSED_WAIT = timedelta(minutes=5)

Apply = Callable[[Checkout], Checkout]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One shop's account: how its checkouts are judged and how its events look."""

    shop: str
    rules: Rules
    late: timedelta
    keep: timedelta = timedelta(days=30)
    metric: str
    property_names: PropertyNames
    crowd: Crowd = crowds.ANY
    person_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """All keys that who was erased is known by afterwards, the newest last."""
    is_deliverable: Callable[[str], bool] | None = None
    """Whether mail to a domain arrives, as far as can be told; or nobody is asked."""

    def suspicion_of(self, checkout: Checkout, profile: Profile) -> str:
        """Return why *checkout*'s *profile* is not believed by its address; nothing where it is."""
        # Where an attempt may have reached somebody already, it is too late for doubts.
        if checkout.released or checkout.is_bound:
            return ""
        return domains.suspicion_of(profile, self.is_deliverable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A checkout whose event can be sent, with its *entry* where that is to be in a bulk.

    *record* is what is kept of the event once Klaviyo has taken it.
    """

    checkout: Checkout
    event: Event
    claim: Compared
    consent: Decided
    record: bytes
    entry: bytes = b""
    address_hash: str | None = None
    phone_hash: str | None = None

    @property
    def key(self) -> CheckoutKey:
        """What tells the checkout from the others."""
        return checkout_key(self.checkout)

    @property
    def was_bound(self) -> bool:
        """Whether an attempt before this one may have reached the addressee already."""
        return self.checkout.is_bound

    def bind(self, checkout: Checkout) -> Checkout:
        """Return *checkout* bound to whom the event is for, or as it is if it changed meanwhile."""
        return outcomes.bound(
            checkout,
            seen=self.checkout,
            profile=self.event.profile,
            address_hash=self.address_hash,
            phone_hash=self.phone_hash,
            total=self.event.total,
            claim=self.claim,
            consent=self.consent,
        )

    @property
    def expected(self) -> Checkout:
        """The checkout once it is bound, where nothing came in meanwhile."""
        return self.bind(self.checkout)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReady:
    """A checkout for which there is no event now, and what follows for it from that.

    *refusal* is what the source of carts said, where it does not let us ask at all.
    """

    checkout: Checkout
    apply: Apply
    refusal: str = ""


class Enricher:
    """Make events of *account*'s checkouts with carts of *source*."""

    def __init__(self, account: Account, source: CartSource, now: Callable[[], datetime]) -> None:
        self._account = account
        self._source = source
        self._now = now

    def enrich(
        self, due: Sequence[Checkout], pushed: dict[str, Cart], *, in_bulk: bool
    ) -> list[Ready | NotReady]:
        """Return what each of *due* has become; it does not raise.

        A bug makes one checkout a dead letter, and stops no other.
        """
        return [self._enriched(each, pushed.get(each.cart_id), in_bulk=in_bulk) for each in due]

    def _enriched(
        self, checkout: Checkout, pushed: Cart | None, *, in_bulk: bool
    ) -> Ready | NotReady:
        try:
            return self._with_cart(checkout, pushed, in_bulk=in_bulk)
        except Exception as error:
            logger.exception("%s cannot be made an event", checkout.unique_id)
            reason = f"a bug in the proxy ({type(error).__name__}); the log has it"
            return NotReady(checkout=checkout, apply=partial(outcomes.refused, reason=reason))

    def _with_cart(
        self, checkout: Checkout, pushed: Cart | None, *, in_bulk: bool
    ) -> Ready | NotReady:
        judge = partial(checkouts.judged_again, rules=self._account.rules, now=self._now())
        if judge(checkout).due_at is None:
            return _found(checkout, judge)
        try:
            reading = self._source.fetch(cart_ref(checkout, pushed))
        except CartError as error:
            return self._cartless(checkout, error)
        if reading.completed:
            reason = "the shop says that the cart became an order"
            return _found(checkout, partial(outcomes.cancelled, reason=reason))
        return self._ready(checkout, reading.cart, in_bulk=in_bulk)

    def _cartless(self, checkout: Checkout, error: CartError) -> NotReady:
        reason, now = str(error), self._now()
        if isinstance(error, SourceRefused):
            wait = partial(outcomes.held_back, reason=reason, until=now + _REFUSED_WAIT)
            return replace(_found(checkout, wait), refusal=reason)
        if not isinstance(error, CartGone | CartNotReady | SourceDown):
            return _found(checkout, partial(outcomes.refused, reason=reason))
        trouble = Trouble.CART_GONE if isinstance(error, CartGone) else Trouble.NO_CART
        pause = outcomes.cart_wait(trouble, outcomes.tries(checkout, trouble))
        if isinstance(error, SourceDown):
            pause = max(pause, error.retry_after or pause)
        postpone = partial(outcomes.postponed, trouble=trouble, reason=reason, now=now, wait=pause)
        return _found(checkout, postpone)

    def _ready(self, checkout: Checkout, cart: Cart, *, in_bulk: bool) -> Ready | NotReady:
        profile = checkout.addressee or identify(checkout.latest, cart_email=cart.email)
        if profile.is_nobody:
            return _found(checkout, partial(outcomes.waiting, reason="waiting for an address"))
        if reason := self._account.suspicion_of(checkout, profile):
            return _found(checkout, partial(outcomes.quarantined, reason=reason))
        event = event_of(self._account, checkout, cart, profile, self._now())
        names = self._account.property_names
        # Where an attempt may have arrived already, Klaviyo would refuse all of a bulk for it
        # ("If a unique_id is repeated …", Bulk Create Events), but takes it twice by itself.
        if in_bulk and not checkout.is_bound:
            entry, record = payload.bulk_entry(event, names)
        else:
            entry, record = b"", payload.record(event, names)
        return Ready(
            checkout=checkout,
            event=event,
            claim=compared(value(checkout.latest.claimed), cart),
            consent=self._decided(checkout),
            record=record,
            entry=entry,
            address_hash=profile.hashed(self._account.rules.address_key),
            phone_hash=profile.phone_hashed(self._account.rules.address_key),
        )

    def _decided(self, checkout: Checkout) -> Decided:
        modes = self._account.rules.modes
        return consents.decided(checkout.latest, modes, self._now(), checkout.consent)


def cart_ref(checkout: Checkout, pushed: Cart | None) -> CartRef:
    """Return which cart is *checkout*'s, of which *pushed* is the last that was put."""
    return CartRef(
        shop=checkout.shop,
        cart_id=checkout.cart_id,
        credential=value(checkout.latest.ref),
        snapshot=value(checkout.latest.cart),
        pushed=pushed,
    )


def event_of(
    account: Account, checkout: Checkout, cart: Cart, profile: Profile, now: datetime
) -> Event:
    """Return the event that *checkout* becomes with *cart*, were it sent to *profile* at *now*."""
    return Event(
        metric=account.metric,
        profile=profile,
        cart=cart,
        cart_id=public_id(checkout.cart_id),
        checkout_url=cart.checkout_url or value(checkout.latest.checkout_url),
        unique_id=checkout.unique_id,
        time=checkout.acted_at,
        backfill=is_late(account, checkout, now),
    )


def is_late(account: Account, checkout: Checkout, now: datetime) -> bool:
    """Tell whether *checkout* is too old at *now* to start a flow."""
    return now - checkout.acted_at > account.late


def _found(checkout: Checkout, apply: Apply) -> NotReady:
    """Return what was found out before anything was sent: it holds while nothing else comes in."""
    held = partial(outcomes.unless_changed, seen=checkout, apply=apply)
    return NotReady(checkout=checkout, apply=held)
