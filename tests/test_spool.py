"""The spool: while PostgreSQL is away a web worker keeps facts on its own disk, and ships them."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from proxy.errors import StoreAway, Unavailable
from proxy.store import Inbox, Store
from proxy.store.inbox import Inbox as LocalInbox
from proxy.store.received import Received
from tests import postgres
from tests.actors import until
from tests.postgres import Postgres
from tests.said import state

Open = Callable[[], Inbox]


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
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def store(server: Postgres, spool: Path) -> Store:
    return Store(postgres.emptied(server), spool)


@pytest.fixture
def open_inbox(store: Store) -> Iterator[Open]:
    """Return a function that opens the inbox of a web worker."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(store.web_inbox()))


def append(inbox: Inbox, *names: str) -> None:
    for name in names:
        inbox.append(state(0, id=name))


def lying(store: Store) -> list[Received]:
    """Return what the sender could read; nothing while the database is away."""
    try:
        with closing(store.inboxes("shop")) as inboxes:
            return inboxes.after({}, 1000)
    except StoreAway:
        return []


def ids(store: Store) -> list[str]:
    return sorted(item.id for item in lying(store))


def spooled(spool: Path) -> list[str]:
    """Return what lies on the web worker's own disk."""
    found = []
    for path in spool.glob("inbox-*.db"):
        with closing(sqlite3.connect(path)) as connection:
            found += [row[0] for row in connection.execute("SELECT id FROM inbox")]
    return sorted(found)


def test_while_the_database_is_there_nothing_is_spooled(
    store: Store, spool: Path, open_inbox: Open
) -> None:
    append(open_inbox(), "a", "b")

    assert ids(store) == ["a", "b"]
    assert spooled(spool) == []


def test_while_the_database_is_stopped_facts_are_kept_and_shipped_when_it_is_back(
    server: Postgres, store: Store, spool: Path, open_inbox: Open
) -> None:
    inbox = open_inbox()
    append(inbox, "a")
    server.stop()

    append(inbox, "b", "c")
    assert spooled(spool) == ["b", "c"]
    server.start()

    until(lambda: ids(store) == ["a", "b", "c"])
    assert {item.id: item.delayed for item in lying(store)} == {"a": False, "b": True, "c": True}
    until(lambda: spooled(spool) == [])


def test_after_the_database_came_back_facts_go_there_at_once(
    server: Postgres, store: Store, spool: Path, open_inbox: Open
) -> None:
    inbox = open_inbox()
    server.stop()
    append(inbox, "away")
    server.start()
    until(lambda: spooled(spool) == [])

    until(lambda: _lies_at_once(store, inbox))


def _lies_at_once(store: Store, inbox: Inbox) -> bool:
    append(inbox, name := f"back-{time.monotonic_ns()}")
    return name in {item.id for item in lying(store) if not item.delayed}


def test_a_database_that_hangs_holds_up_the_first_for_two_seconds_and_no_other(
    server: Postgres, store: Store, spool: Path, open_inbox: Open
) -> None:
    inbox = open_inbox()
    append(inbox, "a")
    server.suspend()

    begun = time.monotonic()
    append(inbox, "b")
    first = time.monotonic() - begun
    append(inbox, "c", "d", "e")
    others = time.monotonic() - begun - first

    assert 1.9 < first < 4
    assert others < 1
    assert spooled(spool) == ["b", "c", "d", "e"]
    server.resume()
    until(lambda: set(ids(store)) == {"a", "b", "c", "d", "e"})


def test_a_web_worker_starts_while_the_database_is_away(
    server: Postgres, store: Store, spool: Path, open_inbox: Open
) -> None:
    server.stop()

    inbox = open_inbox()
    inbox.probe()
    append(inbox, "a")

    assert spooled(spool) == ["a"]
    server.start()
    until(lambda: ids(store) == ["a"])


def test_a_database_without_tables_is_one_that_is_away(server: Postgres, spool: Path) -> None:
    store = Store(postgres.fresh(server), spool)
    with closing(store.web_inbox()) as inbox:
        append(inbox, "a")
        assert spooled(spool) == ["a"]

        store.migrate()

        until(lambda: ids(store) == ["a"])


def test_what_a_dead_web_worker_left_is_shipped_by_another(
    store: Store, spool: Path, open_inbox: Open
) -> None:
    with closing(LocalInbox.in_free_slot(spool)) as first:
        with closing(LocalInbox.in_free_slot(spool)) as second:
            second.append(state(0, id="left"))
        first.append(state(0, id="not left"))
        open_inbox()

        until(lambda: spooled(spool) == ["not left"])

        assert ids(store) == ["left"]


def test_a_backlog_of_many_batches_is_shipped(
    server: Postgres, store: Store, spool: Path, open_inbox: Open
) -> None:
    names = [f"{number:04}" for number in range(600)]
    with closing(LocalInbox.in_free_slot(spool)) as left:
        for name in names:
            left.append(state(0, id=name))

    open_inbox()

    until(lambda: ids(store) == names)
    until(lambda: spooled(spool) == [])


def test_where_neither_can_keep_it_the_fact_is_refused(
    server: Postgres, spool: Path, open_inbox: Open
) -> None:
    inbox = open_inbox()
    server.stop()
    append(inbox, "a")

    with locked(spool / "inbox-0.db"), pytest.raises(Unavailable):
        append(inbox, "b")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
