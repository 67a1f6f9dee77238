"""A power cut: what was acknowledged is there afterwards, and the book is one whole."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from proxy.checkouts import Status
from proxy.errors import Unavailable
from proxy.facts import Fact
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from proxy.store.inbox import Inbox
from tests.actors import KLAVIYO_KEY, marks, until
from tests.crash import power_cut, vfs
from tests.crash.power_cut import Image
from tests.crash.sender import sending, state
from tests.crash.vfs import Event, FolderSynced, Noted, Opened, Synced, Truncated, Written

logger = logging.getLogger(__name__)

Marks = Callable[[Store], dict[str, int]]


# -- a real run --------------------------------------------------------------------------


def journal_of_a_run(
    folder: Path, *, count: int, make: type[Inbox] = Inbox, marks: Marks = marks
) -> list[Event]:
    """Return what went to the disk while two web workers took *count* facts and a sender sent.

    The workers end in the middle and others find their files again.
    """
    store = Store.of("shop", f"sqlite:///{folder}")
    with vfs.watched(store.folder) as disk, Klaviyo(key=KLAVIYO_KEY).serve() as klaviyo:
        with sending(folder, klaviyo.url):
            until(lambda: store.exists)
            for _ in range(2):
                take(store, disk, count // 2, make, marks)
                note_deliveries(store, disk)
            until(lambda: len(delivered(store.folder / "checkouts.db")) > count // 20)
            note_deliveries(store, disk)
        return disk.journal


def take(store: Store, disk: vfs.Disk, count: int, make: type[Inbox], marks: Marks) -> None:
    """Let two workers of eight threads take *count* facts, and prune all the while."""
    workers = [make.in_free_slot(store.folder) for _ in range(2)]
    for worker in workers:
        worker.prune_every(0.02, lambda: marks(store))

    def append(number: int) -> None:
        fact = state()
        workers[number % 2].append(fact)
        disk.note("acknowledged", fact.id)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(append, range(count)))
    for worker in workers:
        worker.close()


def note_deliveries(store: Store, disk: vfs.Disk) -> None:
    for cart_id in delivered(store.folder / "checkouts.db"):
        disk.note("delivered", cart_id)


def delivered(book: Path) -> set[str]:
    return column(book, f"SELECT cart_id FROM checkouts WHERE status = '{Status.DELIVERED}'")


def column(path: Path, query: str) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute(query)}


# -- what a folder must be after a cut ---------------------------------------------------


@dataclass
class Findings:
    """What was found in the images of a run."""

    images: int = 0
    acknowledged: int = 0
    delivered: int = 0
    lost: int = 0
    most_lost_at_once: int = 0
    broken: int = 0

    def add(self, image: Image, folder: Path) -> None:
        """Open *image* in *folder* with the real store, and compare it with what was told."""
        image.write(folder)
        self.images += 1
        self.acknowledged += len(image.told.get("acknowledged", ()))
        self.delivered += len(image.told.get("delivered", ()))
        try:
            lost = len(missing(image, Store(f"sqlite:///{folder}")))
            self.broken += not is_sound(folder)
        except sqlite3.DatabaseError:
            self.broken += 1
        else:
            self.lost += lost
            self.most_lost_at_once = max(self.most_lost_at_once, lost)

    @property
    def all_is_well(self) -> bool:
        return self.lost == self.broken == 0


def missing(image: Image, store: Store) -> frozenset[str]:
    """Return what was told and is not so: facts that are nowhere, and deliveries forgotten."""
    with closing(store.inboxes("shop")) as inboxes:
        waiting = {item.id for item in inboxes.after(marks(store), 1_000_000)}
    book = store.folder / "checkouts.db"
    taken_in = column(book, "SELECT id FROM facts") if store.exists else set()
    sent = delivered(book) if store.exists else set()
    return (image.told.get("acknowledged", frozenset()) - waiting - taken_in) | (
        image.told.get("delivered", frozenset()) - sent
    )


def is_sound(folder: Path) -> bool:
    """Tell whether SQLite finds every file whole."""
    checks = [column(path, "PRAGMA integrity_check") for path in folder.glob("*.db")]
    return all(check == {"ok"} for check in checks)


def findings(journal: Sequence[Event], positions: Iterable[int], seed: int = 0) -> Findings:
    found = Findings()
    # In memory: no image needs to outlive a power cut of ours.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with TemporaryDirectory(dir=memory) as folder:
        for image in power_cut.images(journal, positions, Random(seed)):
            found.add(image, Path(folder) / "store")
    return found


def some(journal: Sequence[Event], count: int, seed: int = 0) -> list[int]:
    return Random(seed).choices(range(len(journal) + 1), k=count)


def after_promises(journal: Sequence[Event]) -> list[int]:
    """Return the moments when somebody was just told that his fact is kept."""
    is_promise = [isinstance(event, Noted) and event.what == "acknowledged" for event in journal]
    return [place + 1 for place, promised in enumerate(is_promise) if promised]


# -- the promise -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Event]:
    return journal_of_a_run(tmp_path_factory.mktemp("run") / "store", count=500)


def test_a_run_has_everything_that_a_cut_can_interrupt(journal: Sequence[Event]) -> None:
    kinds = {type(event) for event in journal}
    checkpointed = {event.path for event in journal if isinstance(event, Written)}

    assert kinds >= {Opened, Written, Truncated, Synced, FolderSynced, Noted, vfs.Deleted}
    assert checkpointed >= {"inbox-0.db", "inbox-1.db", "checkouts.db"}
    assert sum(isinstance(event, Noted) and event.what == "delivered" for event in journal)


def test_a_power_cut_loses_nothing_that_was_acknowledged(journal: Sequence[Event]) -> None:
    at_syncs = Random(1).choices(power_cut.syncs(journal), k=50)

    found = findings(journal, [*at_syncs, *some(journal, 50)])

    assert found.images == 100
    assert found.acknowledged > 0
    assert found.all_is_well, found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_at_every_sync_and_at_a_thousand_points_loses_nothing(
    tmp_path: Path, seed: int
) -> None:
    journal = journal_of_a_run(tmp_path / "store", count=1_000)

    found = findings(journal, [*power_cut.syncs(journal), *some(journal, 1_000, seed)], seed)

    logger.info("%s", found)
    assert found.all_is_well


# -- the same judge must see what is wrong -----------------------------------------------


class NotSynced(Inbox):
    """An inbox that leaves it to the system when to write."""

    def _connected(self) -> sqlite3.Connection:
        connection = super()._connected()
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


class Hasty(Inbox):
    """An inbox that answers first and writes then."""

    def append(self, fact: Fact) -> None:
        threading.Thread(target=self._append, args=(fact,)).start()

    def _append(self, fact: Fact) -> None:
        with suppress(Unavailable):
            super().append(fact)


def what_was_read(store: Store) -> dict[str, int]:
    """Return how far the inboxes could be read, whether the book has it or not."""
    with closing(store.inboxes("shop")) as inboxes:
        return {item.inbox: item.seq for item in inboxes.after({}, 1_000)}


@pytest.mark.parametrize("make", [NotSynced, Hasty])
def test_a_power_cut_finds_out_an_inbox_that_promises_too_early(
    tmp_path: Path, make: type[Inbox]
) -> None:
    journal = journal_of_a_run(tmp_path / "store", count=200, make=make)

    found = findings(journal, Random(0).choices(after_promises(journal), k=25))

    logger.info("%s", found)
    assert found.lost > 0


def test_a_power_cut_finds_out_a_pruning_that_does_not_wait_for_the_book(tmp_path: Path) -> None:
    journal = journal_of_a_run(tmp_path / "store", count=200, marks=what_was_read)

    found = findings(journal, some(journal, 25))

    logger.info("%s", found)
    assert found.lost > 0


@pytest.mark.parametrize(
    "file", ["inbox-0.db-wal", pytest.param("checkouts.db-wal", marks=pytest.mark.slow)]
)
def test_a_power_cut_finds_out_a_disk_that_lies(journal: Sequence[Event], file: str) -> None:
    lying = power_cut.with_lying_disk(journal, file)

    found = findings(lying, some(journal, 25))

    assert found.lost + found.broken > 0
