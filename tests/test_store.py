"""The store keeps what is about persons to itself, also when something is wrong with it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from proxy.checkouts import ConsentMode, Rules
from proxy.facts import StatePosted
from proxy.store import Store

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = Rules(settle=timedelta(0), epoch=timedelta(days=1), consent=ConsentMode.OFF)
SECRETS = ("jane@shop.com", "s3cret")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store in whose inbox lies a state of Jane's, not yet taken in."""
    store = Store(f"sqlite:///{tmp_path}")
    store.migrate()
    with closing(store.inbox()) as inbox:
        inbox.append(
            StatePosted(
                id="post-1",
                shop="shop",
                cart_id="gid://shopify/Cart/abc?key=s3cret",
                received_at=NOW,
                acted_at=NOW,
                email="jane@shop.com",
            )
        )
        yield store


@pytest.mark.parametrize("table", ["checkouts", "facts"])
def test_an_error_of_the_book_does_not_tell_whom_it_is_about(store: Store, table: str) -> None:
    with closing(sqlite3.connect(store.folder / "checkouts.db")) as broken:
        broken.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(FAIL, 'full'); END"
        )

    with closing(store.inboxes()) as inboxes, closing(store.book()) as book:
        received = inboxes.after({}, 10)
        with pytest.raises(SQLAlchemyError) as error:
            book.take_in(received, RULES)

    assert not [secret for secret in SECRETS if secret in f"{error.value} {error.value!r}"]


def test_only_the_one_who_serves_may_read_the_book(store: Store) -> None:
    assert (store.folder / "checkouts.db").stat().st_mode & 0o077 == 0


def test_a_migration_that_ends_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}")
    with closing(sqlite3.connect(tmp_path / "checkouts.db")) as connection:
        connection.execute("CREATE TABLE accounts (in_the_way TEXT)")
        connection.commit()
    with pytest.raises(SQLAlchemyError):
        store.migrate()
    with closing(sqlite3.connect(tmp_path / "checkouts.db")) as connection:
        connection.execute("DROP TABLE accounts")

    store.migrate()

    assert store.exists
