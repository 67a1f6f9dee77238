"""The person key outlives the secrets that it lies under, one after the other."""

import logging
from collections.abc import Iterator
from threading import Event

import pytest

from proxy import personkey
from proxy.identity import address_hash, address_key
from proxy.store import Store
from proxy.store.book import Book

OLD, NEW, KLAVIYO = map(address_key, ("an-old-key", "a-new-key", "klaviyos-key"))


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


def test_token_keys_that_rotate_leave_it_as_it_was(book: Book) -> None:
    before = personkey.kept(book, "shop", [OLD])

    assert personkey.kept(book, "shop", [OLD, NEW]) == before
    assert personkey.kept(book, "shop", [NEW]) == before
    assert personkey.found(book.locks("shop"), [OLD]) is None


def test_a_key_that_leaked_is_replaced_at_once_and_another_secret_opens_it(book: Book) -> None:
    before = personkey.kept(book, "shop", [OLD, KLAVIYO])

    assert personkey.kept(book, "shop", [NEW, KLAVIYO]) == before
    assert personkey.found(book.locks("shop"), [NEW]) == before


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


def test_each_shop_has_its_own(book: Book) -> None:
    ours, theirs = (personkey.kept(book, shop, [OLD]) for shop in ("shop", "other"))

    assert address_hash("jane@x.io", ours) != address_hash("jane@x.io", theirs)
    assert personkey.kept(book, "shop", [OLD]) == ours
