"""Tables: what an outsider finds in a store's tables, and breaks there, on either engine."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg


@dataclass(frozen=True)
class Tables:
    """The tables of the store at *url*, without the store's own code."""

    url: str = field(repr=False)

    @property
    def are_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run *statement*, and return the rows that come back."""
        if self.are_sqlite:
            path = f"{self.url.removeprefix('sqlite:///')}/checkouts.db"
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                return connection.execute(statement).fetchall()
        with psycopg.connect(self.url, autocommit=True) as postgres:
            cursor = postgres.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def refusing(self, table: str) -> Iterator[None]:
        """Let *table* take no new row meanwhile, as if the disk were full."""
        if self.are_sqlite:
            act = f"BEGIN SELECT RAISE(ABORT, '{FULL}'); END"
        else:
            self.ask(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE check_violation USING message = '{FULL}', "
                "detail = 'Failing row contains (' || row_to_json(NEW)::text || ').'; END $$"
            )
            act = "FOR EACH ROW EXECUTE FUNCTION refuse()"
        self.ask(f"CREATE TRIGGER refusing BEFORE INSERT ON {table} {act}")
        try:
            yield
        finally:
            self.ask("DROP TRIGGER refusing" + ("" if self.are_sqlite else f" ON {table}"))


FULL = "the disk is full"
