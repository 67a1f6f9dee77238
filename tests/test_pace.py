"""The pace: no window of Klaviyo's is overrun, wherever it begins, and none is left unused."""

from bisect import bisect_left
from datetime import timedelta
from itertools import accumulate, cycle

from hypothesis import given
from hypothesis import strategies as st

from proxy.pace import Pace, Window, bulk_jobs, single_events

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def sent(pace: Pace, moments: list[float]) -> list[float]:
    """Return when requests went that were waiting all along, looked after at *moments*."""
    gone: list[float] = []
    for now in moments:
        for _ in range(pace.allowance(now)):
            pace.sent(now)
            gone.append(now)
    return gone


def busiest(moments: list[float], seconds: float) -> int:
    """Return how many requests went in the fullest stretch of *seconds*; they are in order."""
    ends = [bisect_left(moments, start + seconds) for start in moments]
    return max(end - begin for begin, end in enumerate(ends))


STEPS = st.lists(st.floats(0.001, 2), min_size=1, max_size=150)


@given(steps=STEPS, burst=st.integers(1, 9), steady=st.integers(1, 40))
def test_no_window_is_overrun_wherever_it_begins(
    steps: list[float], burst: int, steady: int
) -> None:
    pace = Pace(Window(burst, SECOND), Window(steady, MINUTE))

    gone = sent(pace, [sum(steps[:n]) for n in range(len(steps))])

    assert busiest(gone, 1) <= burst
    assert busiest(gone, 60) <= steady


@given(steps=STEPS, repaired=st.lists(st.booleans(), min_size=1))
def test_requests_that_become_two_overrun_no_window(
    steps: list[float], repaired: list[bool]
) -> None:
    pace, fates = Pace(Window(7, SECOND), Window(20, MINUTE)), cycle(repaired)
    gone: list[float] = []
    in_flight = 0
    for now in accumulate(steps):
        going = pace.allowance(now, in_flight=in_flight, again=1)
        again = sum(next(fates) for _ in range(in_flight))
        for _ in range(going + again):
            pace.sent(now)
        gone += [now] * (going + again)
        in_flight = going

    assert busiest(gone, 1) <= 7
    assert busiest(gone, 60) <= 20


def test_bulks_reach_nearly_all_that_klaviyo_allows() -> None:
    quarter_of_an_hour = [n / 10 for n in range(15 * 60 * 10)]

    gone = sent(bulk_jobs(), quarter_of_an_hour)

    assert busiest(gone, 1) == 10
    assert busiest(gone, 60) == 150
    assert len(gone) * 1_000 / (15 * 60) > 2_300


def test_single_events_have_windows_of_their_own() -> None:
    gone = sent(single_events(), [n / 10 for n in range(1_300)])

    assert busiest(gone, 1) == 350
    assert busiest(gone, 60) == 3_500


def test_what_others_use_of_the_account_is_left_to_them() -> None:
    pace = Pace(Window(10, SECOND), Window(150, MINUTE))
    sent(pace, [0])

    pace.told(remaining=3, reset=timedelta(seconds=20), now=1.5, in_flight=1)

    assert len(sent(pace, [1.5, 5, 10, 21])) == 2
    assert len(sent(pace, [22])) == 10


def test_an_older_answer_does_not_give_back_what_a_newer_one_took() -> None:
    pace = Pace(Window(10, SECOND))
    pace.told(remaining=2, reset=MINUTE, now=0, in_flight=0)

    pace.told(remaining=9, reset=MINUTE, now=0.1, in_flight=0)

    assert pace.allowance(0.2) == 2


def test_nothing_goes_where_nothing_remains() -> None:
    pace = Pace(Window(10, SECOND))

    pace.told(remaining=0, reset=MINUTE, now=0, in_flight=4)

    assert pace.allowance(1) == 0
