"""Folded: checkouts as facts and attempts leave them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial, reduce
from typing import Any

import msgspec
from hypothesis import strategies as st

from proxy import outcomes
from proxy.carts.cart import Cart
from proxy.checkouts import Checkout, Rules, Status, Trouble, untroubled
from proxy.consents import ConsentMode, Modes
from proxy.facts import Claim, Customer, Fact, StatePosted
from proxy.identity import Profile
from proxy.visits import fold
from tests.said import CART, DENIED, GRANTED, JANE, TEA, after, state

HOUR = timedelta(hours=1)
SETTLE = timedelta(seconds=30)
RULES = Rules(settle=SETTLE, epoch=24 * HOUR, modes=Modes(ConsentMode.OPT_OUT))
REQUIRED = replace(RULES, modes=Modes(ConsentMode.REQUIRED))
OFF = replace(RULES, modes=Modes(ConsentMode.OFF))


def folded(*facts: Fact, rules: Rules = RULES, onto: Sequence[Checkout] = ()) -> Sequence[Checkout]:
    return reduce(lambda known, fact: fold(known, fact, rules), facts, onto)


def one(*facts: Fact, rules: Rules = RULES, onto: Sequence[Checkout] = ()) -> Checkout:
    (checkout,) = folded(*facts, rules=rules, onto=onto)
    return checkout


def statuses(known: Sequence[Checkout]) -> list[Status]:
    return [checkout.status for checkout in known]


def troubled(checkout: Checkout, trouble: Trouble, *, minute: float = 1) -> Checkout:
    return outcomes.postponed(
        checkout, trouble, "not yet", now=after(minute), wait=timedelta(minutes=15)
    )


def to(checkout: Checkout, profile: Profile) -> Checkout:
    """Return *checkout* on its way to *profile*."""
    return outcomes.bound(checkout, seen=checkout, profile=profile)


EMAILS = st.sampled_from([f"{name}@shop-demo.io" for name in ("a", "b", "c", "D", "d", "e")])
CONSENTS = st.sampled_from([GRANTED, DENIED])
STATES = st.builds(
    state,
    # Within one epoch, and often in one instant.
    st.integers(0, 600),
    late=st.integers(0, 60),
    id=st.uuids().map(str),
    email=st.none() | EMAILS,
    phone_number=st.none() | st.sampled_from(["+4930123456", "+12125550100"]),
    first_name=st.none() | st.sampled_from(["Jane", "John"]),
    kx=st.none() | st.just("abc.SITEID"),
    consent=st.none() | CONSENTS,
    gpc=st.booleans(),
    claimed=st.none() | st.just(Claim(value=Decimal("1.10"), currency="EUR")),
    customer=st.none() | st.sampled_from([Customer(email=JANE), Customer(external_id="17")]),
    cart=st.none() | st.just(CART),
)


def full_of_canaries(minute: float = 0, **said: Any) -> StatePosted:
    canary = msgspec.structs.replace(TEA, name="canary-tea")
    personal: dict[str, Any] = {
        "email": "canary@shop-demo.io",
        "phone_number": "canary-phone",
        "first_name": "canary-first",
        "last_name": "canary-last",
        "kx": "canary-kx",
        "checkout_url": "https://shop-demo.io/?canary",
        "locale": "canary",
        "claimed": Claim(value=Decimal(1), currency="canary"),
        "customer": Customer(email="canary@x.io", external_id="canary-17", first_name="canary"),
        "cart": Cart(currency="EUR", total=Decimal(1), items=(canary,)),
        "ref": "canary-ref",
        "consent": GRANTED,
    }
    return state(minute, **(personal | said))


def canaries(checkout: Checkout) -> int:
    return msgspec.json.encode(checkout).count(b"canary")


def delivered(checkout: Checkout) -> Checkout:
    return outcomes.delivered(checkout, after(60))


OUTCOMES: dict[str, Callable[[Checkout], Checkout]] = {
    "bound": partial(to, profile=Profile(email=JANE)),
    "refused": partial(outcomes.refused, reason="Klaviyo answered 400"),
    "quarantined": partial(outcomes.quarantined, reason="reserved"),
    "waiting": partial(outcomes.waiting, reason="waiting for an address"),
    "untroubled": untroubled,
    "no cart": partial(troubled, trouble=Trouble.NO_CART),
    "cart gone": partial(troubled, trouble=Trouble.CART_GONE),
    "Klaviyo": partial(troubled, trouble=Trouble.KLAVIYO),
}
