"""A clock that was set back, and what was written before it was."""

from collections.abc import Callable, Sequence
from functools import partial, reduce

from hypothesis import example, given
from hypothesis import strategies as st

from proxy import setbacks
from proxy.checkouts import Checkout, Trouble
from proxy.facts import Fact, StatePosted
from proxy.latest import value
from proxy.visits import fold
from tests.folded import OFF, RULES, STATES, one, statuses, troubled
from tests.said import DENIED, GRANTED, JANE, JOHN, after, deleted, order, pushed, state

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
        return fold(setbacks.found_at(known, fact.received_at), fact, RULES)

    return reduce(take, facts, [])


# What is heard in the end comes at the very time that the order had by the clock ahead.
@example(
    said=[
        order,
        partial(state, email=JANE),
        *3 * [pushed],
        partial(state, consent=GRANTED),
        partial(state, consent=DENIED),
    ],
    ahead=6,
    hours=1,
)
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
    for each, other in zip(mended, right, strict=True):
        assert value(each.latest.email) == value(other.latest.email)
        assert value(each.latest.consent) == value(other.latest.consent)


@given(st.lists(STATES, min_size=1), st.integers(-600, 600))
def test_nothing_brought_back_lies_ahead(states: list[StatePosted], minute: int) -> None:
    checkout = troubled(one(*states, rules=OFF), Trouble.KLAVIYO, minute=500)

    back = setbacks.brought_back(checkout, after(minute))

    times = [back.acted_at, back.settled_at, back.due_at, back.retry_at, back.troubled_at]
    assert all(time is None or time <= after(minute) for time in times)
    assert (back.epoch, back.unique_id) == (checkout.epoch, checkout.unique_id)
    assert (back.status, back.addresses) == (checkout.status, checkout.addresses)
