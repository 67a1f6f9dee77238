"""A store that cannot be written for a while: refused in time, and all goes on afterwards."""

import logging
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import environment, judged_klaviyo, until
from tests.crash.pages import Pages, carts, check_each_arrives_once, check_refusal
from tests.running import TWO, Proxy

logger = logging.getLogger(__name__)


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


# -- a full disk -------------------------------------------------------------------------


class ProxyOnSmallDisk(Proxy):
    """A proxy that sees a disk of 32 MB at *disk*, and nobody else does.

    Its three logs alone may take 4 MB each before SQLite clears them.
    """

    def __init__(self, env: Mapping[str, str], disk: Path) -> None:
        super().__init__(env)
        self._disk = disk
        self._command = (*_alone_with_a_disk(disk), *self._command)

    @property
    def ballast(self) -> Path:
        """A file on that disk, as it is reached from here."""
        return Path(f"/proc/{self.pid}/root{self._disk}/ballast")

    def grow(self) -> None:
        """Let the disk be of 4 GB, as long as nobody fills it."""
        inside = ["nsenter", f"--target={self.pid}", "--mount"]
        inside += [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        resize = ["mount", "-o", "remount,size=4g", f"{self._disk}"]
        subprocess.run([*inside, *resize], check=True, capture_output=True, timeout=30)


def _alone_with_a_disk(disk: Path) -> list[str]:
    """Return the beginning of a command that has a small disk of its own."""
    disk.mkdir(exist_ok=True)
    # Who is not root may be it in a namespace of its own, where the system allows that.
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["-Ur"])]
    mount = f"mount -t tmpfs -o size=32m,mode=700 tmpfs '{disk}'"
    return [*apart, "sh", "-c", f'{mount} && exec "$@"', "sh"]


def can_mount(disk: Path) -> bool:
    try:
        command = [*_alone_with_a_disk(disk), "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_a_full_disk_is_said_and_survived_and_all_that_was_acknowledged_arrives(
    tmp_path: Path, klaviyo: Klaviyo
) -> None:
    disk = tmp_path / "disk"
    if not can_mount(disk):
        pytest.skip("a small disk needs root, or unshare (util-linux) with user namespaces")
    env = environment(disk / "store", klaviyo.url, CARTS="signed")
    with ProxyOnSmallDisk(env, disk) as proxy, Pages(proxy.url) as pages:
        until(lambda: klaviyo.events)

        pages.wait_for(503, 20, meanwhile=lambda: fill(proxy.ballast))
        not_ready = when_not_ready(proxy)
        proxy.ballast.unlink()
        pages.wait_for(202, 20)
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged)
        assert requests.get(f"{proxy.url}/readyz", timeout=15).ok
    check_refusal(not_ready)
    assert "the sender died" not in proxy.log
    # Had these been acknowledged, they would be missed now.
    assert pages.refused - set(carts(klaviyo))


@pytest.mark.slow
def test_a_disk_that_is_nearly_full_is_an_alarm_until_there_is_room(
    tmp_path: Path, klaviyo: Klaviyo
) -> None:
    disk = tmp_path / "disk"
    if not can_mount(disk):
        pytest.skip("a small disk needs root, or unshare (util-linux) with user namespaces")
    with ProxyOnSmallDisk(environment(disk / "store", klaviyo.url), disk) as proxy:
        until(lambda: "alarm: disk nearly full" in proxy.log)

        proxy.grow()
        until(lambda: "the alarm is over: disk nearly full" in proxy.log)

    assert "alarm: disk nearly full: the disk of the store has 0.033" in proxy.log
    assert proxy.log.count("alarm: disk nearly full") == 1


def fill(ballast: Path) -> None:
    """Leave no room, also not what was freed since the last time."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def when_not_ready(proxy: ProxyOnSmallDisk) -> requests.Response:
    """Return the first answer that says no: a probe is small, and may still find some room."""
    answer = requests.get(f"{proxy.url}/readyz", timeout=15)
    while answer.ok:
        fill(proxy.ballast)
        answer = requests.get(f"{proxy.url}/readyz", timeout=15)
    return answer


# -- a lock that somebody holds ----------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@contextmanager
def held(*paths: Path) -> Iterator[None]:
    """Hold the write lock of each of *paths*, as a backup gone wrong might."""
    with ExitStack() as stack:
        for path in paths:
            # One at a time: a worker that is just writing has the lock for a moment.
            connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            stack.enter_context(closing(connection))
            connection.execute("BEGIN EXCLUSIVE")
        yield


HOLDS = [timedelta(0), pytest.param(timedelta(seconds=30), marks=pytest.mark.slow)]


@pytest.mark.parametrize("hold", HOLDS, ids=str)
def test_while_the_inboxes_are_locked_posts_are_refused_in_time_and_none_is_lost(
    klaviyo: Klaviyo, store: Path, hold: timedelta
) -> None:
    with (
        Proxy(environment(store, klaviyo.url, CARTS="signed"), *TWO) as proxy,
        Pages(proxy.url) as pages,
    ):
        pages.wait_for(202, 20)

        with held(*(store / "shop").glob("inbox-*.db")):
            pages.wait_for(503, 8, at_least=hold)
        pages.wait_for(202, 20)
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged)
    logger.info("%s of %s posts refused, the slowest after %s", *pages.figures)
    # Two seconds for those who write before, and two for the file.
    assert pages.slowest < timedelta(seconds=6)
    assert pages.refused - set(carts(klaviyo))


@pytest.mark.slow
@pytest.mark.parametrize("hold", HOLDS, ids=str)
def test_while_the_book_is_locked_posts_are_taken_and_sent_afterwards(
    klaviyo: Klaviyo, store: Path, hold: timedelta
) -> None:
    with (
        Proxy(environment(store, klaviyo.url, CARTS="signed"), *TWO) as proxy,
        Pages(proxy.url) as pages,
    ):
        until(lambda: klaviyo.events)

        with held(store / "shop" / "checkouts.db"):
            before = set(pages.acknowledged)
            pages.wait_for(202, 20, at_least=hold)
            while_locked = pages.acknowledged - before
            sent_while_locked = while_locked & set(carts(klaviyo))
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged, timeout=300)
    logger.info("%s of %s posts refused, the slowest after %s", *pages.figures)
    assert pages.refused == sent_while_locked == set()
