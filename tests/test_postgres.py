"""PostgreSQL: many web halves and senders on one database, which goes and comes back."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from proxy.checkouts import Checkout, Status
from proxy.sandbox.faults import Answer
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from tests import postgres
from tests.actors import Page, Shop, environment, judged_klaviyo, until
from tests.commands import run
from tests.crash.test_kill import is_alive
from tests.crowd import Crowd, assert_each_counts_once, token
from tests.postgres import Postgres
from tests.running import Program, Proxy, ours


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture(scope="module")
def one_server() -> Iterator[Postgres]:
    with postgres.served() as server:
        yield server


@pytest.fixture
def server(one_server: Postgres) -> Iterator[Postgres]:
    """Return a server that a test may stop and suspend."""
    yield one_server
    one_server.resume()
    if not one_server.is_up():
        one_server.start()


@pytest.fixture
def environ(server: Postgres, klaviyo: Klaviyo, tmp_path: Path) -> dict[str, str]:
    """Return the settings of every process on one database."""
    settings = {
        "STORE": postgres.migrated(server),
        "SPOOL": f"{tmp_path}/spool",
        "CARTS": "signed",
    }
    return environment(tmp_path, klaviyo.url, **settings)


class Worker(Program):
    """``python -m proxy work``; *name* is its own, so that its log is found."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        super().__init__(name, sys.executable, "-m", "proxy", "work", env=ours(env))

    def is_up(self) -> bool:
        return self.is_at_work or "waiting until that is over" in self.log

    @property
    def is_at_work(self) -> bool:
        """Whether it holds the account, as far as its log tells."""
        return "the sender is at work" in self.log


@pytest.fixture
def started() -> Iterator[Callable[[Any], Any]]:
    """Return a function that starts a program and stops it after the test."""
    with ExitStack() as stack:
        yield stack.enter_context


# -- many processes ----------------------------------------------------------------------


def test_a_sender_that_is_killed_hands_its_account_to_another_within_15_seconds(
    klaviyo: Klaviyo, environ: dict[str, str], started: Callable[[Any], Any]
) -> None:
    webs = [started(Proxy(environ, "--web-only", "--workers", "1")) for _ in range(2)]
    one = started(Worker("one", environ))
    other = started(Worker("other", environ))
    assert (one.is_at_work, other.is_at_work) == (True, False)

    with Crowd(*(web.url for web in webs)) as crowd:
        crowd.wait_for_more(40)
        klaviyo.wait_for_events(10, timeout=30)
        one.kill()
        until(lambda: other.is_at_work, timeout=15)
        crowd.wait_for_more(20)

    assert_each_counts_once(crowd, klaviyo)
    assert not crowd.refused


def test_a_sender_whose_connection_is_cut_waits_for_its_account_and_goes_on(
    klaviyo: Klaviyo,
    server: Postgres,
    environ: dict[str, str],
    started: Callable[[Any], Any],
) -> None:
    proxy = started(Proxy(environ, "--workers", "1"))
    with Crowd(proxy.url) as crowd:
        until(lambda: "the sender is at work" in proxy.log)
        name = environ["CHECKOUT_PROXY_STORE"].rpartition("/")[2]
        server.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='{name}'")
        until(lambda: "nothing is sent before" in proxy.log)
        crowd.wait_for_more(10)

    assert_each_counts_once(crowd, klaviyo)
    assert not crowd.refused


# -- a database that goes ----------------------------------------------------------------


def stopped(server: Postgres, crowd: Crowd) -> None:
    server.stop(signal.SIGINT)
    crowd.wait_for_more(20)
    server.start()


def killed(server: Postgres, crowd: Crowd) -> None:
    server.kill()
    crowd.wait_for_more(20)
    server.start()


def hung(server: Postgres, crowd: Crowd) -> None:
    server.suspend()
    crowd.wait_for_more(20)
    server.resume()


def restarted(server: Postgres, crowd: Crowd) -> None:
    server.stop(signal.SIGINT)
    server.start()


@pytest.mark.parametrize(
    "fault",
    [
        hung,  # The hardest to notice of the four.
        pytest.param(killed, marks=pytest.mark.slow),
        pytest.param(stopped, marks=pytest.mark.slow),
        pytest.param(restarted, marks=pytest.mark.slow),
    ],
)
def test_a_database_that_goes_and_comes_back_costs_nothing_that_was_acknowledged(
    klaviyo: Klaviyo,
    server: Postgres,
    environ: dict[str, str],
    started: Callable[[Any], Any],
    fault: Callable[[Postgres, Crowd], None],
) -> None:
    proxy = started(Proxy(environ, "--workers", "1"))
    with Crowd(proxy.url) as crowd:
        crowd.wait_for_more(20)

        fault(server, crowd)

        crowd.wait_for_more(20)
    assert_each_counts_once(crowd, klaviyo)
    assert not crowd.refused
    assert crowd.slowest < 8


def test_without_a_spool_the_same_is_caught_as_a_loss(
    klaviyo: Klaviyo, server: Postgres, environ: dict[str, str], tmp_path: Path
) -> None:
    with Proxy(environ, "--workers", "1") as proxy, Crowd(proxy.url) as crowd:
        crowd.wait_for_more(20)
        server.stop()
        crowd.wait_for_more(20)
    for path in (tmp_path / "spool").iterdir():
        path.unlink()
    server.start()

    with Proxy(environ, "--workers", "1"), pytest.raises(AssertionError):
        assert_each_counts_once(crowd, klaviyo, timeout=3)


@pytest.mark.slow
def test_the_web_half_starts_while_the_database_is_away(
    klaviyo: Klaviyo, server: Postgres, environ: dict[str, str], started: Callable[[Any], Any]
) -> None:
    server.stop()
    proxy = started(Proxy(environ, "--workers", "1"))
    with Crowd(proxy.url) as crowd:
        crowd.wait_for_more(10)

        server.start()

    assert_each_counts_once(crowd, klaviyo)
    assert not crowd.refused


@pytest.mark.slow
def test_an_order_that_is_told_while_the_database_is_away_cancels_what_came_before(
    klaviyo: Klaviyo, server: Postgres, environ: dict[str, str], started: Callable[[Any], Any]
) -> None:
    proxy = started(Proxy(environ | {"CHECKOUT_PROXY_SETTLE": "2"}, "--workers", "1"))
    Page(proxy.url, token("c-1")).say(email="jane@shop-demo.io")
    until(lambda: _statuses(environ) == [Status.PENDING])
    (checkout,) = _checkouts(environ)
    server.stop()
    Shop(proxy.url).order("c-1")
    until(lambda: checkout.due_at is not None and checkout.due_at < datetime.now(UTC))

    server.start()

    until(lambda: _statuses(environ) == [Status.CANCELLED])
    assert not klaviyo.requests


def test_a_sender_ends_within_ten_seconds_while_the_database_hangs(
    server: Postgres, environ: dict[str, str], started: Callable[[Any], Any]
) -> None:
    worker = started(Worker("worker", environ))
    server.suspend()
    process = psutil.Process(worker.pid)

    process.terminate()

    until(lambda: not is_alive(process), timeout=10)


# -- the command line --------------------------------------------------------------------


def test_the_commands_look_into_the_database_and_mend(
    klaviyo: Klaviyo, environ: dict[str, str], started: Callable[[Any], Any]
) -> None:
    with_password = environ["CHECKOUT_PROXY_STORE"].replace("postgres@", "postgres:s3cret@")
    environ |= {"CHECKOUT_PROXY_STORE": with_password, "CHECKOUT_PROXY_CARTS": "push"}
    klaviyo.misbehave(Answer(400))
    proxy = started(Proxy(environ, "--workers", "1"))
    Shop(proxy.url).push("c-1")
    Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
    until(lambda: Status.DEAD in _statuses(environ))

    said = [
        run(*command, **environ)
        for command in (["migrate"], ["status"], ["trace", "c-1"], ["replay", "--all"])
    ]

    until(lambda: _statuses(environ) == [Status.DELIVERED])
    told = "".join(done.stdout + done.stderr for done in said)
    assert [done.returncode for done in said] == [0, 0, 0, 0], told
    assert "is up to date" in said[0].stdout
    assert re.search(r"dead +1$", said[1].stdout, re.M)
    assert "Klaviyo answered 400" in said[2].stdout
    assert said[3].stdout == "1 dead letter will be sent again.\n"
    assert "s3cret" not in told + proxy.log


@pytest.mark.parametrize("command", ["status", "migrate"])
def test_a_database_that_is_away_is_said(
    server: Postgres, environ: dict[str, str], command: str
) -> None:
    nowhere = "postgresql://jane:s3cret@127.0.0.1:9/nowhere"

    said = run(*command.split(), **environ | {"CHECKOUT_PROXY_STORE": nowhere})

    assert said.returncode == 1
    assert "postgresql://127.0.0.1/nowhere cannot be reached" in said.stderr
    assert "Traceback" not in said.stderr
    assert "s3cret" not in said.stderr


def _statuses(environ: dict[str, str]) -> list[Status]:
    return [checkout.status for checkout in _checkouts(environ)]


def _checkouts(environ: dict[str, str]) -> list[Checkout]:
    with closing(Store(environ["CHECKOUT_PROXY_STORE"]).book()) as book:
        return book.checkouts("shop", "c-1")
