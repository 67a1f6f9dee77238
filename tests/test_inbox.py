"""The inbox: where a fact is on disk before anybody hears of it; in SQLite one file a process."""

import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy import facts
from proxy.errors import Unavailable
from proxy.facts import CartDeleted
from proxy.store import Inbox as StoreInbox
from proxy.store import Store
from proxy.store.inbox import Inbox
from proxy.store.inboxes import Inboxes
from proxy.store.received import Received
from tests.actors import until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def inbox(folder: Path) -> Iterator[Inbox]:
    with closing(Inbox.in_free_slot(folder)) as inbox:
        yield inbox


def fact(name: str, at: datetime = NOON) -> CartDeleted:
    return CartDeleted(id=name, shop="shop", cart_id="c-1", received_at=at)


def append(inbox: StoreInbox, *names: str) -> None:
    for name in names:
        inbox.append(fact(name))


def received(
    folder: Path, marks: dict[str, int] | None = None, limit: int = 1000
) -> list[Received]:
    with closing(Inboxes(folder)) as inboxes:
        return inboxes.after(marks or {}, limit)


def ids(received: list[Received]) -> list[str]:
    return [item.id for item in received]


def marked(received: list[Received]) -> dict[str, int]:
    """Return the marks of a sender that has taken in *received*."""
    return {item.inbox: item.seq for item in received}


# -- keeping, on both engines ------------------------------------------------------------


@pytest.fixture
def one(store: Store) -> Iterator[StoreInbox]:
    with closing(store.inbox()) as inbox:
        yield inbox


def lying(store: Store, marks: dict[str, int] | None = None, limit: int = 1000) -> list[Received]:
    with closing(store.inboxes("shop")) as inboxes:
        return inboxes.after(marks or {}, limit)


def test_a_fact_lies_in_the_inbox_as_it_was_appended(store: Store, one: StoreInbox) -> None:
    one.append(fact("a"))

    [item] = lying(store)
    assert (item.id, item.shop, item.cart_id, item.kind) == ("a", "shop", "c-1", "cart-deleted")
    assert (item.received_at, item.delayed) == (NOON, False)
    assert facts.decode(item.kind, item.body) == fact("a")


def test_facts_of_many_threads_are_all_kept(store: Store, one: StoreInbox) -> None:
    names = [str(number) for number in range(500)]

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda name: one.append(fact(name)), names))

    assert sorted(ids(lying(store))) == sorted(names)


def test_the_facts_of_all_inboxes_come_in_the_order_they_were_received(
    store: Store, one: StoreInbox
) -> None:
    with closing(store.inbox()) as other:
        one.append(fact("first", NOON))
        one.append(fact("third", NOON + timedelta(seconds=2)))
        other.append(fact("second", NOON + timedelta(seconds=1)))

        assert ids(lying(store)) == ["first", "second", "third"]


def test_while_one_inbox_has_more_to_come_the_others_wait(store: Store, one: StoreInbox) -> None:
    with closing(store.inbox()) as other:
        append(one, "a", "b", "c")
        other.append(fact("later", NOON + timedelta(seconds=1)))

        assert ids(lying(store, limit=2)) == ["a", "b"]


def test_a_sender_reads_on_behind_its_mark(store: Store, one: StoreInbox) -> None:
    append(one, "a", "b")
    marks = marked(lying(store))
    append(one, "c")

    assert ids(lying(store, marks)) == ["c"]


def test_a_sender_reads_so_many_of_each_inbox_at_a_time(store: Store, one: StoreInbox) -> None:
    append(one, "a", "b", "c")

    assert ids(lying(store, limit=2)) == ["a", "b"]


def test_an_inbox_that_can_keep_says_so(one: StoreInbox) -> None:
    one.probe()


def test_what_comes_after_closing_is_not_taken(store: Store, one: StoreInbox) -> None:
    append(one, "a")
    one.close()

    with pytest.raises(Unavailable):
        append(one, "b")

    assert ids(lying(store)) == ["a"]


# -- a file a process --------------------------------------------------------------------


def test_only_the_one_who_serves_may_read_what_shoppers_typed(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_closing_waits_for_who_is_writing(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a")
    with ThreadPoolExecutor(2) as threads:
        with locked(folder / "inbox-0.db"):
            writing = threads.submit(append, inbox, "b")
            until(inbox._group._pen.locked)
            ending = threads.submit(inbox.close)
            until(inbox._closed.is_set)
        writing.result()
        ending.result()

    assert ids(received(folder)) == ["a", "b"]


# -- pruning -----------------------------------------------------------------------------


def test_pruning_leaves_what_the_sender_has_not_taken_in(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a", "b")
    marks = marked(received(folder))
    append(inbox, "c")

    inbox.prune(marks)

    assert ids(received(folder)) == ["c"]


def test_a_book_that_cannot_be_read_for_a_moment_does_not_end_the_pruning(
    folder: Path, inbox: Inbox
) -> None:
    append(inbox, "a")
    read = marked(received(folder))
    failures: list[Exception] = [sqlite3.DatabaseError("malformed"), OSError("gone")]

    def marks() -> dict[str, int]:
        if failures:
            raise failures.pop()
        return read

    inbox.prune_every(0.01, marks)

    until(lambda: not received(folder))


def test_pruning_without_a_sender_leaves_everything(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a")

    inbox.prune({})
    inbox.prune({"another inbox": 1000})

    assert ids(received(folder)) == ["a"]


def test_a_fact_after_pruning_does_not_hide_behind_the_mark(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a", "b")
    marks = marked(received(folder))
    inbox.prune(marks)

    append(inbox, "c")

    assert ids(received(folder, marks)) == ["c"]


def test_a_fact_after_pruning_and_a_restart_does_not_hide_either(folder: Path) -> None:
    with closing(Inbox.in_free_slot(folder)) as inbox:
        append(inbox, "a", "b")
        marks = marked(received(folder))
        inbox.prune(marks)

    with closing(Inbox.in_free_slot(folder)) as inbox:
        append(inbox, "c")

    assert ids(received(folder, marks)) == ["c"]


def test_the_sender_prunes_the_inboxes_of_workers_that_are_gone(folder: Path) -> None:
    with closing(Inbox.in_free_slot(folder)) as inbox:
        append(inbox, "a")
    marks = marked(received(folder))

    with closing(Inboxes(folder)) as inboxes:
        inboxes.prune_orphans(marks)

    assert received(folder) == []


def test_the_sender_does_not_touch_the_inbox_of_a_worker_that_lives(
    folder: Path, inbox: Inbox
) -> None:
    append(inbox, "a")

    with closing(Inboxes(folder)) as inboxes:
        inboxes.prune_orphans(marked(received(folder)))

    assert ids(received(folder)) == ["a"]


# -- files that come and go --------------------------------------------------------------


def test_a_file_deleted_and_made_anew_is_read_from_the_start(folder: Path) -> None:
    with closing(Inbox.in_free_slot(folder)) as inbox:
        append(inbox, "a", "b")
    with closing(Inboxes(folder)) as inboxes:
        marks = marked(inboxes.after({}, 1000))
        _delete(folder)

        with closing(Inbox.in_free_slot(folder)) as inbox:
            append(inbox, "c")

        assert ids(inboxes.after(marks, 1000)) == ["c"]


def test_a_fact_is_not_lost_in_a_file_that_was_deleted_under_a_worker(
    folder: Path, inbox: Inbox
) -> None:
    append(inbox, "a")
    _delete(folder)

    try:
        append(inbox, "b")
    except Unavailable:
        append(inbox, "b")

    assert ids(received(folder)) == ["b"]


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a")
    (folder / "inbox-7.db").write_bytes(b"no database" * 1000)

    assert ids(received(folder)) == ["a"]


def test_a_lock_held_by_somebody_else_is_unavailable_and_passes(folder: Path, inbox: Inbox) -> None:
    append(inbox, "a")

    with locked(folder / "inbox-0.db"), pytest.raises(Unavailable) as refusal:
        append(inbox, "b")
    append(inbox, "c")

    assert refusal.value.retry_after == timedelta(seconds=5)
    assert ids(received(folder)) == ["a", "c"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


# -- slots -------------------------------------------------------------------------------


def test_each_inbox_of_a_folder_has_a_slot_of_its_own(folder: Path) -> None:
    with ExitStack() as stack:
        inboxes = [stack.enter_context(closing(Inbox.in_free_slot(folder))) for _ in range(3)]
        for inbox in inboxes:
            append(inbox, "a")

        assert _files(folder) == ["inbox-0.db", "inbox-1.db", "inbox-2.db"]


def test_a_slot_that_was_given_back_is_taken_again(folder: Path) -> None:
    for _ in range(3):
        with closing(Inbox.in_free_slot(folder)) as inbox:
            append(inbox, "a")

    assert _files(folder) == ["inbox-0.db"]


def test_two_processes_never_write_one_file(folder: Path, inbox: Inbox) -> None:
    append(inbox, "ours")

    with _worker(folder, "theirs"):
        assert _files(folder) == ["inbox-0.db", "inbox-1.db"]
        assert sorted(ids(received(folder))) == ["ours", "theirs"]


def test_the_file_of_a_worker_that_was_killed_is_found_again_with_its_facts(
    folder: Path,
) -> None:
    with _worker(folder, "before") as worker:
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    with closing(Inbox.in_free_slot(folder)) as inbox:
        append(inbox, "after")

    assert _files(folder) == ["inbox-0.db"]
    assert ids(received(folder)) == ["before", "after"]


_WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from proxy.facts import CartDeleted
from proxy.store.inbox import Inbox

inbox = Inbox.in_free_slot(Path(sys.argv[1]))
now = datetime(2026, 1, 1, tzinfo=UTC)
inbox.append(CartDeleted(id=sys.argv[2], shop="shop", cart_id="c-1", received_at=now))
print("kept", flush=True)
sys.stdin.read()
"""


@contextmanager
def _worker(folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that has appended the fact *name* and holds on to its inbox."""
    command = [sys.executable, "-c", _WORKER, str(folder), name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "kept\n"
        yield worker


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.db"))


def _delete(folder: Path) -> None:
    for path in folder.glob("*.db*"):
        path.unlink()
