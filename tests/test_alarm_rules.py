"""The rules of alarms: what signs call for which, and what is news."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import alarms
from proxy.alarms import Alarm, Name, News, RaisedAlarm, Signs, State
from tests.said import NOON, after

RAISED = State.RAISED
FINE: dict[str, Any] = {
    "now": NOON,
    "flat_after": timedelta(hours=6),
    "states_came": True,
    "revision": date(2026, 7, 15),
    "free": 50 * 10**9,
    "size": 100 * 10**9,
    "at_work": timedelta(hours=1),
}
ALL = list(Name)


def names(**signs: Any) -> list[Name]:
    return [alarm.name for alarm in alarms.alarms(Signs(**FINE | signs))]


def moments() -> st.SearchStrategy[datetime]:
    return st.integers(-600, 1).map(after)


def signs() -> st.SearchStrategy[Signs]:
    return st.builds(
        Signs,
        now=st.just(NOON),
        standing=st.dictionaries(st.sampled_from(ALL), st.integers(0, 9)),
        dead=st.integers(0, 5),
        died_ever=st.integers(5, 9),
        why_dead=st.sampled_from(["", "Klaviyo answered 400"]),
        flat_after=st.sampled_from([timedelta(0), timedelta(hours=6)]),
        states_came=st.booleans(),
        shop_heard=st.lists(st.integers(-360, 0).map(after)),
        revision=st.none() | st.dates(date(2023, 1, 1), date(2027, 1, 1)),
        retires_on=st.none() | st.dates(date(2026, 1, 1), date(2029, 1, 1)),
        key_refused=st.sampled_from(["", "Klaviyo answered 401"]),
        key_works=st.booleans(),
        source_refused_at=st.none() | moments(),
        source_answered_at=st.none() | moments(),
        free=st.integers(0, 10**10),
        size=st.integers(0, 10**11),
        at_work=st.integers(0, 100).map(lambda minutes: timedelta(minutes=minutes)),
        oldest_due=st.none() | moments(),
        looked_for=st.integers(9, 99),
        missing=st.integers(0, 9),
        last_missing=st.sampled_from(["", "c-1_1795348800"]),
    )


@given(signs())
def test_there_is_one_alarm_of_a_name_with_words_and_a_remedy(seen: Signs) -> None:
    there = alarms.alarms(seen)

    assert len({alarm.name for alarm in there}) == len(there)
    assert all(alarm.words and alarm.remedy for alarm in there)


def told_of(there: Sequence[Alarm], at: datetime) -> list[RaisedAlarm]:
    return [
        RaisedAlarm(**{item.name: getattr(alarm, item.name) for item in fields(Alarm)},
                    raised_at=at, said_at=at)
        for alarm in there
    ]  # fmt: skip


@given(signs())
def test_what_was_told_is_no_news_as_long_as_it_stays(seen: Signs) -> None:
    there = alarms.alarms(seen)
    known = told_of(there, NOON)
    stand = replace(seen, standing={alarm.name: alarm.grade for alarm in there})

    assert {each.name for each in alarms.alarms(stand)} >= {each.name for each in there}
    assert alarms.news(known, there, after(600)) == []


@given(signs(), signs())
def test_who_hears_all_news_knows_what_stands(before: Signs, seen: Signs) -> None:
    known, there = told_of(alarms.alarms(before), NOON), alarms.alarms(seen)

    stand = {alarm.name for alarm in known}
    for each in alarms.news(known, there, after(600)):
        if each.state is RAISED:
            stand.add(each.alarm.name)
        else:
            stand.remove(each.alarm.name)

    assert stand == {alarm.name for alarm in there}


def test_what_gets_worse_is_told_again_but_not_within_the_hour() -> None:
    known = told_of([Alarm(name=Name.DEAD_LETTERS, words="1", remedy="r", grade=1)], NOON)
    worse = Alarm(name=Name.DEAD_LETTERS, words="2", remedy="r", grade=2)

    assert alarms.news(known, [worse], after(59)) == []
    assert alarms.news(known, [worse], after(60)) == [News(alarm=worse, state=RAISED)]


def test_fine_is_fine() -> None:
    assert names() == []


GB = 10**9


@pytest.mark.parametrize(
    ("signs", "stands"),
    [
        ({"free": GB - 1, "size": 5 * GB}, True),
        ({"free": GB, "size": 5 * GB}, False),
        ({"free": 4 * GB, "size": 100 * GB}, True),
        ({"free": 5 * GB, "size": 100 * GB}, False),
        ({"free": 5 * GB, "size": 100 * GB, "standing": {Name.DISK_NEARLY_FULL: 0}}, True),
        ({"free": 6 * GB, "size": 100 * GB, "standing": {Name.DISK_NEARLY_FULL: 0}}, False),
        ({"free": 0, "size": 0}, False),
    ],
)
def test_a_disk_is_nearly_full_under_a_gigabyte_or_a_twentieth(
    signs: dict[str, Any], stands: bool
) -> None:
    assert (Name.DISK_NEARLY_FULL in names(**signs)) == stands


@pytest.mark.parametrize(
    ("signs", "stands"),
    [
        ({"oldest_due": after(-15)}, False),
        ({"oldest_due": after(-15.1)}, True),
        ({"oldest_due": after(-99), "at_work": timedelta(seconds=59)}, False),
        ({"oldest_due": after(-99), "at_work": timedelta(0), "standing": {Name.BACKLOG: 0}}, True),
        ({"oldest_due": after(-5.1), "standing": {Name.BACKLOG: 0}}, True),
        ({"oldest_due": after(-5), "standing": {Name.BACKLOG: 0}}, False),
        ({"oldest_due": after(5)}, False),
    ],
)
def test_a_backlog_is_what_has_been_due_for_a_quarter_of_an_hour(
    signs: dict[str, Any], stands: bool
) -> None:
    assert (Name.BACKLOG in names(**signs)) == stands


@pytest.mark.parametrize(
    ("minutes", "stands"),
    [([], False), ([-1], False), ([-359, -1], False), ([-350, -200, -1], True)],
)
def test_a_flat_line_is_a_silence_while_the_shop_is_at_work(
    minutes: list[int], stands: bool
) -> None:
    heard = [after(minute) for minute in minutes]

    assert (Name.FLAT_LINE in names(states_came=False, shop_heard=heard)) == stands
    assert names(states_came=True, shop_heard=heard) == []
    assert names(flat_after=timedelta(0), states_came=False, shop_heard=heard) == []


@pytest.mark.parametrize("last", ["", "c-7_1795348800"])
def test_one_event_that_is_missing_is_enough(last: str) -> None:
    signs = Signs(**FINE, looked_for=1400, missing=1, last_missing=last)
    (alarm,) = alarms.alarms(signs)

    assert alarm.name is Name.EVENTS_MISSING
    assert alarm.words.endswith(f"the last is {last}" if last else "1 were not there")
    # However many more there are: whoever was told once goes and looks.
    assert alarms.alarms(replace(signs, missing=9))[0].grade == alarm.grade
    assert names(looked_for=1400) == []


def test_fifty_that_are_kept_back_within_an_hour_are_told_once() -> None:
    signs = Signs(**FINE, kept_back={"a bot's user agent": 9, "a crowd": 41})
    (alarm,) = alarms.alarms(signs)

    assert alarm.name is Name.KEPT_BACK
    assert alarm.words.startswith("50 checkouts were kept back in the last hour")
    assert alarm.words.endswith("most of them: a crowd")
    assert alarms.alarms(replace(signs, kept_back={"a crowd": 900}))[0].grade == alarm.grade
    assert names(kept_back={"a crowd": 49}) == []
