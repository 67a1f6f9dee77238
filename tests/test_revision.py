"""A revision of Klaviyo's API is served for two years, or as long as Klaviyo says."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import revision
from proxy.revision import Stage


@pytest.mark.parametrize(
    ("day", "stage"),
    [
        (date(2027, 7, 14), Stage.STABLE),
        (date(2027, 7, 15), Stage.DEPRECATED),
        (date(2028, 4, 14), Stage.DEPRECATED),
        (date(2028, 4, 15), Stage.ENDING),
        (date(2028, 7, 14), Stage.ENDING),
        (date(2028, 7, 15), Stage.RETIRED),
    ],
)
def test_a_revision_is_served_for_two_years(day: date, stage: Stage) -> None:
    retires_on = revision.retirement(date(2026, 7, 15))

    assert revision.stage(retires_on, day) is stage


@pytest.mark.parametrize(
    ("header", "day"),
    [
        ("2027-06-30", date(2027, 6, 30)),
        ("2027-06-30T00:00:00Z", date(2027, 6, 30)),
        ("Wed, 30 Jun 2027 00:00:00 GMT", date(2027, 6, 30)),
        ("2027-13-01", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_header_that_is_no_day_says_nothing(header: str | None, day: date | None) -> None:
    assert revision.told(header) == day


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(-24, 24))
def test_so_many_months_later_is_in_that_month(day: date, months: int) -> None:
    moved = revision.moved(day, months)

    assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == months
    assert 0 <= day.day - moved.day <= 3
