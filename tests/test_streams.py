"""Streams: what PostgreSQL's inbox promises beyond what both engines do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from threading import Event

import psycopg
import pytest

from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.errors import Unavailable
from proxy.facts import Fact
from proxy.store import Inbox, Inboxes, Store
from proxy.store.book import Book
from proxy.store.received import Received
from tests.actors import until
from tests.postgres import Postgres
from tests.said import state

RULES = Rules(settle=timedelta(0), epoch=timedelta(days=1), modes=Modes(ConsentMode.OFF))


@pytest.fixture
def inbox(database: Store) -> Iterator[Inbox]:
    with closing(database.inbox()) as inbox:
        yield inbox


@pytest.fixture
def inboxes(database: Store) -> Iterator[Inboxes]:
    with closing(database.inboxes("shop")) as inboxes:
        yield inboxes


@pytest.fixture
def book(database: Store) -> Iterator[Book]:
    with database.account("shop", Event()) as book:
        assert book is not None
        yield book


def append(inbox: Inbox, *names: str, shop: str = "shop") -> None:
    for name in names:
        inbox.append(state(0, id=name, shop=shop))


def ids(received: list[Received]) -> list[str]:
    return [item.id for item in received]


def take_in(inboxes: Inboxes, book: Book) -> None:
    while received := inboxes.after(book.marks(), 100):
        book.take_in(received, RULES)


# -- numbers -----------------------------------------------------------------------------


def test_the_facts_of_another_shop_are_not_read(database: Store, inbox: Inbox) -> None:
    append(inbox, "ours")
    append(inbox, "theirs", shop="shop-2")

    with closing(database.inboxes("shop")) as inboxes:
        assert ids(inboxes.after({}, 10)) == ["ours"]


def test_a_connection_that_was_lost_ends_its_stream(
    server: Postgres, inbox: Inbox, inboxes: Inboxes
) -> None:
    append(inbox, "before")
    (before,) = inboxes.after({}, 10)
    _end_connections(server, but=inboxes)

    until(lambda: appended(inbox, state(0, id="after")))

    (after,) = (item for item in inboxes.after({}, 10) if item.id == "after")
    assert after.inbox != before.inbox
    assert after.seq == before.seq == 1


def appended(inbox: Inbox, fact: Fact) -> bool:
    """Append *fact*; return whether it is known to be kept."""
    try:
        inbox.append(fact)
    except Unavailable:
        return False
    return True


def test_a_commit_that_was_not_answered_shares_its_number_with_no_other(
    server: Postgres, inbox: Inbox, inboxes: Inboxes
) -> None:
    append(inbox, "before")
    with _held_up(server):
        assert not appended(inbox, state(0, id="unknown"))

    until(lambda: appended(inbox, state(0, id="after")))

    lying = inboxes.after({}, 10)
    assert {"before", "after"} <= set(ids(lying)) <= {"before", "unknown", "after"}
    assert len({(item.inbox, item.seq) for item in lying}) == len(lying)


def test_after_the_first_that_waits_in_vain_nobody_waits(server: Postgres, inbox: Inbox) -> None:
    append(inbox, "before")
    with _held_up(server), ThreadPoolExecutor(10) as threads:
        first = [threads.submit(appended, inbox, state(0)) for _ in range(10)]
        assert not any(kept.result() for kept in first)

        for _ in range(3):
            with pytest.raises(Unavailable, match="is away"):
                append(inbox, "refused")


@contextmanager
def _held_up(server: Postgres) -> Iterator[None]:
    """Let every append wait meanwhile."""
    with psycopg.connect(server.url("shared")) as connection:
        connection.execute("LOCK TABLE streams IN ACCESS EXCLUSIVE MODE")
        yield


def _end_connections(server: Postgres, *, but: Inboxes) -> None:
    """End all connections but the one through which it is looked."""
    spared = but._connection.info.backend_pid  # type: ignore[attr-defined]
    server.do(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = 'shared' AND pid <> {spared}"
    )


# -- days --------------------------------------------------------------------------------


def days(server: Postgres) -> list[str]:
    """Return how long ago the days are for which there is a partition."""
    return [
        str(row[0])
        for row in server.do(
            "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') "
            "- (now() AT TIME ZONE 'UTC')::date FROM pg_inherits "
            "WHERE inhparent = 'inbox'::regclass AND inhrelid::regclass::text <> 'inbox_other' "
            "ORDER BY 1",
            "shared",
        )
    ]


def lying(server: Postgres) -> int:
    """Return how many facts lie in the inbox, read or not."""
    ((count,),) = server.do("SELECT count(*) FROM inbox", "shared")
    assert isinstance(count, int)
    return count


@contextmanager
def yesterday(server: Postgres) -> Iterator[None]:
    """Let what is appended meanwhile be of yesterday."""
    server.do(_MAKE_YESTERDAY, "shared")
    server.do(_DEFAULT.format("(now() AT TIME ZONE 'UTC')::date - 1"), "shared")
    try:
        yield
    finally:
        server.do(_DEFAULT.format("(now() AT TIME ZONE 'UTC')::date"), "shared")


_DEFAULT = "ALTER TABLE inbox ALTER COLUMN day SET DEFAULT {}"
_MAKE_YESTERDAY = """
DO $$
DECLARE today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS inbox_%s PARTITION OF inbox FOR VALUES FROM (%L) TO (%L)',
        to_char(today - 1, 'YYYYMMDD'), today - 1, today
    );
END $$
"""


def test_partitions_are_made_ahead(server: Postgres, inboxes: Inboxes, book: Book) -> None:
    assert days(server)[-4:] == ["0", "1", "2", "3"]

    inboxes.prune_orphans(book.marks())

    assert days(server)[-4:] == ["0", "1", "2", "3"]


def test_a_day_that_is_over_is_dropped_once_all_of_it_is_taken_in(
    server: Postgres, inbox: Inbox, inboxes: Inboxes, book: Book
) -> None:
    with yesterday(server):
        append(inbox, "a", "b")
    append(inbox, "c")

    inboxes.prune_orphans(book.marks())
    assert "-1" in days(server)
    assert lying(server) == 3

    take_in(inboxes, book)
    inboxes.prune_orphans(book.marks())
    assert "-1" not in days(server)
    assert lying(server) == 1


def test_a_day_is_kept_while_another_shop_has_not_taken_it_in(
    server: Postgres, database: Store, inbox: Inbox, book: Book
) -> None:
    with yesterday(server):
        append(inbox, "ours")
        append(inbox, "theirs", shop="shop-2")

    with closing(database.inboxes("shop")) as inboxes:
        take_in(inboxes, book)
        inboxes.prune_orphans(book.marks())

    assert lying(server) == 2


def test_a_fact_of_a_day_without_partition_is_read_and_removed_like_any_other(
    server: Postgres, inbox: Inbox, inboxes: Inboxes, book: Book
) -> None:
    server.do(_DEFAULT.format("'2020-01-01'"), "shared")
    try:
        append(inbox, "a")
    finally:
        server.do(_DEFAULT.format("(now() AT TIME ZONE 'UTC')::date"), "shared")

    inboxes.prune_orphans(book.marks())
    assert ids(inboxes.after(book.marks(), 10)) == ["a"]

    take_in(inboxes, book)
    inboxes.prune_orphans(book.marks())
    assert lying(server) == 0


def test_a_day_that_somebody_still_writes_holds_nobody_up(
    server: Postgres, inbox: Inbox, inboxes: Inboxes, book: Book
) -> None:
    with yesterday(server):
        append(inbox, "a")
    take_in(inboxes, book)

    with psycopg.connect(server.url("shared")) as slow:
        slow.execute("LOCK TABLE inbox IN ROW EXCLUSIVE MODE")
        inboxes.prune_orphans(book.marks())
        assert "-1" in days(server)
        append(inbox, "b")

    inboxes.prune_orphans(book.marks())
    assert "-1" not in days(server)


# -- streams that end --------------------------------------------------------------------


def test_a_stream_is_forgotten_with_its_mark_once_nothing_of_it_is_left(
    server: Postgres, inbox: Inbox, inboxes: Inboxes, book: Book
) -> None:
    with yesterday(server):
        append(inbox, "a")
    take_in(inboxes, book)
    assert len(book.marks()) == 1

    inboxes.prune_orphans(book.marks())

    assert book.marks() == {}
    assert server.do("SELECT * FROM streams", "shared") == []


@pytest.mark.parametrize("remembered", [True, False], ids=["old marks", "new marks"])
def test_a_stream_that_goes_on_after_it_was_forgotten_hides_nothing(
    server: Postgres, inbox: Inbox, inboxes: Inboxes, book: Book, remembered: bool
) -> None:
    with yesterday(server):
        append(inbox, "a", "b")
    take_in(inboxes, book)
    marks = book.marks()
    inboxes.prune_orphans(marks)

    append(inbox, "c")

    assert ids(inboxes.after(marks if remembered else book.marks(), 10)) == ["c"]
