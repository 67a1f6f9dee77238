"""Book: where the checks look for what was pushed and decided, or why they cannot."""

import sqlite3

from proxy.doctor.setup import Setup
from proxy.errors import Misconfigured, StoreAway


def closed(setup: Setup) -> str:
    """Return why nothing can be read in the shop's store, in words; empty where it can."""
    try:
        store = setup.store
    except Misconfigured:
        return "files of an earlier version lie there: see the check `store`"
    try:
        return "" if store.exists else "there is no store yet: no sender has ever been at work"
    except StoreAway as error:
        return str(error)
    except (OSError, sqlite3.Error):
        return f"{store.place} cannot be read: see the check `store`"
