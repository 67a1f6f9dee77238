"""Store: whether what is acknowledged lies where it lasts, and can be read again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from proxy import personkey, work
from proxy.doctor import book, disk
from proxy.doctor.finding import Finding, Verdict, skipped, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.errors import Misconfigured, StoreAway, StoreSealed
from proxy.settings import Settings, variable
from proxy.store import Store
from proxy.store.seal import OFF, Seal, mark, missing


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield how the store stands: a folder, or a database with a spool beside it."""
    try:
        store = setup.store
    except Misconfigured as error:
        yield wrong("folder", str(error), "Move them as it says; nothing in them is lost.")
        return
    if setup.settings.store.startswith("postgresql://"):
        yield from _in_database(store, setup.settings.store)
    else:
        yield from _in_folder(store)
    yield from _damaged(store)
    if not book.closed(setup):
        yield _sealed(store, setup.settings)
        yield _hashes(store, setup.settings)


def _in_folder(store: Store) -> Iterator[Finding]:
    found = list(disk.folder(store.folder, variable("store")))
    yield from found
    if found[0].verdict is not Verdict.SKIPPED:
        yield _tables(store)


def _in_database(store: Store, url: str) -> Iterator[Finding]:
    found = _database(url)
    yield from found
    if found[0].verdict is Verdict.WELL:
        yield _tables(store)
    yield from disk.folder(store.folder, variable("spool"))


def _tables(store: Store) -> Finding:
    try:
        if store.exists:
            return _made(store)
    except (OSError, sqlite3.Error):
        words = f"the sender's tables in {store.place} cannot be read"
        return wrong("tables", words, "Run this command as the user that the proxy runs as.")
    remedy = "`checkout-proxy migrate` makes them, and so does the sender when it starts."
    return warning("tables", f"no sender has made its tables in {store.place} yet", remedy)


def _made(store: Store) -> Finding:
    if book.is_current(store):
        return well("tables", "the sender's tables are there")
    words = f"the sender's tables in {store.place} are those of another version"
    remedy = (
        "`checkout-proxy migrate` brings them up to date, and so does the sender when it starts."
    )
    return warning("tables", words, remedy)


def _damaged(store: Store) -> Iterator[Finding]:
    try:
        damaged = store.damaged
    except OSError:
        return  # That the folder cannot be read was told.
    if damaged:
        names = ", ".join(path.name for path in damaged)
        words = f"{len(damaged)} set aside as damaged: {names}"
        yield warning("damaged", words, "See the log for what was saved of each, then delete it.")


def _sealed(store: Store, settings: Settings) -> Finding:
    """Return under which keys lies what the book has about people, and which of them are lacking.

    Keys go by their marks, which tell nothing of them.
    """
    with closing(store.book()) as opened:
        found = opened.sealed_under(settings.shop)
    keys = settings.store_keys or ()
    if lacking := Seal(keys).lacks(found):
        words = str(missing([each for each in lacking for _ in range(found[each])]))
        remedy = f"Put that key back before the others of {variable('store_keys')}, and reload."
        return wrong("encryption", words, remedy)
    if not any(found.values()) and not keys:
        return well("encryption", "nothing is encrypted, as nothing says it should be")
    current = mark(keys[-1]) if keys and keys[-1] != OFF else ""
    others = sum(many for each, many in found.items() if each != current)
    if others:
        words = f"{others} values in the book do not lie under the last key yet"
        return warning("encryption", words, "The sender brings them there; keep the older keys.")
    return well("encryption", f"all lies under the last key, {current or 'which is off'}")


def _hashes(store: Store, settings: Settings) -> Finding:
    """Return whether the secrets open what addresses were hashed with, now and before."""
    if not (settings.token_keys or settings.klaviyo_key):
        return skipped("hashes", "none of the secrets is known here that open their key")
    try:
        with closing(store.book()) as opened:
            locks = opened.locks(settings.shop)
    except StoreSealed:
        return skipped("hashes", "their key is encrypted, too")
    lost = personkey.lost(locks, work.locking_keys(settings))
    if not lost:
        return well("hashes", "the secrets open all that addresses were hashed with")
    numbers = " and ".join(map(str, sorted(lost)))
    words = (
        f"of the {len(dict(locks))} keys that addresses were hashed with none of the secrets opens "
        f"number {numbers}: who was sent or erased then is not found by an address"
    )
    remedy = (
        "The secrets were all new at once: put one of those of before back, first in "
        f"{variable('token_keys')}, and reload. Where they are gone, or no secret is new and the "
        "key is damaged, docs/tokens.md has more."
    )
    return warning("hashes", words, remedy)


# -- PostgreSQL --------------------------------------------------------------------------


def _database(url: str) -> list[Finding]:
    # Only here: psycopg is an extra.
    from proxy.store.database import Database

    database = Database(url)
    try:
        with database.reached(), closing(database.connect()) as connection:
            query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
            said: dict[str, str] = dict(iter(connection.execute(query, [list(_MEANT)])))
    except StoreAway as error:
        remedy = f"Is it running, and is {variable('store')} right? Facts go to the spool by now."
        return [wrong("database", str(error), remedy)]
    shown = ", ".join(f"{name}={said.get(name)}" for name in _MEANT)
    reached = well("database", f"{database.place} is reached; for us {shown}")
    return [reached, *(_off(name) for name in _MEANT if said.get(name) == "off")]


def _off(name: str) -> Finding:
    words = f"{name}=off in PostgreSQL: {_MEANT[name]}"
    return wrong("database", words, f"Set {name} = on in postgresql.conf, and reload it.")


# "Write Ahead Log" and "Reliability", PostgreSQL's documentation.
_MEANT = {
    "synchronous_commit": "what is acknowledged would not survive a power cut",
    "fsync": "what is acknowledged would not survive a power cut",
    "full_page_writes": "a power cut may leave pages that are half old and half new",
}
