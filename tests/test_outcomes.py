"""What becomes of a checkout after an attempt to send it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial, reduce
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import outcomes
from proxy.backoff import backoff
from proxy.checkouts import Status, Trouble, untroubled
from proxy.facts import Fact
from proxy.identity import Profile
from tests.folded import OUTCOMES, RULES, SETTLE, canaries, delivered, one, statuses, to, troubled
from tests.said import DENIED, GRANTED, JANE, JOHN, after, order, pushed, state


@pytest.mark.parametrize("name", [name for name in OUTCOMES if name != "bound"])
def test_what_was_cancelled_during_an_attempt_stays_cancelled(name: str) -> None:
    cancelled = one(state(0, email=JANE), order(1))

    assert OUTCOMES[name](cancelled) == cancelled


@pytest.mark.parametrize("name", [name for name in OUTCOMES if name != "bound"])
def test_what_was_delivered_stays_delivered(name: str) -> None:
    sent = delivered(one(state(0, email=JANE)))

    assert OUTCOMES[name](sent) == sent


def test_what_was_cancelled_too_late_is_told_as_delivered() -> None:
    cancelled = one(state(0, email=JANE), order(1))

    sent = delivered(cancelled)

    assert (sent.status, sent.ordered_at) == (Status.DELIVERED, after(1))


def test_what_changed_since_it_was_seen_is_not_bound() -> None:
    seen = one(state(0, email=JANE))
    corrected = one(state(0.1, email=JOHN), onto=[seen])

    checkout = outcomes.bound(corrected, seen=seen, profile=Profile(email=JANE))

    assert checkout == corrected


def test_what_is_sent_without_a_number_is_not_found_by_one() -> None:
    rules = replace(RULES, address_key=b"a key")
    known = one(state(0, email=JANE, phone_number="+4930123456"), rules=rules)

    going = to(known, Profile(email=JANE))

    assert known.phone_hash is not None
    assert going.phone_hash is None


def test_a_correction_does_not_reach_an_event_that_klaviyo_may_have_taken() -> None:
    unanswered = troubled(to(one(state(0, email=JANE)), Profile(email=JANE)), Trouble.KLAVIYO)

    corrected = one(state(2, email=JOHN), onto=[unanswered])

    assert corrected.addressee == Profile(email=JANE)


@pytest.mark.parametrize("name", ["no cart", "cart gone", "Klaviyo", "refused", "untroubled"])
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

    held = untroubled(to(waiting, Profile(email=JANE)))

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
