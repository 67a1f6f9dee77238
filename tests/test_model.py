"""The model: whatever happens to inbox, book and sender, the ledger of an outsider is right.

The model knows visits and who was named in each, and nothing of how the proxy decides. Each visit
has addresses of its own, so an event tells which visit it is about. Only the clock is ours: the
store is on disk, and the stand-in Klaviyo is asked over loopback.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count as count_from
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy.event
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine

from proxy.carts.pushed import PushedCarts
from proxy.checkouts import Rules, Status
from proxy.consents import ConsentMode, Modes
from proxy.delivery import Sender
from proxy.enrich import Account
from proxy.facts import (
    Asked,
    CancelAsked,
    CartPushed,
    Fact,
    HurryAsked,
    OrderPlaced,
    ReplayAsked,
    StatePosted,
)
from proxy.klaviyo import Klaviyo as Client
from proxy.outbox import Batch
from proxy.payload import PropertyNames
from proxy.sandbox.faults import Answer, Cut, Fault, Hang
from proxy.sandbox.klaviyo import Klaviyo, Request
from proxy.store import Store
from proxy.store.inbox import Inbox
from tests.actors import KLAVIYO_KEY, until
from tests.books import empty_book, written
from tests.said import CART, DENIED, NOON
from tests.watching import watch

RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
ACCOUNT = Account(
    shop="shop",
    rules=RULES,
    late=timedelta(hours=12),
    metric="Started Checkout",
    property_names=PropertyNames.KLAVIYO,
)

FAULTS: list[Fault] = [
    Answer(401),
    Answer(429, retry_after=30),
    Answer(503),
    Answer(503, counted=True),
    Cut(),
    Cut(counted=True),
    Hang(),
    Hang(counted=True),
]


# Without a version the one that comes later counts.
ANY_CART = msgspec.structs.replace(CART, version=None)


# -- the proxy, as a process that can die ------------------------------------------------


@dataclass
class Clock:
    """A clock that goes on by a second with each fact, and is set now and then."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at


class Closable(Protocol):
    def close(self) -> object: ...


Opened = TypeVar("Opened", bound=Closable)


class Life:
    """Two web workers and a sender on the store in *folder*, until they die."""

    def __init__(self, folder: Path, klaviyo: Klaviyo, clock: Clock) -> None:
        self.folder = folder
        self.posted = 0
        self.earlier_requests = len(klaviyo.requests)
        store = Store(f"sqlite:///{folder}")
        self._end = ExitStack()
        self.book = self._opened(written(store))
        self.inboxes = [self._opened(Inbox.in_free_slot(folder)) for _ in range(2)]
        client = Client(url=klaviyo.url, key=KLAVIYO_KEY, revision="2026-07-15")
        self.sender = Sender(
            ACCOUNT,
            inboxes=self._opened(store.inboxes("shop")),
            book=self.book,
            source=PushedCarts(),
            klaviyo=self._opened(client),
            watch=watch(self.book, folder),
            now=clock.now,
        )
        self._post = self.sender._outbox.post
        self.sender._outbox.post = self._counted  # type: ignore[method-assign]

    def _counted(self, batch: Batch) -> None:
        self.posted += 1
        self._post(batch)

    def end(self) -> None:
        """Close the files, and end the sender's threads, as a process that dies does."""
        self._end.close()
        self.sender.close()

    def _opened(self, thing: Opened) -> Opened:
        return self._end.enter_context(closing(thing))


class Killed(BaseException):
    """The sender is gone, in the middle of a step."""


# -- what an outsider knows --------------------------------------------------------------


@dataclass
class Visit:
    """One visit to a checkout: who was named in it, the last one last.

    ``next`` are those whom the next attempt may be for: the last, and who is named meanwhile.
    """

    cart_id: str
    name: str
    addresses: list[str] = field(default_factory=list)
    next: set[str] = field(default_factory=set)
    is_over: bool = False
    is_called_off: bool = False

    def typed(self, *, wrong: bool) -> str:
        """Return another address, or the last again where there were three."""
        if len(self.addresses) < 3:
            domain = "nowhere" if wrong else "shop-demo.io"
            self.addresses.append(f"{self.name}-{len(self.addresses)}@{domain}")
        return self.addresses[-1]

    @property
    def must_count(self) -> bool:
        """Whether its event has to count in the end: Klaviyo takes no address without a dot."""
        return not self.is_called_off and not self.addresses[-1].endswith("nowhere")


def address(body: bytes) -> str:
    profile = msgspec.json.decode(body)["data"]["attributes"]["profile"]
    return str(profile["data"]["attributes"]["email"])


def may_have_arrived(request: Request) -> bool:
    return request.status not in (401, 429)


CARTS = st.sampled_from(["c-1", "c-2"])
WORKERS = st.integers(0, 1)
MOSTLY = st.sampled_from([True, True, True, False])
RARELY = MOSTLY.map(lambda choice: not choice)


# Of twenty minutes each: that is longer than any wait, and shorter than a jump of the clock.
_ROUNDS = 12


class Model(RuleBasedStateMachine):
    """What may happen, and what must hold."""

    # What a dead process leaves behind but the next one does not find.
    gone_with_it: Sequence[str] = ("*-shm", "*.lock")

    def __init__(self) -> None:
        super().__init__()
        self.end = ExitStack()
        self.root = Path(self.end.enter_context(TemporaryDirectory()))
        self.klaviyo = self.end.enter_context(Klaviyo(key=KLAVIYO_KEY).serve())
        self.clock = Clock()
        self.folders = (self.root / f"{number}" for number in count_from())
        self.visits: list[Visit] = []
        self.facts: list[Fact] = []
        self.unread = False
        self.pushed: set[str] = set()
        self.drifted = timedelta(0)
        self.jumps = 0
        self.looked_at = 0
        self.commits_to_live: int | None = None
        self.unsettled: set[str] = set()
        folder = next(self.folders)
        folder.mkdir()
        (folder / "checkouts.db").write_bytes(empty_book())
        self.life = self.dead = Life(folder, self.klaviyo, self.clock)
        sqlalchemy.event.listen(Engine, "commit", self.burn)
        self.end.callback(sqlalchemy.event.remove, Engine, "commit", self.burn)

    # -- what is said --

    @rule(cart_id=CARTS, worker=WORKERS, another=st.booleans(), wrong=RARELY, with_cart=MOSTLY)
    def a_page_speaks(
        self, cart_id: str, worker: int, *, another: bool, wrong: bool, with_cart: bool
    ) -> None:
        if with_cart and cart_id not in self.pushed:
            self.a_cart_is_pushed(cart_id, worker)
        visit = self.visit(cart_id) or self.begun(cart_id)
        is_typed = another or not visit.addresses
        email = visit.typed(wrong=wrong) if is_typed else visit.addresses[-1]
        visit.next.add(email)
        self.hear(StatePosted(email=email, acted_at=self.second(), **self.said(cart_id)), worker)

    @rule(pick=st.integers(0, 99), worker=WORKERS)
    def a_fact_comes_again(self, pick: int, worker: int) -> None:
        if not self.facts:
            return
        fact = self.facts[pick % len(self.facts)]
        self.second()
        self.hear(replace(fact, received_at=self.clock.at), worker)

    @rule(cart_id=CARTS, worker=WORKERS)
    def a_cart_is_pushed(self, cart_id: str, worker: int) -> None:
        self.pushed.add(cart_id)
        self.second()
        self.hear(CartPushed(cart=ANY_CART, **self.said(cart_id)), worker)

    @rule(cart_id=CARTS, worker=WORKERS, ordered=st.booleans())
    def an_order_is_placed_or_consent_denied(
        self, cart_id: str, worker: int, *, ordered: bool
    ) -> None:
        at, visit = self.second(), self.visit(cart_id)
        if ordered:
            self.pushed.discard(cart_id)
            for visit in self.visits_to(cart_id):
                visit.is_over = visit.is_called_off = True
            self.hear(OrderPlaced(order_id="o-1", **self.said(cart_id)), worker)
        elif visit is not None:
            for visit in self.visits_to(cart_id):
                visit.is_called_off = True
            self.hear(StatePosted(consent=DENIED, acted_at=at, **self.said(cart_id)), worker)

    @rule(worker=WORKERS)
    def dead_letters_are_replayed(self, worker: int) -> None:
        for dead in self.life.book.dead("shop"):
            self.second()
            self.hear(ReplayAsked(epoch=dead.epoch, **self.said(dead.cart_id)), worker)

    @rule(cart_id=CARTS, worker=WORKERS, called_off=st.booleans())
    def an_operator_asks(self, cart_id: str, worker: int, *, called_off: bool) -> None:
        """Ask for the visit that goes on to be sent now or not at all, by what the book says."""
        visit = self.visit(cart_id)
        for checkout in self.life.book.checkouts("shop", cart_id):
            # Who was named is erased with the end; and what has ended nobody is asked about.
            if visit is not None and set(checkout.addresses) & set(visit.addresses):
                self.second()
                visit.is_called_off = visit.is_called_off or called_off
                kind: type[Asked] = CancelAsked if called_off else HurryAsked
                self.hear(kind(epoch=checkout.epoch, **self.said(cart_id)), worker)

    # -- what is done about it, and what goes wrong --

    @rule(pruned=st.booleans())
    def the_sender_works(self, *, pruned: bool) -> None:
        self.sends()
        for inbox in self.life.inboxes if pruned else ():
            inbox.prune(self.life.book.marks())

    @rule(faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3))
    def klaviyo_misbehaves(self, faults: list[Fault]) -> None:
        for fault in faults:
            self.klaviyo.misbehave(fault)
        self.sends()

    @rule()
    def klaviyo_answers_what_hangs(self) -> None:
        self.klaviyo.release()
        until(lambda: not self.hanging())
        self.sends()

    @rule(commits=st.integers(0, 4))
    def everything_dies(self, commits: int) -> None:
        """Die at once, or at one of the next commits."""
        if commits == 0:
            self.die()
            return
        self.commits_to_live = commits
        try:
            self.sends()
        except Killed:
            self.calm_down()
        self.commits_to_live = None
        self.look()

    # -- what the clock does --

    @rule(minutes=st.sampled_from([2, 30, 120]))
    def time_passes(self, minutes: int) -> None:
        if self.drifted < timedelta(hours=18):  # By itself time ends no visit here.
            self.clock.at += timedelta(minutes=minutes)
            self.drifted += timedelta(minutes=minutes)
        self.sends()

    @rule(hours=st.sampled_from([-24, -1.5, 4 * 24]))
    def the_clock_jumps(self, hours: float) -> None:
        self.sends()  # Facts that nobody has read would lie in no order that can be known.
        if self.jumps == 3:
            return
        self.jumps += 1
        self.clock.at += timedelta(hours=hours)
        for visit in self.visits:
            visit.is_over = visit.is_over or hours > 0

    # -- what must hold --

    @invariant()
    def no_visit_counts_twice(self) -> None:
        counted = Counter(self.visit_of(event.body).name for event in self.klaviyo.events)
        unique_ids = Counter(event.attributes["unique_id"] for event in self.klaviyo.events)

        assert max(counted.values(), default=1) == 1, counted
        assert max(unique_ids.values(), default=1) == 1, unique_ids

    def look(self) -> None:
        """Judge each request that came since the last look."""
        requests = self.klaviyo.requests
        for number in range(self.looked_at, len(requests)):
            self.judge(requests[number], requests[:number])
        self.looked_at = len(requests)

    def judge(self, request: Request, earlier: Sequence[Request]) -> None:
        visit, to = self.visit_of(request.body), address(request.body)
        before = {address(old.body) for old in earlier if may_have_arrived(old)}
        assert not visit.is_called_off, f"sent to {to}, although it was called off"
        before |= self.unsettled & set(visit.addresses)
        assert to in visit.next | before, f"sent to {to}, and not to {visit.next}"

    def teardown(self) -> None:
        try:
            self.all_is_well_again()
            self.what_was_promised_counts()
        finally:
            self.close()

    def close(self) -> None:
        with self.end:
            self.life.end()

    def what_was_promised_counts(self) -> None:
        self.no_visit_counts_twice()
        counted = {self.visit_of(event.body).name for event in self.klaviyo.events}
        promised = {visit.name for visit in self.visits if visit.must_count}
        assert promised <= counted, f"lost: {promised - counted}"

    def all_is_well_again(self) -> None:
        """Let Klaviyo behave and time pass, until nothing is left to do."""
        self.klaviyo.behave()
        for cart_id in sorted({visit.cart_id for visit in self.visits} - self.pushed):
            self.a_cart_is_pushed(cart_id, 0)
        for _ in range(2):
            self.work_off()
            self.dead_letters_are_replayed(0)
        self.work_off()

    def work_off(self) -> None:
        for _ in range(_ROUNDS):
            self.sends()
            if not self.life.book.counts("shop")[Status.PENDING]:
                return
            self.clock.at += timedelta(minutes=20)
        raise AssertionError("something waits for hours")

    # -- how it is done --

    def visit(self, cart_id: str) -> Visit | None:
        """Return the visit to *cart_id* that goes on."""
        return next((visit for visit in self.visits_to(cart_id) if not visit.is_over), None)

    def visit_of(self, body: bytes) -> Visit:
        named = address(body)
        (visit,) = (visit for visit in self.visits if named in visit.addresses)
        return visit

    def begun(self, cart_id: str) -> Visit:
        self.visits.append(Visit(cart_id, f"v{len(self.visits)}"))
        return self.visits[-1]

    def visits_to(self, cart_id: str) -> Iterable[Visit]:
        return (visit for visit in self.visits if visit.cart_id == cart_id)

    def second(self) -> datetime:
        self.clock.at += timedelta(seconds=1)
        return self.clock.at

    def said(self, cart_id: str) -> dict[str, Any]:
        now = self.clock.at
        return {"id": uuid4().hex, "shop": "shop", "cart_id": cart_id, "received_at": now}

    def hear(self, fact: Fact, worker: int) -> None:
        self.life.inboxes[worker].append(fact)
        self.facts.append(fact)
        self.unread = True

    def sends(self) -> None:
        """Let the sender work until it has no more to do."""
        for visit in self.visits:
            visit.next = set(visit.addresses[-1:])
        for _ in range(50):
            before, self.unread = self.progress(), False
            self.life.sender.step()
            until(self.all_is_answered)
            if not self.unread and self.is_done(moved=self.progress() != before):
                break
        self.look()

    def progress(self) -> object:
        known = [self.life.book.checkouts("shop", cart_id) for cart_id in ("c-1", "c-2")]
        return len(self.klaviyo.requests), known, self.life.book.marks()

    def due(self) -> list[Any]:
        return self.life.book.due("shop", self.clock.now(), limit=99)

    def is_done(self, *, moved: bool) -> bool:
        due = self.due()
        held_up = self.life.book.standing("shop").waits(self.clock.now())
        return not due or (not moved and (held_up or bool(self.hanging())))

    def hanging(self) -> list[Request]:
        """Return the requests of this life that Klaviyo does not answer."""
        ours = self.klaviyo.requests[self.life.earlier_requests :]
        return [one for one in ours if isinstance(one.fault, Hang) and one.status is None]

    def all_is_answered(self, life: Life | None = None) -> bool:
        """Tell whether what a life, by default this one, has sent has arrived and was answered."""
        life = life or self.life
        has_arrived = len(self.klaviyo.requests) - life.earlier_requests >= life.posted
        return has_arrived and all(
            request.status is not None or isinstance(request.fault, Cut | Hang)
            for request in self.klaviyo.requests
        )

    def burn(self, _: Connection) -> None:
        """Die at the commit that is about to be made, if it is the last to live for."""
        if self.commits_to_live is not None:
            self.commits_to_live -= 1
            if self.commits_to_live == 0:
                self.die()
                raise Killed

    def die(self) -> None:
        """Go on with what is on disk at this moment, in another folder."""
        folder, self.dead = next(self.folders), self.life
        shutil.copytree(self.dead.folder, folder, ignore=shutil.ignore_patterns(*self.gone_with_it))
        self.life, self.unread = Life(folder, self.klaviyo, self.clock), True
        self.dead.end()

    def calm_down(self) -> None:
        """Wait until what the dead sender had under way has arrived."""
        until(lambda: self.all_is_answered(self.dead))
        # What it was told it could not write down: for the next sender each may have been counted.
        last = self.klaviyo.requests[self.looked_at :]
        self.unsettled.update(address(request.body) for request in last)
        self.life.earlier_requests = len(self.klaviyo.requests)


# -- telling stories ---------------------------------------------------------------------


def told(chance: Random, kind: type[Model] = Model) -> None:
    """Tell a story by *chance*: hypothesis tells many alike before it tells another one."""
    model, story = kind(), list[str]()
    try:
        for _ in range(chance.randrange(10, 40)):
            name, said = one_act(chance)
            story.append(f"{name}({said})")
            getattr(model, name)(**said)
            model.no_visit_counts_twice()
        model.all_is_well_again()
        model.what_was_promised_counts()
    except AssertionError as error:
        error.add_note("\n".join(story))
        raise
    finally:
        model.close()


def one_act(chance: Random) -> tuple[str, dict[str, Any]]:
    """Return what happens next: pages speak and things go wrong more often than anything else."""
    at = {"cart_id": chance.choice(["c-1", "c-2"]), "worker": chance.randrange(2)}
    page = {"another": chance.random() < 0.6, "wrong": chance.random() < 0.2}
    acts: dict[str, tuple[int, dict[str, Any]]] = {
        "a_page_speaks": (8, at | page | {"with_cart": chance.random() < 0.8}),
        "klaviyo_misbehaves": (5, {"faults": chance.choices(FAULTS, k=chance.randint(1, 3))}),
        "everything_dies": (4, {"commits": chance.randrange(5)}),
        "time_passes": (4, {"minutes": chance.choice([2, 30, 120])}),
        "the_sender_works": (2, {"pruned": chance.random() < 0.5}),
        "the_clock_jumps": (2, {"hours": chance.choice([-24, -1.5, 4 * 24])}),
        "a_fact_comes_again": (1, {"pick": chance.randrange(100), "worker": at["worker"]}),
        "a_cart_is_pushed": (1, at),
        "klaviyo_answers_what_hangs": (1, {}),
        "an_order_is_placed_or_consent_denied": (1, at | {"ordered": chance.random() < 0.6}),
        "dead_letters_are_replayed": (1, {"worker": at["worker"]}),
        "an_operator_asks": (2, at | {"called_off": chance.random() < 0.4}),
    }
    (name,) = chance.choices(list(acts), [weight for weight, _ in acts.values()])
    return name, acts[name][1]


_REST = [pytest.param(chapter, marks=pytest.mark.slow) for chapter in (1, 2, 3)]


@pytest.mark.parametrize("chapter", [0, *_REST])
def test_the_ledger_is_right(chapter: int) -> None:
    for number in range(6):
        told(Random(f"{chapter}.{number}"))


@pytest.mark.slow
def test_the_ledger_is_right_in_a_few_hundred_stories_more() -> None:
    for number in range(300):
        told(Random(f"more.{number}"))


@pytest.mark.slow
def test_the_ledger_is_right_in_stories_that_hypothesis_tells() -> None:
    run_state_machine_as_test(Model, settings=settings(max_examples=300, stateful_step_count=40))


def test_a_proxy_that_forgets_is_found_out() -> None:
    """The control: what an inbox has not moved from its log is gone with the process."""

    class Forgetful(Model):
        gone_with_it = ("*-shm", "*.lock", "inbox-*.db-wal")

    def stories() -> None:
        for number in range(20):
            told(Random(f"forgetful.{number}"), Forgetful)

    with pytest.raises(AssertionError, match="lost"):
        stories()
