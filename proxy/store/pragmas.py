"""Pragmas: what SQLite is told of each file of the store that it writes."""

import sqlite3


def tell(connection: sqlite3.Connection) -> None:
    """Have what *connection* commits last, and what is erased be nowhere."""
    connection.execute("PRAGMA journal_mode = WAL")
    # With NORMAL a power cut was seen to lose hundreds of acknowledged facts.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # What is erased is overwritten.
    # Else what is too much to sort goes into a file in /var/tmp, which nobody overwrites.
    connection.execute("PRAGMA temp_store = MEMORY")
