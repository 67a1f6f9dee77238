"""Retention: what is old goes by itself, a little at once, and what is still to be sent stays."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest

from proxy import outcomes
from proxy.checkouts import Checkout, Rules, Status
from proxy.consents import ConsentMode, Modes
from proxy.facts import Fact, PruneAsked
from proxy.identity import Profile
from proxy.store import Store
from proxy.store.book import Book, Change
from proxy.store.inbox import Inbox
from proxy.store.reader import Attempt
from tests.books import lay_book
from tests.said import GRANTED, JANE, NOON, after, pushed, received, state
from tests.tables import Tables

RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
REQUIRED = replace(RULES, modes=Modes(ConsentMode.REQUIRED))
LATER = NOON + timedelta(days=31)
KEPT_SINCE = LATER - timedelta(days=30)


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


def take_in(book: Book, *said: Fact, rules: Rules = RULES) -> None:
    book.take_in([received(fact, inbox=uuid4().hex) for fact in said], rules)


def change(book: Book, cart_id: str, apply: Callable[[Checkout], Checkout]) -> None:
    (checkout,) = book.checkouts("shop", cart_id)
    tried = Attempt(at=NOON, status=202, request_id=None, reason="ok")
    book.change(
        "shop", [Change(checkout=checkout, apply=apply, attempts=(tried,), event=b"{}")], NOON
    )


def rows(tables: Tables) -> dict[str, int]:
    names = ("checkouts", "facts", "carts", "sent", "attempts")
    return {name: int(tables.ask(f"SELECT count(*) FROM {name}")[0][0]) for name in names}


def prune(book: Book) -> None:
    while book.prune("shop", KEPT_SINCE, LATER):
        pass


ENDS: dict[str, Callable[[Checkout], Checkout]] = {
    "delivered": lambda c: outcomes.delivered(c, NOON),
    "cancelled": lambda c: outcomes.cancelled(c, "gone"),
    "dead": lambda c: outcomes.refused(c, "Klaviyo answered 400"),
    "quarantined": lambda c: outcomes.quarantined(c, "suspicious"),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_has_ended_long_ago_is_gone(tables: Tables, book: Book, end: str) -> None:
    take_in(book, pushed(0), state(0, email=JANE))
    change(book, "c-1", ENDS[end])
    assert set(rows(tables).values()) == {1, 2}

    prune(book)

    assert set(rows(tables).values()) == {0}


def test_what_is_younger_or_still_to_be_sent_stays(tables: Tables, book: Book) -> None:
    young = replace(state(0, "c-2", email=JANE), acted_at=LATER, received_at=LATER)
    take_in(book, pushed(0), state(0, email=JANE), young)
    change(book, "c-2", ENDS["delivered"])

    prune(book)

    assert [each.status for each in book.checkouts("shop", "c-1")] == [Status.PENDING]
    assert [each.status for each in book.checkouts("shop", "c-2")] == [Status.DELIVERED]
    assert book.cart("shop", "c-1") is not None


def test_what_was_ever_counted_stays(tables: Tables, book: Book) -> None:
    take_in(book, state(0, email=JANE))

    prune(book)

    minutes = {str(minute)[:4] for (minute,) in tables.ask("SELECT minute FROM tallies")}
    assert minutes == {"1970"}


def test_no_round_removes_all_of_a_great_many(tables: Tables, book: Book) -> None:
    take_in(book, *(pushed(0, cart_id=f"c-{n}") for n in range(1_200)))

    rounds = 0
    while book.prune("shop", KEPT_SINCE, LATER):
        rounds += 1

    assert rounds >= 3
    assert set(rows(tables).values()) == {0}


def test_a_wish_to_prune_is_for_once(tables: Tables, book: Book) -> None:
    take_in(book, state(0, email=JANE))
    change(book, "c-1", ENDS["delivered"])
    about = {"id": "p", "shop": "shop", "cart_id": ""}
    assert not book.prune("shop", NOON - timedelta(days=30), NOON + timedelta(hours=1))

    take_in(book, PruneAsked(received_at=after(1), before=after(1), **about))
    assert book.old("shop", after(1)) == 2
    while book.prune("shop", NOON - timedelta(days=30), NOON + timedelta(hours=1)):
        pass

    assert set(rows(tables).values()) == {0}
    assert book.prune_before("shop") is None


@pytest.mark.parametrize(
    ("said", "rules", "reason"),
    [
        (state(0, email=JANE), REQUIRED, "nobody consented within 24 h"),
        (state(0, consent=GRANTED), REQUIRED, "nobody was named within 24 h"),
    ],
)
def test_who_says_nothing_for_an_epoch_is_not_kept(
    tables: Tables, book: Book, said: Fact, rules: Rules, reason: str
) -> None:
    take_in(book, said, rules=rules)
    change(book, "c-1", lambda c: outcomes.waiting(c, c.reason))
    day = timedelta(hours=24)
    assert book.give_up_waiting("shop", NOON + day, rules) == 0

    assert book.give_up_waiting("shop", NOON + day + timedelta(seconds=1), rules) == 1

    (checkout,) = book.checkouts("shop", "c-1")
    assert (checkout.status, checkout.reason) == (Status.CANCELLED, reason)
    assert [body for (body,) in tables.ask("SELECT body FROM facts")] == [None]


def test_who_is_to_be_sent_is_not_given_up(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    change(book, "c-1", lambda c: outcomes.bound(c, seen=c, profile=Profile(email=JANE)))

    assert book.give_up_waiting("shop", LATER, RULES) == 0


PLANS = [
    "SELECT cart_id, epoch FROM checkouts WHERE shop = 'shop' AND status = 'dead' AND due_at IS "
    "NULL AND acted_at < '2026' ORDER BY acted_at LIMIT 500",
    "SELECT seq FROM facts WHERE shop = 'shop' AND received_at < '2026' "
    "ORDER BY received_at LIMIT 500",
    "SELECT cart_id FROM carts WHERE shop = 'shop' AND received_at < '2026' "
    "ORDER BY received_at LIMIT 500",
    "SELECT body FROM facts WHERE shop = 'shop' AND body IS NOT NULL",
]


@pytest.mark.parametrize("statement", PLANS)
def test_what_is_old_is_found_without_reading_what_is_not(tmp_path: Path, statement: str) -> None:
    lay_book(Store(f"sqlite:///{tmp_path}"))
    with closing(sqlite3.connect(tmp_path / "checkouts.db")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()

    said = " ".join(row[3] for row in plan)
    assert "USING" in said
    assert "INDEX" in said
    assert "SCAN" not in said
    assert "TEMP B-TREE" not in said


def test_an_idle_worker_empties_its_log_of_what_was_taken_in(tmp_path: Path) -> None:
    log = tmp_path / "inbox-0.db-wal"
    with closing(Inbox.in_free_slot(tmp_path)) as inbox:
        inbox.append(state(0, email=JANE))
        assert JANE.encode() in log.read_bytes()
        (kept,) = inbox.oldest(1)

        inbox.prune({kept.inbox: kept.seq})

        assert log.read_bytes() == b""
        assert JANE.encode() not in (tmp_path / "inbox-0.db").read_bytes()


def test_a_log_that_somebody_reads_is_emptied_the_next_time(tmp_path: Path) -> None:
    log = tmp_path / "inbox-0.db-wal"
    with closing(Inbox.in_free_slot(tmp_path)) as inbox:
        inbox.append(state(0, email=JANE))
        (kept,) = inbox.oldest(1)
        with closing(sqlite3.connect(tmp_path / "inbox-0.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM inbox").fetchall()
            inbox.prune({kept.inbox: kept.seq})
            assert JANE.encode() in log.read_bytes()

        inbox.prune({})

        assert log.read_bytes() == b""
