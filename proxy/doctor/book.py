"""Book: where the checks look for what was pushed and decided, or why they cannot."""

import sqlite3
from contextlib import closing

from proxy.doctor.setup import Setup
from proxy.errors import Misconfigured, StoreAway
from proxy.store import Store


def closed(setup: Setup) -> str:
    """Return why nothing can be read in the shop's store, in words; empty where it can."""
    try:
        store = setup.store
    except Misconfigured:
        return "files of an earlier version lie there: see the check `store`"
    try:
        if not store.exists:
            return "there is no store yet: no sender has ever been at work"
        return "" if is_current(store) else "no sender of this version yet: see the check `store`"
    except StoreAway as error:
        return str(error)
    except (OSError, sqlite3.Error):
        return f"{store.place} cannot be read: see the check `store`"


def is_current(store: Store) -> bool:
    """Tell whether the tables of *store*, which exist, are as this version has them."""
    with closing(store.book()) as opened:
        return opened.is_current
