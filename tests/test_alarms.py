"""Alarms: each fault is told once, to whoever looks and to the webhook, and so is its end."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.alarms import Name, State
from proxy.carts.http import HttpCarts
from proxy.carts.source import CartSource
from proxy.checkouts import Rules, Status
from proxy.consents import ConsentMode, Modes
from proxy.sandbox.faults import Answer
from proxy.standing import Standing
from proxy.tallies import What
from tests.actors import until
from tests.platform import KEY as CARTS_KEY
from tests.platform import Platform, recipe_of, recorded
from tests.said import JANE, NOON, after, counted, pushed, replay, state
from tests.test_delivery import Scene, scene
from tests.watching import Receiver, receiver

RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
LOOK = 0.25
"""The minutes from one look to the next."""


class Watched:
    """A scene with a receiver of alarms."""

    def __init__(self, scene: Scene, receiver: Receiver) -> None:
        self.scene = scene
        self.receiver = receiver

    def look(self, minutes: float = LOOK) -> bool:
        """Let so many minutes pass, the sender do what is to be done, and look at what it did.

        Return true, for whoever wants to look again and again.
        """
        for passed in (minutes, LOOK):
            self.scene.clock.minute += passed
            self.scene.work_off()
        return True

    def begin(self) -> None:
        """Let the sender be at work long enough to know what is late."""
        for _ in range(5):
            self.look()

    def restart(self) -> None:
        self.scene.sender.close()
        self.scene.sender = self.scene.employ()

    @property
    def standing(self) -> list[Name]:
        return [each.name for each in self.scene.book.alarms("shop") if each.cleared_at is None]

    def wait_for(self, *told: tuple[Name, State]) -> None:
        """Wait until the receiver was told just that, each once."""
        for _ in range(2):
            self.look()
        until(lambda: len(self.receiver.told) >= len(told))
        for _ in range(2):
            self.look()
        assert self.receiver.told == list(told)
        assert len(self.receiver.posted) == len(told)


@contextmanager
def watched_shop(
    folder: Path, source: CartSource | None = None, **watched: Any
) -> Iterator[Watched]:
    """Yield a shop with its store in *folder*, and the receiver that is told of its alarms."""
    with ExitStack() as stack:
        told = stack.enter_context(receiver())
        yield Watched(scene(folder, stack, source, url=told.url, **watched), told)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_shop(tmp_path) as watched:
        yield watched


RAISED, CLEARED = State.RAISED, State.CLEARED

# -- each fault --------------------------------------------------------------------------


def test_where_all_is_well_nothing_is_told(watched: Watched) -> None:
    watched.scene.hear_of("c-1", "c-2")

    for _ in range(10):
        watched.look(30)

    assert watched.scene.book.alarms("shop") == []
    assert watched.receiver.posted == []


def test_dead_letters_are_told_until_none_is_left(watched: Watched) -> None:
    watched.look()
    watched.scene.klaviyo.misbehave(Answer(400), times=2)
    watched.scene.hear_of("c-1", "c-2")
    watched.wait_for((Name.DEAD_LETTERS, RAISED))
    (alarm,) = watched.scene.book.alarms("shop")

    for letter in watched.scene.book.dead("shop"):
        minute = watched.scene.clock.minute
        watched.scene.hear(replay(minute, letter.cart_id, epoch=letter.epoch))
    watched.wait_for((Name.DEAD_LETTERS, RAISED), (Name.DEAD_LETTERS, CLEARED))

    assert alarm.words == ("2 new dead letters, most of them: Klaviyo answered 400; 2 in all")
    assert watched.scene.count(Status.DELIVERED) == 2


def test_a_crowd_that_is_kept_back_is_told_for_an_hour(watched: Watched) -> None:
    watched.look()
    bots = [
        state(watched.scene.clock.minute, f"c-{number}", email=JANE, automated=True)
        for number in range(50)
    ]

    watched.scene.hear(*bots)
    watched.wait_for((Name.KEPT_BACK, RAISED))
    watched.look(60)
    watched.wait_for((Name.KEPT_BACK, RAISED), (Name.KEPT_BACK, CLEARED))

    (alarm,) = watched.scene.book.alarms("shop")
    assert alarm.words.startswith("50 checkouts were kept back")
    assert alarm.words.endswith("a bot's user agent")
    assert not watched.scene.klaviyo.events


def test_more_dead_letters_are_told_after_an_hour(watched: Watched) -> None:
    die(watched, "c-1")
    watched.wait_for((Name.DEAD_LETTERS, RAISED))

    for number in range(2, 5):
        die(watched, f"c-{number}")
    assert len(watched.receiver.posted) == 1
    watched.look(60)
    watched.wait_for((Name.DEAD_LETTERS, RAISED), (Name.DEAD_LETTERS, RAISED))

    (alarm,) = watched.scene.book.alarms("shop")
    assert alarm.words.startswith("3 new dead letters")
    assert alarm.words.endswith("; 4 in all")
    assert alarm.raised_at < alarm.said_at


def die(watched: Watched, cart_id: str) -> None:
    watched.scene.klaviyo.misbehave(Answer(400))
    watched.scene.hear_of(cart_id, minute=watched.scene.clock.minute)
    watched.look()


def test_a_shop_whose_pages_fall_silent_is_told_until_one_posts(watched: Watched) -> None:
    for minute in range(150, 480, 30):
        watched.scene.hear(pushed(minute, cart_id=f"c-{minute}"))
    watched.look(359)
    assert watched.standing == []

    watched.look(120)
    watched.wait_for((Name.FLAT_LINE, RAISED))
    # The night, in which nobody comes, mends nothing.
    watched.look(600)
    assert watched.standing == [Name.FLAT_LINE]
    watched.scene.hear(state(watched.scene.clock.minute, "c-1"))

    watched.wait_for((Name.FLAT_LINE, RAISED), (Name.FLAT_LINE, CLEARED))


def test_sessions_that_lead_to_no_state_are_a_flat_line(watched: Watched) -> None:
    for minute in range(0, 360, 30):
        watched.scene.hear(counted(minute, sessions={"customer": 3}))

    watched.look(359)

    assert watched.standing == [Name.FLAT_LINE]


def test_a_state_of_a_clock_that_was_ahead_hides_no_flat_line(watched: Watched) -> None:
    watched.scene.hear(state(60 * 24 * 30, "c-0"))
    for minute in range(0, 360, 30):
        watched.scene.hear(pushed(minute, cart_id=f"c-{minute}"))

    watched.look(359)

    assert Name.FLAT_LINE in watched.standing


def test_the_first_cart_of_the_morning_is_no_flat_line(watched: Watched) -> None:
    watched.scene.hear(state(0), pushed(1))
    watched.scene.hear(pushed(600, cart_id="c-2"))

    watched.look(601)

    assert watched.standing == []


def test_a_revision_near_its_end_is_told_louder(tmp_path: Path) -> None:
    with watched_shop(tmp_path, revision="2025-10-15") as watched:
        watched.wait_for((Name.RETIREMENT_NEAR, RAISED))
        (deprecated,) = watched.scene.book.alarms("shop")

        watched.look(60 * 24 * 250)
        watched.wait_for((Name.RETIREMENT_NEAR, RAISED), (Name.RETIREMENT_NEAR, RAISED))

        (ending,) = watched.scene.book.alarms("shop")
    assert "has deprecated the revision 2025-10-15, and retires it on 2027-10-15" in (
        deprecated.words
    )
    assert "retires the revision 2025-10-15 soon" in ending.words


def test_what_klaviyo_says_of_its_revision_counts(watched: Watched) -> None:
    watched.scene.klaviyo.retires_on = "2026-12-31"
    watched.scene.hear_of("c-1")

    watched.wait_for((Name.RETIREMENT_NEAR, RAISED))
    watched.restart()
    watched.wait_for((Name.RETIREMENT_NEAR, RAISED))

    (alarm,) = watched.scene.book.alarms("shop")
    assert "on 2026-12-31" in alarm.words


def test_a_refused_key_is_told_until_an_event_is_taken(watched: Watched) -> None:
    watched.scene.klaviyo.misbehave(Answer(401), times=1_000)
    watched.scene.hear_of("c-1")
    watched.wait_for((Name.KEY_REFUSED, RAISED))

    watched.scene.klaviyo.behave()
    watched.look(6)

    watched.wait_for((Name.KEY_REFUSED, RAISED), (Name.KEY_REFUSED, CLEARED))
    assert watched.scene.count(Status.DELIVERED) == 1


def test_a_source_that_refuses_us_is_told_until_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.carts.rest._REFUSED_FOR", 0.0)
    cart_id, recipe = "8AF964MUHARPMM4W", recipe_of("vendure")
    with (
        Platform(answer=recorded("vendure"), status=401).serve() as shop,
        closing(HttpCarts(recipe, url=shop.url, key=CARTS_KEY)) as source,
        watched_shop(tmp_path, source) as watched,
    ):
        watched.scene.hear(state(0, cart_id, email="jane@shop-demo.io"))
        watched.wait_for((Name.SOURCE_REFUSED, RAISED))
        (alarm,) = watched.scene.book.alarms("shop")

        shop.status = 200
        watched.look(6)
        watched.look(1)

        watched.wait_for((Name.SOURCE_REFUSED, RAISED), (Name.SOURCE_REFUSED, CLEARED))
    assert alarm.words.endswith("waits: the shop answered 401")


def test_what_has_been_due_for_long_is_told_with_the_reason(watched: Watched) -> None:
    watched.begin()
    watched.scene.klaviyo.misbehave(Answer(401), times=1_000)
    watched.scene.hear_of("c-1", minute=1)
    watched.look(12)
    assert watched.standing == [Name.KEY_REFUSED]

    watched.look(4)
    watched.look()
    assert set(watched.standing) == {Name.KEY_REFUSED, Name.BACKLOG}
    alarm = next(each for each in watched.scene.book.alarms("shop") if each.name is Name.BACKLOG)
    watched.scene.klaviyo.behave()
    for _ in range(4):
        watched.look(2)

    assert alarm.words == (
        "a checkout has been due since 2026-11-22 12:01Z: sending waits: Klaviyo answered 401"
    )
    assert watched.standing == []


def test_what_fell_due_while_no_sender_was_at_work_is_no_backlog_yet(watched: Watched) -> None:
    watched.scene.hear_of("c-1")

    watched.look(600)

    assert watched.scene.book.alarms("shop") == []


# -- once, whatever happens to the sender ------------------------------------------------


def test_a_restart_neither_repeats_nor_clears(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.scene.klaviyo.misbehave(Answer(401), times=1_000)
    watched.scene.hear_of("c-1")
    watched.wait_for((Name.KEY_REFUSED, RAISED))

    for _ in range(3):
        watched.restart()
        # As run() does: somebody may have changed the key.
        watched.scene.sender._standing = Standing()
        watched.look(1)

    watched.wait_for((Name.KEY_REFUSED, RAISED))
    lines = [each for each in caplog.messages if "alarm: key refused" in each]
    assert len(lines) == 1


def test_what_was_not_told_yet_the_next_sender_tells(watched: Watched) -> None:
    watched.receiver.platform.open.clear()
    die(watched, "c-1")
    until(lambda: watched.receiver.platform.asked)
    watched.restart()
    watched.receiver.platform.open.set()

    until(lambda: watched.look() and len(watched.receiver.posted) >= 2)

    assert watched.receiver.told == [(Name.DEAD_LETTERS, RAISED)]
    assert len({each["id"] for each in watched.receiver.posted}) == 1


# -- the watch itself --------------------------------------------------------------------


def test_a_sender_keeps_the_book_tidy(watched: Watched) -> None:
    watched.scene.hear(counted(0, sessions={"guest": 1}))
    watched.look()

    watched.look(60 * 24 * 9)

    assert watched.scene.book.tallied("shop", since=NOON, until=after(10)) == []
    assert watched.scene.book.ever("shop", What.SESSIONS) == 1


def test_a_clock_that_is_set_back_does_not_end_the_watch(watched: Watched) -> None:
    watched.look(600)

    watched.look(-300)

    assert watched.scene.book.seen_at("shop") == watched.scene.clock.now()
