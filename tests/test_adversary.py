"""The adversary: sequences that would break a promise.

Most go through the real sender, with a real store and the stand-in Klaviyo, so that no test
depends on how the mending is done. Only the clock is ours.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial, reduce
from pathlib import Path
from threading import Event as Signal
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from proxy import outcomes
from proxy.carts.cart import Cart, LineItem
from proxy.carts.pushed import PushedCarts
from proxy.carts.signed import SignedCarts
from proxy.carts.source import CartRef, CartSource, Reading
from proxy.checkouts import Checkout, Rules, Status, Trouble, untroubled
from proxy.consents import ConsentMode, Modes
from proxy.delivery import Sender
from proxy.enrich import Account
from proxy.facts import (
    Customer,
    Fact,
)
from proxy.identity import Profile, e164, identify
from proxy.klaviyo import Klaviyo as Client
from proxy.latest import Latest
from proxy.payload import Event, PropertyNames, encode
from proxy.sandbox.faults import Answer, Cut, Hang
from proxy.sandbox.klaviyo import Klaviyo
from proxy.standing import Standing
from proxy.store import Inbox, Store
from proxy.store.book import Book
from proxy.visits import fold
from tests.actors import judged_klaviyo
from tests.books import lay_book, written
from tests.said import (
    CART,
    DENIED,
    GRANTED,
    JANE,
    JOHN,
    NOON,
    TEA,
    after,
    cancel,
    deleted,
    erasure,
    order,
    pushed,
    replay,
    state,
)
from tests.watching import watch
from tests.web import Web, token

KEY = "pk_0123456789abcdef"
RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))

WITH_ADDRESS = Cart(currency="EUR", total=Decimal(5), items=(TEA,), email=JANE)


# -- what is said ------------------------------------------------------------------------


def folded(*facts: Fact, onto: Sequence[Checkout] = ()) -> Sequence[Checkout]:
    return reduce(lambda known, fact: fold(known, fact, RULES), facts, onto)


def pending(known: Sequence[Checkout]) -> list[Checkout]:
    return [checkout for checkout in known if checkout.status is Status.PENDING]


# -- the scene ---------------------------------------------------------------------------


@dataclass
class Slow:
    """A source of carts that tells how they stood when it was asked, once it is let go."""

    source: CartSource
    gate: Signal = field(default_factory=Signal)
    meanwhile: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.gate.set()

    def fetch(self, ref: CartRef) -> Reading:
        try:
            return self.source.fetch(ref)
        finally:
            self.meanwhile()
            assert self.gate.wait(10)


@dataclass
class Clock:
    """A clock that stands still unless it is moved."""

    minute: float = 0

    def now(self) -> datetime:
        return after(self.minute)


@dataclass
class Scene:
    """A sender at work on a store of its own."""

    klaviyo: Klaviyo
    store: Store
    book: Book
    inbox: Inbox
    slow: Slow
    clock: Clock
    employ: Callable[[Account], Sender]
    sender: Sender

    def hear(self, *facts: Fact) -> None:
        """Let *facts* come in, each at its time."""
        for fact in facts:
            self.inbox.append(fact)
            minute = (fact.received_at - NOON) / timedelta(minutes=1)
            self.clock.minute = max(self.clock.minute, minute)

    def work(self) -> None:
        """Let the sender do all that it can do without the clock moving on."""
        self.slow.gate.set()
        for _ in range(5):
            self.sender.step()
            if not self.book.due("shop", self.clock.now(), limit=1):
                break

    def people(self) -> list[str]:
        """Return whom the events that count are about."""
        return [event.profile.removeprefix("email:") for event in self.klaviyo.events]

    def checkout(self) -> Checkout:
        (checkout,) = self.book.checkouts("shop", "c-1")
        return checkout


@contextmanager
def scene(folder: Path, *, signed: bool = False) -> Iterator[Scene]:
    store = Store(f"sqlite:///{folder}")
    lay_book(store)
    clock = Clock()
    with (
        judged_klaviyo() as klaviyo,
        closing(written(store)) as book,
        closing(store.inboxes("shop")) as inboxes,
        closing(store.inbox()) as inbox,
        closing(Client(url=klaviyo.url, key=KEY, revision="2026-07-15")) as client,
    ):
        slow = Slow(SignedCarts() if signed else PushedCarts())
        employ = partial(
            Sender,
            inboxes=inboxes,
            book=book,
            source=slow,
            klaviyo=client,
            watch=watch(book, folder),
            now=clock.now,
        )
        yield Scene(klaviyo, store, book, inbox, slow, clock, employ, employ(account(RULES)))
        klaviyo.behave()
        slow.gate.set()


def account(rules: Rules) -> Account:
    return Account(
        shop="shop",
        rules=rules,
        late=timedelta(hours=12),
        metric="Started Checkout",
        property_names=PropertyNames.KLAVIYO,
    )


@pytest.fixture
def pushing(tmp_path: Path) -> Iterator[Scene]:
    """Yield a shop that pushes its carts."""
    with scene(tmp_path / "store") as played:
        yield played


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Scene]:
    """Yield a shop that signs its carts into the tokens."""
    with scene(tmp_path / "store", signed=True) as played:
        yield played


def test_the_scene_plays_a_checkout(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email=JANE))

    pushing.work()

    assert pushing.people() == [JANE]
    assert pushing.checkout().status is Status.DELIVERED


# -- a buyer is written to after ordering ------------------------------------------------


@pytest.mark.parametrize("heard", [15, 60])
def test_an_order_ends_the_checkout_however_late_we_hear_of_it(heard: float) -> None:
    # The shop's clock runs two minutes behind ours: the order was placed at 12.
    known = folded(state(9, email=JANE), state(11, email=JANE), order(heard, placed=10))

    assert pending(known) == []


# -- an event is lost --------------------------------------------------------------------


def test_an_address_typed_while_the_cart_was_read_is_not_forgotten(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, locale="de"))
    pushing.slow.gate.clear()
    pushing.sender.step()

    pushing.hear(state(2, email=JANE))
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_correction_typed_while_the_cart_was_read_is_not_kept_back(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email="jane@example.com"))
    pushing.slow.gate.clear()
    pushing.sender.step()

    pushing.hear(state(2, email=JANE))
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_cart_signed_while_there_was_none_is_not_ignored(signing: Scene) -> None:
    signing.hear(state(1, email=JANE))
    signing.slow.gate.clear()
    signing.sender.step()

    signing.hear(state(2, cart=CART))
    signing.work()

    assert signing.people() == [JANE]


def test_a_correction_typed_while_klaviyo_refused_the_first_is_sent(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Hang())
    pushing.hear(pushed(0), state(1, email="jane@nowhere"))
    pushing.sender.step()
    pushing.sender.step()
    pushing.klaviyo.wait_for_requests(1)

    pushing.hear(state(2, email=JANE))
    pushing.sender.step()
    pushing.klaviyo.release()
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_disk_that_was_full_for_a_moment_strands_no_checkout(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Answer(401))
    pushing.hear(pushed(0), state(1, email=JANE))
    with closing(sqlite3.connect(pushing.store.folder / "checkouts.db")) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON accounts WHEN NEW.stopped "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
        with pytest.raises(IntegrityError, match="the disk is full"):
            pushing.work()
        connection.execute("DROP TRIGGER full")

    pushing.clock.minute += 60
    pushing.work()

    assert pushing.people() == [JANE]


def test_an_order_told_twice_does_not_cancel_the_next_visit(web: Web) -> None:
    for _ in range(2):
        web.call("POST", "/v1/orders", {"cart_id": "c-1", "order_id": "o-1"})
    first, again = web.facts()
    minute = (first.received_at - NOON) / timedelta(minutes=1)

    # The book takes an id in once.
    told_later = [replace(again, received_at=after(minute + 60))] if again.id != first.id else []
    known = folded(first, state(minute + 30, email=JANE), *told_later)

    assert len(pending(known)) == 1


def test_an_address_that_is_too_long_does_not_cost_the_event() -> None:
    long = f"{'j' * 60}@{'x' * 40}.io"
    latest = Latest.of(state(0, customer=Customer(email=long, external_id="17")))

    assert identify(latest, cart_email=JANE) == Profile(email=JANE, external_id="17")


def test_days_without_a_valid_key_burn_no_patience() -> None:
    (begun,) = folded(state(0, email=JANE))
    postponed = partial(
        outcomes.postponed, trouble=Trouble.KLAVIYO, reason="503", wait=timedelta(minutes=1)
    )
    once = postponed(begun, now=after(0))

    stopped = untroubled(once)
    again = postponed(stopped, now=after(80 * 60))

    assert again.status is Status.PENDING


# -- an event counts twice, or for somebody else -----------------------------------------


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "paused"])
def test_a_correction_is_heard_as_long_as_nothing_was_sent(
    pushing: Scene, *, stopped: bool
) -> None:
    stop = Signal()
    stop.set()
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.slow.gate.clear()
    pushing.sender.step()

    if not stopped:
        paused = Standing(paused_at=after(0), paused_until=after(5), reason="429")
        pushing.sender._standing = paused  # as an answer about another event would have it
    pushing.slow.gate.set()
    pushing.sender.run(stop) if stopped else pushing.sender.step()
    assert pushing.klaviyo.requests == ()

    pushing.hear(state(2, email=JOHN))
    pushing.clock.minute = 10
    pushing.work()

    assert pushing.people() == [JOHN]


def a_throttle(scene: Scene) -> None:
    scene.klaviyo.misbehave(Answer(429, retry_after=60))


def a_refused_key(scene: Scene) -> None:
    scene.klaviyo.misbehave(Answer(401))


def a_missing_cart(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.store.folder / "checkouts.db")) as connection:
        connection.execute("DELETE FROM carts")
        connection.commit()


def three_days(scene: Scene) -> None:
    scene.klaviyo.misbehave(Cut(), times=4)
    for hour in (20, 40, 60, 80):
        scene.hear(state(hour * 60, email=JANE))
        scene.work()
    assert scene.checkout().status is Status.DEAD


@pytest.mark.parametrize("between", [a_throttle, a_refused_key, a_missing_cart, three_days])
def test_an_event_that_may_have_counted_counts_for_nobody_else(
    pushing: Scene, between: Callable[[Scene], None]
) -> None:
    pushing.klaviyo.misbehave(Cut(counted=True))
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.work()
    between(pushing)
    pushing.clock.minute += 20
    pushing.work()

    minute, epoch = pushing.clock.minute, pushing.checkout().epoch
    pushing.hear(state(minute, email=JOHN), pushed(minute), replay(minute, epoch=epoch))
    pushing.clock.minute += 20
    pushing.work()

    assert pushing.people() == [JANE]


@pytest.mark.parametrize("end", [state(2, consent=DENIED), deleted(2)], ids=["denied", "deleted"])
def test_an_event_that_may_have_counted_before_the_end_counts_for_nobody_else(
    pushing: Scene, end: Fact
) -> None:
    pushing.klaviyo.misbehave(Cut(counted=True))
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.work()

    pushing.hear(end, state(3, email=JOHN, consent=GRANTED), pushed(3))
    pushing.clock.minute = 60
    pushing.work()

    assert pushing.people() == [JANE]


def test_one_visit_is_not_sent_for_the_one_of_the_day_before_as_well(pushing: Scene) -> None:
    yesterday, today = state(0, locale="de"), state(25 * 60, locale="de")
    pushing.hear(pushed(0), yesterday)
    pushing.work()
    pushing.hear(today)
    pushing.work()

    with_address = Cart(currency="EUR", total=Decimal(5), items=(TEA,), email=JANE)
    pushing.hear(pushed(25 * 60 + 1, with_address))
    pushing.work()

    assert pushing.people() == [JANE]


# -- the wrong amount --------------------------------------------------------------------


def cart(total: int, version: int | None = None) -> Cart:
    return Cart(currency="EUR", total=Decimal(total), items=(TEA,), version=version)


def test_of_two_carts_without_a_version_the_one_received_last_counts(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}")
    lay_book(store)
    with (
        closing(written(store)) as book,
        closing(store.inboxes("shop")) as inboxes,
        closing(store.inbox()) as busy,
        closing(store.inbox()) as idle,
    ):
        for fact in (state(1), state(2), pushed(3, cart(3))):
            busy.append(fact)
        idle.append(pushed(4, cart(4)))

        while received := inboxes.after(book.marks(), 2):
            book.take_in(received, RULES)

        assert book.cart("shop", "c-1") == cart(4)


# -- personal data stays -----------------------------------------------------------------


def tables_with(store: Store, word: str) -> set[str]:
    with closing(sqlite3.connect(store.folder / "checkouts.db")) as connection:
        return {
            name
            for name in ("facts", "carts", "checkouts", "attempts")
            if word in str(connection.execute(f"SELECT * FROM {name}").fetchall())
        }


@pytest.mark.parametrize("ends", [[order(1)], [state(1, consent=DENIED)], []])
def test_the_address_of_a_pushed_cart_goes_with_its_checkout(
    pushing: Scene, ends: list[Fact]
) -> None:
    with_address = Cart(currency="EUR", total=Decimal(5), items=(TEA,), email="canary@x.io")
    pushing.hear(pushed(0, with_address), state(0), *ends)

    pushing.work()

    assert tables_with(pushing.store, "canary") == set()


def test_a_fact_that_cannot_be_read_does_not_outlive_its_checkout(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.work()
    with closing(sqlite3.connect(pushing.store.folder / "inbox-0.db")) as connection:
        connection.execute(
            "INSERT INTO inbox (id, shop, kind, cart_id, received_at, body) "
            "VALUES ('x', 'shop', 'state', 'c-1', '2026-11-22 12:02:00.0', ?)",
            (b"{canary@x.io",),
        )
        connection.commit()
    pushing.work()

    assert tables_with(pushing.store, "canary") == set()


@pytest.mark.parametrize("kept_back", [True, False], ids=["quarantined", "dead"])
@pytest.mark.parametrize("withdrawal", [state(1, consent=DENIED), deleted(1)])
def test_a_withdrawal_erases_what_was_kept_back_or_dead(
    withdrawal: Fact, *, kept_back: bool
) -> None:
    (begun,) = folded(state(0, email="canary@x.io"))
    stopped = (
        outcomes.quarantined(begun, "reserved") if kept_back else outcomes.refused(begun, "400")
    )
    typed = [state(n / 9, email=f"canary{n}@x.io") for n in range(4)] if kept_back else []

    (withdrawn,) = folded(*typed, withdrawal, onto=[stopped])

    assert b"canary" not in msgspec.json.encode(withdrawn)


def test_who_asks_for_consent_from_today_on_sends_nothing_without_it(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.klaviyo.misbehave(Answer(503))
    pushing.work()

    pushing.sender = pushing.employ(account(replace(RULES, modes=Modes(ConsentMode.REQUIRED))))
    pushing.clock.minute = 60
    pushing.work()

    assert pushing.people() == []


# -- a number was corrected --------------------------------------------------------------


def test_what_was_sent_is_found_by_the_number_it_was_sent_with(signing: Scene) -> None:
    rules = replace(RULES, address_key=b"a key")
    signing.sender = signing.employ(replace(account(rules), person_keys=(b"a key",)))
    signing.klaviyo.misbehave(Answer(503))
    signing.hear(state(0, email=JANE, phone_number="+4930123456", cart=CART))
    signing.work()
    assert signing.checkout().is_bound
    signing.klaviyo.misbehave(Answer(400))
    signing.hear(state(1, phone_number="+12125550100"))
    signing.clock.minute = 30
    signing.work()

    signing.hear(replay(31, epoch=signing.checkout().epoch))
    signing.clock.minute = 60
    signing.work()
    assert b"+12125550100" in signing.klaviyo.requests[-1].body
    signing.hear(erasure(61, phone_number="+12125550100"))
    signing.work()

    assert signing.checkout().status is Status.DELIVERED
    assert signing.checkout().erased_at == after(61)


# -- who was erased comes back -----------------------------------------------------------

MARY = "mary@shop-demo.io"


@pytest.fixture
def forgetting(signing: Scene) -> Scene:
    """Return a shop that signs its carts, whose customer Jane was erased at noon."""
    signing.sender = signing.employ(replace(account(RULES), person_keys=(b"a key",)))
    signing.hear(erasure(0, email=JANE))
    signing.work()
    return signing


def an_attempt(scene: Scene, said: Fact) -> None:
    """Have an event sent of what is *said*; it counts, and the answer to it is lost."""
    scene.klaviyo.misbehave(Cut(counted=True))
    scene.hear(said)
    scene.work()
    assert scene.checkout().is_bound


def from_before(minute: float) -> Fact:
    """Return what Jane said before noon on a page that could not tell it until *minute*."""
    return state(-1, late=minute + 1, email=JANE)


@pytest.mark.parametrize(
    "last",
    [state(4, consent=DENIED), order(4), cancel(4, epoch=after(2)), deleted(4)],
    ids=["denied", "ordered", "called off", "deleted"],
)
def test_who_came_back_is_not_sent_to_after_a_no_whatever_comes_late(
    forgetting: Scene, last: Fact
) -> None:
    an_attempt(forgetting, state(2, email=JANE, cart=CART))
    attempts = len(forgetting.klaviyo.requests)

    forgetting.hear(from_before(3), last)
    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.checkout().status is Status.CANCELLED
    assert len(forgetting.klaviyo.requests) == attempts


def test_who_came_back_is_sent_to_whatever_comes_late(forgetting: Scene) -> None:
    forgetting.klaviyo.misbehave(Answer(503))
    forgetting.hear(state(2, email=JANE, cart=CART))
    forgetting.work()
    forgetting.hear(from_before(3))

    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.people() == [JANE]


@pytest.mark.parametrize(
    "more",
    [
        {"first_name": "Jane"},
        {"locale": "de"},
        {"phone_number": "+4930123456"},
        {"email": "Jane@shop-demo.io"},
        {"customer": Customer(email=JANE, external_id="17")},
    ],
    ids=lambda more: next(iter(more)),
)
def test_who_came_back_and_says_more_is_sent_to_whatever_comes_late(
    forgetting: Scene, more: dict[str, Any]
) -> None:
    forgetting.klaviyo.misbehave(Cut(counted=False))
    forgetting.hear(state(2, email=JANE, cart=CART))
    forgetting.work()
    forgetting.hear(state(3, **more), from_before(4))

    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.people() == [JANE]


def test_who_came_back_with_a_signed_cart_is_sent_to_whatever_comes_late(
    forgetting: Scene,
) -> None:
    forgetting.klaviyo.misbehave(Cut(counted=False))
    forgetting.hear(state(2, cart=WITH_ADDRESS))
    forgetting.work()
    forgetting.hear(from_before(3))

    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.people() == [JANE]


def test_who_came_back_with_a_pushed_cart_is_sent_to_whatever_comes_late(pushing: Scene) -> None:
    pushing.sender = pushing.employ(replace(account(RULES), person_keys=(b"a key",)))
    pushing.klaviyo.misbehave(Cut(counted=False))
    pushing.hear(erasure(0, email=JANE), pushed(1, WITH_ADDRESS), state(2, locale="de"))
    pushing.work()
    assert pushing.checkout().is_bound
    pushing.hear(from_before(3))

    pushing.clock.minute = 60
    pushing.work()

    assert pushing.people() == [JANE]


def test_what_was_said_before_does_not_go_with_who_came_back(forgetting: Scene) -> None:
    forgetting.klaviyo.misbehave(Cut(counted=False))
    said = {"first_name": "Canary", "phone_number": "+4930123456"}
    forgetting.hear(state(-2, late=3, **said), state(2, email=JANE, cart=CART))
    forgetting.work()
    assert b"Canary" in msgspec.json.encode(forgetting.checkout())
    forgetting.hear(from_before(3))

    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.people() == [JANE]
    assert b"Canary" not in forgetting.klaviyo.requests[-1].body
    assert b"+4930123456" not in forgetting.klaviyo.requests[-1].body


def test_an_event_that_may_have_counted_for_who_came_back_counts_for_nobody_else(
    forgetting: Scene,
) -> None:
    an_attempt(forgetting, state(2, email=JANE, cart=CART))
    forgetting.hear(from_before(3), state(4, email=JOHN))

    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.people() == [JANE]


@pytest.mark.parametrize("then", [state(5, email=MARY), state(5, consent=GRANTED)])
def test_an_event_that_may_have_counted_for_who_is_forgotten_counts_for_nobody_else(
    forgetting: Scene, then: Fact
) -> None:
    # Whatever was said before the erasure in a cart of hers goes, whoever said it.
    an_attempt(forgetting, state(-0.5, late=2, email=JOHN, cart=CART))
    forgetting.hear(state(3, email=MARY, cart=CART), from_before(4))
    forgetting.work()
    assert b"john" not in msgspec.json.encode(forgetting.checkout())

    forgetting.hear(then)
    forgetting.clock.minute = 60
    forgetting.work()

    assert forgetting.people() == [JOHN]
    assert forgetting.checkout().status is Status.CANCELLED


# -- smaller things ----------------------------------------------------------------------


def test_what_is_pending_again_does_not_say_why_it_was_cancelled() -> None:
    (begun,) = folded(state(0, email=JANE))
    troubled = outcomes.postponed(
        begun, Trouble.KLAVIYO, "503", now=after(0), wait=timedelta(minutes=1)
    )

    (again,) = folded(state(1, consent=DENIED), state(2, consent=GRANTED), onto=[troubled])

    assert again.status is Status.PENDING
    assert "denied" not in again.reason


@pytest.mark.parametrize("domain", ["contest", "shop.contest", "shop.counterexample"])
def test_a_last_label_that_ends_like_a_reserved_one_is_not(domain: str) -> None:
    assert not Profile(email=f"jane@{domain}").is_reserved


def test_a_number_of_more_than_15_digits_is_not_e_164() -> None:
    assert e164("+4922222222222222") is None


EVENT = Event(
    metric="Started Checkout",
    profile=Profile(email=JANE),
    cart=CART,
    cart_id="c-1",
    checkout_url=None,
    unique_id="c-1_1",
    time=NOON,
)


def test_only_what_was_there_is_told_as_trimmed() -> None:
    lines = tuple(
        LineItem(product_id=n, name="x" * 90_000, quantity=Decimal(1), unit_price=Decimal(5))
        for n in range(60)
    )
    heavy = replace(EVENT, cart=Cart(currency="EUR", total=Decimal(5), items=lines))

    told = msgspec.json.decode(encode(heavy))["data"]["attributes"]["properties"]["trimmed"]

    assert set(told) <= {"Items", "ItemNames", "items", "item_names"}


def test_nothing_costs_less_than_nothing_by_a_rounding() -> None:
    hair = LineItem(product_id="t", name="Tea", quantity=Decimal(1), unit_price=Decimal("-0.001"))
    free = Cart(currency="EUR", total=Decimal("-0"), items=(hair,))

    assert b"-0" not in encode(replace(EVENT, cart=free))


# -- once more ---------------------------------------------------------------------------


def test_an_address_pushed_while_the_cart_was_read_is_not_forgotten(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, locale="de"))
    pushing.slow.gate.clear()
    pushing.sender.step()

    pushing.hear(pushed(2, WITH_ADDRESS))
    pushing.work()

    assert pushing.people() == [JANE]


def test_no_page_can_speak_under_the_id_of_an_order(web: Web) -> None:
    web.call("POST", "/v1/orders", {"cart_id": "c-1", "order_id": "o-1"})
    (order,) = web.facts()

    answer = web.post_state(json.dumps({"token": token(), "email": JANE, "id": order.id}))

    assert answer.status == 422


def test_a_clock_that_was_set_back_stops_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}")
    with closing(store.inbox()) as inbox, closing(store.inboxes("shop")) as inboxes:
        for fact in (state(3), state(1), state(2)):
            inbox.append(fact)

        assert len(inboxes.after({}, limit=2)) == 2


def test_consent_given_again_counts_where_nothing_was_sent_before(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Hang())
    pushing.hear(pushed(0), state(1, email="jane@nowhere"))
    pushing.sender.step()
    pushing.sender.step()
    pushing.klaviyo.wait_for_requests(1)
    pushing.hear(state(2, consent=DENIED))
    pushing.sender.step()
    pushing.klaviyo.release()
    pushing.work()

    pushing.hear(state(3, email=JANE, consent=GRANTED))
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_cart_s_address_is_there_for_the_next_visit(pushing: Scene) -> None:
    tomorrow = 26 * 60
    pushing.hear(pushed(0, WITH_ADDRESS), state(1, locale="de"))
    pushing.work()

    pushing.hear(pushed(tomorrow, WITH_ADDRESS))
    pushing.work()
    pushing.hear(state(tomorrow + 1, locale="de"))
    pushing.work()

    assert pushing.people() == [JANE, JANE]


def test_an_order_heard_while_the_cart_was_read_is_in_time(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.slow.gate.clear()
    pushing.sender.step()

    pushing.hear(order(2))
    pushing.work()

    assert pushing.klaviyo.requests == ()
    assert pushing.checkout().status is Status.CANCELLED


def test_an_address_that_klaviyo_refuses_at_the_second_try_can_be_corrected(
    pushing: Scene,
) -> None:
    pushing.klaviyo.misbehave(Cut())
    pushing.hear(pushed(0), state(1, email="jane@nowhere"))
    pushing.work()
    pushing.clock.minute = 30
    pushing.work()
    assert pushing.checkout().status is Status.DEAD

    pushing.hear(state(31, email=JANE), replay(32, epoch=after(1)))
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_cart_that_the_shop_builds_anew_is_not_gone(pushing: Scene) -> None:
    empty = Cart(currency="EUR", total=Decimal(0), items=())
    pushing.hear(pushed(0, empty), state(1, email=JANE))
    for _ in range(5):
        pushing.work()
        pushing.clock.minute += 2 / 60

    pushing.hear(pushed(pushing.clock.minute))
    pushing.work()

    assert pushing.people() == [JANE]


def test_the_address_of_a_cart_that_was_pushed_after_delivery_goes_with_the_order(
    pushing: Scene,
) -> None:
    with_address = Cart(currency="EUR", total=Decimal(5), items=(TEA,), email="canary@x.io")
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.work()

    pushing.hear(pushed(5, with_address), order(10))
    pushing.work()

    assert tables_with(pushing.store, "canary") == set()


# -- what was accepted counts before anything is sent ------------------------------------


def test_a_backlog_is_read_before_what_it_corrects_is_sent(pushing: Scene) -> None:
    settling = replace(RULES, settle=timedelta(minutes=5))
    sender = pushing.employ(account(settling))
    pushing.hear(pushed(0), state(1, email="jane@gmial.com"))
    pushing.hear(*(deleted(2, f"other-{number}") for number in range(5_000)))
    pushing.hear(state(3, email=JANE))
    pushing.clock.minute = 60

    for _ in range(4):
        sender.step()

    assert pushing.people() == [JANE]


def test_an_order_told_while_the_cart_was_read_is_in_time(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.slow.meanwhile = lambda: pushing.hear(order(2))

    pushing.work()

    assert pushing.people() == []
    assert pushing.checkout().status is Status.CANCELLED


def test_what_was_bought_is_not_what_the_next_visit_is_about_to_buy(pushing: Scene) -> None:
    pushing.hear(pushed(0), state(1, email=JANE), order(2), state(3, email=JANE))

    pushing.work()

    assert pushing.people() == []
    assert pushing.book.checkouts("shop", "c-1")[-1].trouble is Trouble.NO_CART


def test_the_cart_after_an_order_may_count_its_versions_anew(pushing: Scene) -> None:
    pushed_again = pushed(3, msgspec.structs.replace(CART, total=Decimal(1), version=1))
    pushing.hear(pushed(0), order(1), state(2, email=JANE), pushed_again)

    pushing.work()

    assert [event.attributes["value"] for event in pushing.klaviyo.events] == [1]


def test_a_cart_put_after_the_order_was_placed_is_the_next_visits(pushing: Scene) -> None:
    late_order = order(60, placed=1)
    pushing.hear(pushed(0), pushed(30), state(31, email=JANE), late_order)

    pushing.work()

    assert pushing.people() == [JANE]


# -- what is broken holds up nothing else ------------------------------------------------


def test_a_clock_that_was_ahead_does_not_stop_the_account_for_ever(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Answer(429, retry_after=1))
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.clock.minute = 365 * 24 * 60
    pushing.work()

    pushing.clock.minute = 2
    pushing.hear(pushed(0, cart_id="c-2"), state(2, "c-2", email=JOHN))
    pushing.work()

    assert sorted(pushing.people()) == [JANE, JOHN]


def test_an_inbox_that_is_no_database_holds_up_no_other(
    pushing: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    (pushing.store.folder / "inbox-7.db").write_bytes(b"no database at all" * 1_000)
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.clock.minute = 10

    pushing.work()
    pushing.work()

    assert pushing.people() == [JANE]
    unreadable = [text for text in caplog.messages if "inbox-7.db cannot be read" in text]
    assert len(unreadable) == 1


# -- the clock is set back ---------------------------------------------------------------

DAY = 24 * 60


def test_an_event_does_not_wait_for_a_clock_that_was_ahead(pushing: Scene) -> None:
    pushing.hear(pushed(DAY), state(DAY, email=JANE))
    pushing.clock.minute = DAY - 1  # It settles for as long as the sender takes.
    pushing.sender.step()
    assert pushing.people() == []

    pushing.clock.minute = 2
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_retry_waits_its_time_after_the_clock_was_set_back(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Answer(503), times=2)
    pushing.hear(pushed(DAY), state(DAY, email=JANE))
    pushing.work()

    pushing.clock.minute = 2
    pushing.work()
    pushing.work()
    assert len(pushing.klaviyo.requests) == 2
    pushing.clock.minute = 2 + 15
    pushing.work()

    assert pushing.people() == [JANE]


def test_an_order_after_the_clock_was_set_back_is_in_time(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Answer(503))
    pushing.hear(pushed(DAY), state(DAY, email=JANE))
    pushing.work()

    pushing.clock.minute = 2
    pushing.hear(order(2))
    pushing.work()

    assert pushing.people() == []
    assert pushing.checkout().status is Status.CANCELLED
    assert pushing.book.cart("shop", "c-1") is None


def test_a_visit_after_the_clock_was_set_back_is_none_that_was_ordered_before(
    pushing: Scene,
) -> None:
    pushing.hear(pushed(DAY), state(DAY, email=JANE), order(DAY + 1))
    pushing.work()

    pushing.clock.minute = 2
    pushing.hear(pushed(2), state(2, email=JANE))
    pushing.work()

    assert pushing.people() == [JANE]


def test_a_correction_after_the_clock_was_set_back_is_the_last_word(pushing: Scene) -> None:
    pushing.klaviyo.misbehave(Answer(429, retry_after=60))
    pushing.hear(pushed(DAY), state(DAY, email=JANE))
    pushing.work()

    pushing.clock.minute = 2
    pushing.hear(state(2, email=JOHN))
    pushing.work()

    assert pushing.people() == [JOHN]


def test_a_reload_after_the_clock_was_set_back_is_no_other_checkout(pushing: Scene) -> None:
    pushing.hear(pushed(DAY), state(DAY, email=JANE))
    pushing.work()

    pushing.clock.minute = 2
    pushing.hear(state(2, email=JANE))
    pushing.hear(state(DAY + 2, email=JANE))
    pushing.work()

    assert pushing.people() == [JANE]
    assert len(pushing.book.checkouts("shop", "c-1")) == 1


def test_one_inbox_is_read_in_its_order_over_a_clock_that_was_set_back(pushing: Scene) -> None:
    pushing.hear(pushed(DAY), state(DAY, email=JOHN), order(DAY + 1))
    pushing.hear(pushed(2), state(2, email=JANE))
    pushing.clock.minute = 2

    pushing.work()

    assert pushing.people() == [JANE]


def test_while_an_inbox_cannot_be_read_an_order_in_it_is_waited_for_but_not_for_ever(
    pushing: Scene,
) -> None:
    (pushing.store.folder / "inbox-7.db").mkdir()
    pushing.hear(pushed(0), state(1, email=JANE))
    pushing.work()
    at_once = pushing.people()

    pushing.clock.minute += 1
    pushing.work()

    assert at_once == []
    assert pushing.people() == [JANE]


def test_an_order_in_a_damaged_inbox_cancels_the_checkout_in_another(pushing: Scene) -> None:
    with closing(pushing.store.inbox()) as other:
        other.append(order(2))
    with (pushing.store.folder / "inbox-1.db").open("r+b") as file:
        file.write(bytes(4096))
    pushing.hear(pushed(0), state(1, email=JANE))

    pushing.work()

    assert pushing.people() == []
    assert pushing.checkout().status is Status.CANCELLED


def test_an_inbox_that_cannot_be_read_any_more_holds_back_what_was_ready(pushing: Scene) -> None:
    pushing.slow.meanwhile = lambda: (pushing.store.folder / "inbox-7.db").mkdir(exist_ok=True)
    pushing.hear(pushed(0), state(1, email=JANE))

    pushing.work()

    assert pushing.people() == []
