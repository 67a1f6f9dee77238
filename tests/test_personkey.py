"""The person key outlives the secrets that it lies under, one after the other."""

import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from proxy import personkey, shops, work
from proxy.checkouts import Status
from proxy.identity import address_hash
from proxy.personkey import lock_key
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from proxy.store.book import Book
from tests.actors import KLAVIYO_KEY, Ledger, environment, until
from tests.backlog import lay_up
from tests.commands import run
from tests.tables import Tables

OLD, NEW, KLAVIYO = map(lock_key, ("an-old-key", "a-new-key", "klaviyos-key"))
KLAVIYO_OF_STAGING = lock_key("klaviyos-key-for-staging")


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


def test_what_was_locked_is_opened_by_whoever_has_the_secret_and_by_nobody_else() -> None:
    lock = personkey.locked(b"k" * 32, OLD)

    assert personkey.opened(lock, OLD) == b"k" * 32
    assert personkey.opened(lock, NEW) is None
    assert personkey.opened(lock[:-1] + b"?", OLD) is None
    assert personkey.opened(b"", OLD) is None
    assert b"k" * 4 not in lock


def test_what_marks_people_and_hashes_addresses_opens_no_lock(tmp_path: Path, book: Book) -> None:
    (settings,) = shops.read(environment(tmp_path, "http://127.0.0.1:1"))
    personkey.kept(book, "shop", work.locking_keys(settings))

    assert len(personkey.found(book.locks("shop"), work.locking_keys(settings))) == 1
    assert personkey.found(book.locks("shop"), work.account(settings).person_keys) == {}


def test_token_keys_that_rotate_leave_it_as_it_was(book: Book) -> None:
    before = personkey.kept(book, "shop", [OLD])

    assert personkey.kept(book, "shop", [OLD, NEW]) == before
    assert personkey.kept(book, "shop", [NEW]) == before
    assert personkey.found(book.locks("shop"), [OLD]) == {}
    assert len(book.locks("shop")) == 1


def test_a_token_key_that_is_replaced_at_once_leaves_another_secret_that_opens_it(
    book: Book,
) -> None:
    before = personkey.kept(book, "shop", [OLD, KLAVIYO])

    assert personkey.kept(book, "shop", [NEW, KLAVIYO]) == before
    assert list(personkey.found(book.locks("shop"), [NEW]).values()) == before


def test_where_nothing_opens_it_another_is_made_and_that_is_said(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    before = personkey.kept(book, "shop", [OLD])
    assert caplog.text == ""

    with caplog.at_level(logging.WARNING):
        after = personkey.kept(book, "shop", [NEW])

    assert after != before
    assert "all secrets have changed at once" in caplog.text
    assert personkey.kept(book, "shop", [NEW]) == after


def test_under_wrong_secrets_no_key_is_lost_and_the_right_ones_open_what_they_opened(
    book: Book,
) -> None:
    right = personkey.kept(book, "shop", [OLD, KLAVIYO])

    for wrong in ([NEW], [KLAVIYO_OF_STAGING, NEW], [NEW], [KLAVIYO_OF_STAGING]):
        assert right[0] not in personkey.kept(book, "shop", wrong)

    assert personkey.kept(book, "shop", [OLD, KLAVIYO]) == right
    assert personkey.lost(book.locks("shop"), [OLD]) == {2, 3}
    assert [number for number, _ in book.locks("shop")] == [2, 3, 1, 1]


def test_keys_that_open_are_all_known_and_the_newest_comes_last_each_time(book: Book) -> None:
    first = personkey.kept(book, "shop", [OLD])
    second = personkey.kept(book, "shop", [NEW])

    # The old secret put back beside the new one, in whatever order.
    assert personkey.kept(book, "shop", [OLD, NEW]) == [*first, *second]
    assert personkey.kept(book, "shop", [NEW, OLD]) == [*first, *second]
    # Both are under the new one by now.
    assert personkey.kept(book, "shop", [NEW]) == [*first, *second]


def test_who_deletes_the_locks_has_another_key_made(book: Book, tables: Tables) -> None:
    before = personkey.kept(book, "shop", [OLD])

    tables.ask("DELETE FROM locks WHERE shop = 'shop'")

    assert personkey.kept(book, "shop", [OLD]) != before


def test_who_was_sent_before_a_start_under_wrong_secrets_is_erased_once_they_are_right(
    tmp_path: Path,
) -> None:
    with Klaviyo(key=KLAVIYO_KEY).serve() as klaviyo:
        right = environment(tmp_path, klaviyo.url)
        wrong = right | {
            "CHECKOUT_PROXY_TOKEN_KEYS": "of-staging-0123456789",
            "CHECKOUT_PROXY_KLAVIYO_KEY": "pk_of_staging_0123456789",
        }
        ledger, store = Ledger(tmp_path, klaviyo), shops.store(*shops.read(right))
        lay_up(store, 1)
        with sender(right):
            (sent,) = ledger.wait("c-0", Status.DELIVERED)
        with sender(wrong), closing(store.book()) as book:
            until(lambda: len(dict(book.locks("shop"))) == 2)

        found = {when: hashes(environ) for when, environ in (("wrong", wrong), ("right", right))}
        run("erase", "--email", "jane.0@shop-demo.io", **right)
        with sender(right):
            until(lambda: ledger.checkouts("c-0")[0].erased_at)

    assert sent.address_hash is not None
    assert ledger.checkouts("c-0")[0].address_hash is None
    assert "opens number 1: who was sent" in found["wrong"]["words"]
    assert "opens number 2: who was sent" in found["right"]["words"]
    for each in found.values():
        assert each["verdict"] == "warning"
        assert "of the 2 keys that addresses were hashed with none" in each["words"]
        assert "CHECKOUT_PROXY_TOKEN_KEYS" in each["remedy"]


def hashes(environ: dict[str, str]) -> Any:
    """Return what the doctor says of the keys that addresses are hashed with."""
    said = json.loads(run("doctor", "--only", "store", "--json", **environ).stdout)
    return next(each for each in said["findings"] if each["name"] == "hashes")


@contextmanager
def sender(environ: dict[str, str]) -> Iterator[None]:
    """Let the sender of the shop work under *environ*, in a thread."""
    stop = Event()
    thread = Thread(target=work.work, args=(shops.read(environ), stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_each_shop_has_its_own(book: Book) -> None:
    (ours,), (theirs,) = (personkey.kept(book, shop, [OLD]) for shop in ("shop", "other"))

    assert address_hash("jane@x.io", ours) != address_hash("jane@x.io", theirs)
    assert personkey.kept(book, "shop", [OLD]) == [ours]
