"""Visits: which checkout of a cart a fact is about, what it makes of it, and when one begins."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from proxy import identity
from proxy.carts.cart import public_id
from proxy.checkouts import (
    MAX_ADDRESSES,
    Checkout,
    Rules,
    Status,
    erased_if_closed,
    judged,
    relieved,
    untroubled,
)
from proxy.facts import (
    Asked,
    CancelAsked,
    CartDeleted,
    CartPushed,
    ConsentState,
    Fact,
    HurryAsked,
    OrderPlaced,
    ReleaseAsked,
    ReplayAsked,
    StatePosted,
)
from proxy.latest import Latest, value

# The shop's clock may be behind ours: an order ends what was going on until so long after it.
_CLOCK_SKEW = timedelta(minutes=5)
# No order is older than that when we hear of it, whatever is said.
_OLDEST_ORDER = timedelta(days=30)


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
    place = _place(checkouts, state, rules)
    earlier, later = checkouts[:place], checkouts[place + 1 :]
    is_new = place == len(checkouts)
    about = _begun(checkouts, state, state.acted_at) if is_new else checkouts[place]
    if (refusal := _refusal(state)) is not None:
        at = state.received_at
        earlier = [_refused(checkout, refusal, rules, at) for checkout in earlier]
    return [*earlier, _heard(about, state, rules), *later]


def _refusal(state: StatePosted) -> Latest | None:
    """Return the word by which *state* forbids to send, if it does: it holds for earlier visits."""
    if state.consent is None:
        return Latest(gpc=Latest.of(state).gpc) if state.gpc else None
    is_denied = state.consent.state is ConsentState.DENIED
    return Latest(consent=Latest.of(state).consent) if is_denied else None


def _refused(checkout: Checkout, refusal: Latest, rules: Rules, at: datetime) -> Checkout:
    """Return an open *checkout* of an earlier visit as the *refusal* of a later one leaves it."""
    if checkout.status in (Status.DELIVERED, Status.CANCELLED):
        return checkout
    told = replace(checkout, latest=checkout.latest.joined(refusal))
    after = judged(told, rules, at)
    # Of why it waits or is kept back, a word on consent says nothing.
    return after if after.status is Status.CANCELLED else told


def _place(checkouts: Sequence[Checkout], state: StatePosted, rules: Rules) -> int:
    """Return the index of the checkout that *state* falls into: one past the last for a new one.

    What happened before an order belongs to the checkout that was ordered, however late we hear,
    and so it is with an erasure.
    """
    for index, checkout in enumerate(checkouts):
        if any(end is not None and state.acted_at <= end for end in _ends(checkout)):
            return index
    newest = len(checkouts) - 1
    return newest + 1 if newest < 0 or _is_over(checkouts[newest], state, rules) else newest


def _is_over(checkout: Checkout, state: StatePosted, rules: Rules) -> bool:
    if any(end is not None for end in _ends(checkout)):
        return True
    if state.acted_at - checkout.acted_at <= rules.epoch:
        return False
    # How old a state is says the page; by that alone each could be a visit of its own.
    heard_at = checkout.heard_at or checkout.acted_at
    return state.received_at - heard_at > rules.epoch


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
    typed = set() if state.email is None else {identity.canonical(state.email)}
    latest = checkout.latest.joined(Latest.of(state))
    heard = replace(
        checkout if _is_sent(checkout) else _found_by(checkout, latest, rules.address_key),
        latest=latest,
        addresses=tuple(sorted(typed | set(checkout.addresses))[: MAX_ADDRESSES + 1]),
        acted_at=max(checkout.acted_at, state.acted_at),
        heard_at=max(checkout.heard_at or state.received_at, state.received_at),
        settled_at=max(checkout.settled_at, state.received_at + rules.settle),
    )
    return judged(relieved(heard), rules, state.received_at)


def _found_by(checkout: Checkout, latest: Latest, key: bytes) -> Checkout:
    """Return *checkout* with that by which it is found once *latest* is erased."""
    address_hash = identity.hash_in(latest, key) or checkout.address_hash
    phone_hash = checkout.phone_hash
    # To understand a number takes longer than all the rest.
    if identity.named_in(latest) != identity.named_in(checkout.latest):
        is_another = checkout.address_hash not in (None, address_hash)
        phone_hash = identity.phone_hash_in(latest, key) or (None if is_another else phone_hash)
    return replace(
        checkout,
        address_hash=address_hash,
        phone_hash=phone_hash,
        client=value(latest.client) or checkout.client,
    )


def _is_sent(checkout: Checkout) -> bool:
    """Tell whether *checkout* has gone to somebody, or may have: it counts for them ever after."""
    return checkout.status is Status.DELIVERED or checkout.addressee is not None


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
    return judged(ordered, rules, heard_at)


def _take_cart(checkout: Checkout, pushed: CartPushed, rules: Rules) -> Checkout:
    if checkout.status is not Status.PENDING:
        return checkout
    settled_at = max(checkout.settled_at, pushed.received_at)
    settled = replace(checkout, settled_at=settled_at)
    return judged(relieved(settled), rules, pushed.received_at)


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
            return judged(untroubled(replace(settled_later, status=Status.PENDING)), rules, at)
        case HurryAsked(), Status.PENDING:
            settled_at = min(checkout.settled_at, at)
            return judged(replace(checkout, settled_at=settled_at, retry_at=None), rules, at)
        case CancelAsked(), status if status is not Status.DELIVERED:
            return judged(replace(settled_later, called_off=True), rules, at)
        case ReleaseAsked(), Status.QUARANTINED:
            released = replace(settled_later, status=Status.PENDING, released=True)
            return judged(released, rules, at)
    return checkout
