"""Trial: one Started Checkout sent for a given address, and seen to arrive."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from email_validator import EmailNotValidError, validate_email

from proxy import arrival, payload
from proxy.arrival import Look
from proxy.carts.cart import Cart, LineItem
from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.klaviyo import client
from proxy.doctor.setup import Setup
from proxy.identity import Profile
from proxy.klaviyo import Klaviyo, Told, Verdict
from proxy.payload import Event, PropertyNames
from proxy.tallies import Sight

_PATIENCE_SECONDS = 60.0
_EVERY_SECONDS = 2.0


def findings(
    setup: Setup,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Finding]:
    """Send the event, and yield what became of it; *clock* and *wait* are in seconds."""
    address = setup.asked.address
    if address is None:
        words = "no test event was sent"
        yield skipped("sent", words, "--send-test ADDRESS sends one, and looks whether it arrives.")
        return
    profile = Profile(email=address.strip())
    if refused := _refused(profile):
        yield refused
        return
    event = _event(setup, profile)
    names = PropertyNames(setup.settings.property_names)
    with closing(client(setup)) as klaviyo:
        answer = klaviyo.create_event(payload.encode(event, names))
        if answer.verdict is not Verdict.DELIVERED:
            yield wrong("sent", answer.reason, "See the check `klaviyo`.")
            return
        yield well("sent", f"Klaviyo answered 202 to {event.unique_id}")
        yield _arrived(klaviyo, event, clock, wait)


def _refused(profile: Profile) -> Finding | None:
    if profile.is_reserved:
        words = "that address is of a domain kept for examples: Klaviyo would drop it in silence"
        return wrong("sent", words, "Give an address of your own.")
    try:
        validate_email(profile.email or "", check_deliverability=False)
    except EmailNotValidError:
        return wrong("sent", "that is no e-mail address", "Give an address of your own.")
    return None


def _event(setup: Setup, profile: Profile) -> Event:
    """Return an event that says of itself, in its id and its item, that it is a trial."""
    cart_id = f"checkout-proxy-test-{uuid4().hex[:12]}"
    now = datetime.now(UTC).replace(microsecond=0)
    price = Decimal("1.00")
    item = LineItem(
        product_id="checkout-proxy-test",
        name="Test of checkout-proxy",
        quantity=Decimal(1),
        unit_price=price,
    )
    return Event(
        metric=setup.settings.metric,
        profile=profile,
        cart=Cart(currency="EUR", total=price, items=(item,)),
        cart_id=cart_id,
        checkout_url=None,
        unique_id=f"{cart_id}_{now.timestamp():.0f}",
        time=now,
    )


# -- seeing it arrive --------------------------------------------------------------------


def _arrived(
    klaviyo: Klaviyo, event: Event, clock: Callable[[], float], wait: Callable[[float], object]
) -> Finding:
    """Return whether the event can be read back before the patience is over.

    "Successful response indicates that the event was validated and submitted for processing, but
    does not guarantee that processing is complete" (Create Event).
    """
    began = clock()
    while True:
        look = arrival.look(klaviyo, event.unique_id, event.time)
        took = clock() - began
        if look.sight is Sight.ARRIVED:
            return well("arrived", f"it was seen in Klaviyo after {took:.0f} s")
        if _is_final(look.told):
            return _unseen(look, event)
        if took + _EVERY_SECONDS > _PATIENCE_SECONDS:
            return _late(look, event)
        wait(_EVERY_SECONDS)


def _is_final(told: Told) -> bool:
    status = told.answer.status
    return told.is_document and status is not None and 400 <= status < 500 and status != 429


def _unseen(look: Look, event: Event) -> Finding:
    if look.is_forbidden:
        words = "the key may not read events (events:read), so nobody looked"
        return skipped("arrived", words, _by_hand(event))
    return warning("arrived", f"nobody could look: {look.reason}", _by_hand(event))


def _late(look: Look, event: Event) -> Finding:
    words = f"it was not seen within {_PATIENCE_SECONDS:.0f} s; Klaviyo may take minutes"
    if look.sight is Sight.UNKNOWN:
        words = f"{words} ({look.reason})"
    return warning("arrived", words, _by_hand(event))


def _by_hand(event: Event) -> str:
    return (
        f"Look in Klaviyo: Analytics > Metrics > {event.metric} > Activity feed, for an event with "
        f"the item “{event.cart.items[0].name}”."
    )
