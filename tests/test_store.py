"""The store keeps what is about persons to itself, and each account to one sender."""

import subprocess
import traceback
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.errors import AccountLost, Misconfigured, StoreAway
from proxy.store import Store
from proxy.store.database import Database
from tests import postgres
from tests.actors import marks, until
from tests.books import written
from tests.postgres import Postgres
from tests.said import JANE, state
from tests.tables import FULL, Tables

RULES = Rules(settle=timedelta(0), epoch=timedelta(days=1), modes=Modes(ConsentMode.OFF))
SECRET = "gid://shopify/Cart/abc?key=s3cret"


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a store on each engine in which no table was made."""
    if request.param == "postgresql":
        return postgres.fresh(request.getfixturevalue("server"))
    return f"sqlite:///{tmp_path}"


# -- what it tells -----------------------------------------------------------------------


@pytest.mark.parametrize("table", ["checkouts", "facts"])
def test_an_error_of_the_book_does_not_tell_whom_it_is_about(
    store: Store, tables: Tables, table: str
) -> None:
    with closing(store.inbox()) as inbox, closing(store.inboxes("shop")) as inboxes:
        inbox.append(state(0, SECRET, email=JANE))
        received = inboxes.after({}, 10)

    with store.account("shop", Event()) as book, tables.refusing(table):
        assert book is not None
        with pytest.raises(SQLAlchemyError, match=FULL) as error:
            book.take_in(received, RULES)

    told = "".join(traceback.format_exception(error.value)) + repr(error.value)
    assert not [secret for secret in (JANE, SECRET) if secret in told]


def test_a_password_is_not_told(server: Postgres) -> None:
    url = server.url("nowhere").replace("postgres@", "jane:s3cret@")
    store = Store(url)

    with pytest.raises(StoreAway) as error:
        store.migrate()

    told = "".join(traceback.format_exception(error.value))
    assert store.place in told
    assert not [text for text in (told, store.place, repr(store)) if "s3cret" in text]


def test_only_its_owner_may_read_the_store(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/new/store")

    store.migrate()

    assert store.folder.stat().st_mode & 0o077 == 0
    assert (store.folder / "checkouts.db").stat().st_mode & 0o077 == 0


# -- migrations --------------------------------------------------------------------------


def test_a_store_is_there_once_it_is_migrated(bare: str) -> None:
    store = Store(bare)
    assert not store.exists

    store.migrate()

    assert store.exists


def test_a_migration_that_ends_in_the_middle_leaves_nothing_behind(bare: str) -> None:
    tables, store = Tables(bare), Store(bare)
    tables.ask("CREATE TABLE accounts (in_the_way VARCHAR(9))")
    with pytest.raises(SQLAlchemyError):
        store.migrate()
    tables.ask("DROP TABLE accounts")

    store.migrate()

    assert store.exists


def test_many_may_migrate_at_once(bare: str) -> None:
    threads = [Thread(target=Store(bare).migrate) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Store(bare).exists


# -- accounts ----------------------------------------------------------------------------


@pytest.fixture
def waiting(store: Store) -> Iterator["Waiting"]:
    with closing(Waiting(store)) as waiting:
        yield waiting


class Waiting:
    """Another sender of the same account, which waits until it may work, or until told to stop."""

    def __init__(self, store: Store) -> None:
        self._stop, self.has_it, self.was_told_to_stop = Event(), Event(), Event()
        self._thread = Thread(target=self._work, args=(store,))

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self, store: Store) -> None:
        with store.account("shop", self._stop) as book:
            (self.was_told_to_stop if book is None else self.has_it).set()


def test_an_account_is_had_by_one_sender_at_a_time(
    store: Store, waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    with store.account("shop", Event()) as book:
        waiting.start()
        until(lambda: "another sender is at work" in caplog.text)
        assert book is not None
        assert not waiting.has_it.is_set()

    assert waiting.has_it.wait(10)


def test_it_is_told_whether_an_account_has_a_sender(store: Store) -> None:
    before = store.has_sender("shop")
    with store.account("shop", Event()):
        meanwhile, again = store.has_sender("shop"), store.has_sender("shop")
    afterwards = store.has_sender("shop")

    assert (before, meanwhile, again, afterwards) == (False, True, True, False)


def test_who_waits_for_an_account_can_be_told_to_stop(
    store: Store, waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    with store.account("shop", Event()):
        waiting.start()
        until(lambda: "another sender is at work" in caplog.text)

        waiting.close()

    assert waiting.was_told_to_stop.is_set()


def test_senders_of_different_shops_share_a_database(database: Store) -> None:
    with database.account("shop", Event()) as ours, database.account("shop-2", Event()) as theirs:
        assert ours is not None
        assert theirs is not None


def test_a_sender_of_one_shop_is_none_of_another(database: Store) -> None:
    with database.account("shop", Event()):
        assert not database.has_sender("shop-2")


def test_who_lost_an_account_can_write_no_more(server: Postgres, database: Store) -> None:
    with database.account("shop", Event()) as book:
        assert book is not None
        _hang_up(server, database)

        for _ in range(2):
            with pytest.raises(AccountLost, match="the account of shop is lost"):
                book.marks()

        with database.account("shop", Event()) as another:
            assert another is not None


def test_an_account_lost_in_mid_write_keeps_nothing(
    server: Postgres, database: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(database.inbox()) as inbox, closing(database.inboxes("shop")) as inboxes:
        inbox.append(state(0))
        received = inboxes.after({}, 10)

    with database.account("shop", Event()) as book:
        assert book is not None
        _hang_up(server, database)
        with pytest.raises(AccountLost):
            book.take_in(received, RULES)

    assert marks(database) == {}


def test_a_book_that_is_looked_into_cannot_be_written(database: Store) -> None:
    with closing(database.inbox()) as inbox, closing(database.inboxes("shop")) as inboxes:
        inbox.append(state(0))
        received = inboxes.after({}, 10)

    with closing(written(database)) as book, pytest.raises(DBAPIError, match="read-only"):
        book.take_in(received, RULES)


def _hang_up(server: Postgres, store: Store) -> None:
    """End all connections to the database of *store*, as a failing server does."""
    name = store.place.rpartition("/")[2]
    server.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_nothing_acknowledged_depends_on_a_weaker_server(server: Postgres) -> None:
    url = postgres.migrated(server)
    name = url.rpartition("/")[2]
    for setting, kept in {"off": "on", "local": "on", "remote_apply": "remote_apply"}.items():
        server.do(f"ALTER DATABASE {name} SET synchronous_commit = '{setting}'")

        with Database(url).connect() as connection:
            (found,) = connection.execute("SHOW synchronous_commit").fetchone() or ()

        assert found == kept


# -- a folder for each shop --------------------------------------------------------------


def test_with_sqlite_each_shop_has_a_folder_of_its_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store"

    tea, coffee = Store.of("tea", url), Store.of("coffee", url)

    assert (tea.folder, coffee.folder) == (tmp_path / "store/tea", tmp_path / "store/coffee")


def test_in_a_database_all_shops_share_the_place(tmp_path: Path) -> None:
    url = "postgresql://localhost/proxy"

    tea, coffee = Store.of("tea", url, tmp_path), Store.of("coffee", url, tmp_path)

    assert (tea.place, tea.folder) == (coffee.place, coffee.folder)


@pytest.mark.parametrize("file", ["checkouts.db", "inbox-3.db", "inbox-0.db.corrupt-2026"])
def test_a_store_of_an_earlier_version_is_not_passed_by(file: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()

    with pytest.raises(Misconfigured) as error:
        Store.of("shop", f"sqlite:///{tmp_path}")

    assert f"mkdir -m 700 {tmp_path}/SHOP && mv " in str(error.value)


def test_what_it_says_to_do_is_all_there_is_to_do(tmp_path: Path) -> None:
    old = Store(f"sqlite:///{tmp_path}")
    old.migrate()
    with closing(old.inbox()) as inbox:
        inbox.append(state(0))
    with pytest.raises(Misconfigured) as error:
        Store.of("shop", f"sqlite:///{tmp_path}")

    command = str(error.value).rpartition("for SHOP, ")[2].replace("SHOP", "shop")
    subprocess.run(["sh", "-c", command], check=True)

    store = Store.of("shop", f"sqlite:///{tmp_path}")
    assert store.exists
    with closing(store.inboxes("shop")) as inboxes:
        assert len(inboxes.after({}, 10)) == 1
