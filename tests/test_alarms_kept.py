"""Alarms as the book keeps them, and what they are found by, on either engine."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from threading import Event

import pytest

from proxy.alarms import Alarm, Name, News, State
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.standing import Standing
from proxy.store import Store
from proxy.store.book import Book, Seen
from proxy.store.received import Received
from proxy.tallies import EVER, What
from tests.said import NOON, after, counted, received

RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
RAISED, CLEARED = State.RAISED, State.CLEARED


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


def news(name: Name, state: State = RAISED, words: str = "words", grade: int = 0) -> News:
    return News(alarm=Alarm(name=name, words=words, remedy="remedy", grade=grade), state=state)


def note(book: Book, minute: float, *news: News, to_tell: bool = True) -> None:
    book.note("shop", Seen(at=after(minute), revision="2026-07-15"), news, to_tell=to_tell)


def test_the_book_lists_what_stands_first(book: Book, store: Store) -> None:
    note(book, 0, news(Name.BACKLOG), news(Name.FLAT_LINE), news(Name.KEY_REFUSED))
    note(book, 1, news(Name.FLAT_LINE, CLEARED), news(Name.KEY_REFUSED, words="more", grade=2))
    note(book, 2, news(Name.BACKLOG, CLEARED))

    with closing(store.book()) as reader:
        stands, *cleared = reader.alarms("shop")
        assert reader.alarms("another") == []
    assert (stands.name, stands.words, stands.grade) == (Name.KEY_REFUSED, "more", 2)
    assert (stands.raised_at, stands.said_at) == (NOON, after(1))
    assert [each.name for each in cleared] == [Name.BACKLOG, Name.FLAT_LINE]


def test_what_is_over_for_a_week_is_forgotten(book: Book) -> None:
    note(book, 0, news(Name.BACKLOG), news(Name.FLAT_LINE))
    note(book, 1, news(Name.BACKLOG, CLEARED))
    week = 7 * 24 * 60

    note(book, week + 1)
    assert len(book.alarms("shop")) == 2
    note(book, week + 2)

    assert [each.name for each in book.alarms("shop")] == [Name.FLAT_LINE]
    assert book.untold("shop", NOON) == []


def test_an_alarm_may_be_raised_again(book: Book) -> None:
    for minute in range(4):
        note(book, minute, news(Name.BACKLOG, CLEARED if minute % 2 else RAISED))

    assert [each.raised_at for each in book.alarms("shop")] == [after(2), NOON]


def test_what_is_to_be_told_is_told_once(book: Book) -> None:
    note(book, 0, news(Name.BACKLOG), news(Name.FLAT_LINE))
    note(book, 1, news(Name.BACKLOG, CLEARED))
    first, *_ = book.untold("shop", NOON)

    book.told("shop", {first.id}, after(2))

    assert [(each.name, each.state) for each in book.untold("shop", NOON)] == [
        (Name.FLAT_LINE, RAISED),
        (Name.BACKLOG, CLEARED),
    ]
    assert len(book.untold("shop", after(1))) == 1


def test_where_nobody_listens_nothing_is_kept_to_be_told(book: Book) -> None:
    note(book, 0, news(Name.BACKLOG), to_tell=False)

    assert book.untold("shop", NOON) == []
    assert len(book.alarms("shop")) == 1


def test_the_book_knows_when_a_sender_was_at_work(book: Book) -> None:
    assert book.seen_at("shop") is None
    standing = Standing().after_refusal("Klaviyo answered 401", now=NOON)

    note(book, 0)
    book.set_standing("shop", standing)
    note(book, 7)

    assert book.seen_at("shop") == after(7)
    assert book.standing("shop") == standing


def test_what_klaviyo_said_of_a_revision_is_about_that_one(book: Book) -> None:
    seen = Seen(at=NOON, revision="2026-07-15", retires_on=date(2027, 1, 2))

    book.note("shop", seen, [], to_tell=False)

    assert book.retires_on("shop", "2026-07-15") == date(2027, 1, 2)
    assert book.retires_on("shop", "2026-10-15") is None


def test_the_signs_are_read_from_what_was_counted(book: Book) -> None:
    count(book, (0, {"refused": {"late": 3}}), (5, {"sessions": {"guest": 4}}), (5, {}))

    sessions = [(What.SESSIONS, None)]
    minutes = partial(book.minutes, "shop", until=after(5))
    assert minutes(NOON, sessions) == [after(5)]
    assert minutes(after(6), sessions) == []
    assert minutes(NOON, sessions, until=after(4)) == []
    assert minutes(NOON, [(What.REFUSED, "late"), *sessions]) == [after(5), NOON]
    assert minutes(NOON, [(What.REFUSED, "late"), *sessions], limit=1) == [after(5)]
    assert book.ever("shop", What.REFUSED) == 3
    assert book.commonest("shop", What.REFUSED, NOON) == "late"
    assert book.commonest("shop", What.REFUSED, after(1)) == ""


def count(book: Book, *counts: tuple[float, dict[str, dict[str, int]]]) -> None:
    """Let the book count."""
    said: list[Received] = [
        received(counted(minute, **each), seq) for seq, (minute, each) in enumerate(counts, 1)
    ]
    book.take_in(said, RULES)


def test_old_counts_go_an_hour_at_a_time_and_never_the_sums(book: Book) -> None:
    hours = 24 * 10
    count(book, *((60 * hour, {"sessions": {"guest": 1}}) for hour in range(hours)))
    now = after(60 * (hours - 1))

    def many() -> int:
        return len(book.tallied("shop", since=NOON, until=after(60 * hours)))

    book.tidy("shop", now)
    assert many() == hours - 1
    for _ in range(hours):
        book.tidy("shop", now)

    assert many() == 24 * 8 + 1
    assert book.ever("shop", What.SESSIONS) == hours
    assert book.tallied("shop", since=EVER, until=EVER + timedelta(minutes=1))
