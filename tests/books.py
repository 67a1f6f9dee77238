"""Books: the book of a store, laid in no time, and to be written where no sender is at work."""

import tempfile
from functools import cache
from pathlib import Path

from proxy.store import Store
from proxy.store.book import Book


def written(store: Store) -> Book:
    """Return the book of *store* as :class:`Book`, which PostgreSQL lets nobody write so."""
    return Book(store.book()._engine)


def lay_book(store: Store) -> None:
    """Lay a book in which nothing is written where *store*, of SQLite, has none.

    As ``migrate`` would, to which Alembic brings half a second of a processor.
    """
    book = store.folder / "checkouts.db"
    if not book.exists():
        store.prepare()
        book.touch(mode=0o600)
        book.write_bytes(empty_book())


@cache
def empty_book() -> bytes:
    """Return the file of a book in which nothing is written yet."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}")
        store.migrate()
        return (Path(folder) / "checkouts.db").read_bytes()
