"""The book: facts are taken in once, in one commit, and decisions come out as they were made."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy.event
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from proxy import outcomes, tallies
from proxy.carts.cart import Cart
from proxy.checkouts import Checkout, Rules, Status, Trouble, untroubled
from proxy.claims import Compared
from proxy.consents import ConsentMode, Modes
from proxy.facts import Claim, Consent, ConsentState, Customer, Fact, QuestionAsked
from proxy.identity import Profile, address_hash
from proxy.money import Amount
from proxy.standing import Standing
from proxy.store import Store, schema
from proxy.store.book import Book, Change
from proxy.store.reader import Attempt, DeadLetter, Wanted
from proxy.tallies import EVER, What
from proxy.visits import fold
from tests.books import lay_book
from tests.said import (
    CART,
    JANE,
    NOON,
    TEA,
    after,
    cancel,
    counted,
    deleted,
    order,
    pushed,
    received,
    replay,
    state,
)
from tests.tables import FULL, Tables

RULES = Rules(
    settle=timedelta(seconds=30), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT)
)


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


def take_in(book: Book, *said: Fact) -> None:
    book.take_in([received(fact, seq) for seq, fact in enumerate(said, 1)], RULES)


def only(book: Book, cart_id: str = "c-1") -> Checkout:
    (checkout,) = book.checkouts("shop", cart_id)
    return checkout


def delivered(checkout: Checkout) -> Checkout:
    return outcomes.delivered(checkout, NOON)


def bodies(tables: Tables) -> list[bytes | None]:
    """Return what is kept of every fact that was received."""
    return [body for (body,) in tables.ask("SELECT body FROM facts ORDER BY seq")]


def change(book: Book, checkout: Checkout, **to: Any) -> Checkout:
    (changed,) = book.change("shop", [Change(checkout=checkout, **to)], NOON)
    return changed


# -- facts -------------------------------------------------------------------------------


def test_a_fact_becomes_what_the_laws_make_of_it(book: Book) -> None:
    fact = state(0, email=JANE)

    take_in(book, fact)

    assert book.checkouts("shop", "c-1") == fold([], fact, RULES)


def test_the_facts_of_many_carts_in_one_batch_are_told_apart(book: Book) -> None:
    take_in(book, state(0, "c-1"), state(1, "c-2"), order(2, "c-1"), state(3, "c-2"))

    assert only(book, "c-1").status is Status.CANCELLED
    assert only(book, "c-2").acted_at == after(3)


def test_what_comes_later_is_folded_onto_what_was_written(book: Book) -> None:
    said: list[Fact] = [state(0, email=JANE), order(1), state(30, email=JANE), state(31)]

    for fact in said:
        take_in(book, fact)

    known: list[Checkout] = []
    for fact in said:
        known = list(fold(known, fact, RULES))
    assert book.checkouts("shop", "c-1") == known
    assert len(known) == 2


def test_a_cart_of_which_nothing_was_heard_has_no_checkouts(book: Book) -> None:
    assert book.checkouts("shop", "c-9") == []
    assert book.received("shop", "c-9") == []


def test_a_fact_that_is_read_twice_counts_once(book: Book) -> None:
    fact = order(10)
    take_in(book, fact, fact)
    book.take_in([received(state(30, email=JANE), seq=2)], RULES)

    book.take_in([received(fact, seq=3), received(fact, seq=1, inbox="i-2")], RULES)

    assert [known.status for known in book.checkouts("shop", "c-1")] == ["cancelled", "pending"]
    assert [row.kind for row in book.received("shop", "c-1")] == ["order", "state"]
    assert book.marks() == {"i-1": 3, "i-2": 1}


def test_one_id_may_stand_for_a_fact_in_each_of_two_carts(book: Book) -> None:
    take_in(book, state(0, "c-1", id="a"), state(0, "c-2", id="a"))

    assert only(book, "c-1").status is only(book, "c-2").status is Status.PENDING


def test_each_inbox_is_marked_as_far_as_it_was_read(book: Book) -> None:
    items = [received(state(n), seq, inbox) for n, (seq, inbox) in enumerate([(5, "a"), (4, "b")])]

    book.take_in(items, RULES)
    book.take_in([received(state(9), 7, "b")], RULES)

    assert book.marks() == {"a": 5, "b": 7}


def test_nothing_at_all_may_be_taken_in(book: Book) -> None:
    book.take_in([], RULES)

    assert book.marks() == {}


@pytest.mark.parametrize("table", ["checkouts", "facts", "marks", "carts"])
def test_facts_and_their_mark_are_written_together_or_not_at_all(
    tables: Tables, book: Book, table: str
) -> None:
    said = (state(0, email=JANE), pushed(1))
    with tables.refusing(table):
        with pytest.raises(IntegrityError, match=FULL):
            take_in(book, *said)
        assert (book.marks(), book.checkouts("shop", "c-1"), bodies(tables)) == ({}, [], [])
        assert book.cart("shop", "c-1") is None

    take_in(book, *said)

    assert only(book).status is Status.PENDING
    assert (book.marks(), book.cart("shop", "c-1")) == ({"i-1": 2}, CART)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("state", b"{"),
        ("state", b"\xff"),
        ("state", b"{}"),
        ("state", b'{"id":1}'),
        ("order", b"[]"),
        ("wish", b"{}"),
        ("cart", b'{"cart":{"currency":"EUR","total":"-1","items":[]}}'),
    ],
)
def test_a_fact_that_cannot_be_read_holds_up_no_other(book: Book, kind: str, body: bytes) -> None:
    bad = replace(received(state(0), seq=1), kind=kind, body=body)

    book.take_in([bad, received(state(1, email=JANE), seq=2)], RULES)

    assert only(book).acted_at == after(1)
    unreadable, settling = book.received("shop", "c-1")
    assert unreadable.decision.startswith("cannot be ")
    assert settling.decision == "pending: settling"
    assert book.marks() == {"i-1": 2}


def test_a_fact_that_cannot_be_read_is_not_told_to_the_log(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"email":"canary@x.io","canary":1,"acted_at":"canary"}'

    book.take_in([replace(received(state(0)), body=body)], RULES)

    assert "state" in caplog.text
    assert "canary" not in caplog.text


def test_a_fact_that_cannot_be_read_is_kept_to_be_looked_at(tables: Tables, book: Book) -> None:
    book.take_in([replace(received(state(0)), body=b"{")], RULES)

    assert bodies(tables) == [b"{"]


def test_what_was_decided_on_each_fact_is_told_in_words(book: Book) -> None:
    take_in(
        book,
        pushed(0),
        state(1, email=JANE),
        state(2, consent=Consent(state=ConsentState.DENIED)),
        order(3),
    )

    told = [(row.kind, row.decision) for row in book.received("shop", "c-1")]

    assert told == [
        ("cart", "kept"),
        ("state", "pending: settling"),
        ("state", "cancelled: the shopper denied consent"),
        ("order", "cancelled: an order was placed for the cart"),
    ]


# -- carts -------------------------------------------------------------------------------


def test_the_last_cart_is_kept_to_the_last_digit(book: Book) -> None:
    take_in(book, pushed(0), pushed(1, replace_total("8.10")))

    cart = book.cart("shop", "c-1")

    assert cart is not None
    assert (str(cart.total), str(cart.items[0].quantity)) == ("8.10", "1.50")
    assert book.cart("shop", "c-2") is None
    assert book.cart("shop-2", "c-1") is None


def replace_total(total: str, version: int | None = 3) -> Cart:
    return Cart(currency="EUR", total=Decimal(total), items=(TEA,), version=version)


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "in two"])
def test_an_older_cart_changes_nothing(book: Book, *, at_once: bool) -> None:
    newer, older = pushed(2, replace_total("9.00", 5)), pushed(3, replace_total("1.00", 4))

    for batch in [[newer, older]] if at_once else [[newer], [older]]:
        take_in(book, *batch)

    cart = book.cart("shop", "c-1")
    assert cart is not None
    assert cart.total == 9
    assert book.received("shop", "c-1")[-1].decision == (
        "older than the cart that came before: changes nothing"
    )


def cartless(checkout: Checkout, minute: float) -> Checkout:
    return outcomes.postponed(
        checkout, Trouble.NO_CART, "no cart", now=after(minute), wait=timedelta(minutes=15)
    )


def test_an_older_cart_wakes_nobody(book: Book) -> None:
    take_in(book, pushed(0, replace_total("9.00", 5)), state(0, email=JANE))
    waiting = change(book, only(book), apply=partial(cartless, minute=1))

    take_in(book, pushed(2, replace_total("1.00", 4)))

    assert only(book) == waiting


def test_a_newer_cart_wakes_who_waits_for_it(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    change(book, only(book), apply=partial(cartless, minute=1))

    take_in(book, pushed(2))

    assert only(book).due_at == NOON + timedelta(minutes=2)


def test_the_carts_that_were_pushed_are_counted(book: Book) -> None:
    assert book.pushed("shop") == (0, None)

    take_in(book, pushed(1), pushed(3, cart_id="c-2"), pushed(2, cart_id="c-3"))

    assert book.pushed("shop") == (3, after(3))
    assert book.pushed("shop-2") == (0, None)


def test_a_cart_that_was_taken_away_is_not_there(book: Book) -> None:
    take_in(book, pushed(0), deleted(1))
    assert book.cart("shop", "c-1") is None

    take_in(book, pushed(2, replace_total("1.00", 1)))

    cart = book.cart("shop", "c-1")
    assert cart is not None
    assert cart.total == 1


# -- sending -----------------------------------------------------------------------------


def test_the_longest_due_come_first_and_not_all_at_once(book: Book) -> None:
    take_in(book, *(state(minute, f"c-{minute}", email=JANE) for minute in (3, 1, 2, 0)))

    due = book.due("shop", after(2) + RULES.settle, limit=2)

    assert [checkout.cart_id for checkout in due] == ["c-0", "c-1"]


def test_what_is_due_is_due_from_that_very_moment(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    due_at = NOON + RULES.settle

    assert book.due("shop", due_at - timedelta(microseconds=1), limit=9) == []
    assert book.due("shop", due_at, limit=9) == [only(book)]


def test_only_what_is_pending_of_this_shop_and_waits_for_nobody_is_due(book: Book) -> None:
    take_in(book, *(state(0, name, email=JANE) for name in ("sent", "dead", "waits", "kept back")))
    take_in(book, order(1, "ordered"), state(0, "another shop's", shop="shop-2"))
    became = {
        "sent": delivered,
        "dead": partial(outcomes.refused, reason="400"),
        "waits": partial(outcomes.waiting, reason="waiting for an address"),
        "kept back": partial(outcomes.quarantined, reason="reserved"),
    }

    for name, apply in became.items():
        change(book, only(book, name), apply=apply)

    assert book.due("shop", after(60), limit=99) == []
    assert [checkout.cart_id for checkout in book.due("shop-2", after(60), 9)] == ["another shop's"]


def test_a_change_applies_to_the_checkout_as_it_stands_by_then(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    seen = only(book)
    take_in(book, state(0.1, email=JANE, first_name="Jane"))

    changed = change(book, seen, apply=partial(cartless, minute=1))

    assert changed == only(book)
    assert (changed.trouble, changed.acted_at) == (Trouble.NO_CART, after(0.1))


def test_a_change_concerns_one_epoch_of_a_cart(book: Book) -> None:
    take_in(book, state(0, email=JANE), order(1), state(30, email=JANE))
    ordered, fresh = book.checkouts("shop", "c-1")

    changed = change(book, fresh, apply=delivered)

    assert book.checkouts("shop", "c-1") == [ordered, changed]
    assert changed.status is Status.DELIVERED


def test_changes_are_written_together_or_not_at_all(tables: Tables, book: Book) -> None:
    take_in(book, state(0, "c-1", email=JANE), state(0, "c-2", email=JANE))

    def fail(checkout: Checkout) -> Checkout:
        raise RuntimeError("a bug")

    changes = [
        Change(checkout=only(book, "c-1"), apply=delivered),
        Change(checkout=only(book, "c-2"), apply=fail),
    ]
    with pytest.raises(RuntimeError, match="a bug"):
        book.change("shop", changes, NOON)

    assert only(book, "c-1").status is Status.PENDING
    assert None not in bodies(tables)


def test_what_a_database_refuses_is_given_up_and_the_rest_is_written_down(
    database: Store, caplog: pytest.LogCaptureFixture
) -> None:
    carts = ("c-1", "odd-attempt", "c-2", "odd-reason", "c-3")
    with database.account("shop", Event()) as book:
        assert book is not None
        take_in(book, *(state(0, cart_id, email=JANE) for cart_id in carts))
        attempt = Attempt(at=after(1), status=202, request_id="x" * 129, reason="Klaviyo said yes")
        odd = {
            "odd-attempt": Change(
                checkout=only(book, "odd-attempt"), apply=delivered, attempts=(attempt,)
            ),
            "odd-reason": Change(
                checkout=only(book, "odd-reason"), apply=partial(outcomes.refused, reason="\0")
            ),
        }
        changes = [Change(checkout=only(book, name), apply=delivered) for name in carts]

        book.change_what_goes(
            "shop", [odd.get(each.checkout.cart_id, each) for each in changes], after(1)
        )

        assert {name: only(book, name).status for name in carts} == {
            **dict.fromkeys(carts, Status.DELIVERED),
            "odd-reason": Status.DEAD,
        }
        assert only(book, "odd-reason").reason.startswith("what became of it cannot be written")
    assert JANE not in caplog.text


def test_two_changes_of_one_checkout_follow_each_other(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    seen = only(book)
    once = Change(checkout=seen, apply=partial(cartless, minute=1))

    first, second = book.change("shop", [once, once], NOON)

    assert (first.attempts, second.attempts) == (1, 2)
    assert only(book) == second


def test_a_question_keeps_itself_out_of_logs(book: Book) -> None:
    asked = QuestionAsked(
        id="q-1", shop="shop", cart_id="c-1", received_at=NOON, state=state(0, email=JANE)
    )
    take_in(book, asked)

    (question,) = book.questions("shop", 1)

    assert JANE.encode() in question.body
    assert JANE not in repr(question)


def test_a_cart_s_id_which_may_be_its_key_keeps_itself_out_of_logs(book: Book) -> None:
    secret = "gid://shopify/Cart/Z2N?key=5ecret"
    take_in(book, state(0, cart_id=secret, email=JANE))

    (found,) = book.search("shop", Wanted(cart_id=secret), 1)
    letter = DeadLetter(secret, NOON, "no such metric", found.unique_id)

    assert found.cart_id == secret
    for each in (found, found.place, letter, Wanted(cart_id=secret, after=found.place)):
        assert "5ecret" not in repr(each)


# -- what is erased ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "closing_fact",
    [order(9), deleted(9), state(9, consent=Consent(state=ConsentState.DENIED))],
    ids=["ordered", "deleted", "denied"],
)
def test_what_was_received_is_erased_once_a_fact_closes_the_checkout(
    tables: Tables, book: Book, closing_fact: Fact
) -> None:
    take_in(book, state(0, email=JANE), state(1, email=JANE))
    assert None not in bodies(tables)

    book.take_in([received(closing_fact, 3)], RULES)

    assert bodies(tables) == [None, None, None]


def test_what_was_received_is_erased_once_klaviyo_has_it(tables: Tables, book: Book) -> None:
    take_in(book, state(0, email=JANE), state(0, "c-2", email=JANE))

    change(book, only(book), apply=delivered)

    erased, kept = bodies(tables)
    assert erased is None
    assert kept is not None


def test_what_is_received_after_the_end_is_not_kept(tables: Tables, book: Book) -> None:
    take_in(book, order(1), state(0, email=JANE))

    book.take_in([received(state(0.5, email=JANE), 3)], RULES)

    assert bodies(tables) == [None, None, None]


@pytest.mark.parametrize(
    "apply",
    [
        partial(outcomes.refused, reason="400"),
        partial(outcomes.quarantined, reason="reserved"),
        partial(outcomes.waiting, reason="waiting for an address"),
    ],
    ids=["dead", "quarantined", "waiting"],
)
def test_what_may_still_be_sent_is_kept(tables: Tables, book: Book, apply: Any) -> None:
    take_in(book, state(0, email=JANE))

    change(book, only(book), apply=apply)

    assert None not in bodies(tables)


def test_what_was_received_is_kept_while_a_later_visit_is_pending(
    tables: Tables, book: Book
) -> None:
    take_in(book, state(0, email=JANE), order(1), state(30, email=JANE))
    assert bodies(tables)[-1] is not None

    change(book, book.checkouts("shop", "c-1")[-1], apply=delivered)

    assert bodies(tables) == [None, None, None]


def test_a_cart_s_body_is_kept_in_one_place_only(tables: Tables, book: Book) -> None:
    take_in(book, pushed(0))

    assert bodies(tables) == [None]


def test_nothing_about_a_person_is_left_in_any_table_after_delivery(
    tables: Tables, book: Book
) -> None:
    personal: dict[str, Any] = {
        "email": "canary@shop-demo.io",
        "phone_number": "canary-phone",
        "first_name": "canary-first",
        "kx": "canary-kx",
        "ref": "canary-ref",
        "customer": Customer(external_id="canary-17"),
    }
    take_in(book, state(0, **personal))
    assert rows_with(tables, "canary") == {"facts", "checkouts"}

    change(book, only(book), apply=delivered)

    assert rows_with(tables, "canary") == set()


def rows_with(tables: Tables, word: str) -> set[str]:
    """Return the tables in which *word* stands anywhere."""
    return {
        table.name
        for table in schema.book.sorted_tables
        if word in str(tables.ask(f"SELECT * FROM {table.name}"))
    }


# -- attempts and accounts ---------------------------------------------------------------


def test_attempts_are_told_in_the_order_they_were_made(book: Book) -> None:
    take_in(book, state(0, email=JANE), state(0, "c-2", email=JANE))
    made = [
        Attempt(at=after(2), status=400, request_id="r-1", reason="Klaviyo answered 400"),
        Attempt(at=after(1), status=None, request_id=None, reason="no answer"),
        Attempt(at=after(3), status=202, request_id=None, reason="Klaviyo answered 202"),
    ]

    for attempt in made:
        change(book, only(book), apply=untroubled, attempts=(attempt,))

    assert book.attempts("shop", "c-1") == made
    assert book.attempts("shop", "c-2") == []


def test_a_change_without_an_attempt_makes_none(book: Book) -> None:
    take_in(book, state(0, email=JANE))

    change(book, only(book), apply=untroubled)

    assert book.attempts("shop", "c-1") == []


def test_an_account_stands_well_until_it_is_told_otherwise(book: Book) -> None:
    stopped = Standing(
        paused_at=after(0), paused_until=after(5), reason="Klaviyo answered 401", stopped=True
    )
    assert book.standing("shop") == Standing()

    book.set_standing("shop", Standing(paused_until=after(1), reason="Klaviyo answered 429"))
    book.set_standing("shop", stopped)

    assert book.standing("shop") == stopped
    assert book.standing("shop-2") == Standing()


# -- reading -----------------------------------------------------------------------------


def test_checkouts_are_counted_wherever_they_stand(book: Book) -> None:
    assert book.counts("shop") == dict.fromkeys(Status, 0)

    take_in(book, state(0, "c-1"), state(0, "c-2"), order(1, "c-3"), state(0, "c-4", shop="shop-2"))

    assert book.counts("shop") == dict.fromkeys(Status, 0) | {
        Status.PENDING: 2,
        Status.CANCELLED: 1,
    }


def test_the_oldest_due_is_the_earliest_of_this_shop(book: Book) -> None:
    assert book.oldest_due("shop") is None

    take_in(book, state(5, "c-1"), state(3, "c-2"), state(1, "c-3", shop="shop-2"), order(0, "c-4"))

    assert book.oldest_due("shop") == after(3) + RULES.settle


def test_dead_letters_are_found_by_words_of_their_reason(book: Book) -> None:
    reasons = {"c-1": "Klaviyo answered 400: 100% bad", "c-2": "no cart_id", "c-3": "no cart id"}
    take_in(book, *(state(n, name) for n, name in enumerate(reasons)), state(0, "c-4"))
    for name, reason in reasons.items():
        change(book, only(book, name), apply=partial(outcomes.refused, reason=reason))

    def dead(reason: str | None = None) -> list[str]:
        return [letter.cart_id for letter in book.dead("shop", reason=reason)]

    assert dead() == ["c-1", "c-2", "c-3"]
    assert dead("100%") == ["c-1"]
    assert dead("t_i") == ["c-2"]
    assert dead("%") == ["c-1"]
    assert not list(book.dead("shop-2"))


def test_a_replay_sends_a_dead_letter_again(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    change(book, only(book), apply=partial(outcomes.refused, reason="400"))

    book.take_in([received(replay(60), 2)], RULES)

    assert book.due("shop", after(60), limit=9) == [only(book)]
    assert not list(book.dead("shop"))


def test_the_address_in_a_cart_is_erased_with_the_last_of_its_checkouts(book: Book) -> None:
    named = msgspec.structs.replace(CART, email=JANE)
    take_in(book, pushed(0, named), pushed(0, named, cart_id="c-2"), state(1, email=JANE))

    change(book, only(book), apply=delivered)

    assert [book.cart("shop", name) for name in ("c-1", "c-2")] == [
        msgspec.structs.replace(CART, email=None),
        named,
    ]


# -- what is written is what is read -----------------------------------------------------

INSTANTS = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy puts the zone on
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9)
SAID = st.fixed_dictionaries(
    {"acted_at": INSTANTS},
    optional={
        "email": TEXTS,
        "consent": st.builds(Consent, state=st.sampled_from(ConsentState), evidence=TEXTS),
        "gpc": st.booleans(),
        "claimed": st.builds(Claim, value=st.decimals(0, 999, places=3)),
        "customer": st.builds(Customer, email=st.none() | TEXTS, external_id=TEXTS),
        "cart": st.builds(replace_total, st.sampled_from(["1.10", "0"]), st.none()),
        "ref": TEXTS,
    },
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=SAID, profile=st.none() | st.builds(Profile, email=TEXTS), at=INSTANTS)
def test_a_checkout_is_read_as_it_was_written(
    book: Book, said: dict[str, Any], profile: Profile | None, at: datetime
) -> None:
    cart_id = uuid4().hex
    fact = state(0, cart_id, **said)
    take_in(book, fact)
    (begun,) = fold([], fact, RULES)
    assert only(book, cart_id) == begun
    busy = msgspec.structs.replace(
        begun, addressee=profile, ordered_at=at, troubled_at=at, trouble=Trouble.KLAVIYO
    )

    change(book, begun, apply=lambda _: busy)

    assert only(book, cart_id) == busy


@pytest.mark.parametrize("asked", [replay, cancel])
def test_a_cart_that_came_for_a_dead_letter_forgets_its_address_with_it(
    book: Book, asked: Callable[[float], Fact]
) -> None:
    take_in(book, state(0, email=JANE))
    change(book, only(book), apply=partial(outcomes.refused, reason="no cart was pushed"))
    # What the page of dead letters advises: put the cart, and then ask again.
    take_in(book, pushed(60, msgspec.structs.replace(CART, email=JANE)), asked(61))
    if only(book).status is Status.PENDING:
        change(book, only(book), apply=partial(outcomes.delivered, at=after(62)))

    kept = book.cart("shop", "c-1")

    assert kept is not None
    assert kept.email is None


def test_a_new_sender_finds_what_the_last_one_wrote(store: Store, book: Book) -> None:
    take_in(book, state(0, email=JANE), pushed(1))

    with closing(store.book()) as another:
        assert another.checkouts("shop", "c-1") == book.checkouts("shop", "c-1")
        assert another.cart("shop", "c-1") == CART
        assert another.marks() == {"i-1": 2}


def test_what_is_left_of_a_closed_cart_is_found_among_all_that_was_said_of_it(
    tmp_path: Path,
) -> None:
    """Else each post for it would go through all the others.

    It is SQLite's plan: PostgreSQL, which has the same index, plans by how many rows there are.
    """
    lay_book(Store(f"sqlite:///{tmp_path}"))
    tables = Tables(f"sqlite:///{tmp_path}")
    plan = "EXPLAIN QUERY PLAN UPDATE facts SET body = NULL"
    which = "WHERE shop = 'shop' AND cart_id = 'c-1' AND body IS NOT NULL"

    ((*_, how),) = tables.ask(f"{plan} {which}")

    assert how == "SEARCH facts USING INDEX facts_with_a_body (shop=? AND cart_id=?)"


# -- migrations --------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_of_the_schema(book: Book) -> None:
    opts = {"compare_type": True, "include_name": is_in_the_schema}
    with book._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=opts)

        assert compare_metadata(context, schema.book) == []


def is_in_the_schema(name: str | None, kind: str, _: object) -> bool:
    """Leave out the inbox of PostgreSQL, which is not SQLAlchemy's."""
    return kind != "table" or not f"{name}".startswith(("inbox", "streams"))


def test_migrating_again_changes_nothing_and_loses_nothing(store: Store, book: Book) -> None:
    take_in(book, state(0, email=JANE))

    store.migrate()

    assert only(book).status is Status.PENDING


# -- large stores ------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_batch_of_facts_is_looked_up_and_not_searched_for(store: Store, book: Book) -> None:
    asked: list[tuple[str, Any]] = []

    def note(*call: Any) -> None:
        asked.append((call[2], call[3]))

    sqlalchemy.event.listen(book._engine, "before_cursor_execute", note)
    take_in(book, *(state(n, f"c-{n}", email=JANE) for n in range(3)))

    with closing(sqlite3.connect(store.folder / "checkouts.db")) as connection:
        plans = [
            step[3]
            for statement, values in asked
            if statement.startswith("SELECT")
            for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    assert [plan for plan in plans if plan.startswith("SEARCH facts")]
    assert [plan for plan in plans if plan.startswith("SEARCH checkouts")]
    assert not [plan for plan in plans if plan.startswith("SCAN")]


# -- carts that come in backwards --------------------------------------------------------


def test_a_cart_that_is_read_late_does_not_replace_the_one_received_after_it(book: Book) -> None:
    newer, older = (msgspec.structs.replace(CART, total=Decimal(n), version=None) for n in (9, 5))
    book.take_in([received(pushed(2, newer), inbox="i-2")], RULES)

    book.take_in([received(pushed(1.5, older))], RULES)

    assert book.cart("shop", "c-1") == newer


def test_a_cart_is_not_taken_away_by_what_was_said_before_it(book: Book) -> None:
    book.take_in([received(pushed(2), inbox="i-2")], RULES)

    book.take_in([received(deleted(1.5))], RULES)

    assert book.cart("shop", "c-1") == CART


def test_under_a_clock_that_was_set_back_carts_count_on(book: Book) -> None:
    ahead, now = (msgspec.structs.replace(CART, total=Decimal(n), version=None) for n in (5, 9))
    take_in(book, pushed(60, ahead))

    book.take_in([received(pushed(1, now), 2)], RULES)
    assert book.cart("shop", "c-1") == now
    book.take_in([received(pushed(60, ahead), 3), received(deleted(2), 4)], RULES)

    assert book.cart("shop", "c-1") is None


def test_a_cart_that_was_delayed_does_not_replace_the_one_received_after_it(book: Book) -> None:
    newer, older = (msgspec.structs.replace(CART, total=Decimal(n), version=None) for n in (9, 5))
    take_in(book, pushed(60, newer))

    book.take_in([replace(received(pushed(1, older), inbox="i-2"), delayed=True)], RULES)

    assert book.cart("shop", "c-1") == newer


def test_a_cart_is_not_taken_away_by_what_was_delayed(book: Book) -> None:
    take_in(book, pushed(60))

    book.take_in([replace(received(deleted(1), inbox="i-2"), delayed=True)], RULES)

    assert book.cart("shop", "c-1") == CART


def test_a_cart_that_was_delayed_replaces_the_one_received_before_it(book: Book) -> None:
    older, newer = (msgspec.structs.replace(CART, total=Decimal(n), version=None) for n in (5, 9))
    take_in(book, pushed(1, older))

    book.take_in([replace(received(pushed(60, newer), inbox="i-2"), delayed=True)], RULES)

    assert book.cart("shop", "c-1") == newer


def test_a_cart_that_was_bought_is_not_kept_when_it_comes_delayed(book: Book) -> None:
    take_in(book, state(0, email=JANE), order(2))

    book.take_in([replace(received(pushed(1), inbox="i-2"), delayed=True)], RULES)

    assert book.cart("shop", "c-1") is None


def test_what_comes_after_delivery_is_said_to_have_come_after_it(book: Book) -> None:
    take_in(book, state(0, email=JANE))
    change(book, only(book), apply=delivered)

    take_in(book, state(1, email=JANE))

    assert book.received("shop", "c-1")[-1].decision == "delivered before this"


# -- what is counted ---------------------------------------------------------------------


def tallied(book: Book, minute: datetime = EVER) -> dict[tuple[str, str], int]:
    """Return what was counted in one minute, or ever, by what it was and its detail."""
    found = book.tallied("shop", since=minute, until=minute + timedelta(minutes=1))
    return {(each.what, each.detail): each.many for each in found}


def sends(book: Book, cart_id: str = "c-1", *, at: datetime) -> Checkout:
    """Have a checkout sent, which takes Klaviyo a quarter of a second."""
    seen = only(book, cart_id)
    address = partial(
        outcomes.bound,
        seen=seen,
        profile=Profile(email=JANE),
        total=Amount(Decimal("12.5"), "EUR"),
        claim=Compared.MATCH,
    )
    change(book, seen, apply=address)
    attempt = Attempt(at=at, status=202, request_id=None, reason="Klaviyo answered 202")
    sent = Change(
        checkout=seen,
        apply=partial(outcomes.delivered, at=at),
        attempts=(attempt,),
        event=b'{"value":12.5}',
    )
    took = tallies.of_time(What.SEND_TIME, timedelta(seconds=0.24))
    (delivered,) = book.change("shop", [sent], at, took)
    return delivered


def test_what_was_delivered_is_counted_in_its_minute_and_in_all(book: Book) -> None:
    take_in(book, state(0, email=JANE))

    sends(book, at=after(1.5))

    assert tallied(book, after(0)) == {
        ("received", "state"): 1,
        ("waiting", "in"): 1,
        ("settled", ""): 1,
    }
    delivered = {
        ("sent", "202"): 1,
        ("send time", "0.25"): 1,
        ("send time", "sum"): 240,
        ("waiting", "out"): 1,
        ("delivered", ""): 1,
        ("delay", "90"): 1,
        ("delay", "sum"): 90_000,
        ("value", "EUR"): 1250,
        ("claim", "match"): 1,
    }
    assert tallied(book, after(1)) == delivered
    assert tallied(book) == delivered | tallied(book, after(0))


def test_what_ends_otherwise_is_counted_by_the_reason(book: Book) -> None:
    take_in(book, state(0, "c-1", email=JANE), state(0, "c-2", email=JANE))
    refuse = partial(outcomes.refused, reason="Klaviyo answered 400: no such metric (/data)")
    change(book, only(book, "c-1"), apply=refuse)
    change(book, only(book, "c-2"), apply=partial(cartless, minute=1))
    take_in(book, order(2, "c-2"), state(0, "c-3", consent=Consent(state=ConsentState.DENIED)))

    counted = tallied(book)

    assert counted["dead", "Klaviyo answered 400"] == 1
    assert counted["retried", "no cart"] == 1
    assert counted["cancelled", "an order was placed for the cart"] == 1
    assert counted["cancelled", "the shopper denied consent"] == 1


def test_a_fact_that_comes_twice_is_counted_once(book: Book) -> None:
    said = state(0, email=JANE)

    take_in(book, said)
    take_in(book, said)

    assert tallied(book)["received", "state"] == 1


def test_what_web_workers_count_is_added_up(book: Book) -> None:
    take_in(book, counted(0, refused={"token-forged": 2}), counted(0, refused={"token-forged": 1}))

    assert tallied(book, after(0)) == {("refused", "token-forged"): 3}
    assert book.received("shop", "") == []


def test_counts_of_another_version_stop_nothing(book: Book) -> None:
    odd = counted(0, refused={"x": 1}, invented={"y": 1}, delivered={"": 1})
    broken = replace(received(counted(0), 2), body=b"{}")

    book.take_in([received(odd), broken, received(state(0, email=JANE), 3)], RULES)

    assert tallied(book) == {
        ("refused", "x"): 1,
        ("received", "state"): 1,
        ("waiting", "in"): 1,
    }


def test_what_is_not_wanted_by_the_minute_is_added_up(book: Book) -> None:
    take_in(book, *(counted(at, refused={"late": at + 1, "forged": 1}) for at in range(5)))
    take_in(book, state(2, email=JANE))

    wanted = [What.RECEIVED, What.WAITING]
    found = book.tallied("shop", since=after(1), until=after(4), by_minute=wanted)

    assert sorted(found) == [
        (after(1), What.REFUSED, "forged", 3),
        (after(1), What.REFUSED, "late", 2 + 3 + 4),
        (after(2), What.RECEIVED, "state", 1),
        (after(2), What.WAITING, "in", 1),
    ]


def test_no_value_is_too_large_to_be_added_up(book: Book) -> None:
    most = Amount(Decimal("999999999999999.99"), "EUR")
    take_in(book, *(state(0, f"c-{number}", email=JANE) for number in range(200)))
    due = book.due("shop", after(1), 200)
    taken = [Change(checkout=each, apply=partial(delivered_of, total=most)) for each in due]

    for some in (taken[:1], taken[1:]):
        book.change("shop", some, after(1))

    assert book.counts("shop")[Status.DELIVERED] == 200
    assert 0 < tallied(book)["value", "EUR"] < 2**63


def delivered_of(checkout: Checkout, total: Amount) -> Checkout:
    return msgspec.structs.replace(outcomes.delivered(checkout, after(1)), total=total)


def test_what_was_sent_is_kept_without_the_person(book: Book) -> None:
    take_in(book, state(0, email=JANE))

    sent = sends(book, at=after(1))

    assert book.event("shop", "c-1", sent.epoch) == b'{"value":12.5}'
    assert (sent.total, sent.delivered_at) == (Amount(Decimal("12.5"), "EUR"), after(1))


# -- what is found -----------------------------------------------------------------------


def listed(book: Book, limit: int = 10, **wanted: Any) -> list[str]:
    return [found.cart_id for found in book.search("shop", Wanted(**wanted), limit)]


@pytest.fixture
def five(book: Book) -> Book:
    """Return a book in which five carts were left, the fifth last and the second ordered."""
    said = [state(number, f"c-{number}", email=f"{number}@x.io") for number in range(1, 6)]
    rules = replace(RULES, address_key=b"a key")
    book.take_in([received(fact, seq) for seq, fact in enumerate([*said, order(9, "c-2")])], rules)
    return book


def test_checkouts_are_listed_by_the_last_act_of_the_shopper(five: Book) -> None:
    assert listed(five) == ["c-5", "c-4", "c-3", "c-2", "c-1"]
    assert listed(five, status=Status.CANCELLED) == ["c-2"]
    assert listed(five, status=Status.PENDING) == ["c-5", "c-4", "c-3", "c-1"]
    assert listed(five, status=Status.DELIVERED) == []
    assert listed(five, cart_id="c-3") == ["c-3"]


def test_a_list_goes_on_where_it_ended(five: Book) -> None:
    *_, last = five.search("shop", Wanted(), 2)

    assert listed(five, 2, after=last.place) == ["c-3", "c-2"]


def test_a_checkout_is_found_by_the_id_of_its_event(five: Book) -> None:
    (found,) = five.search("shop", Wanted(cart_id="c-3"), 10)

    assert five.checkout("shop", found.unique_id) == only(five, "c-3")
    assert five.checkout("shop", "c-3_1") is None
    assert five.checkout("another-shop", found.unique_id) is None


def test_a_checkout_is_found_by_its_address_which_is_nowhere(five: Book, tables: Tables) -> None:
    hashes = [address_hash("2@X.io", key) for key in (b"an old key", b"a key")]

    assert listed(five, address_hashes=hashes) == ["c-2"]
    assert listed(five, address_hashes=[]) == []
    assert "2@x.io" not in str(tables.ask("SELECT * FROM checkouts WHERE cart_id = 'c-2'"))
