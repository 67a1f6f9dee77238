"""The audit: a sample of what Klaviyo took is looked for there, and nothing waits for that."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner

from proxy import story
from proxy.alarms import Name
from proxy.checkouts import Status
from proxy.cli import main
from proxy.sandbox.faults import Answer, Cut, Fault, Hang, Lose, Strange
from proxy.sandbox.klaviyo import Request
from proxy.standing import Standing
from proxy.store import Store
from proxy.tallies import EVER, Sight, What
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.crash.test_clock_jumps import LIBRARIES, Clock
from tests.running import Proxy
from tests.said import JANE, after, state
from tests.test_delivery import MANY, Scene, carts, scene

HOUR = 60
DAY = 24 * HOUR


class Stage:
    """A shop whose sender looks for what it has sent."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def deliver(self, *cart_ids: str) -> None:
        """Send a checkout of each cart, now."""
        self.scene.hear_of(*cart_ids, minute=self.scene.clock.minute)
        self.scene.work_off()

    def pass_by(self, minutes: float) -> None:
        """Let so many minutes pass, and whoever looks every 15 s look."""
        self.scene.clock.minute += minutes
        self.scene.work_off()

    def look(self, minutes: float = HOUR) -> dict[str, int]:
        """Let so many minutes pass until one was looked for; return all that was ever seen."""
        before = sum(self.seen.values())
        self.pass_by(minutes)

        def was_seen() -> bool:
            self.scene.clock.minute += 0.25
            return sum(self.seen.values()) > before

        self.scene.work_until(was_seen)
        return self.seen

    @property
    def seen(self) -> dict[str, int]:
        return self.scene.book.by_detail("shop", What.AUDITED, EVER, EVER)

    @property
    def questions(self) -> list[Request]:
        return [each for each in self.scene.klaviyo.requests if each.method == "GET"]

    @property
    def standing(self) -> list[Name]:
        return [each.name for each in self.scene.book.alarms("shop") if each.cleared_at is None]

    def told(self, cart_id: str) -> list[str]:
        """Return what the story of the cart says of its being looked for."""
        lines = story.tell(self.scene.book, "shop", cart_id).lines
        return [line.words for line in lines if line.what == "looked for"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(scene(tmp_path, stack, audited=True))


# -- what is seen ------------------------------------------------------------------------


def test_what_klaviyo_has_is_found_there_after_an_hour(stage: Stage) -> None:
    stage.deliver("c-1")
    stage.pass_by(59)
    assert stage.questions == []

    assert stage.look(1) == {Sight.ARRIVED: 1}

    assert stage.told("c-1") == ["it is in Klaviyo"]
    assert stage.standing == []


def test_what_klaviyo_has_lost_is_told_once_until_a_day_brings_none(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for cart_id in ("c-1", "c-2"):
        stage.scene.klaviyo.misbehave(Lose())
        stage.deliver(cart_id)
        stage.look()
    stage.deliver("c-3")
    stage.look()

    assert stage.seen == {Sight.MISSING: 2, Sight.ARRIVED: 1}
    assert stage.told("c-2") == ["Klaviyo took it, and has no such event"]
    assert stage.standing == [Name.EVENTS_MISSING]
    (alarm,) = stage.scene.book.alarms("shop")
    (lost,) = stage.scene.book.checkouts("shop", "c-1")
    assert alarm.words.endswith(f"1 were not there; the last is {lost.unique_id}")
    assert len([each for each in caplog.messages if "alarm: events missing" in each]) == 1
    assert sum(lost.unique_id in each for each in caplog.messages if "no such event" in each) == 1
    stage.pass_by(DAY)
    assert stage.standing == []


def test_another_event_of_that_second_is_not_taken_for_it(stage: Stage) -> None:
    stage.deliver("1-c-1")
    stage.scene.klaviyo.misbehave(Lose())
    stage.pass_by(1)
    stage.scene.hear_of("c-1", minute=0)
    stage.scene.work_off()

    assert stage.look(59) == {Sight.ARRIVED: 1}
    assert stage.look(1) == {Sight.ARRIVED: 1, Sight.MISSING: 1}


def test_what_klaviyo_writes_otherwise_is_found_all_the_same(stage: Stage) -> None:
    stage.deliver('c/"é"')

    assert stage.look() == {Sight.ARRIVED: 1}


def test_what_was_said_after_the_delivery_does_not_mislead(stage: Stage) -> None:
    stage.deliver("c-1")
    stage.scene.hear(state(5, "c-1", email="jane@shop-demo.io"))

    assert stage.look() == {Sight.ARRIVED: 1}


def test_where_a_lost_answer_may_have_been_a_yes_nothing_is_looked_for(stage: Stage) -> None:
    # Klaviyo keeps the first of a unique_id, as of a time that is not the last one's.
    stage.scene.klaviyo.misbehave(Cut(counted=True))
    stage.deliver("c-1")
    stage.scene.hear(state(5, "c-1", email="c-1@shop-demo.io"))
    stage.pass_by(20)
    assert stage.scene.count(Status.DELIVERED) == 1

    stage.pass_by(HOUR)

    assert stage.questions == []


def test_of_a_minute_one_is_looked_for_and_of_a_bulk_one(stage: Stage) -> None:
    stage.deliver(*carts(MANY))
    stage.deliver("late")

    assert stage.look() == {Sight.ARRIVED: 1}
    for _ in range(3):
        stage.pass_by(HOUR)

    (asked,) = stage.questions
    assert asked.body == b""
    assert len(stage.scene.bulks) == 1


def test_after_a_clock_has_jumped_it_stays_one(stage: Stage) -> None:
    for number in range(3):
        stage.deliver(f"c-{number}")
        stage.pass_by(1)

    stage.look(DAY)
    stage.pass_by(1)

    assert len(stage.questions) == 1
    assert stage.told("c-2") == ["it is in Klaviyo"]


def test_a_clock_that_was_set_back_ends_nothing(stage: Stage) -> None:
    stage.deliver("c-1")
    stage.scene.clock.minute -= DAY
    stage.deliver("c-2")
    stage.pass_by(DAY)

    assert stage.look() == {Sight.ARRIVED: 1}


# -- nothing waits for it ----------------------------------------------------------------


UNREADABLE = Strange("half-json", status=200)


def test_where_klaviyo_does_not_say_nothing_is_known_and_sending_goes_on(stage: Stage) -> None:
    throttled, refused, away = Answer(429, retry_after=600), Answer(401), Answer(503)
    faults: list[Fault] = [throttled, refused, away, Cut(), Strange("html"), UNREADABLE]
    for number, fault in enumerate(faults, 1):
        stage.deliver(f"c-{number}")
        stage.scene.klaviyo.misbehave(fault)

        assert stage.look() == {Sight.UNKNOWN: number}
        assert stage.scene.book.standing("shop") == Standing()

    stage.deliver("last")
    assert len(stage.scene.klaviyo.events) == len(faults) + 1
    assert stage.told("c-1") == []
    assert stage.standing == []


def test_without_the_scope_it_is_said_once_and_seen_as_soon_as_it_is_there(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.scene.klaviyo.scopes = {"events:write"}
    for number in range(2):
        stage.deliver(f"c-{number}")
        stage.look()

    assert stage.seen == {Sight.UNKNOWN: 2}
    (said,) = [each for each in caplog.messages if "cannot be looked for" in each]
    assert said.endswith("give the key the scope events:read")
    assert stage.scene.book.standing("shop") == Standing()
    stage.scene.klaviyo.scopes = {"events:write", "events:read"}
    stage.deliver("c-2")
    assert stage.look() == {Sight.UNKNOWN: 2, Sight.ARRIVED: 1}


def test_while_klaviyo_hangs_the_next_event_is_delivered(stage: Stage) -> None:
    stage.deliver("c-1")
    stage.pass_by(1)
    stage.deliver("c-2")
    stage.scene.klaviyo.misbehave(Hang())
    stage.pass_by(59)
    stage.scene.klaviyo.wait_for_requests(3)

    stage.deliver("c-3")

    assert len(stage.scene.klaviyo.events) == 3
    assert len(stage.questions) == 1
    stage.scene.klaviyo.release()
    assert stage.look(0) == {Sight.ARRIVED: 1}


def test_where_it_is_off_nobody_looks(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stage = Stage(scene(tmp_path, stack))
        stage.deliver("c-1")
        stage.pass_by(HOUR)

        assert stage.questions == []
        assert stage.seen == {}


# -- the whole of it ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is missing: apt-get install faketime")
def test_a_proxy_that_is_told_to_looks_and_says_so(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    clock.set(timedelta(0))
    with judged_klaviyo() as klaviyo:
        environ = environment(tmp_path / "store", klaviyo.url, AUDIT="on")
        with Proxy(environ | clock.environment, "--workers", "1") as proxy:
            Shop(proxy.url).push("c-1")
            Page(proxy.url, Shop(proxy.url).token("c-1")).say(email=JANE)
            Ledger(tmp_path / "store", klaviyo).wait("c-1", Status.DELIVERED)

            clock.set(timedelta(minutes=61))
            klaviyo.wait_for_requests(2, timeout=30)
            clock.set(timedelta(minutes=62))
            until(lambda: "looked for        it is in Klaviyo" in said(environ, "trace", "c-1"))

            now = datetime.now(UTC) + timedelta(minutes=62)
            with closing(Store.of("shop", environ["CHECKOUT_PROXY_STORE"]).book()) as book:
                seen = book.by_detail("shop", What.AUDITED, now - timedelta(hours=1), now)
    assert seen == {Sight.ARRIVED: 1}
    assert "looked for in Klaviyo in the last day: arrived 0" in said(environ, "status")
    assert "looked for" not in said(environ | {"CHECKOUT_PROXY_AUDIT": "off"}, "status")


def said(environ: dict[str, str], *arguments: str) -> str:
    """Return what a command prints."""
    return CliRunner().invoke(main, arguments, env=environ).output


# -- what is kept ------------------------------------------------------------------------


def test_what_was_seen_is_kept_and_counted_by_the_minute(store: Store) -> None:
    with store.account("shop", Event()) as book:
        assert book is not None
        book.looked_for("shop", "c-1", Sight.ARRIVED, "it is there", after(0))
        book.looked_for("shop", "c-1", Sight.UNKNOWN, "", after(1))
        book.looked_for("another", "c-1", Sight.MISSING, "it is not there", after(1))

    with closing(store.book()) as reader:

        def since(minute: float) -> dict[str, int]:
            return reader.by_detail("shop", What.AUDITED, after(minute), after(minute + 1))

        assert since(0) == {Sight.ARRIVED: 1, Sight.UNKNOWN: 1}
        assert since(1) == {Sight.UNKNOWN: 1}
        assert since(2) == {}
        (line,) = story.tell(reader, "shop", "c-1").lines
    assert (line.at, line.what, line.words) == (after(0), "looked for", "it is there")
