"""Books: the book of a store, laid in no time, and to be written where no sender is at work."""

import tempfile
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

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


def lay_old_book(store: Store, revision: str) -> None:
    """Lay the book of *store*, of SQLite, as the migrations up to *revision* made it."""
    store.prepare()
    config = Config()
    config.set_main_option("script_location", "proxy:store/migrations")
    engine = create_engine(f"sqlite:///{store.folder}/checkouts.db")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


@cache
def empty_book() -> bytes:
    """Return the file of a book in which nothing is written yet."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}")
        store.migrate()
        return (Path(folder) / "checkouts.db").read_bytes()
