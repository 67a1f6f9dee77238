"""Questions: what would be sent is told step by step, nothing is sent, and nothing of it stays."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from proxy import facts, outcomes
from proxy.carts.pushed import PushedCarts
from proxy.carts.source import CartRef, CartSource, Reading
from proxy.checkouts import Rules, Status
from proxy.consents import ConsentMode, Modes
from proxy.delivery import Sender
from proxy.enrich import Account
from proxy.errors import CartGone, CartInvalid, SourceDown, SourceRefused
from proxy.facts import Claim, Customer, Fact, QuestionAsked
from proxy.klaviyo import Klaviyo as Client
from proxy.payload import PropertyNames
from proxy.sandbox.klaviyo import Klaviyo
from proxy.steps import Answer, Step, Verdict, decode, encode, passed
from proxy.store import Inbox, Store
from proxy.store.book import Book, Change
from tests.actors import KLAVIYO_KEY, judged_klaviyo, until
from tests.books import lay_book, written
from tests.postgres import Postgres, emptied
from tests.said import (
    CART,
    DENIED,
    GRANTED,
    JANE,
    JOHN,
    NOON,
    after,
    order,
    pushed,
    received,
    state,
)
from tests.tables import Tables
from tests.watching import watch

RULES = Rules(
    settle=timedelta(seconds=30), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT)
)
ACCOUNT = Account(
    shop="shop",
    rules=RULES,
    late=timedelta(hours=12),
    metric="Started Checkout",
    property_names=PropertyNames.BOTH,
)
ANSWER = Answer(steps=(passed("cart", "7.65 EUR"),), event='{"value":7.65}')


def question(minute: float = 0, cart_id: str = "c-1", **asked: Any) -> QuestionAsked:
    """Return what an operator asks at *minute*."""
    return QuestionAsked(
        id=uuid4().hex, shop="shop", cart_id=cart_id, received_at=after(minute), **asked
    )


def trial(minute: float = 0, cart_id: str = "c-1", **said: Any) -> QuestionAsked:
    """Return the question what would become of a state."""
    return question(minute, cart_id, state=state(minute, cart_id, **said))


# -- in the book -------------------------------------------------------------------------


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


@pytest.fixture
def tables(url: str) -> Tables:
    return Tables(url)


def take_in(book: Book, *said: Fact) -> None:
    book.take_in([received(fact, seq) for seq, fact in enumerate(said, 1)], RULES)


def test_a_question_is_kept_apart_from_the_facts_and_counts_as_nothing(
    book: Book, tables: Tables
) -> None:
    asked = trial(email=JANE)

    take_in(book, asked)

    assert [each.id for each in book.questions("shop", 9)] == [asked.id]
    for table in ("facts", "checkouts", "carts", "tallies"):
        assert tables.ask(f"SELECT * FROM {table}") == []
    assert book.marks() == {"i-1": 1}


def test_what_was_asked_comes_back_as_it_was(book: Book) -> None:
    asked = replace(trial(email=JANE, claimed=Claim(value=CART.total)), before=ANSWER.steps)

    take_in(book, asked)

    (found,) = book.questions("shop", 9)
    assert facts.decode("question", found.body) == asked


def test_a_question_is_another_shops_to_answer(book: Book) -> None:
    take_in(book, replace(trial(email=JANE), shop="other"))

    assert book.questions("shop", 9) == []


def test_an_answer_is_read_and_what_was_asked_is_erased(book: Book, tables: Tables) -> None:
    asked = trial(email=JANE)
    take_in(book, asked)
    assert book.answer("shop", asked.id) is None

    book.put_answer("shop", asked.id, encode(ANSWER), after(1))

    assert book.answer("shop", asked.id) == ANSWER
    assert book.answer("other", asked.id) is None
    assert book.questions("shop", 9) == []
    assert tables.ask("SELECT body FROM questions") == [(None,)]


def test_a_question_that_comes_twice_is_answered_once(book: Book) -> None:
    asked = trial(email=JANE)
    take_in(book, asked, asked)
    book.put_answer("shop", asked.id, encode(ANSWER), after(1))

    book.take_in([received(asked, 2)], RULES)

    assert book.answer("shop", asked.id) == ANSWER
    assert book.questions("shop", 9) == []


@pytest.mark.parametrize(("minute", "left"), [(59, 1), (61, 0), (-61, 0)])
def test_an_hour_after_it_was_asked_nothing_is_left(
    book: Book, tables: Tables, minute: float, left: int
) -> None:
    for asked in (trial(email=JANE), trial(email=JOHN)):
        take_in(book, asked)
    book.put_answer("shop", asked.id, encode(ANSWER), after(1))

    book.forget_questions("shop", after(minute))

    assert len(tables.ask("SELECT * FROM questions")) == 2 * left


def test_what_was_asked_is_left_in_no_inbox_of_a_database(server: Postgres, tmp_path: Path) -> None:
    url = emptied(server)
    store = Store(url, tmp_path)
    with closing(store.inbox()) as inbox:
        inbox.append(trial(email=JANE))
        inbox.append(state(email=JOHN))

    with store.account("shop", Event()) as book, closing(store.inboxes("shop")) as inboxes:
        assert book is not None
        book.take_in(inboxes.after({}, 9), RULES)
        (asked,) = book.questions("shop", 9)

    bodies = Tables(url).ask("SELECT kind, length(body) > 0 FROM inbox ORDER BY kind")
    assert bodies == [("question", False), ("state", True)]
    assert JANE.encode() in asked.body


# -- by the sender -----------------------------------------------------------------------


@dataclass
class Shelf:
    """A source of carts that raises *error*, or gives the reading that the test wants."""

    error: Exception | None = None
    reading: Reading = field(default_factory=lambda: Reading(cart=CART))
    free: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.free.set()

    def fetch(self, ref: CartRef) -> Reading:
        self.free.wait(30)
        if self.error is not None:
            raise self.error
        return self.reading


@dataclass
class Scene:
    """A sender on a store of its own, under a clock that stands still unless it is moved."""

    sender: Sender
    book: Book
    inbox: Inbox
    klaviyo: Klaviyo
    minute: float = 0

    def now(self) -> datetime:
        return after(self.minute)

    def hear(self, *said: Fact) -> None:
        for fact in said:
            self.inbox.append(fact)
        self.sender.step()

    def ask(self, asked: QuestionAsked) -> Answer:
        """Return what the sender answers."""
        self.hear(asked)
        return self.wait(asked.id)

    def wait(self, question_id: str) -> Answer:
        self.work_until(lambda: self.book.answer("shop", question_id) is not None)
        answer = self.book.answer("shop", question_id)
        assert answer is not None
        return answer

    def work_until(self, condition: Callable[[], object]) -> None:
        def holds() -> object:
            self.sender.step()
            return condition()

        until(holds)


def scene(
    folder: Path, stack: ExitStack, source: CartSource | None = None, account: Account = ACCOUNT
) -> Scene:
    store = Store(f"sqlite:///{folder}")
    lay_book(store)
    klaviyo = stack.enter_context(judged_klaviyo())
    book = stack.enter_context(closing(written(store)))
    inboxes = stack.enter_context(closing(store.inboxes("shop")))
    inbox = stack.enter_context(closing(store.inbox()))
    client = Client(url=klaviyo.url, key=KLAVIYO_KEY, revision="2026-07-15")
    stack.enter_context(closing(client))
    clock: list[Scene] = []
    sender = Sender(
        account,
        inboxes=inboxes,
        book=book,
        source=source or PushedCarts(),
        klaviyo=client,
        watch=watch(book, folder),
        now=lambda: clock[0].now(),
    )
    stack.callback(sender.close)
    clock.append(Scene(sender, book, inbox, klaviyo))
    return clock[0]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def stage(tmp_path: Path, shelf: Shelf) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield scene(tmp_path, stack, shelf)


def verdicts(answer: Answer) -> dict[str, Verdict]:
    return {step.name: step.verdict for step in answer.steps}


def step(answer: Answer, name: str) -> Step:
    return next(each for each in answer.steps if each.name == name)


BEFORE_THE_CART = ["checkout", "consent", "identity", "order", "addresses"]
FROM_THE_CART_ON = ["cart", "claim", "late", "account", "payload", "limits"]


def test_a_state_that_is_tried_goes_through_every_step(stage: Scene) -> None:
    answer = stage.ask(trial(email=JANE))

    assert list(verdicts(answer)) == BEFORE_THE_CART + FROM_THE_CART_ON
    assert set(verdicts(answer).values()) == {Verdict.PASSED}
    assert step(answer, "identity").words == "j…@shop-demo.io"
    assert step(answer, "cart").words == "7.65 EUR, 1 line"


def test_of_a_trial_nothing_is_sent_and_nothing_is_left(stage: Scene, tmp_path: Path) -> None:
    stage.ask(trial(email=JANE))
    stage.minute = 30
    stage.sender.step()

    assert stage.klaviyo.requests == ()
    tables = Tables(f"sqlite:///{tmp_path}")
    for table in ("facts", "checkouts", "carts", "tallies", "attempts", "sent"):
        assert tables.ask(f"SELECT * FROM {table}") == []
    stage.minute = 61
    stage.sender.step()
    assert tables.ask("SELECT * FROM questions") == []


def test_what_would_be_sent_is_what_is_sent_then(stage: Scene) -> None:
    said = state(0, email=JANE, first_name="Jane", claimed=Claim(value=CART.total))
    tried = stage.ask(question(state=said))
    stage.hear(said)
    (checkout,) = stage.book.checkouts("shop", "c-1")
    asked = stage.ask(question(epoch=checkout.epoch))

    stage.minute = 1
    stage.work_until(lambda: stage.klaviyo.events)

    (request,) = stage.klaviyo.requests
    assert tried.event == asked.event == request.body.decode()


def test_asking_changes_nothing_about_a_checkout(stage: Scene) -> None:
    stage.hear(state(0, email=JANE))
    before = stage.book.checkouts("shop", "c-1")

    stage.ask(question(epoch=NOON))
    stage.ask(trial(email=JOHN))

    assert stage.book.checkouts("shop", "c-1") == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SourceDown("the shop answered 503"), "given up after six hours"),
        (SourceRefused("the shop answered 401"), "does not let us ask"),
        (CartGone("the shop answered 404"), "after three tries"),
        (CartInvalid("there is no currency"), "a dead letter"),
    ],
)
def test_a_cart_that_cannot_be_read_stops_it_and_why_is_said(
    stage: Scene, shelf: Shelf, error: Exception, words: str
) -> None:
    shelf.error = error

    answer = stage.ask(trial(email=JANE))

    assert answer.stopped_by == step(answer, "cart")
    assert str(error) in step(answer, "cart").words
    assert words in step(answer, "cart").words
    assert answer.event is None


def test_a_cart_that_became_an_order_stops_it(stage: Scene, shelf: Shelf) -> None:
    shelf.reading = Reading(cart=CART, completed=True, warnings=("two taxes",))

    answer = stage.ask(trial(email=JANE))

    assert answer.stopped_by is not None
    assert "became an order" in answer.stopped_by.words


def test_what_is_odd_about_a_cart_is_said_and_stops_nothing(stage: Scene, shelf: Shelf) -> None:
    shelf.reading = Reading(cart=CART, warnings=("the tax is higher than the total",))

    answer = stage.ask(trial(email=JANE))

    assert verdicts(answer)["cart"] is Verdict.WARNED
    assert answer.event is not None


@pytest.mark.parametrize(
    ("said", "name", "words"),
    [
        ({"email": JANE, "consent": DENIED}, "consent", "denied"),
        ({"email": JANE, "gpc": True}, "consent", "Global Privacy Control"),
        ({"email": "jane@example.com"}, "identity", "kept for examples"),
        ({}, "identity", "nobody is known"),
    ],
)
def test_what_stops_a_state_is_named(
    stage: Scene, said: dict[str, Any], name: str, words: str
) -> None:
    answer = stage.ask(trial(**said))

    assert answer.stopped_by == step(answer, name)
    assert words in step(answer, name).words
    assert verdicts(answer)["cart"] is Verdict.PASSED


def test_without_a_word_of_consent_a_shop_that_requires_it_waits(tmp_path: Path) -> None:
    account = replace(ACCOUNT, rules=replace(RULES, modes=Modes(ConsentMode.REQUIRED)))
    with ExitStack() as stack:
        answer = scene(tmp_path, stack, Shelf(), account).ask(trial(email=JANE))

    assert answer.stopped_by == step(answer, "consent")
    assert "waiting for consent" in step(answer, "consent").words


def test_a_fourth_address_is_named_and_a_third_is_let_through(stage: Scene) -> None:
    stage.hear(*(state(n / 100, email=f"j-{n}@shop-demo.io") for n in range(2)))

    assert stage.ask(trial(email=JANE)).stopped_by is None
    stage.hear(state(0.1, email=JOHN))
    answer = stage.ask(trial(email=JANE))

    assert answer.stopped_by == step(answer, "addresses")


def test_after_an_order_an_older_state_is_stopped_and_a_newer_one_begins_anew(
    stage: Scene,
) -> None:
    stage.hear(state(0, email=JANE), order(10))

    older = stage.ask(question(20, state=state(5, email=JANE)))
    newer = stage.ask(question(20, state=state(15, email=JANE)))

    assert older.stopped_by == step(older, "order")
    assert newer.stopped_by is None
    assert "begins" in step(newer, "checkout").words


def test_what_was_delivered_is_not_sent_twice(stage: Scene) -> None:
    stage.hear(state(0, email=JANE))
    stage.minute = 1
    stage.work_until(lambda: stage.klaviyo.events)
    stage.work_until(lambda: stage.book.counts("shop")[Status.DELIVERED])

    answer = stage.ask(trial(2, email=JANE))

    assert answer.stopped_by == step(answer, "checkout")
    assert len(stage.klaviyo.events) == 1


def test_of_a_dead_letter_is_told_what_a_replay_would_send(stage: Scene) -> None:
    stage.hear(state(0, email=JANE))
    (checkout,) = stage.book.checkouts("shop", "c-1")
    refuse = Change(checkout=checkout, apply=partial(outcomes.refused, reason="a bad day"))
    stage.book.change("shop", [refuse], NOON)

    asked, tried = stage.ask(question(epoch=NOON)), stage.ask(trial(email=JANE))

    assert verdicts(asked)["checkout"] is Verdict.WARNED
    assert asked.event is not None
    assert tried.stopped_by == step(tried, "checkout")


def test_what_was_cancelled_is_not_sent_and_a_state_opens_it_again(stage: Scene) -> None:
    stage.hear(state(0, email=JANE, consent=DENIED))

    asked = stage.ask(question(epoch=NOON))
    denied = stage.ask(trial(1, email=JANE))
    granted = stage.ask(trial(1, email=JANE, consent=GRANTED))

    assert asked.stopped_by == step(asked, "checkout")
    assert denied.stopped_by == step(denied, "consent")
    assert granted.stopped_by is None
    assert verdicts(granted)["checkout"] is Verdict.WARNED


def test_what_is_in_quarantine_says_why(stage: Scene) -> None:
    stage.hear(*(state(n / 100, email=f"j-{n}@shop-demo.io") for n in range(4)))

    answer = stage.ask(question(epoch=NOON))

    assert "quarantined" in step(answer, "checkout").words
    assert answer.stopped_by == step(answer, "addresses")


def test_a_checkout_that_is_gone_is_said_to_be(stage: Scene) -> None:
    answer = stage.ask(question(epoch=NOON))

    assert answer.stopped_by is not None
    assert "no such checkout" in answer.stopped_by.words


def test_a_total_that_the_page_says_otherwise_is_told_beside_the_shops(stage: Scene) -> None:
    answer = stage.ask(trial(email=JANE, claimed=Claim(value=CART.total + 1, currency="EUR")))

    assert verdicts(answer)["claim"] is Verdict.WARNED
    assert step(answer, "claim").words == "the page says 8.65 EUR, the shop 7.65 EUR, which is sent"


def test_what_is_late_is_told_to_start_no_flow(stage: Scene) -> None:
    stage.minute = 13 * 60

    answer = stage.ask(question(stage.minute, state=state(0, email=JANE)))

    assert verdicts(answer)["late"] is Verdict.WARNED
    assert '"backfill":true' in (answer.event or "")


def test_a_telephone_number_that_is_none_is_left_out(stage: Scene) -> None:
    answer = stage.ask(trial(email=JANE, phone_number="030 123456"))

    assert verdicts(answer)["telephone"] is Verdict.WARNED
    assert "phone_number" not in (answer.event or "")


def test_that_klaviyo_refuses_the_key_is_told(stage: Scene) -> None:
    stage.sender._standing = stage.sender._standing.after_refusal("Klaviyo answered 401", now=NOON)

    answer = stage.ask(trial(email=JANE))

    assert verdicts(answer)["account"] is Verdict.WARNED
    assert answer.event is not None


def test_what_is_longer_than_klaviyo_takes_is_told_to_be_trimmed(
    stage: Scene, shelf: Shelf
) -> None:
    long = msgspec.structs.replace(CART.items[0], name="x" * 100_000, sku="é" * 60_000)
    shelf.reading = Reading(cart=msgspec.structs.replace(CART, items=(long,)))

    answer = stage.ask(trial(email=JANE))

    assert verdicts(answer)["limits"] is Verdict.WARNED


def test_the_steps_before_come_first_and_no_address_is_in_any(stage: Scene) -> None:
    said: dict[str, Any] = {
        "email": "canary@shop-demo.io",
        "customer": Customer(email="canary-2@shop-demo.io", phone_number="+4930123456"),
    }
    asked = replace(trial(**said), before=(passed("origin", "it is listed"),))

    answer = stage.ask(asked)

    assert answer.steps[0] == passed("origin", "it is listed")
    assert not any("canary" in each.words or "30123" in each.words for each in answer.steps)
    assert "canary@shop-demo.io" in (answer.event or "")


# -- what goes wrong ---------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":1}', b"\xff\xfe", b"[" * 100_000])
def test_a_question_that_cannot_be_read_is_answered_so(stage: Scene, body: bytes) -> None:
    stage.book.take_in([replace(received(trial()), id="q-1", body=body)], RULES)

    answer = stage.wait("q-1")

    assert answer.stopped_by is not None
    assert "cannot be read" in answer.stopped_by.words


def test_a_bug_is_an_answer_and_the_log_has_nobodys_words(
    stage: Scene, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.error = TypeError("canary")

    answer = stage.ask(trial(email="canary@shop-demo.io"))

    assert answer.stopped_by is not None
    assert "a bug in the proxy (TypeError)" in answer.stopped_by.words
    assert "TypeError" in caplog.text
    assert "canary" not in caplog.text


def test_while_carts_hang_for_questions_what_is_due_is_sent(tmp_path: Path) -> None:
    hung = _HungFor("c-asked")
    with ExitStack() as stack:
        stage = scene(tmp_path, stack, hung)
        stack.callback(hung.free.set)
        asked = [trial(cart_id="c-asked", email=JANE) for _ in range(10)]
        stage.hear(*asked)
        stage.hear(pushed(0, cart_id="c-2"), state(0, "c-2", email=JOHN))
        stage.minute = 1

        stage.work_until(lambda: stage.klaviyo.events)

        assert hung.asked <= 2
        hung.free.set()
        for each in asked:
            assert stage.wait(each.id).stopped_by is None


@dataclass
class _HungFor:
    """A source that does not answer for one cart before it is free."""

    cart_id: str
    free: Event = field(default_factory=Event)
    asked: int = 0

    def fetch(self, ref: CartRef) -> Reading:
        if ref.cart_id == self.cart_id:
            self.asked += 1
            self.free.wait(30)
        return Reading(cart=CART)


def test_a_question_that_a_sender_left_is_answered_by_the_next(
    tmp_path: Path, shelf: Shelf
) -> None:
    asked = trial(email=JANE)
    with closing(Store(f"sqlite:///{tmp_path}").inbox()) as inbox:
        inbox.append(asked)
    with ExitStack() as stack:
        assert scene(tmp_path, stack, shelf).wait(asked.id).stopped_by is None


def test_a_question_of_long_ago_is_not_answered(stage: Scene) -> None:
    stage.minute = 61

    stage.hear(trial(0, email=JANE))
    stage.minute = 63
    stage.sender.step()

    assert stage.book.questions("shop", 9) == []


def test_an_answer_is_written_and_read_the_same() -> None:
    assert decode(encode(ANSWER)) == ANSWER
