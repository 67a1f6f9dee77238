"""Book: where the checks look for what was pushed and decided, or why they cannot."""

import sqlite3

from proxy.errors import StoreAway
from proxy.store import Store


def closed(store: Store) -> str:
    """Return why nothing can be read in *store*, in words; empty where it can."""
    try:
        return "" if store.exists else "there is no store yet: no sender has ever been at work"
    except StoreAway as error:
        return str(error)
    except (OSError, sqlite3.Error):
        return f"{store.place} cannot be read: see the check `store`"
