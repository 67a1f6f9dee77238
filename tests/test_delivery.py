"""Delivery: few go alone and many in bulk, and what goes wrong with one harms no other."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from proxy.audit import Audit
from proxy.carts.pushed import PushedCarts
from proxy.carts.source import CartSource
from proxy.checkouts import Rules, Status
from proxy.consents import ConsentMode, Modes
from proxy.delivery import Sender
from proxy.enrich import Account
from proxy.facts import Fact
from proxy.klaviyo import Klaviyo as Client
from proxy.payload import PropertyNames
from proxy.sandbox.faults import Answer, Cut, Hang, Strange
from proxy.sandbox.klaviyo import Klaviyo, Request
from proxy.store import Inbox, Store
from proxy.store.book import Book
from tests import backlog
from tests.actors import KLAVIYO_KEY, judged_klaviyo, until
from tests.books import lay_book
from tests.said import after, order, pushed, replay, state
from tests.watching import watch

RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
MANY = 150


@dataclass
class Clock:
    """A clock that stands still unless it is moved."""

    minute: float = 0

    def now(self) -> datetime:
        return after(self.minute)


@dataclass
class Scene:
    """An account's sender on a store of its own, and the Klaviyo that it sends to."""

    klaviyo: Klaviyo
    book: Book
    inbox: Inbox
    employ: Callable[[], Sender]
    sender: Sender
    clock: Clock = field(default_factory=Clock)

    def hear(self, *facts: Fact) -> None:
        for fact in facts:
            self.inbox.append(fact)

    def hear_of(self, *cart_ids: str, minute: float = 0) -> None:
        """Hear of a checkout of each cart."""
        for cart_id in cart_ids:
            self.hear(pushed(minute, cart_id=cart_id))
            self.hear(state(minute, cart_id, email=f"{cart_id}@shop-demo.io"))

    def work_until(self, condition: Callable[[], object]) -> None:
        """Let the sender work without the clock moving on, until *condition* holds."""

        def done() -> object:
            self.sender.step()
            return condition()

        until(done)

    def work_off(self) -> None:
        """Let the sender work until nothing is due or in hand any more, or sending waits."""
        self.work_until(lambda: not self._is_busy())

    def _is_busy(self) -> bool:
        if self.sender._in_hand or self.sender._unwritten:
            return True
        return bool(self.sender._room() and self.book.due("shop", self.clock.now(), 1))

    def count(self, status: Status) -> int:
        return self.book.counts("shop")[status]

    def posts(self, path: str) -> list[Request]:
        posts = (request for request in self.klaviyo.requests if request.method == "POST")
        return [request for request in posts if request.path == path]

    @property
    def singles(self) -> list[Request]:
        return self.posts("/api/events")

    @property
    def bulks(self) -> list[Request]:
        return self.posts("/api/event-bulk-create-jobs")


def scene(
    folder: Path,
    stack: ExitStack,
    source: CartSource | None = None,
    *,
    audited: bool = False,
    store: Store | None = None,
    **watched: Any,
) -> Scene:
    """Return a scene that lasts as long as *stack*; the carts are *source*'s, or pushed."""
    if store is None:
        store = Store(f"sqlite:///{folder}")
        lay_book(store)
    clock = Clock()
    klaviyo = stack.enter_context(judged_klaviyo())
    book = stack.enter_context(store.account("shop", Event()))
    assert book is not None
    inboxes = stack.enter_context(closing(store.inboxes("shop")))
    inbox = stack.enter_context(closing(store.inbox()))
    client = stack.enter_context(
        closing(Client(url=klaviyo.url, key=KLAVIYO_KEY, revision="2026-07-15"))
    )
    stack.callback(klaviyo.behave)

    def employ() -> Sender:
        return Sender(
            ACCOUNT,
            inboxes=inboxes,
            book=book,
            source=source or PushedCarts(),
            klaviyo=client,
            watch=watch(
                book, folder, audit=Audit(client, book, "shop") if audited else None, **watched
            ),
            now=clock.now,
        )

    return Scene(klaviyo, book, inbox, employ, employ(), clock)


ACCOUNT = Account(
    shop="shop",
    rules=RULES,
    late=timedelta(hours=12),
    metric="Started Checkout",
    property_names=PropertyNames.BOTH,
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield scene(tmp_path, stack)


def carts(count: int) -> list[str]:
    return [f"c-{number}" for number in range(count)]


# -- alone and in bulk -------------------------------------------------------------------


def test_a_few_go_one_by_one(stage: Scene) -> None:
    stage.hear_of(*carts(5))

    stage.work_off()

    assert len(stage.klaviyo.events) == len(stage.singles) == 5
    assert stage.bulks == []


def test_many_go_in_bulk(stage: Scene) -> None:
    stage.hear_of(*carts(MANY))

    stage.work_off()

    assert len(stage.klaviyo.events) == stage.count(Status.DELIVERED) == MANY
    assert (len(stage.bulks), stage.singles) == (1, [])
    (attempt,) = stage.book.attempts("shop", "c-7")
    assert (attempt.status, attempt.reason) == (202, "Klaviyo answered 202 (in bulk)")


def test_in_bulk_an_event_says_what_it_says_alone(stage: Scene) -> None:
    stage.hear_of("alone")
    stage.work_off()
    stage.hear_of(*carts(MANY))

    stage.work_off()

    alone, *others = (event.attributes for event in stage.klaviyo.events)
    for name in ("metric", "properties", "value", "value_currency", "time"):
        assert others[0][name] == alone[name] or name == "properties"
    assert others[0]["properties"] | {"cart_id": "alone"} == alone["properties"]
    assert others[0]["unique_id"] == others[0]["properties"]["cart_id"] + alone["unique_id"][5:]


@pytest.mark.parametrize("bad", [[0], [MANY - 1], [3, 4, 77]], ids=["first", "last", "three"])
def test_a_bad_event_is_found_in_a_bulk_and_the_others_arrive(stage: Scene, bad: list[int]) -> None:
    stage.hear_of(*carts(MANY))
    for number in bad:
        stage.hear(state(0.001, f"c-{number}", email="jane@no-dot"))
    stage.clock.minute = 1

    stage.work_off()

    assert len(stage.klaviyo.events) == stage.count(Status.DELIVERED) == MANY - len(bad)
    dead = list(stage.book.dead("shop"))
    assert {letter.cart_id for letter in dead} == {f"c-{number}" for number in bad}
    assert all("Klaviyo answered 400" in letter.reason for letter in dead)
    assert len(stage.singles) <= 2 * len(bad)
    assert len(stage.bulks) <= 18 * len(bad)


def test_a_telephone_number_that_spoils_a_bulk_is_spared(stage: Scene) -> None:
    stage.hear_of(*carts(MANY))
    phone = "/data/attributes/profile/data/attributes/phone_number"
    stage.klaviyo.misbehave(Answer(400), times=9)
    stage.klaviyo.misbehave(Answer(400, pointer=phone))

    stage.work_off()

    assert len(stage.klaviyo.events) + stage.count(Status.DEAD) == MANY
    assert stage.count(Status.PENDING) == 0


@pytest.mark.parametrize("fault", [Cut(counted=True), Strange("html", counted=True)])
def test_a_bulk_whose_answer_is_lost_counts_once(stage: Scene, fault: Cut | Strange) -> None:
    stage.hear_of(*carts(MANY))
    stage.klaviyo.misbehave(fault)
    stage.work_until(lambda: stage.book.attempts("shop", "c-0"))

    stage.clock.minute = 15
    stage.work_off()

    assert len(stage.klaviyo.events) == stage.count(Status.DELIVERED) == MANY
    # Klaviyo would refuse all of a bulk in which it knows one.
    assert (len(stage.bulks), len(stage.singles)) == (1, MANY)


def test_a_sender_that_dies_under_a_bulk_has_it_counted_once(stage: Scene) -> None:
    stage.hear_of(*carts(MANY))
    stage.klaviyo.misbehave(Hang(counted=True))
    stage.work_until(lambda: stage.bulks)

    stage.sender = stage.employ()
    stage.work_off()

    assert len(stage.klaviyo.events) == stage.count(Status.DELIVERED) == MANY


def test_an_order_that_comes_before_its_bulk_cancels(stage: Scene) -> None:
    stage.hear_of(*carts(MANY))
    stage.hear(order(1, "c-3"))
    stage.clock.minute = 2

    stage.work_off()

    assert len(stage.klaviyo.events) == MANY - 1
    assert stage.count(Status.CANCELLED) == 1


# -- words that no book takes ------------------------------------------------------------


@pytest.fixture
def on_each(tmp_path: Path, store: Store) -> Iterator[Scene]:
    """Return a scene on each engine."""
    with ExitStack() as stack:
        yield scene(tmp_path, stack, store=store)


@pytest.mark.parametrize(("status", "becomes"), [(400, Status.DEAD), (500, Status.PENDING)])
def test_an_odd_error_of_klaviyos_holds_up_nobody(
    on_each: Scene, status: int, becomes: Status
) -> None:
    on_each.hear_of("odd")
    on_each.klaviyo.misbehave(Strange("odd-error", status=status))
    on_each.work_until(lambda: on_each.book.attempts("shop", "odd"))

    on_each.clock.minute = 1
    on_each.hear_of("c-1", minute=1)
    on_each.work_until(lambda: on_each.klaviyo.events)

    (odd,) = on_each.book.checkouts("shop", "odd")
    assert odd.status in (becomes, Status.DELIVERED)
    assert "No  [2J" in on_each.book.attempts("shop", "odd")[0].reason


# -- an outage ---------------------------------------------------------------------------


def test_in_an_outage_klaviyo_is_asked_with_one_event_at_a_time(stage: Scene) -> None:
    stage.hear_of(*carts(40))
    stage.klaviyo.misbehave(Answer(503), times=10_000)
    stage.work_off()
    knocked = len(stage.klaviyo.requests)

    for _ in range(20):
        stage.clock.minute += 3
        stage.work_off()

    assert knocked <= 40
    # Within the hour one in fifteen minutes at least, and no more than one a round.
    assert 3 <= len(stage.klaviyo.requests) - knocked <= 20
    assert stage.book.standing("shop").failures >= 5


def test_after_an_outage_everything_follows_the_first_that_is_taken(stage: Scene) -> None:
    stage.hear_of(*carts(40))
    stage.klaviyo.misbehave(Answer(503), times=10_000)
    stage.work_off()

    stage.klaviyo.behave()
    for _ in range(10):
        stage.clock.minute += 3
        stage.work_off()

    assert len(stage.klaviyo.events) == stage.count(Status.DELIVERED) == 40
    assert stage.book.standing("shop").failures == 0


def test_one_event_that_always_fails_holds_up_no_other(stage: Scene) -> None:
    for minute in range(12):
        stage.hear_of(f"c-{minute}", minute=minute)
        stage.clock.minute = minute
        stage.klaviyo.misbehave(Answer(500))
        stage.work_off()
        stage.clock.minute = minute + 0.9
        stage.work_off()

    stage.klaviyo.behave()
    stage.clock.minute = 60
    stage.work_off()

    assert stage.count(Status.DELIVERED) == 12


def test_seventy_two_hours_of_outage_lose_nothing(stage: Scene) -> None:
    stage.hear_of(*carts(MANY))
    stage.klaviyo.misbehave(Answer(503), times=100_000)
    for hour in range(71):
        stage.clock.minute = 60 * hour
        stage.work_off()
    stage.hear(order(60 * 70, "c-9"))

    stage.klaviyo.behave()
    for minute in range(60 * 71, 60 * 71 + 60, 5):
        stage.clock.minute = minute
        stage.work_off()

    assert stage.count(Status.DEAD) == 0
    assert stage.count(Status.CANCELLED) == 1
    assert len(stage.klaviyo.events) == stage.count(Status.DELIVERED) == MANY - 1
    # So late, an event is recorded and starts no flow.
    assert all(event.attributes["backfill"] for event in stage.klaviyo.events)


def test_what_was_tried_for_seventy_two_hours_is_a_dead_letter_and_can_be_replayed(
    stage: Scene,
) -> None:
    stage.hear_of("c-1")
    stage.klaviyo.misbehave(Answer(503), times=100_000)
    for hour in range(0, 80, 2):
        stage.clock.minute = 60 * hour
        stage.work_off()
    (letter,) = stage.book.dead("shop")
    assert letter.reason.endswith("(given up after 72 h)")

    stage.klaviyo.behave()
    stage.hear(replay(stage.clock.minute, "c-1", epoch=letter.epoch))
    stage.clock.minute += 16
    stage.work_off()

    (event,) = stage.klaviyo.events
    (checkout,) = stage.book.checkouts("shop", "c-1")
    assert event.attributes["unique_id"] == checkout.unique_id


def test_a_new_sender_does_not_begin_an_outage_anew(stage: Scene) -> None:
    stage.hear_of(*carts(20))
    stage.klaviyo.misbehave(Answer(503), times=10_000)
    stage.work_off()
    asked = len(stage.klaviyo.requests)

    stage.sender = stage.employ()
    stage.work_off()

    assert len(stage.klaviyo.requests) == asked


# -- one account's trouble ---------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Answer(429, retry_after=60), Answer(503), Answer(401), Hang()],
    ids=["throttled", "away", "key refused", "hanging"],
)
def test_one_accounts_trouble_delays_no_other(tmp_path: Path, fault: Answer | Hang) -> None:
    with ExitStack() as stack:
        one, other = (scene(tmp_path / name, stack) for name in ("one", "other"))
        one.klaviyo.misbehave(fault, times=10_000)
        one.hear_of(*carts(20))
        other.hear_of(*carts(20))
        one.sender.step()

        other.work_off()

        assert len(other.klaviyo.events) == 20
        assert one.klaviyo.events == ()


def test_klaviyo_is_given_exactly_the_time_it_asks_for(stage: Scene) -> None:
    stage.hear_of(*carts(3))
    stage.klaviyo.misbehave(Answer(429, retry_after=30), times=3)
    stage.work_off()
    asked = len(stage.klaviyo.requests)

    stage.clock.minute = 29 / 60
    stage.work_off()
    assert len(stage.klaviyo.requests) == asked
    stage.klaviyo.behave()  # Not all three need to have asked before the first was answered.
    stage.clock.minute = 30 / 60
    stage.work_off()

    assert len(stage.klaviyo.events) == 3


@pytest.mark.parametrize("retry_after", ["soon", "-1", "999999999", "1.5", "", "1e3"])
def test_a_silly_retry_after_does_not_stop_an_account(stage: Scene, retry_after: str) -> None:
    stage.hear_of("c-1")
    stage.klaviyo.misbehave(Answer(429, retry_after=retry_after))
    stage.work_off()

    stage.clock.minute = 15
    stage.work_off()

    assert len(stage.klaviyo.events) == 1


# -- a backlog ---------------------------------------------------------------------------


def test_a_backlog_is_worked_off_at_klaviyos_limits_once_each(tmp_path: Path) -> None:
    backlog.lay_up(Store.of("shop", f"sqlite:///{tmp_path}"), 3_000)

    drained = backlog.drain(tmp_path, 3_000, throttled=True, patience=90)

    assert (drained.counted, drained.twice, drained.throttled) == (3_000, 0, 0)


@pytest.mark.slow
def test_a_million_is_worked_off_as_fast_as_klaviyo_allows(tmp_path: Path) -> None:
    backlog.lay_up(Store.of("shop", f"sqlite:///{tmp_path}"), 1_000_000)

    drained = backlog.drain(tmp_path, 1_000_000, throttled=True)

    print(drained)  # noqa: T201 - the figures are what one runs it for
    assert (drained.counted, drained.twice, drained.throttled) == (1_000_000, 0, 0)
    assert drained.events_per_s > 2_300
    assert drained.max_rss_mb < 200
