"""The laws of a checkout: whatever comes, in whatever order, ends in one honest event or none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial, reduce
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy import checkouts, outcomes
from proxy.backoff import backoff
from proxy.carts.cart import Cart
from proxy.checkouts import (
    Checkout,
    ConsentMode,
    Decided,
    Permission,
    Rules,
    Status,
    Trouble,
    fold,
)
from proxy.facts import (
    Claim,
    Consent,
    ConsentState,
    Customer,
    Fact,
    ReplayAsked,
    StatePosted,
)
from proxy.identity import Profile, address_hash
from proxy.latest import value
from tests.said import (
    CART,
    DENIED,
    GRANTED,
    JANE,
    JOHN,
    NOON,
    TEA,
    after,
    cancel,
    deleted,
    hurry,
    order,
    pushed,
    release,
    replay,
    state,
)

HOUR = timedelta(hours=1)
SETTLE = timedelta(seconds=30)
RULES = Rules(settle=SETTLE, epoch=24 * HOUR, consent=ConsentMode.OPT_OUT)
REQUIRED = replace(RULES, consent=ConsentMode.REQUIRED)
OFF = replace(RULES, consent=ConsentMode.OFF)
BY_REGION = replace(
    RULES,
    regions={
        "DE": ConsentMode.REQUIRED,
        "US": ConsentMode.OFF,
        "US-CA": ConsentMode.REQUIRED,
    },
)


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
    return outcomes.addressed(checkout, seen=checkout, profile=profile)


# -- one checkout ------------------------------------------------------------------------


def test_a_state_begins_a_checkout_that_settles() -> None:
    checkout = one(state(0, late=1, email=JANE))

    assert checkout.status is Status.PENDING
    assert checkout.reason == "settling"
    assert (checkout.shop, checkout.cart_id) == ("shop", "c-1")
    assert checkout.epoch == checkout.acted_at == NOON
    assert checkout.due_at == after(1) + SETTLE


def test_a_unique_id_is_the_cart_and_the_second_it_began() -> None:
    checkout = one(state(0, acted_at=NOON.replace(microsecond=999_999)))

    assert checkout.unique_id == f"c-1_{NOON.timestamp():.0f}"
    assert checkout.epoch == NOON


@pytest.mark.parametrize("cart_id", ["gid://shopify/Cart/Z2N?key=5ecret", "c" * 201])
def test_a_cart_id_that_is_secret_or_long_enters_the_unique_id_as_a_hash(cart_id: str) -> None:
    checkout = one(state(0, cart_id=cart_id))

    assert "key" not in checkout.unique_id
    assert len(checkout.unique_id) == 32 + len(f"_{NOON.timestamp():.0f}")
    assert cart_id not in repr(checkout)


def test_a_cart_id_of_200_characters_is_told_as_it_is() -> None:
    assert checkouts.public_id("c" * 200) == "c" * 200


def test_two_secret_cart_ids_are_two_unique_ids() -> None:
    one_key, other_key = (one(state(0, cart_id=f"gid://shopify/Cart/Z?key={n}")) for n in (1, 2))

    assert one_key.unique_id != other_key.unique_id


def test_a_reloaded_page_is_one_checkout() -> None:
    checkout = one(state(0, email=JANE), state(1, email=JANE), state(2, email=JANE))

    assert checkout.epoch == NOON
    assert checkout.acted_at == after(2)


def test_the_newest_word_holds_and_silence_takes_none_back() -> None:
    checkout = one(state(0, email=JANE, first_name="Jane"), state(1, email=JOHN), state(2))

    assert value(checkout.latest.email) == JOHN
    assert value(checkout.latest.first_name) == "Jane"


def test_a_word_that_comes_late_changes_no_newer_one() -> None:
    checkout = one(state(5, email=JOHN), state(0, late=6, email=JANE, first_name="Jane"))

    assert value(checkout.latest.email) == JOHN
    assert value(checkout.latest.first_name) == "Jane"


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
SOME_STATES = st.lists(STATES, min_size=1, max_size=6, unique_by=lambda state: state.id)


@st.composite
def retold(draw: st.DrawFn) -> tuple[list[StatePosted], list[StatePosted]]:
    """Return some states as they came, and the same in another order, some of them repeated."""
    states = draw(SOME_STATES)
    repeated = draw(st.lists(st.sampled_from(states), max_size=4))
    return states, draw(st.permutations(states + repeated))


@settings(max_examples=80)
@given(retold())
def test_states_in_any_order_and_twice_end_in_the_same_words(
    told: tuple[list[StatePosted], list[StatePosted]],
) -> None:
    once, again = (one(*states, rules=OFF) for states in told)

    assert again.latest == once.latest
    assert again.addresses == once.addresses
    assert again.acted_at == once.acted_at
    assert again.settled_at == once.settled_at
    assert (again.status, again.reason, again.due_at) == (once.status, once.reason, once.due_at)


@settings(max_examples=60)
@given(retold(), st.sampled_from(ConsentMode))
def test_states_in_any_order_and_twice_end_in_the_same_decision_on_consent(
    told: tuple[list[StatePosted], list[StatePosted]], mode: ConsentMode
) -> None:
    anonymous = ([replace(state, email=None) for state in states] for states in told)

    once, again = (one(*states, rules=replace(RULES, consent=mode)) for states in anonymous)

    assert (again.status, again.reason) == (once.status, once.reason)
    assert again.latest.erased() == once.latest.erased()


FACTS = st.one_of(
    st.builds(state, st.integers(0, 6_000), late=st.integers(0, 1_500), consent=CONSENTS),
    st.builds(order, st.integers(0, 6_000), placed=st.none() | st.integers(0, 6_000)),
    st.builds(pushed, st.integers(0, 6_000)),
    st.builds(deleted, st.integers(0, 6_000)),
)


@settings(max_examples=80)
@given(st.lists(FACTS, max_size=12))
def test_a_unique_id_once_made_never_changes_and_never_comes_again(facts: list[Fact]) -> None:
    nothing: Sequence[Checkout] = ()
    histories = accumulate(facts, lambda known, fact: fold(known, fact, RULES), initial=nothing)

    ids = [[checkout.unique_id for checkout in known] for known in histories]

    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(ids))
    assert len(set(ids[-1])) == len(ids[-1])


# -- orders ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heard", "placed"),
    [(1, None), (1, 1), (1, -3), (1, 6), (1, 600), (4.9, 0), (60, 1), (60, 0), (1_500, 1)],
    ids=[
        "without a time",
        "at once",
        "the shop's clock is slow",
        "the shop's clock is fast",
        "the shop's clock is hours ahead",
        "in the same second as the last act",
        "an hour late",
        "an hour late, in the same second as the last act",
        "a day late",
    ],
)
def test_an_order_cancels_what_is_pending(heard: float, placed: float | None) -> None:
    checkout = one(state(0, email=JANE), order(heard, placed=placed))

    assert checkout.status is Status.CANCELLED
    assert checkout.reason == "an order was placed for the cart"
    assert checkout.due_at is None


@pytest.mark.parametrize("placed", [None, 10])
def test_a_state_from_before_the_order_that_comes_late_begins_nothing(placed: float | None) -> None:
    checkout = one(order(10, placed=placed), state(9, late=60, email=JANE))

    assert checkout.status is Status.CANCELLED


def test_a_state_in_the_second_of_the_order_begins_nothing() -> None:
    checkout = one(state(0, email=JANE), order(10), state(10, email=JANE))

    assert checkout.status is Status.CANCELLED


@pytest.mark.parametrize("placed", [None, 10])
def test_a_visit_after_the_order_is_a_new_checkout(placed: float | None) -> None:
    ordered, fresh = folded(state(0, email=JANE), order(10, placed=placed), state(30, email=JANE))

    assert ordered.status is Status.CANCELLED
    assert fresh.status is Status.PENDING
    assert fresh.epoch == after(30)


def test_an_order_that_comes_an_hour_late_does_not_cancel_the_visit_since() -> None:
    checkout = one(state(30, email=JANE), order(60, placed=0))

    assert checkout.status is Status.PENDING


def test_an_order_and_a_new_visit_in_one_second_are_two_unique_ids() -> None:
    second = [NOON + timedelta(milliseconds=part) for part in (100, 200, 300)]
    facts = [
        state(acted_at=second[0]),
        replace(order(0), received_at=second[1]),
        state(acted_at=second[2]),
    ]

    ordered, fresh = folded(*facts)

    assert fresh.status is Status.PENDING
    assert fresh.unique_id != ordered.unique_id
    assert fresh.epoch == ordered.epoch + timedelta(seconds=1)


def test_many_orders_and_visits_in_one_second_are_as_many_unique_ids() -> None:
    moments = [NOON + timedelta(milliseconds=part) for part in range(20)]
    visits = [state(acted_at=moment) for moment in moments[::2]]
    orders = [replace(order(0), received_at=moment) for moment in moments[1::2]]

    known = folded(*(fact for pair in zip(visits, orders, strict=True) for fact in pair))

    assert len({checkout.unique_id for checkout in known}) == 10


def test_a_second_order_ends_the_second_visit() -> None:
    known = folded(state(0), order(10), state(30), order(40), state(60))

    assert statuses(known) == [Status.CANCELLED, Status.CANCELLED, Status.PENDING]


def test_a_state_from_before_the_last_of_two_orders_begins_nothing() -> None:
    checkout = one(state(0), order(10), order(60), state(50, late=30, email=JANE))

    assert checkout.status is Status.CANCELLED


def test_an_order_of_the_first_visit_told_again_leaves_the_second_alone() -> None:
    known = folded(state(0), order(10, placed=10), state(30), order(90, placed=10))

    assert statuses(known) == [Status.CANCELLED, Status.PENDING]


def test_a_delivered_checkout_that_is_ordered_stays_delivered_and_ends() -> None:
    sent = delivered(one(state(0, email=JANE)))

    ordered, fresh = folded(order(10), state(30, email=JANE), onto=[sent])

    assert ordered.status is Status.DELIVERED
    assert fresh.status is Status.PENDING


def test_a_quarantined_checkout_is_cancelled_by_an_order() -> None:
    kept_back = outcomes.quarantined(one(state(0, email=JANE)), "suspicious")

    assert one(order(10), onto=[kept_back]).status is Status.CANCELLED


@settings(max_examples=80)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=6), st.integers(0, 600), st.randoms())
def test_wherever_the_order_comes_only_who_acts_after_it_is_pending(
    minutes: list[int], ordered: int, shuffle: Any
) -> None:
    facts: list[Fact] = [order(ordered), *(state(minute, email=JANE) for minute in minutes)]
    shuffle.shuffle(facts)

    known = folded(*facts)

    pending = [checkout for checkout in known if checkout.status is Status.PENDING]
    assert len(pending) == (max(minutes) > ordered)
    assert all(checkout.acted_at > after(ordered) for checkout in pending)


# -- inactivity --------------------------------------------------------------------------


def test_a_day_without_activity_ends_a_checkout_and_less_does_not() -> None:
    within = folded(state(0), state(24 * 60))
    beyond = folded(state(0), state(24 * 60 + 0.001))

    assert len(within) == 1
    assert [checkout.acted_at for checkout in beyond] == [NOON, after(24 * 60 + 0.001)]


def test_activity_is_counted_from_the_last_act() -> None:
    checkout = one(state(0), state(20 * 60), state(40 * 60))

    assert checkout.unique_id == f"c-1_{NOON.timestamp():.0f}"


def test_a_state_that_comes_days_late_begins_nothing() -> None:
    known = folded(state(0), state(48 * 60), state(12 * 60, late=72 * 60))

    assert [checkout.acted_at for checkout in known] == [NOON, after(48 * 60)]


def test_a_shop_may_call_an_hour_the_end() -> None:
    known = folded(state(0), state(61), rules=replace(RULES, epoch=HOUR))

    assert len(known) == 2


def test_after_a_day_a_delivered_checkout_may_be_followed_by_another() -> None:
    sent = delivered(one(state(0, email=JANE)))

    known = folded(state(25 * 60, email=JANE), onto=[sent])

    assert statuses(known) == [Status.DELIVERED, Status.PENDING]


# -- settling ----------------------------------------------------------------------------


def test_each_state_begins_the_wait_anew() -> None:
    checkout = one(state(0, email=JANE), state(0.25, email=JOHN))

    assert checkout.due_at == after(0.25) + SETTLE


def test_the_wait_is_counted_from_when_we_heard_and_never_shortened() -> None:
    checkout = one(state(0, late=5), state(4))

    assert checkout.due_at == after(5) + SETTLE


def test_a_shop_may_wait_for_nothing() -> None:
    checkout = one(state(0, late=1), rules=replace(RULES, settle=timedelta(0)))

    assert checkout.due_at == after(1)


def test_a_cart_that_comes_does_not_shorten_the_wait() -> None:
    checkout = one(state(0), pushed(0.1))

    assert checkout.due_at == NOON + SETTLE


def test_a_state_does_not_shorten_the_wait_that_klaviyo_asked_for() -> None:
    asked = troubled(one(state(0, email=JANE)), Trouble.KLAVIYO)

    checkout = one(state(2, email=JANE), onto=[asked])

    assert checkout.due_at == after(16)


# -- addresses ---------------------------------------------------------------------------


def typed(*emails: str) -> Sequence[StatePosted]:
    return [state(minute, email=email) for minute, email in enumerate(emails)]


def test_three_typings_are_one_event_to_the_last() -> None:
    checkout = one(*typed("j@shop-demo.io", "jan@shop-demo.io", JANE))

    assert checkout.status is Status.PENDING
    assert value(checkout.latest.email) == JANE


def test_a_fourth_address_is_kept_back() -> None:
    checkout = one(*typed("a@x.io", "b@x.io", "c@x.io", "d@x.io"))

    assert checkout.status is Status.QUARANTINED
    assert checkout.reason == "more than 3 addresses were typed"
    assert checkout.due_at is None


def test_capitals_make_no_other_address() -> None:
    checkout = one(*typed("jane@x.io", "Jane@x.io", "JANE@x.io", "jane@X.io"))

    assert checkout.status is Status.PENDING
    assert checkout.addresses == ("jane@x.io",)


def test_no_more_addresses_are_remembered_than_the_law_needs() -> None:
    checkout = one(*typed(*(f"{number}@x.io" for number in range(50))))

    assert len(checkout.addresses) == 4


def test_a_checkout_kept_back_stays_so_whatever_is_typed() -> None:
    checkout = one(*typed("a@x.io", "b@x.io", "c@x.io", "d@x.io", "a@x.io"))

    assert checkout.status is Status.QUARANTINED


def test_the_addresses_of_an_ordered_checkout_do_not_count_for_the_next() -> None:
    known = folded(
        *typed("a@x.io", "b@x.io", "c@x.io", "d@x.io"), order(10), state(30, email="a@x.io")
    )

    assert statuses(known) == [Status.CANCELLED, Status.PENDING]


def test_a_correction_frees_an_address_that_was_kept_back() -> None:
    kept_back = outcomes.quarantined(one(state(0, email="a@example.com")), "reserved")

    checkout = one(state(1, email=JANE), onto=[kept_back])

    assert checkout.status is Status.PENDING
    assert checkout.due_at == after(1) + SETTLE


# -- consent -----------------------------------------------------------------------------

SAID: dict[str, dict[str, Any]] = {
    "nothing": {},
    "granted": {"consent": GRANTED},
    "denied": {"consent": DENIED},
    "GPC": {"gpc": True},
    "GPC and granted": {"gpc": True, "consent": GRANTED},
    "GPC and denied": {"gpc": True, "consent": DENIED},
}


@pytest.mark.parametrize(
    ("mode", "said", "status", "reason"),
    [
        ("off", "nothing", "pending", "settling"),
        ("off", "granted", "pending", "settling"),
        ("off", "denied", "pending", "settling"),
        ("off", "GPC", "pending", "settling"),
        ("off", "GPC and granted", "pending", "settling"),
        ("off", "GPC and denied", "pending", "settling"),
        ("opt-out", "nothing", "pending", "settling"),
        ("opt-out", "granted", "pending", "settling"),
        ("opt-out", "denied", "cancelled", "the shopper denied consent"),
        ("opt-out", "GPC", "cancelled", "the browser sends Global Privacy Control"),
        ("opt-out", "GPC and granted", "pending", "settling"),
        ("opt-out", "GPC and denied", "cancelled", "the shopper denied consent"),
        ("required", "nothing", "pending", "waiting for consent"),
        ("required", "granted", "pending", "settling"),
        ("required", "denied", "cancelled", "the shopper denied consent"),
        ("required", "GPC", "cancelled", "the browser sends Global Privacy Control"),
        ("required", "GPC and granted", "pending", "settling"),
        ("required", "GPC and denied", "cancelled", "the shopper denied consent"),
    ],
)
def test_consent_decides_as_the_shop_asked(mode: str, said: str, status: str, reason: str) -> None:
    rules = replace(RULES, consent=ConsentMode(mode))

    checkout = one(state(0, email=JANE, **SAID[said]), rules=rules)

    assert (checkout.status, checkout.reason) == (Status(status), reason)
    assert (checkout.due_at is not None) == (reason == "settling")


def test_who_waits_for_consent_goes_once_it_is_granted() -> None:
    checkout = one(state(0, email=JANE), state(5, consent=GRANTED), rules=REQUIRED)

    assert checkout.due_at == after(5) + SETTLE
    assert value(checkout.latest.email) == JANE


def test_a_cart_that_comes_does_not_stand_for_consent() -> None:
    checkout = one(state(0, email=JANE), pushed(1), rules=REQUIRED)

    assert checkout.due_at is None


def test_a_withdrawal_cancels_what_is_pending() -> None:
    checkout = one(state(0, email=JANE, consent=GRANTED), state(1, consent=DENIED))

    assert checkout.status is Status.CANCELLED
    assert checkout.due_at is None


def test_consent_given_again_opens_the_same_checkout_again() -> None:
    checkout = one(
        state(0, email=JANE, consent=GRANTED),
        state(1, consent=DENIED),
        state(2, email=JANE, consent=GRANTED),
    )

    assert checkout.status is Status.PENDING
    assert checkout.unique_id == f"c-1_{NOON.timestamp():.0f}"
    assert value(checkout.latest.email) == JANE


def test_a_consent_from_before_the_withdrawal_that_comes_late_opens_nothing() -> None:
    checkout = one(state(5, consent=DENIED), state(0, late=10, email=JANE, consent=GRANTED))

    assert checkout.status is Status.CANCELLED
    assert checkout.latest.email is None


def test_a_shop_that_asks_for_consent_from_today_on_asks_for_what_is_pending_too() -> None:
    checkout = one(state(0, email=JANE), rules=OFF)

    judged = checkouts.judged_again(checkout, REQUIRED, after(9))

    assert (judged.reason, judged.due_at) == ("waiting for consent", None)
    assert checkouts.judged_again(checkout, OFF, after(9)) == checkout


def test_a_shop_that_asks_for_consent_no_more_opens_nothing_that_was_denied() -> None:
    cancelled = one(state(0, email=JANE, consent=DENIED))

    assert checkouts.judged_again(cancelled, OFF, after(9)) == cancelled


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ({}, "opt-out"),
        ({"region": "FR"}, "opt-out"),
        ({"region": "DE"}, "required"),
        ({"region": "DE-BY"}, "required"),
        ({"region": "US-CA"}, "required"),
        ({"region": "US-TX"}, "off"),
        ({"region_seen": "DE"}, "required"),
        ({"region": "US", "region_seen": "DE"}, "off"),
        ({"region": "ZZ"}, "opt-out"),
    ],
    ids=str,
)
def test_a_region_is_judged_by_the_mode_it_has_and_else_by_the_shops(
    said: dict[str, Any], mode: str
) -> None:
    checkout = one(state(0, email=JANE, **said), rules=BY_REGION)

    assert checkout.consent is not None
    assert checkout.consent.mode == mode
    assert (checkout.due_at is None) == (mode == "required")


def test_where_the_token_said_once_where_the_shopper_is_no_later_header_counts() -> None:
    facts = state(0, email=JANE, region="DE"), state(1, region_seen="US")

    checkout = one(*facts, rules=BY_REGION)

    assert checkout.reason == "waiting for consent"


def test_who_turns_out_to_be_where_consent_is_required_is_waited_for() -> None:
    facts = state(0, email=JANE, region_seen="US"), state(0.1, region_seen="DE")

    checkout = one(*facts, rules=BY_REGION)

    assert (checkout.status, checkout.due_at) == (Status.PENDING, None)


def test_what_was_decided_on_what_evidence_and_when_outlives_the_delivery_and_a_later_no() -> None:
    said = Consent(state=ConsentState.GRANTED, source="Our banner", evidence="c-4711")
    known = one(state(0, email=JANE, consent=said, gpc=True, region="DE"), rules=BY_REGION)

    delivered = outcomes.delivered(to(known, Profile(email=JANE)), after(2))
    checkout = one(state(3, consent=DENIED), rules=BY_REGION, onto=[delivered])

    assert checkout.latest.email is None
    assert checkout.consent == Decided(
        permission=Permission.GIVEN,
        mode=ConsentMode.REQUIRED,
        at=after(0),
        consent=said,
        gpc=True,
        region="DE",
        region_by="token",
    )


def test_a_decision_is_as_old_as_it_is_the_same() -> None:
    asked, again = one(state(0, email=JANE)), one(state(0, email=JANE), state(1, email=JOHN))
    granted = one(state(0, email=JANE), state(1, consent=GRANTED))

    assert asked.consent == again.consent
    assert granted.consent is not None
    assert granted.consent.at == after(1)


def test_what_is_sent_under_other_rules_than_it_came_under_says_so() -> None:
    checkout = one(state(0, email=JANE, consent=GRANTED), rules=OFF)
    consent = checkouts.decided(checkout, REQUIRED, after(5))

    sent = outcomes.addressed(checkout, seen=checkout, profile=Profile(email=JANE), consent=consent)

    assert sent.consent is not None
    assert (sent.consent.mode, sent.consent.at) == (ConsentMode.REQUIRED, after(5))


def test_an_earlier_consent_outlives_global_privacy_control() -> None:
    checkout = one(state(0, email=JANE, consent=GRANTED), state(1, gpc=True))

    assert checkout.status is Status.PENDING


# -- what is erased ----------------------------------------------------------------------


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


def gone(checkout: Checkout) -> Checkout:
    return reduce(lambda known, _: troubled(known, Trouble.CART_GONE), range(3), checkout)


def folding(fact: Fact) -> Callable[[Checkout], Checkout]:
    return lambda checkout: one(fact, onto=[checkout])


CLOSINGS: list[tuple[str, Callable[[Checkout], Checkout]]] = [
    ("delivered", delivered),
    ("ordered", folding(order(1))),
    ("denied", folding(full_of_canaries(1, consent=DENIED))),
    ("deleted", folding(deleted(1))),
    ("gone", gone),
]


@pytest.mark.parametrize("close", [close for _, close in CLOSINGS], ids=[n for n, _ in CLOSINGS])
def test_nothing_about_a_person_is_left_in_what_is_closed(
    close: Callable[[Checkout], Checkout],
) -> None:
    begun = to(one(full_of_canaries()), Profile(email="canary@shop-demo.io"))
    assert canaries(begun) > 10

    closed = close(begun)

    assert closed.status in (Status.DELIVERED, Status.CANCELLED)
    assert canaries(closed) == 0
    assert closed.addresses == ()
    assert closed.addressee is None


@pytest.mark.parametrize("close", [delivered, folding(order(1))])
def test_what_is_said_to_a_closed_checkout_is_not_kept(
    close: Callable[[Checkout], Checkout],
) -> None:
    closed = close(one(full_of_canaries()))

    again = one(full_of_canaries(0.5), onto=[closed])

    assert canaries(again) == 0


def test_what_was_decided_on_consent_is_kept() -> None:
    cancelled = one(full_of_canaries(consent=DENIED, gpc=True))

    assert value(cancelled.latest.consent) == DENIED
    assert value(cancelled.latest.gpc) is True


def test_no_repr_tells_who_it_is_about() -> None:
    fact = full_of_canaries(cart_id="canary-cart?key=1")
    checkout = to(one(fact), Profile(email="canary@x.io"))

    assert "canary" not in repr(checkout) + repr(fact) + repr(checkout.latest) + str(fact.customer)


# -- carts -------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [Trouble.NO_CART, Trouble.CART_GONE])
def test_a_cart_that_is_pushed_wakes_who_waits_for_it(trouble: Trouble) -> None:
    waiting = troubled(one(state(0, email=JANE)), trouble)
    assert waiting.due_at == after(16)

    checkout = one(pushed(2), onto=[waiting])

    assert checkout.due_at == after(2)
    assert (checkout.trouble, checkout.attempts, checkout.reason) == (None, 0, "settling")


def test_a_cart_that_is_pushed_wakes_who_waits_for_an_address() -> None:
    waiting = outcomes.waiting(one(state(0)), "waiting for an address")
    assert waiting.due_at is None

    checkout = one(pushed(2), onto=[waiting])

    assert checkout.due_at is not None


def test_an_address_wakes_who_waits_for_it() -> None:
    waiting = outcomes.waiting(one(state(0)), "waiting for an address")

    checkout = one(state(2, email=JANE), onto=[waiting])

    assert checkout.due_at == after(2) + SETTLE


def test_a_cart_that_is_pushed_does_not_excuse_klaviyo() -> None:
    waiting = troubled(one(state(0, email=JANE)), Trouble.KLAVIYO)

    assert one(pushed(2), onto=[waiting]).due_at == waiting.due_at


def test_a_cart_alone_is_no_checkout() -> None:
    assert folded(pushed(0), deleted(1), replay(2)) == []


def test_a_cart_that_is_taken_away_cancels_what_is_pending() -> None:
    checkout = one(state(0, email=JANE), deleted(1))

    assert checkout.status is Status.CANCELLED
    assert checkout.reason == "the shop took the cart away"


def test_who_comes_back_after_the_cart_was_taken_away_is_heard_again() -> None:
    checkout = one(state(0, email=JANE), deleted(1), state(2, email=JANE))

    assert checkout.status is Status.PENDING


# -- after it was sent -------------------------------------------------------------------

LATER_FACTS: list[Fact] = [
    state(2, email=JOHN, consent=GRANTED),
    state(2, consent=DENIED),
    state(2, gpc=True),
    order(2),
    pushed(2),
    deleted(2),
    replay(2),
    *(state(2 + number, email=f"{number}@x.io") for number in range(4)),
]


def test_after_delivery_nothing_reopens_a_checkout() -> None:
    sent = delivered(one(state(0, email=JANE)))

    for fact in LATER_FACTS:
        after_fact = fold([sent], fact, RULES)[0]
        assert (after_fact.status, after_fact.due_at) == (Status.DELIVERED, None)
        assert after_fact.reason == "Klaviyo took it"


def test_only_a_replay_reopens_a_dead_letter() -> None:
    dead = outcomes.refused(one(state(0, email=JANE)), "Klaviyo answered 400")

    for fact in LATER_FACTS:
        after_fact = fold([dead], fact, RULES)[0]
        assert (after_fact.status is Status.PENDING) == isinstance(fact, ReplayAsked)


def test_a_replayed_dead_letter_begins_anew_under_its_unique_id() -> None:
    dead = outcomes.refused(
        troubled(one(state(0, email=JANE)), Trouble.KLAVIYO), "Klaviyo answered 400"
    )

    checkout = one(replay(60), onto=[dead])

    assert (checkout.status, checkout.due_at) == (Status.PENDING, after(60))
    assert (checkout.attempts, checkout.trouble, checkout.retry_at) == (0, None, None)
    assert checkout.unique_id == dead.unique_id
    assert value(checkout.latest.email) == JANE


def test_a_dead_letter_hears_the_correction_that_its_replay_needs() -> None:
    dead = outcomes.refused(one(state(0, email="jane@x")), "Klaviyo answered 400")

    checkout = one(state(1, email=JANE), replay(60), onto=[dead])

    assert value(checkout.latest.email) == JANE


@pytest.mark.parametrize("fact", [order(2), state(2, consent=DENIED)])
def test_a_dead_letter_that_was_ordered_or_denied_meanwhile_is_not_replayed(fact: Fact) -> None:
    dead = outcomes.refused(one(state(0, email=JANE)), "Klaviyo answered 400")

    assert one(fact, replay(60), onto=[dead]).status is Status.CANCELLED


def test_a_replay_concerns_dead_letters_alone() -> None:
    for checkout in (
        one(state(0, email=JANE)),
        one(state(0, email=JANE), order(1)),
        outcomes.quarantined(one(state(0, email=JANE)), "suspicious"),
        delivered(one(state(0, email=JANE))),
    ):
        assert one(replay(60), onto=[checkout]) == checkout


# -- what an operator asks for -----------------------------------------------------------


def test_what_is_hurried_is_due_at_once() -> None:
    checkout = one(state(0, email=JANE), hurry(0.1))

    assert (checkout.status, checkout.due_at) == (Status.PENDING, after(0.1))


def test_what_waits_for_its_next_try_is_hurried_as_well() -> None:
    waits = troubled(one(state(0, email=JANE)), Trouble.KLAVIYO)

    assert one(hurry(5), onto=[waits]).due_at == waits.settled_at


def test_a_hurry_does_not_replace_consent() -> None:
    checkout = one(state(0, email=JANE), hurry(1), rules=REQUIRED)

    assert (checkout.due_at, checkout.reason) == (None, "waiting for consent")


@pytest.mark.parametrize(
    "close",
    [
        lambda checkout: checkout,
        partial(outcomes.refused, reason="Klaviyo answered 400"),
        partial(outcomes.quarantined, reason="suspicious"),
    ],
)
def test_what_was_called_off_stays_so_whatever_is_said(
    close: Callable[[Checkout], Checkout],
) -> None:
    called_off = one(cancel(1), onto=[close(one(state(0, email=JANE)))])

    assert (called_off.status, called_off.reason) == (
        Status.CANCELLED,
        "an operator called it off",
    )
    assert value(called_off.latest.email) is None
    for fact in (state(2, email=JANE), pushed(2), replay(2), hurry(2)):
        assert one(fact, onto=[called_off]).status is Status.CANCELLED


# -- what is not believed ----------------------------------------------------------------

FOUR = [state(0, email=f"{n}@x.io") for n in range(4)]
OF_A_BOT = state(0, email=JANE, automated=True)


def test_what_a_bot_posted_is_kept_back() -> None:
    checkout = one(OF_A_BOT)

    assert (checkout.status, checkout.reason) == (Status.QUARANTINED, "a bot's user agent")
    assert checkout.due_at is None


def test_what_a_bot_posted_stays_so_once_a_person_posts_for_the_same_cart() -> None:
    assert one(OF_A_BOT, state(1, email=JOHN)).status is Status.QUARANTINED


@pytest.mark.parametrize("said", [[OF_A_BOT], FOUR])
def test_what_was_released_is_sent_as_if_nothing_spoke_against_it(said: list[Fact]) -> None:
    checkout = one(*said, release(1))

    assert (checkout.status, checkout.released) == (Status.PENDING, True)
    assert checkout.due_at == after(1)
    assert one(*said, release(1), state(2, email="5@x.io")).status is Status.PENDING
    assert outcomes.quarantined(checkout, "more than we like") == checkout


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (order(2), "an order was placed for the cart"),
        (cancel(2), "an operator called it off"),
        (state(2, consent=DENIED), "the shopper denied consent"),
    ],
)
def test_what_was_released_is_not_sent_where_something_else_forbids_it(
    fact: Fact, reason: str
) -> None:
    checkout = one(OF_A_BOT, release(1), fact)

    assert (checkout.status, checkout.reason) == (Status.CANCELLED, reason)


def test_only_what_is_in_quarantine_is_released() -> None:
    pending = one(state(0, email=JANE))

    assert one(release(1), onto=[pending]) == pending


def test_the_visit_after_the_one_that_was_released_is_judged_anew() -> None:
    first, second = folded(OF_A_BOT, release(1), order(2), replace_at(OF_A_BOT, 3))

    assert (first.status, second.status) == (Status.CANCELLED, Status.QUARANTINED)


def replace_at(said: StatePosted, minute: float) -> StatePosted:
    return replace(said, id="later", acted_at=after(minute), received_at=after(minute))


def test_a_checkout_keeps_who_posted_last_also_once_it_is_closed() -> None:
    checkout = one(state(0, client="a"), state(2, client="c"), state(1, client="b"), order(3))

    assert (checkout.client, checkout.latest.client) == ("c", None)


def test_the_visit_after_the_one_that_was_called_off_is_sent() -> None:
    known = folded(state(0, email=JANE), cancel(1), state(25 * 60, email=JANE))

    assert statuses(known) == [Status.CANCELLED, Status.PENDING]


@pytest.mark.parametrize("asked", [hurry, cancel])
def test_what_an_operator_asks_is_about_one_visit(asked: Callable[..., Fact]) -> None:
    known = folded(state(0, email=JANE), state(25 * 60, email=JANE))

    hurried = folded(asked(25 * 60 + 0.1), onto=known)

    assert hurried[1] == known[1]


@pytest.mark.parametrize("asked", [hurry, cancel])
def test_what_was_delivered_is_past_asking(asked: Callable[..., Fact]) -> None:
    sent = delivered(one(state(0, email=JANE)))

    assert one(asked(1), onto=[sent]).status is Status.DELIVERED


# -- by what a checkout is found ----------------------------------------------------------


def test_a_checkout_is_found_by_the_last_address_also_once_that_is_erased() -> None:
    rules = replace(RULES, address_key=b"a key")
    (typed,) = folded(state(0, email="jnae@x.io"), state(1, email="Jane@X.io"), rules=rules)
    (ordered,) = folded(order(2), onto=[typed], rules=rules)

    assert ordered.address_hash == address_hash("jane@x.io", b"a key")
    assert address_hash("jane@x.io", b"another key") != ordered.address_hash


def test_without_a_key_no_address_is_hashed() -> None:
    assert one(state(0, email=JANE)).address_hash is None


# -- attempts ----------------------------------------------------------------------------

OUTCOMES: dict[str, Callable[[Checkout], Checkout]] = {
    "addressed": partial(to, profile=Profile(email=JANE)),
    "refused": partial(outcomes.refused, reason="Klaviyo answered 400"),
    "quarantined": partial(outcomes.quarantined, reason="reserved"),
    "waiting": partial(outcomes.waiting, reason="waiting for an address"),
    "held": outcomes.held,
    "no cart": partial(troubled, trouble=Trouble.NO_CART),
    "cart gone": partial(troubled, trouble=Trouble.CART_GONE),
    "Klaviyo": partial(troubled, trouble=Trouble.KLAVIYO),
}


@pytest.mark.parametrize("name", [name for name in OUTCOMES if name != "addressed"])
def test_what_was_cancelled_during_an_attempt_stays_cancelled(name: str) -> None:
    cancelled = one(state(0, email=JANE), order(1))

    assert OUTCOMES[name](cancelled) == cancelled


@pytest.mark.parametrize("name", [name for name in OUTCOMES if name != "addressed"])
def test_what_was_delivered_stays_delivered(name: str) -> None:
    sent = delivered(one(state(0, email=JANE)))

    assert OUTCOMES[name](sent) == sent


def test_what_was_cancelled_too_late_is_told_as_delivered() -> None:
    cancelled = one(state(0, email=JANE), order(1))

    sent = delivered(cancelled)

    assert (sent.status, sent.ordered_at) == (Status.DELIVERED, after(1))


def test_what_changed_since_it_was_seen_is_not_addressed() -> None:
    seen = one(state(0, email=JANE))
    corrected = one(state(0.1, email=JOHN), onto=[seen])

    checkout = outcomes.addressed(corrected, seen=seen, profile=Profile(email=JANE))

    assert checkout == corrected


def test_a_correction_does_not_reach_an_event_that_klaviyo_may_have_taken() -> None:
    unanswered = troubled(to(one(state(0, email=JANE)), Profile(email=JANE)), Trouble.KLAVIYO)

    corrected = one(state(2, email=JOHN), onto=[unanswered])

    assert corrected.addressee == Profile(email=JANE)


@pytest.mark.parametrize("name", ["no cart", "cart gone", "Klaviyo", "refused", "held"])
def test_no_later_failure_says_that_klaviyo_did_not_take_it(name: str) -> None:
    unanswered = troubled(to(one(state(0, email=JANE)), Profile(email=JANE)), Trouble.KLAVIYO)

    assert OUTCOMES[name](unanswered).addressee == Profile(email=JANE)


def test_an_event_that_klaviyo_surely_did_not_take_is_for_whoever_is_right_by_then() -> None:
    throttled = troubled(to(one(state(0, email=JANE)), Profile(email=JANE)), Trouble.KLAVIYO)

    assert outcomes.unbound(throttled).addressee is None


def test_an_event_that_klaviyo_may_have_taken_is_not_opened_again_for_anybody() -> None:
    unanswered = troubled(to(one(state(0, email=JANE)), Profile(email=JANE)), Trouble.KLAVIYO)

    checkout = one(
        state(1, consent=DENIED), state(2, email=JOHN, consent=GRANTED), onto=[unanswered]
    )

    assert checkout.status is Status.CANCELLED
    assert canaries(checkout) == 0


@pytest.mark.parametrize(
    "news",
    [state(1, email=JANE), state(1, email=JOHN), state(-1, late=1, phone_number="1"), pushed(1)],
    ids=["a correction", "the same again", "a word that comes late", "a cart"],
)
def test_what_was_found_out_before_some_news_says_nothing_after_it(news: Fact) -> None:
    seen = one(state(0, email=JOHN))
    newer = one(news, onto=[seen])
    wait = partial(outcomes.waiting, reason="waiting for an address")

    assert outcomes.unless_changed(newer, seen=seen, apply=wait) == newer
    assert outcomes.unless_changed(seen, seen=seen, apply=wait).due_at is None


def test_an_attempt_that_says_nothing_burns_nothing() -> None:
    waiting = troubled(one(state(0, email=JANE)), Trouble.KLAVIYO)

    held = outcomes.held(to(waiting, Profile(email=JANE)))

    assert held.status is Status.PENDING
    assert held.due_at == waiting.due_at
    assert held.attempts <= waiting.attempts


@settings(max_examples=50)
@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=7)))
def test_klaviyo_is_asked_again_exactly_when_it_said(wait: timedelta) -> None:
    checkout = outcomes.postponed(
        one(state(0, email=JANE)), Trouble.KLAVIYO, "429", now=after(1), wait=wait
    )

    assert checkout.due_at == after(1) + wait
    assert checkout.attempts == 1
    assert checkout.reason == "429"


def test_an_attempt_does_not_end_the_wait_for_what_was_said_meanwhile() -> None:
    corrected = one(state(0, email=JANE), state(5, email=JOHN))

    checkout = outcomes.postponed(
        corrected, Trouble.KLAVIYO, "503", now=after(5), wait=timedelta(seconds=5)
    )

    assert checkout.due_at == after(5) + SETTLE


@pytest.mark.parametrize(("trouble", "hours"), [(Trouble.NO_CART, 6), (Trouble.KLAVIYO, 72)])
def test_patience_has_an_end(trouble: Trouble, hours: int) -> None:
    first = troubled(one(state(0, email=JANE)), trouble, minute=0)

    almost = troubled(first, trouble, minute=hours * 60 - 0.01)
    last = troubled(almost, trouble, minute=hours * 60)

    assert (almost.status, almost.attempts) == (Status.PENDING, 2)
    assert (last.status, last.due_at) == (Status.DEAD, None)
    assert last.reason == f"not yet (given up after {hours} h)"


def test_another_trouble_begins_its_own_patience() -> None:
    cartless = troubled(one(state(0, email=JANE)), Trouble.NO_CART, minute=0)

    unsent = troubled(cartless, Trouble.KLAVIYO, minute=6 * 60)

    assert (unsent.status, unsent.attempts) == (Status.PENDING, 1)
    assert unsent.troubled_at == after(6 * 60)


def test_a_cart_that_is_gone_is_asked_for_three_times() -> None:
    checkout = one(state(0, email=JANE))

    tries = list(accumulate([Trouble.CART_GONE] * 3, troubled, initial=checkout))

    expected = [Status.PENDING] * 3 + [Status.CANCELLED]
    assert statuses(tries) == expected
    assert tries[-1].reason == "not yet"


def test_a_cart_that_was_there_again_is_asked_for_three_more_times() -> None:
    twice = reduce(troubled, [Trouble.CART_GONE] * 2, one(state(0, email=JANE)))
    back = one(pushed(5), onto=[twice])

    again = reduce(troubled, [Trouble.CART_GONE] * 2, back)

    assert again.status is Status.PENDING


def test_tries_are_counted_for_each_trouble() -> None:
    twice = reduce(troubled, [Trouble.NO_CART] * 2, one(state(0, email=JANE)))

    assert outcomes.tries(twice, Trouble.NO_CART) == 2
    assert outcomes.tries(twice, Trouble.KLAVIYO) == 0


JITTER = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10_000), JITTER)
def test_the_wait_for_klaviyo_is_from_5_seconds_to_15_minutes(attempts: int, jitter: float) -> None:
    assert timedelta(seconds=5) <= backoff(attempts, jitter) <= timedelta(minutes=15)


@given(st.integers(0, 20))
def test_the_wait_for_klaviyo_is_spread_over_all_of_its_range(attempts: int) -> None:
    shortest, longest = (backoff(attempts, jitter) for jitter in (0, 0.999_999))

    assert shortest == timedelta(seconds=5)
    assert longest >= timedelta(seconds=min(899, 4.99 * 2**attempts))


def test_the_wait_for_a_cart_grows_to_a_minute() -> None:
    wait = partial(outcomes.cart_wait, Trouble.NO_CART)

    assert [wait(n).total_seconds() for n in (0, 1, 2, 3, 4, 99)] == [1, 2, 5, 15, 60, 60]


# -- a clock that was set back -----------------------------------------------------------

TOLD = st.lists(
    st.one_of(
        st.builds(lambda email: partial(state, email=email), st.sampled_from([JANE, JOHN])),
        st.sampled_from([partial(state, consent=DENIED), partial(state, consent=GRANTED)]),
        st.sampled_from([order, pushed, deleted]),
    ),
    min_size=1,
    max_size=8,
)


def heard(facts: Sequence[Fact]) -> Sequence[Checkout]:
    """Return what becomes of *facts* that come in their order."""

    def take(known: Sequence[Checkout], fact: Fact) -> Sequence[Checkout]:
        return fold(checkouts.found_at(known, fact.received_at), fact, RULES)

    return reduce(take, facts, [])


@given(said=TOLD, ahead=st.integers(0, 8), hours=st.sampled_from([1, 24, 72]))
def test_what_was_heard_under_a_clock_that_was_ahead_came_before(
    said: Sequence[Callable[[float], Fact]], ahead: int, hours: int
) -> None:
    minutes = [10 * number for number in range(len(said))]
    wrong = [minute + (60 * hours if n < ahead else 0) for n, minute in enumerate(minutes)]

    right, mended = (
        heard([tell(minute) for tell, minute in zip(said, clock, strict=True)])
        for clock in (minutes, wrong)
    )

    assert statuses(mended) == statuses(right)
    for one, other in zip(mended, right, strict=True):
        assert value(one.latest.email) == value(other.latest.email)
        assert value(one.latest.consent) == value(other.latest.consent)


@given(st.lists(STATES, min_size=1), st.integers(-600, 600))
def test_nothing_brought_back_lies_ahead(states: list[StatePosted], minute: int) -> None:
    checkout = troubled(one(*states, rules=OFF), Trouble.KLAVIYO, minute=500)

    back = checkouts.brought_back(checkout, after(minute))

    times = [back.acted_at, back.settled_at, back.due_at, back.retry_at, back.troubled_at]
    assert all(time is None or time <= after(minute) for time in times)
    assert (back.epoch, back.unique_id) == (checkout.epoch, checkout.unique_id)
    assert (back.status, back.addresses) == (checkout.status, checkout.addresses)


# -- all of it at once -------------------------------------------------------------------

PEOPLE = st.none() | st.sampled_from([f"canary-{name}@x.io" for name in "abcde"])
LATER = st.sampled_from([0, 0.001, 0.5, 4, 6, 60, 24 * 60, 80 * 60])


AGES = st.none() | st.sampled_from([-600, 0, 3, 10, 600])


class Storm(RuleBasedStateMachine):
    """Facts come and attempts end in any order; what has ended is applied to what stands by then.

    All personal data begins with "canary".
    """

    known: Sequence[Checkout] = ()
    seen: Checkout | None = None

    @initialize(mode=st.sampled_from(ConsentMode))
    def a_shop_opens(self, mode: ConsentMode) -> None:
        self.asked = replace(RULES, consent=mode)
        self.minute = 0.0
        self.ids: list[str] = []
        self.delivered: set[str] = set()

    @rule(
        later=LATER,
        age=st.sampled_from([0, 0.001, 3, 10, 23 * 60]),
        email=PEOPLE,
        consent=st.none() | CONSENTS,
        gpc=st.booleans(),
    )
    def a_page_speaks(self, later: float, age: float, **said: Any) -> None:
        self.minute += later
        self.fold(state(self.minute - age, late=age, first_name="canary", **said))

    @rule(later=LATER, fact=st.sampled_from([order, pushed, deleted, replay]), age=AGES)
    def the_shop_or_an_operator_speaks(
        self, later: float, fact: Callable[..., Fact], age: float | None
    ) -> None:
        self.minute += later
        is_late = fact is order and age is not None
        self.fold(fact(self.minute, **{"placed": self.minute - (age or 0)} if is_late else {}))

    @rule(
        pick=st.integers(0, 5),
        name=st.sampled_from(["delivered", *OUTCOMES]),
        unbound=st.booleans(),
    )
    def an_attempt_begins_or_ends(self, pick: int, name: str, *, unbound: bool) -> None:
        if self.seen is not None:
            self.end(self.seen, name, unbound=unbound)
        elif due := self.due():
            self.begin(due[pick % len(due)])

    def begin(self, due: Checkout) -> None:
        assert due.due_at is not None
        self.minute = max(self.minute, (due.due_at - NOON) / timedelta(minutes=1))
        self.seen = to(due, due.addressee or Profile(email="canary@x.io"))
        self.put(self.seen)

    def end(self, seen: Checkout, name: str, *, unbound: bool) -> None:
        (standing,) = (known for known in self.known if known.epoch == seen.epoch)
        if name == "delivered":
            self.delivered.add(standing.unique_id)
        ended = delivered(standing) if name == "delivered" else OUTCOMES[name](standing)
        self.put(outcomes.unbound(ended) if unbound else ended)
        self.seen = None

    def due(self) -> list[Checkout]:
        return [checkout for checkout in self.known if checkout.due_at is not None]

    def fold(self, fact: Fact) -> None:
        self.known = fold(self.known, fact, self.asked)

    def put(self, changed: Checkout) -> None:
        self.known = [changed if known.epoch == changed.epoch else known for known in self.known]

    @invariant()
    def unique_ids_are_distinct_and_stay(self) -> None:
        ids = [checkout.unique_id for checkout in self.known]
        assert len(set(ids)) == len(ids)
        assert ids[: len(self.ids)] == self.ids
        self.ids = ids

    @invariant()
    def epochs_follow_each_other(self) -> None:
        assert all(one.epoch < other.epoch for one, other in pairwise(self.known))

    @invariant()
    def what_is_closed_holds_nobody(self) -> None:
        for checkout in self.known:
            if checkout.status in (Status.DELIVERED, Status.CANCELLED):
                assert canaries(checkout) == 0

    @invariant()
    def only_what_is_pending_is_due(self) -> None:
        for checkout in self.due():
            assert checkout.status is Status.PENDING

    @invariant()
    def what_is_pending_is_due_or_says_what_it_waits_for(self) -> None:
        for checkout in self.known:
            if checkout.status is Status.PENDING and checkout.due_at is None:
                assert checkout.reason.startswith("waiting for")

    @invariant()
    def what_is_due_has_settled(self) -> None:
        for checkout in self.due():
            assert checkout.due_at is None or checkout.due_at >= checkout.settled_at

    @invariant()
    def delivered_is_for_ever(self) -> None:
        now = {known.unique_id for known in self.known if known.status is Status.DELIVERED}
        assert now == self.delivered

    @invariant()
    def what_was_ordered_or_denied_is_never_due(self) -> None:
        for checkout in self.due():
            assert checkout.ordered_at is None
            assert self.asked == OFF or value(checkout.latest.consent) != DENIED


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=200, stateful_step_count=25)
