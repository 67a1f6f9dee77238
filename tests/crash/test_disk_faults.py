"""A disk that fails now and then: a post is kept and said to be, or refused, and nothing else."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from proxy.errors import Unavailable
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store.inbox import Inbox
from tests.actors import environment, judged_klaviyo, until
from tests.crash import power_cut, vfs
from tests.crash.pages import Pages, check_each_arrives_once
from tests.crash.vfs import Fault
from tests.running import TWO, Proxy
from tests.web import Answer, Web, served, token

FAULTS = [
    Fault(call="write", code=vfs.IOERR_WRITE, chance=0.2),
    Fault(call="write", code=vfs.FULL, chance=0.2),
    Fault(call="write", code=vfs.IOERR_WRITE, chance=0.2, short=True),
    Fault(call="write", code=vfs.FULL, chance=0.2, short=True),
    Fault(call="sync", code=vfs.IOERR_FSYNC, chance=0.4),
    Fault(call="open", code=vfs.CANTOPEN),
    Fault(call="write", code=vfs.IOERR_WRITE, spare=50),
    Fault(call="sync", code=vfs.IOERR_FSYNC, spare=10),
]


class FaultyDisk:
    """A disk under a served web half, whose faults can be switched."""

    def __init__(self, web: Web, disk: vfs.Disk) -> None:
        self.web = web
        self.disk = disk
        self.acknowledged: set[str] = set()
        self.refused = 0

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        self.disk.faults = lambda: faults
        yield
        self.disk.faults = tuple

    def post(self, count: int) -> None:
        """Post *count* states from eight pages, and note what became of them."""
        with ThreadPoolExecutor(8) as pages:
            list(pages.map(self._post, (uuid4().hex for _ in range(count))))

    def _post(self, name: str) -> None:
        answer = self.web.post_state(json.dumps({"id": name, "token": token(), "kx": "x" * 500}))
        if answer.status == 202:
            self.disk.note("acknowledged", name)
            self.acknowledged.add(name)
        else:
            assert is_a_refusal_to_be_tried_again(answer), answer
            self.refused += 1

    @property
    def kept(self) -> set[str]:
        return {fact.id for fact in self.web.facts()}

    @property
    def lost(self) -> set[str]:
        return self.acknowledged - self.kept


def is_a_refusal_to_be_tried_again(answer: Answer) -> bool:
    return (
        answer.status == 503
        and answer.headers["Retry-After"] == "5"
        and answer.headers["Content-Type"] == "application/problem+json"
    )


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyDisk]:
    with vfs.watched(tmp_path / "store" / "shop") as disk, served(tmp_path / "store") as web:
        yield FaultyDisk(web, disk)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_post_is_kept_or_refused_while_the_disk_fails_and_it_passes(
    faulty: FaultyDisk, fault: Fault
) -> None:
    with faulty.failing(fault):
        faulty.post(150)
        ready = faulty.web.ask("GET", "/readyz").status
    refused_meanwhile = faulty.refused
    faulty.post(50)

    assert faulty.disk.failed > 0
    assert faulty.lost == set()
    assert faulty.refused == refused_meanwhile > 0
    assert ready == 503 or fault.chance < 1
    assert is_sound(faulty.web.store.folder / "inbox-0.db")


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("fault", FAULTS[:5], ids=repr)
def test_a_power_cut_after_the_disk_failed_loses_nothing_either(
    faulty: FaultyDisk, tmp_path: Path, fault: Fault
) -> None:
    with faulty.failing(fault):
        faulty.post(100)
    journal = list(faulty.disk.journal)

    lost = lost_in_cuts(journal, tmp_path / "image")

    assert lost == set()


def lost_in_cuts(journal: Sequence[vfs.Event], folder: Path) -> set[str]:
    """Return what was acknowledged and is gone after one of forty cuts."""
    positions = Random(0).choices(range(len(journal) + 1), k=40)
    lost: set[str] = set()
    for image in power_cut.images(journal, positions, Random(0)):
        image.write(folder)
        lost |= image.told.get("acknowledged", frozenset()) - ids(folder / "inbox-0.db")
    return lost


def ids(path: Path) -> set[str]:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM inbox")}
    return set()


class Deaf(Inbox):
    """An inbox that does not hear of the errors."""

    def _write(self, entries: Sequence[Any]) -> None:
        with suppress(Unavailable):
            super()._write(entries)


def test_an_inbox_that_is_deaf_to_errors_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.store.sqlite.Inbox", Deaf)

    with vfs.watched(tmp_path / "store" / "shop") as disk, served(tmp_path / "store") as web:
        faulty = FaultyDisk(web, disk)
        with faulty.failing(FAULTS[0]):
            faulty.post(150)

    assert faulty.lost


# -- the whole of it, as the operator runs it --------------------------------------------


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


def test_a_served_proxy_loses_nothing_while_its_disk_fails_under_both_halves(
    klaviyo: Klaviyo, tmp_path: Path
) -> None:
    switch = vfs.Switch(tmp_path / "store" / "shop", tmp_path / "faults")
    env = environment(tmp_path / "store", klaviyo.url, CARTS="signed") | switch.environment
    with Proxy(env, *TWO) as proxy, Pages(proxy.url) as pages:
        until(lambda: klaviyo.events)
        rarely = [replace(fault, files="inbox", chance=0.04) for fault in FAULTS[:5]]
        switch.on(*rarely, *(replace(fault, files="checkouts") for fault in FAULTS[:5]))
        pages.wait_for(202, 20)
        pages.wait_for(503, 20)
        until(lambda: "a round of the sender failed" in proxy.log)
        switch.off()
        pages.wait_for(202, 20)
        pages.stop()

        check_each_arrives_once(klaviyo, pages.acknowledged)
