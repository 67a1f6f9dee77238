"""Clock jumps: an hour and a day, both ways, while the proxy runs; nothing is lost or counts twice.

libfaketime moves the wall clock of the proxy's processes, and not their monotonic one. Klaviyo
and the ledger go by the real time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from proxy.checkouts import Status
from proxy.sandbox.faults import Answer
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.running import Proxy
from tests.said import JANE, JOHN

# Debian's package "faketime" puts it there, under the name of the architecture.
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

pytestmark = pytest.mark.skipif(
    not LIBRARIES, reason="libfaketime is missing: apt-get install faketime"
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A day says more than an hour.
AN_HOUR, AN_HOUR_BACK = (pytest.param(each, marks=pytest.mark.slow) for each in (HOUR, -HOUR))
# The machine is busy now and then, and what is brought back is put a minute before it.
CLOSE = timedelta(minutes=2)


@dataclass(frozen=True)
class Clock:
    """The wall clock of processes that run with :attr:`environment`."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": f"{LIBRARIES[0]}",
            "FAKETIME_TIMESTAMP_FILE": f"{self.path}",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead: timedelta) -> None:
        """Let the clock be *ahead* of the real one."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.0f}\n")
        new.replace(self.path)


@dataclass(frozen=True)
class Scene:
    """A proxy under a clock that can be set."""

    klaviyo: Klaviyo
    ledger: Ledger
    proxy: Proxy
    clock: Clock

    def cart(self) -> str:
        """Return the id of a cart that nobody knows yet."""
        cart_id = f"c-{uuid4().hex[:8]}"
        Shop(self.proxy.url).push(cart_id)
        return cart_id

    def say(self, cart_id: str, email: str = JANE) -> None:
        """Post a state under a token of this moment."""
        Page(self.proxy.url, Shop(self.proxy.url).token(cart_id)).say(email=email)

    def people(self, cart_id: str) -> list[str]:
        profiles = (event["profile"] for event in self.ledger.events(cart_id))
        return [profile["data"]["attributes"]["email"] for profile in profiles]

    def time(self, cart_id: str) -> datetime:
        """Return the time of the one event of *cart_id*."""
        (event,) = self.ledger.events(cart_id)
        return datetime.fromisoformat(event["time"])


@contextmanager
def running(folder: Path, settle: str) -> Iterator[Scene]:
    clock = Clock(folder / "clock")
    clock.set(timedelta(0))
    with judged_klaviyo() as klaviyo:
        env = environment(folder / "store", klaviyo.url, SETTLE=settle) | clock.environment
        with Proxy(env, "--workers", "1") as proxy:
            until(
                lambda: Store.of("shop", f"sqlite:///{folder}/store").exists
            )  # The sender is at work.
            yield Scene(klaviyo, Ledger(folder / "store", klaviyo), proxy, clock)


@pytest.fixture(scope="module")
def one_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running(tmp_path_factory.mktemp("jumps"), settle="0.3") as scene:
        yield scene


@pytest.fixture
def scene(one_scene: Scene) -> Iterator[Scene]:
    """Yield the scene with the right time, to which it comes back."""
    yield one_scene
    one_scene.klaviyo.behave()
    one_scene.clock.set(timedelta(0))


def now() -> datetime:
    return datetime.now(UTC)


# -- the control -------------------------------------------------------------------------


def test_the_clock_is_the_one_that_both_halves_go_by(scene: Scene) -> None:
    cart_id = scene.cart()
    scene.clock.set(HOUR)

    scene.say(cart_id)

    scene.ledger.wait(cart_id, Status.DELIVERED)
    (attempt,) = scene.ledger.attempts(cart_id)
    assert abs(scene.time(cart_id) - now() - HOUR) < CLOSE
    assert abs(attempt.at - now() - HOUR) < CLOSE


# -- one jump ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jump",
    [AN_HOUR, pytest.param(DAY, marks=pytest.mark.slow), AN_HOUR_BACK, -DAY],
    ids=["+1h", "+24h", "-1h", "-24h"],
)
def test_a_jump_loses_nothing_and_makes_nothing_count_twice(scene: Scene, jump: timedelta) -> None:
    settled, before, after = scene.cart(), scene.cart(), scene.cart()
    scene.say(settled)
    scene.ledger.wait(settled, Status.DELIVERED)
    scene.say(before)

    scene.clock.set(jump)
    scene.say(after)

    for cart_id in (settled, before, after):
        scene.ledger.wait(cart_id, Status.DELIVERED)
        assert scene.people(cart_id) == [JANE]
    # What was said before is told by the one clock or the other.
    assert min(abs(scene.time(before) - now() - clock) for clock in (0 * jump, jump)) < CLOSE
    assert abs(scene.time(after) - now() - jump) < CLOSE


@pytest.mark.parametrize("jump", [AN_HOUR, AN_HOUR_BACK, -DAY], ids=["+1h", "-1h", "-24h"])
def test_a_jump_begins_no_other_checkout(scene: Scene, jump: timedelta) -> None:
    cart_id = scene.cart()
    scene.say(cart_id)
    scene.ledger.wait(cart_id, Status.DELIVERED)

    scene.clock.set(jump)
    scene.say(cart_id)
    other = scene.cart()
    scene.say(other)
    scene.ledger.wait(other, Status.DELIVERED)

    assert len(scene.ledger.checkouts(cart_id)) == 1
    assert scene.people(cart_id) == [JANE]


# -- there and back ----------------------------------------------------------------------


@pytest.mark.parametrize("jump", [AN_HOUR, DAY], ids=["an-hour", "a-day"])
def test_what_failed_under_a_clock_ahead_does_not_wait_for_it(
    scene: Scene, jump: timedelta
) -> None:
    cart_id = scene.cart()
    scene.clock.set(jump)
    scene.klaviyo.misbehave(Answer(503))
    scene.say(cart_id)
    until(lambda: scene.ledger.attempts(cart_id))

    scene.clock.set(timedelta(0))

    (delivered,) = scene.ledger.wait(cart_id, Status.DELIVERED)
    assert scene.people(cart_id) == [JANE]
    assert delivered.unique_id == scene.ledger.events(cart_id)[0]["unique_id"]


def test_a_correction_and_an_order_count_after_the_clock_was_set_back(scene: Scene) -> None:
    corrected, ordered = scene.cart(), scene.cart()
    scene.clock.set(DAY)
    # A pause of the future holds nothing back now: Klaviyo takes nothing before John is known.
    scene.klaviyo.misbehave(Answer(429, retry_after=1), times=1000)
    scene.say(corrected)
    scene.say(ordered)
    until(lambda: scene.ledger.attempts(corrected) or scene.ledger.attempts(ordered))

    Shop(scene.proxy.url).order(ordered)
    scene.clock.set(timedelta(0))
    scene.say(corrected, JOHN)
    scene.klaviyo.behave()

    scene.ledger.wait(corrected, Status.DELIVERED)
    scene.ledger.wait(ordered, Status.CANCELLED)
    assert scene.people(corrected) == [JOHN]
    assert scene.people(ordered) == []
