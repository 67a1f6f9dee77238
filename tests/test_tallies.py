"""Tallies: what is counted of times and reasons."""

from datetime import timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tallies import BEYOND, EVER, STEPS, SUM, Count, Tally, What, of_time, why
from tests.said import NOON, after


@pytest.mark.parametrize(
    ("seconds", "step"),
    [(0, "1"), (1, "1"), (1.001, "2"), (30.2, "31"), (259_200, "259200"), (259_201, BEYOND)],
)
def test_a_time_falls_into_the_first_step_that_holds_it(seconds: float, step: str) -> None:
    place, total = of_time(What.DELAY, timedelta(seconds=seconds))

    assert place == Count(What.DELAY, step)
    assert total == Count(What.DELAY, SUM, round(seconds * 1000))


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    assert list(of_time(What.DELAY, timedelta(seconds=-5))) == [
        Count(What.DELAY, "1"),
        Count(What.DELAY, SUM, 0),
    ]


@pytest.mark.parametrize("steps", STEPS.values())
def test_steps_go_up(steps: tuple[float, ...]) -> None:
    assert list(steps) == sorted(set(steps))


@given(st.lists(st.tuples(st.floats(0, 300), st.integers(1, 5))))
def test_all_minutes_together_are_what_was_ever_counted(
    happened: list[tuple[float, int]],
) -> None:
    tally = Tally()
    for minute, many in happened:
        tally.add(after(minute), [Count(What.DELIVERED, "", many)])

    counted = list(tally)

    of_minutes = [each.many for each in counted if each.minute != EVER]
    ever = [each.many for each in counted if each.minute == EVER]
    assert list(accumulate(of_minutes))[-1:] == ever
    assert all(each.minute.second == 0 for each in counted)


def test_a_tally_knows_the_minute() -> None:
    tally = Tally()
    tally.add(NOON + timedelta(seconds=59.9), [Count(What.DEAD, "why")])

    assert [each.minute for each in tally] == [NOON, EVER]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Klaviyo answered 400: no such metric (/data/x)", "Klaviyo answered 400"),
        ("no answer from Klaviyo: TLS failed (given up after 72 h)", "no answer from Klaviyo"),
        ("the shop answered 500 (given up after 6 h)", "the shop answered 500"),
        ("x" * 200, "x" * 64),
    ],
)
def test_reasons_are_counted_by_their_kind(reason: str, kind: str) -> None:
    assert why(reason) == kind
