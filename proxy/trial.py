"""Trial: a checkout, or a state, through every step of its journey up to Klaviyo; nothing is sent.

It is judged by the functions that judge what is sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from proxy import checkouts, consents, payload, visits
from proxy.carts.cart import Cart
from proxy.carts.source import CartSource, Reading
from proxy.checkouts import MAX_ADDRESSES, Checkout, Rules, Status
from proxy.claims import Compared, compared
from proxy.consents import ConsentMode, Modes, Permission
from proxy.enrich import Account, cart_ref, event_of, is_late
from proxy.errors import CartError, CartGone, CartInvalid, CartNotReady, SourceDown, SourceRefused
from proxy.facts import Customer, QuestionAsked, StatePosted
from proxy.identity import Profile, e164, identify, masked
from proxy.latest import Latest, value
from proxy.money import rounded
from proxy.standing import Standing
from proxy.steps import Answer, Step, Verdict, passed, stopped, unknown, warned


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Known:
    """What the book knows of a cart, and whether its account is sent to."""

    checkouts: Sequence[Checkout] = ()
    pushed: Cart | None = None
    standing: Standing = Standing()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Case:
    """A checkout as it would be sent, and as it was *before* a state that is tried, if one is.

    Its words are all there, whatever the shopper said of consent: that is judged in its own step.
    """

    checkout: Checkout
    before: Checkout | None
    is_tried: bool
    reading: Reading | CartError
    account: Account
    standing: Standing
    now: datetime

    @property
    def cart(self) -> Cart | None:
        """The cart, where there is one."""
        return self.reading.cart if isinstance(self.reading, Reading) else None

    @property
    def profile(self) -> Profile:
        """Whom the event would be about."""
        cart_email = None if self.cart is None else self.cart.email
        addressee = self.checkout.addressee
        return addressee or identify(self.checkout.latest, cart_email=cart_email)


def answer(
    asked: QuestionAsked, known: Known, source: CartSource, account: Account, now: datetime
) -> Answer:
    """Return the steps of what is *asked* at *now*, and the event that would be sent."""
    before, checkout = _meant(asked, known.checkouts, account.rules)
    if checkout is None:
        return Answer(steps=(stopped("checkout", "there is no such checkout any more"),))
    case = _Case(
        checkout=checkout,
        before=before,
        is_tried=asked.state is not None,
        reading=_read(source, checkout, known.pushed),
        account=account,
        standing=known.standing,
        now=now,
    )
    return _judged(case).after(asked.before)


def _meant(
    asked: QuestionAsked, known: Sequence[Checkout], rules: Rules
) -> tuple[Checkout | None, Checkout | None]:
    """Return the checkout that is meant, as it is and as it would be."""
    if asked.state is None:
        found = next((each for each in known if each.epoch == asked.epoch), None)
        return found, found
    return _with(asked.state, known, rules)


def _with(
    state: StatePosted, known: Sequence[Checkout], rules: Rules
) -> tuple[Checkout | None, Checkout]:
    # What is denied is erased at once, and there would be nothing left to look at.
    after = visits.fold(known, state, replace(rules, modes=Modes(ConsentMode.OFF)))
    place = next(n for n, each in enumerate(after) if n == len(known) or each is not known[n])
    return (known[place] if place < len(known) else None), after[place]


def _read(source: CartSource, checkout: Checkout, pushed: Cart | None) -> Reading | CartError:
    try:
        return source.fetch(cart_ref(checkout, pushed))
    except CartError as error:
        return error


def _judged(case: _Case) -> Answer:
    steps = [
        _status(case),
        _consent(case),
        *_identity(case),
        _order(case),
        _addresses(case),
        *_cart(case),
        *_claim(case),
        _late(case),
        _account(case),
    ]
    is_stopped = any(step.verdict is Verdict.STOPPED for step in steps)
    if is_stopped or case.cart is None or case.profile.is_nobody:
        return Answer(steps=(*steps, unknown("payload", "nothing is sent: see what stopped it")))
    event = event_of(case.account, case.checkout, case.cart, case.profile, case.now)
    body = payload.encode(event, case.account.property_names)
    value = _money(event.cart)
    written = passed("payload", f"an event of {value} under the id {event.unique_id}")
    return Answer(steps=(*steps, written, _limits(body)), event=body.decode())


# -- the steps ---------------------------------------------------------------------------


def _status(case: _Case) -> Step:
    before, name = case.before, "checkout"
    if before is None:
        seconds = f"{case.account.rules.settle.total_seconds():.0f} s"
        words = f"{case.checkout.unique_id} begins, and is due {seconds} after the last change"
        return passed(name, words)
    if before.status is Status.DELIVERED:
        return stopped(name, f"{before.unique_id} was delivered: it is not sent twice")
    if before.called_off:
        return stopped(name, "an operator called it off")
    if before.status is not Status.PENDING:
        return _closed(before, is_tried=case.is_tried)
    due = "" if before.due_at is None else f", due {before.due_at:%Y-%m-%d %H:%M:%S}Z"
    return passed(name, f"{before.unique_id} is {before.status}: {before.reason}{due}")


def _closed(checkout: Checkout, *, is_tried: bool) -> Step:
    """Return what it means that *checkout* is not to be sent as it stands."""
    name, stands = "checkout", f"it is {checkout.status} ({checkout.reason})"
    match checkout.status, is_tried:
        case Status.DEAD, True:
            return stopped(name, f"{stands}: a state does not open it again, a replay does")
        case Status.DEAD, False:
            return warned(name, f"{stands}: this is what a replay would send")
        case Status.CANCELLED, True if not checkout.maybe_sent:
            return warned(name, f"{stands}: a state opens it again, where nothing else stops it")
        case Status.CANCELLED, _:
            return stopped(name, stands)
        case Status.QUARANTINED, False:
            return warned(name, f"{stands}: once it is released, this would be sent")
    return warned(name, f"{stands}: it waits for another state")


def _consent(case: _Case) -> Step:
    latest, modes = case.checkout.latest, case.account.rules.modes
    permission, why = consents.judged(latest, modes)
    by = _why_mode(latest, modes)
    if permission is not Permission.GIVEN:
        return stopped("consent", f"{why} ({by})")
    said = value(latest.consent)
    words = "nothing was said" if said is None else f"the shopper said: {said.state}"
    return passed("consent", f"{words} ({by})")


def _why_mode(latest: Latest, modes: Modes) -> str:
    """Return which mode is judged by, and why that."""
    region = consents.region_of(latest)
    named, mode = modes.named(region), modes.mode(region)
    by = "" if region is None else f"; {'the token' if latest.region else 'a header'} says {region}"
    setting = f"_REGIONS: {named}" if named else ""
    return f"CHECKOUT_PROXY_CONSENT{setting}={mode}{by}"


def _identity(case: _Case) -> Iterator[Step]:
    profile, name = case.profile, "identity"
    if reason := case.account.suspicion_of(case.checkout, profile):
        yield stopped(name, reason)
    elif not profile.is_nobody:
        yield passed(name, masked(profile) or "")
    elif case.checkout.status in (Status.DELIVERED, Status.CANCELLED):
        yield unknown(name, "it was erased when the checkout was closed")
    elif case.cart is None:
        yield unknown(name, "nobody is known so far; the cart may say who, and was not read")
    else:
        yield stopped(name, "nobody is known: it waits for an address")
    yield from _phone_number(case)


def _phone_number(case: _Case) -> Iterator[Step]:
    latest = case.checkout.latest
    customer = value(latest.customer) or Customer()
    said = value(latest.phone_number) or customer.phone_number
    if not said:
        return
    number = e164(said)
    if number is None:
        words = "it is no valid number such as +4930123456, and is left out"
        yield warned("telephone", words)
    else:
        yield passed("telephone", f"{number[:3]}…{number[-2:]}")


def _order(case: _Case) -> Step:
    ordered_at = case.checkout.ordered_at
    if ordered_at is not None:
        words = f"an order was placed for the cart ({ordered_at:%Y-%m-%d %H:%M:%S}Z)"
        return stopped("order", words)
    return passed("order", "none was placed since this checkout began")


def _addresses(case: _Case) -> Step:
    many = len(case.checkout.addresses)
    if reason := checkouts.suspicion_of(case.checkout):
        return stopped("addresses", f"{reason}: quarantined")
    return passed("addresses", f"{many} typed, {MAX_ADDRESSES} at most")


def _cart(case: _Case) -> Iterator[Step]:
    if isinstance(case.reading, CartError):
        yield stopped("cart", f"{case.reading}: {_consequence(case.reading)}")
        return
    if case.reading.completed:
        yield stopped("cart", "the shop says that the cart became an order")
        return
    cart = case.reading.cart
    lines = f"{len(cart.items)} line{'' if len(cart.items) == 1 else 's'}"
    yield passed("cart", f"{_money(cart)}, {lines}")
    for warning in case.reading.warnings:
        yield warned("cart", f"odd, and perhaps right: {warning}")


def _consequence(error: CartError) -> str:
    """Return what the sender does about *error*."""
    match error:
        case SourceRefused():
            return "the shop does not let us ask; it is asked again every five minutes"
        case CartGone():
            return "after three tries the checkout is cancelled"
        case CartNotReady() | SourceDown():
            return "it is asked again, and given up after six hours"
        case CartInvalid():
            return "a dead letter"
    return "a dead letter"


def _claim(case: _Case) -> Iterator[Step]:
    if case.cart is None:
        return
    claim = value(case.checkout.latest.claimed)
    stands = compared(claim, case.cart)
    if claim is None:
        yield passed("claim", "the page says no total; the shop's is sent")
        return
    says = f"the page says {claim.value} {claim.currency or case.cart.currency}"
    words = f"{says}, the shop {_money(case.cart)}, which is sent"
    yield passed("claim", words) if stands is Compared.MATCH else warned("claim", words)


def _late(case: _Case) -> Step:
    acted_at = case.checkout.acted_at
    late = f"{case.account.late / timedelta(hours=1):g} h"
    if is_late(case.account, case.checkout, case.now):
        words = f"the shopper's last act is older than {late}: recorded (backfill), starts no flow"
        return warned("late", words)
    return passed("late", f"the shopper acted at {acted_at:%Y-%m-%d %H:%M:%S}Z, within {late}")


def _account(case: _Case) -> Step:
    if case.standing.waits(case.now):
        until = f"{case.standing.paused_until:%H:%M:%S}Z"
        return warned("account", f"sending waits until {until}: {case.standing.reason}")
    return passed("account", "nothing holds up the sending")


def _limits(body: bytes) -> Step:
    properties = msgspec.json.decode(body)["data"]["attributes"]["properties"]
    size = f"{len(body):,} of {payload.MAX_BYTES:,} bytes"
    if "trimmed" in properties:
        names = ", ".join(properties["trimmed"])
        return warned("limits", f"{size}, after these were trimmed to what Klaviyo takes: {names}")
    return passed("limits", f"{size}, and nothing had to be trimmed")


def _money(cart: Cart) -> str:
    return f"{rounded(cart.total, cart.currency):,} {cart.currency}"
