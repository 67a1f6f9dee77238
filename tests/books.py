"""Books: the book of a store, to be written by a test where no sender holds the account."""

from proxy.store import Store
from proxy.store.book import Book


def written(store: Store) -> Book:
    """Return the book of *store* as :class:`Book`, which PostgreSQL lets nobody write so."""
    return Book(store.book()._engine)
