"""Overview: figures are what was counted, however the periods cut it."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.overview import PERIODS, Figures, Period, verdict
from proxy.alarms import Alarm, Name
from proxy.money import Amount
from proxy.standing import Standing
from proxy.tallies import IN, OUT, Count, Counted, Tally, What, of_time
from tests.said import NOON

HOUR, DAY, WEEK = PERIODS.values()


def counted(*happened: tuple[datetime, Count]) -> list[Counted]:
    tally = Tally()
    for at, count in happened:
        tally.add(at, [count])
    return list(tally)


def figures(period: Period, *happened: tuple[datetime, Count]) -> Figures:
    return Figures(counted(*happened), period, NOON)


@pytest.mark.parametrize("period", PERIODS.values())
def test_the_last_step_is_the_one_that_is_under_way(period: Period) -> None:
    found = figures(period, (NOON, Count(What.DELIVERED)))

    assert found.starts()[-1] <= NOON < found.starts()[-1] + period.step
    assert found.series(What.DELIVERED)[-1] == 1


@given(
    st.sampled_from([HOUR, DAY, WEEK]),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 9))),
)
def test_steps_add_up_to_the_sum(period: Period, happened: list[tuple[int, int]]) -> None:
    delivered = [
        (NOON - timedelta(minutes=ago), Count(What.DELIVERED, "", many)) for ago, many in happened
    ]
    found = figures(period, *delivered)

    assert sum(found.series(What.DELIVERED)) == found.sum(What.DELIVERED)
    assert found.sum(What.DELIVERED) == sum(
        count.many for at, count in delivered if at >= found.since
    )


@given(st.lists(st.tuples(st.integers(0, 59), st.sampled_from([IN, OUT]))))
def test_who_waited_when_is_told_from_who_came_and_went(moves: list[tuple[int, str]]) -> None:
    # Nobody goes who has not come.
    moves = sorted(moves)
    level, kept = 0, []
    levels: Counter[int] = Counter()
    for minute, move in moves:
        if move == OUT and level == 0:
            continue
        level += 1 if move == IN else -1
        kept.append((minute, move))
        levels[minute] = level
    start = NOON - timedelta(minutes=59)
    happened = [(start + timedelta(minutes=m), Count(What.WAITING, move)) for m, move in kept]

    told = figures(HOUR, *happened).waiting(level)

    expected, last = [], 0
    for minute in range(60):
        last = levels.get(minute, last)
        expected.append(last)
    assert told == expected


def test_half_and_nearly_all_are_told_within_their_steps() -> None:
    took = [*[30.5] * 90, *[44.0] * 9, 200.0]
    happened = [
        (NOON, count)
        for seconds in took
        for count in of_time(What.DELAY, timedelta(seconds=seconds))
    ]
    found = figures(HOUR, *happened)

    half, most = found.quantile(What.DELAY, 0.5), found.quantile(What.DELAY, 0.95)

    assert half is not None
    assert most is not None
    assert 30 < half.total_seconds() <= 31
    assert 40 < most.total_seconds() <= 45
    assert figures(HOUR).quantile(What.DELAY, 0.5) is None


def test_values_are_in_their_currencies_major_units() -> None:
    found = figures(
        HOUR,
        (NOON, Count(What.VALUE, "EUR", 19_990)),
        (NOON, Count(What.VALUE, "JPY", 500)),
        (NOON, Count(What.VALUE, "KWD", 1_234)),
    )

    assert [(f"{of.value}", of.currency) for of in found.values()] == [
        ("199.90", "EUR"),
        ("1.234", "KWD"),
        ("500", "JPY"),
    ]
    assert all(isinstance(of, Amount) for of in found.values())


def test_what_comes_first_is_what_holds_up_most() -> None:
    stopped = Standing().after_refusal("Klaviyo answered 401", now=NOON)
    alarm = Alarm(name=Name.DEAD_LETTERS, words="7 of them", remedy="see them")
    found = figures(HOUR, (NOON, Count(What.DELIVERED, "", 1_234)))
    silent = NOON - timedelta(minutes=2)

    said = [
        verdict(found, standing, alarms, seen_at, NOON)
        for standing, alarms, seen_at in (
            (stopped, [alarm], silent),
            (stopped, [alarm], None),
            (stopped, [alarm], NOON),
            (Standing(), [alarm], NOON),
            (Standing(), [], NOON),
        )
    ]

    assert [each.title for each in said] == [
        "No sender is at work.",
        "No sender is at work.",
        "Nothing is sent just now.",
        "1 alarm.",
        "All is well.",
    ]
    assert [each.is_well for each in said] == [False, False, False, False, True]
    assert "1,234 checkouts" in said[-1].words
