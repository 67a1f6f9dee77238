"""Store: whether what is acknowledged lies where it lasts, and can be read again."""

from collections.abc import Iterator
from contextlib import closing

from proxy.doctor import disk
from proxy.doctor.finding import Finding, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.errors import StoreAway
from proxy.settings import variable
from proxy.store import Store


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield how the store stands: a folder, or a database with a spool beside it."""
    settings = setup.settings
    in_database = settings.store.startswith("postgresql://")
    store = Store(settings.store, settings.spool)
    if in_database:
        yield from _database(settings.store)
    yield from disk.findings(store.folder, variable("spool" if in_database else "store"))
    if in_database or store.folder.exists():
        yield from _tables(store)
    yield from _damaged(store)


def _tables(store: Store) -> Iterator[Finding]:
    try:
        exists = store.exists
    except StoreAway:
        return  # It was said before.
    if exists:
        yield well("tables", "the sender's tables are there")
    else:
        remedy = "`checkout-proxy migrate` makes them, and so does the sender when it starts."
        yield warning("tables", f"no sender has made its tables in {store.place} yet", remedy)


def _damaged(store: Store) -> Iterator[Finding]:
    if damaged := store.damaged:
        names = ", ".join(path.name for path in damaged)
        words = f"{len(damaged)} set aside as damaged: {names}"
        yield warning("damaged", words, "See the log for what was saved of each, then delete it.")


# -- PostgreSQL --------------------------------------------------------------------------


def _database(url: str) -> Iterator[Finding]:
    # Only here: psycopg is an extra.
    from proxy.store.database import Database

    database = Database(url)
    try:
        with database.reached(), closing(database.connect()) as connection:
            query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
            rows = connection.execute(query, [list(_MEANT)])
            said: dict[str, str] = dict(iter(rows))
    except StoreAway as error:
        yield wrong(
            "database",
            str(error),
            f"Is it running, and is {variable('store')} right? Meanwhile facts go to the spool.",
        )
        return
    shown = ", ".join(f"{name}={said.get(name)}" for name in _MEANT)
    yield well("database", f"{database.place} is reached; for us {shown}")
    for name, meaning in _MEANT.items():
        if said.get(name) == "off":
            words = f"{name}=off in PostgreSQL: {meaning}"
            yield wrong("database", words, f"Set {name} = on in postgresql.conf, and reload it.")


# "Write Ahead Log" and "Reliability", PostgreSQL's documentation.
_MEANT = {
    "synchronous_commit": "what is acknowledged would not survive a power cut",
    "fsync": "what is acknowledged would not survive a power cut",
    "full_page_writes": "a power cut may leave pages that are half old and half new",
}
