"""Which checkout a fact is about, and what it makes of it, in whatever order facts come."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import outcomes
from proxy.checkouts import Checkout, Status, Trouble
from proxy.consents import ConsentMode, Modes
from proxy.facts import Customer, Fact, StatePosted
from proxy.identity import Profile, address_hash
from proxy.latest import value
from proxy.visits import fold
from tests.folded import (
    CONSENTS,
    HOUR,
    OFF,
    REQUIRED,
    RULES,
    SETTLE,
    STATES,
    delivered,
    folded,
    one,
    statuses,
    to,
    troubled,
)
from tests.said import (
    DENIED,
    GRANTED,
    JANE,
    JOHN,
    NOON,
    after,
    cancel,
    deleted,
    hurry,
    order,
    pushed,
    replay,
    state,
)

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

    once, again = (one(*states, rules=replace(RULES, modes=Modes(mode))) for states in anonymous)

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


# -- how old a page says that a state is -------------------------------------------------


def test_however_old_pages_say_that_states_are_what_comes_together_is_one_checkout() -> None:
    rules = replace(RULES, epoch=HOUR)
    ages = range(24, -1, -2)
    states = (state(n - 60 * age, late=60 * age, email=JANE) for n, age in enumerate(ages))

    checkout = one(*states, rules=rules)

    assert checkout.acted_at == after(len(ages) - 1)


def test_a_state_that_was_kept_for_a_day_begins_no_visit_beside_the_one_of_now() -> None:
    checkout = one(state(0, late=24 * 60, email=JANE), state(24 * 60 + 1, email=JANE))

    assert checkout.epoch == NOON


# -- by what a checkout is found ---------------------------------------------------------


def test_a_checkout_is_found_by_the_last_address_also_once_that_is_erased() -> None:
    rules = replace(RULES, address_key=b"a key")
    (typed,) = folded(state(0, email="jnae@x.io"), state(1, email="Jane@X.io"), rules=rules)
    (ordered,) = folded(order(2), onto=[typed], rules=rules)

    assert ordered.address_hash == address_hash("jane@x.io", b"a key")
    assert address_hash("jane@x.io", b"another key") != ordered.address_hash


def test_a_checkout_is_found_by_the_last_number_also_once_that_is_erased() -> None:
    rules = replace(RULES, address_key=b"a key")
    typed = folded(
        state(0, phone_number="+12125550100"), state(1, phone_number="+49 (30) 123456"), rules=rules
    )
    (ordered,) = folded(order(2), state(1.5, late=1, email=JANE), onto=typed, rules=rules)

    assert ordered.phone_hash == address_hash("+4930123456", b"a key")


def test_a_number_of_somebody_elses_session_is_not_what_a_checkout_is_found_by() -> None:
    rules = replace(RULES, address_key=b"a key")
    janes = Customer(email=JANE, phone_number="+4930123456")

    known = one(state(0, customer=janes), rules=rules)
    typed = one(state(1, email=JOHN), onto=[known], rules=rules)

    assert known.phone_hash == address_hash("+4930123456", b"a key")
    assert typed.phone_hash is None


def test_a_number_of_before_a_denial_is_not_found_in_what_somebody_else_goes_on_with() -> None:
    rules = replace(RULES, address_key=b"a key")
    denied = folded(
        state(0, email=JANE, phone_number="+4930123456"), state(1, consent=DENIED), rules=rules
    )

    again = one(state(2, email=JOHN, consent=GRANTED), onto=denied, rules=rules)

    assert denied[0].phone_hash is not None
    assert again.phone_hash is None


def test_what_was_sent_goes_on_counting_for_whom_it_went_to_and_who_posted_it() -> None:
    rules = replace(RULES, address_key=b"a key")
    sent = delivered(one(state(0, email=JANE, client="one"), rules=rules))

    again = one(state(1, email=JOHN, client="another"), onto=[sent], rules=rules)

    assert (again.client, again.address_hash) == ("one", address_hash(JANE, b"a key"))


def test_what_is_on_its_way_counts_for_whom_it_goes_to() -> None:
    rules = replace(RULES, address_key=b"a key")
    going = to(one(state(0, email=JANE, client="one"), rules=rules), Profile(email=JANE))

    again = one(state(1, email=JOHN, client="another"), onto=[going], rules=rules)

    assert (again.client, again.address_hash) == ("one", address_hash(JANE, b"a key"))


def test_without_a_key_no_address_is_hashed() -> None:
    known = one(state(0, email=JANE, phone_number="+4930123456"))

    assert (known.address_hash, known.phone_hash) == (None, None)
