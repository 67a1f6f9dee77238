"""Log: what SQLite writes ahead, moved into the file and emptied, for what is erased lies in it."""

import sqlite3


def emptied(connection: sqlite3.Connection) -> bool:
    """Empty the log of *connection*'s file, and return whether it is; a reader may hold it.

    Nobody is waited for: whoever writes would wait as well.
    """
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        held, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return not held
