"""Machines lost: the database's, with all its files, and a sender's, cut off from all others."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from proxy.checkouts import Status
from proxy.errors import StoreAway
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from tests import hosts, postgres
from tests.actors import KLAVIYO_KEY, environment, judged_klaviyo, until
from tests.crowd import Crowd, assert_each_counts_once
from tests.hosts import Host
from tests.postgres import UNSYNCED, Postgres
from tests.running import Program, Proxy, free_port, ours

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_HANDED_OVER = 15.0


# -- the database's machine --------------------------------------------------------------


class Pair:
    """A primary with a database of ours, and a standby that follows it."""

    def __init__(self, primary: Postgres, standby: Postgres) -> None:
        self.primary, self.standby = primary, standby
        self._database = postgres.migrated(primary).rpartition("/")[2]

    @property
    def url(self) -> str:
        """The database, on whichever of the two may be written."""
        places = ",".join(f"{one.address}:{one.port}" for one in (self.primary, self.standby))
        return f"postgresql://postgres@{places}/{self._database}?target_session_attrs=read-write"

    def be_synchronous(self) -> None:
        """Let no commit be acknowledged before it is on both."""
        self.primary.do("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.do("SELECT pg_reload_conf()")
        until(lambda: self._replication() == [("sync",)])

    def stop_following(self) -> None:
        """Let the standby fall behind from now on."""
        self.standby.do("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.do("SELECT pg_reload_conf()")
        until(lambda: self._replication() == [])

    def lose_primary(self) -> None:
        """Kill the primary, remove its files, and let the standby take its place."""
        self.primary.kill()
        shutil.rmtree(self.primary.folder / "data")
        self.standby.do("SELECT pg_promote()")

    def _replication(self) -> list[tuple[object, ...]]:
        return self.primary.do("SELECT sync_state FROM pg_stat_replication")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with postgres.served() as primary, postgres.folder() as folder, ExitStack() as stack:
        database = Pair(primary, Postgres(folder, UNSYNCED))
        source = ["-h", primary.address, "-p", f"{primary.port}", "-U", "postgres"]
        options = ["-D", f"{folder}/data", "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]
        postgres.run("pg_basebackup", *source, *options)
        stack.enter_context(database.standby)
        until(lambda: database._replication() == [("async",)])
        yield database


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


def _settings(klaviyo_url: str, store: str, spool: Path, settle: int) -> dict[str, str]:
    more = {"STORE": store, "SPOOL": f"{spool}", "CARTS": "signed", "SETTLE": f"{settle}"}
    return environment(spool, klaviyo_url, **more)


def test_the_loss_of_the_primary_with_all_its_files_loses_nothing(
    klaviyo: Klaviyo, pair: Pair, tmp_path: Path
) -> None:
    pair.be_synchronous()
    # What settles is nowhere but in the database when its machine is lost.
    environ = _settings(klaviyo.url, pair.url, tmp_path / "spool", settle=3)
    with Proxy(environ) as proxy:
        with Crowd(proxy.url) as crowd:
            crowd.wait_for_more(200)
            pair.lose_primary()
            lost_at = time.monotonic()
            crowd.wait_for_more(200)
        assert_each_counts_once(crowd, klaviyo)
        seconds = time.monotonic() - lost_at
    assert not crowd.refused
    sys.stdout.write(
        f"{len(crowd.acknowledged)} acknowledged, each counted once, the last of them "
        f"{seconds:.1f} s after the loss; slowest answer {crowd.slowest:.1f} s\n"
    )


def test_the_loss_of_a_primary_without_a_synchronous_standby_is_caught(
    klaviyo: Klaviyo, pair: Pair, tmp_path: Path
) -> None:
    environ = _settings(klaviyo.url, pair.url, tmp_path / "spool", settle=3)
    with Proxy(environ) as proxy:
        with Crowd(proxy.url) as crowd:
            crowd.wait_for_more(20)
            pair.stop_following()
            crowd.wait_for_more(100)
            pair.lose_primary()
        until(lambda: _is_at_rest(pair))
        with pytest.raises(AssertionError):
            assert_each_counts_once(crowd, klaviyo, timeout=5)


def _is_at_rest(pair: Pair) -> bool:
    """Tell whether nothing is left to be sent."""
    try:
        with closing(Store(pair.url).book()) as book:
            return not book.counts("shop")[Status.PENDING]
    except StoreAway:
        return False


# -- the sender's machine ----------------------------------------------------------------


class Web(Program):
    """The web half on *host*, found by shoppers at ``url``."""

    def __init__(self, host: Host, env: dict[str, str]) -> None:
        address = f"{host.front}:{free_port()}"
        self.url = f"http://{address}"
        command = [sys.executable, "-m", "proxy", "serve", "--bind", address, "--web-only"]
        super().__init__(f"web {host.name}", *host.command(*command), env=ours(env))

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


class Worker(Program):
    """The sender on *host*."""

    def __init__(self, host: Host, env: dict[str, str]) -> None:
        command = host.command(sys.executable, "-m", "proxy", "work")
        super().__init__(f"worker {host.name}", *command, env=ours(env))

    def is_up(self) -> bool:
        return self.is_at_work or "waiting until that is over" in self.log

    @property
    def is_at_work(self) -> bool:
        """Whether it has held the account, as far as its log tells."""
        return "the sender is at work" in self.log


class Machines:
    """Two hosts with a web half and a sender each; the first one's sender holds the account."""

    def __init__(self, stack: ExitStack, tmp_path: Path, options: str) -> None:
        back, self.hosts = stack.enter_context(hosts.network(2))
        server = stack.enter_context(_database(back))
        self.klaviyo = stack.enter_context(Klaviyo(key=KLAVIYO_KEY).serve(host=back))
        url = f"{postgres.migrated(server)}?options={quote(options)}"
        self.spools = [tmp_path / host.name for host in self.hosts]
        environs = [_settings(self.klaviyo.url, url, spool, settle=1) for spool in self.spools]
        each = list(zip(self.hosts, environs, strict=True))
        self.webs = [stack.enter_context(Web(host, environ)) for host, environ in each]
        self.workers = [Worker(host, environ) for host, environ in each]
        stack.enter_context(self.workers[0])
        until(lambda: self.workers[0].is_at_work)
        stack.enter_context(self.workers[1])
        assert not self.workers[1].is_at_work

    def wait_for_handover(self) -> float:
        """Return how many seconds pass until the second sender is at work."""
        begun = time.monotonic()
        until(lambda: self.workers[1].is_at_work, timeout=_HANDED_OVER)
        return time.monotonic() - begun


@contextmanager
def _database(address: str) -> Iterator[Postgres]:
    with postgres.folder() as folder:
        postgres.initialise(folder)
        with (folder / "data" / "pg_hba.conf").open("a") as known:
            known.write("host all all samenet trust\n")
        with Postgres(folder, UNSYNCED, address) as server:
            yield server


def _machines(tmp_path: Path, options: str) -> Iterator[Machines]:
    if reason := hosts.missing():
        pytest.skip(reason)
    with ExitStack() as stack:
        yield Machines(stack, tmp_path, options)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    yield from _machines(tmp_path, "")


@pytest.fixture
def patient_machines(tmp_path: Path) -> Iterator[Machines]:
    """Machines of a database that notices a lost line when an operating system would."""
    yield from _machines(tmp_path, "-c tcp_user_timeout=0 -c tcp_keepalives_idle=7200")


def test_the_account_of_a_host_that_is_cut_off_passes_to_another(machines: Machines) -> None:
    (cut, _), (cut_web, other_web) = machines.hosts, machines.webs
    with Crowd(cut_web.url, count=2) as there, Crowd(other_web.url, count=2) as elsewhere:
        there.wait_for_more(30)
        cut.cut_off()
        seconds = machines.wait_for_handover()
        for crowd in (there, elsewhere):
            crowd.wait_for_more(30)
        waiting = len(there.acknowledged - _counted(machines.klaviyo))
        until(lambda: "nothing is sent before" in machines.workers[0].log)
        cut.connect()

    for crowd in (there, elsewhere):
        assert_each_counts_once(crowd, machines.klaviyo)
        assert not crowd.refused
    assert waiting
    count = len(there.acknowledged | elsewhere.acknowledged)
    sys.stdout.write(
        f"handed over after {seconds:.1f} s; {waiting} facts waited on the host that was cut off; "
        f"{count} acknowledged, each counted once; slowest answer {there.slowest:.1f} s\n"
    )


def test_an_account_that_does_not_pass_on_is_caught(patient_machines: Machines) -> None:
    patient_machines.hosts[0].cut_off()

    with pytest.raises(AssertionError):
        patient_machines.wait_for_handover()


def _counted(klaviyo: Klaviyo) -> set[str]:
    return {event.attributes["properties"]["cart_id"] for event in klaviyo.events}
