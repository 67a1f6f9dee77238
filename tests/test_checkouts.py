"""The laws of a checkout: whatever comes, in whatever order, ends in one honest event or none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy import outcomes
from proxy.checkouts import Checkout, Status, Trouble
from proxy.consents import ConsentMode, Modes
from proxy.facts import Fact, ReplayAsked, StatePosted
from proxy.identity import Profile
from proxy.latest import value
from proxy.visits import fold
from tests.folded import (
    CONSENTS,
    OFF,
    OUTCOMES,
    RULES,
    SETTLE,
    canaries,
    delivered,
    folded,
    full_of_canaries,
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
    release,
    replay,
    state,
)

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


def test_punycode_makes_no_other_address() -> None:
    one_in_four = (
        "jane@bücher.io",
        "jane@xn--bcher-kva.io",
        "jane@bu\u0308cher.io",
        "JANE@BÜCHER.io",
    )

    checkout = one(*typed(*one_in_four))

    assert checkout.status is Status.PENDING
    assert checkout.addresses == ("jane@bücher.io",)


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


# -- what is erased ----------------------------------------------------------------------


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
        self.asked = replace(RULES, modes=Modes(mode))
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
