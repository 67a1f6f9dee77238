"""A store that cannot be written for a while: refused in time, and all goes on afterwards."""

import logging
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import environment, judged_klaviyo, until
from tests.crash.pages import Pages, carts, check_each_arrives_once, check_refusal
from tests.running import Proxy

logger = logging.getLogger(__name__)


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


# -- a full disk -------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 4 MB, as root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"only root can mount a small disk: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_said_and_survived_and_all_that_was_acknowledged_arrives(
    small_disk: Path, klaviyo: Klaviyo
) -> None:
    ballast = small_disk / "ballast"
    env = environment(small_disk / "store", klaviyo.url, CARTS="signed")
    with Proxy(env) as proxy, Pages(proxy.url) as pages:
        until(lambda: klaviyo.events)

        pages.wait_for(503, 20, meanwhile=lambda: fill(ballast))
        not_ready = when_not_ready(proxy.url)
        ballast.unlink()
        pages.wait_for(202, 20)
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged)
        assert requests.get(f"{proxy.url}/readyz", timeout=15).ok
    check_refusal(not_ready)
    assert "the sender died" not in proxy.log
    # Had these been acknowledged, they would be missed now.
    assert pages.refused - set(carts(klaviyo))


def fill(ballast: Path) -> None:
    """Leave no room, also not what was freed since the last time."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def when_not_ready(url: str) -> requests.Response:
    """Return the first answer that says no: a probe is small, and may still find some room."""
    answers = iter(lambda: requests.get(f"{url}/readyz", timeout=15), None)
    return next(answer for answer in answers if not answer.ok)


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
        Proxy(environment(store, klaviyo.url, CARTS="signed")) as proxy,
        Pages(proxy.url) as pages,
    ):
        pages.wait_for(202, 20)

        with held(*store.glob("inbox-*.db")):
            pages.wait_for(503, 8, at_least=hold)
        pages.wait_for(202, 20)
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged)
    logger.info("%s of %s posts refused, the slowest after %s", *pages.figures)
    # Two seconds for those who write before, and two for the file.
    assert pages.slowest < timedelta(seconds=6)
    assert pages.refused - set(carts(klaviyo))


@pytest.mark.parametrize("hold", HOLDS, ids=str)
def test_while_the_book_is_locked_posts_are_taken_and_sent_afterwards(
    klaviyo: Klaviyo, store: Path, hold: timedelta
) -> None:
    with (
        Proxy(environment(store, klaviyo.url, CARTS="signed")) as proxy,
        Pages(proxy.url) as pages,
    ):
        until(lambda: klaviyo.events)

        with held(store / "checkouts.db"):
            before = set(pages.acknowledged)
            pages.wait_for(202, 20, at_least=hold)
            while_locked = pages.acknowledged - before
            sent_while_locked = while_locked & set(carts(klaviyo))
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged, timeout=300)
    logger.info("%s of %s posts refused, the slowest after %s", *pages.figures)
    assert pages.refused == sent_while_locked == set()
