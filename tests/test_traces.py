"""Traces: every byte of the store is searched for people who are not to be found there."""

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
import requests
import sqlalchemy.event
from psycopg import sql

from proxy.store import Store
from tests import postgres
from tests.actors import SHOP_KEY, Page, Shop, environment, judged_klaviyo, until
from tests.backlog import lay_up
from tests.books import written
from tests.postgres import Postgres
from tests.running import Proxy

SENT = ("sent-canary@shop-demo.io", "+4930111222", "SentCanary", "kx_sent_canary")
WAITS = ("waits-canary@shop-demo.io", "+4930333444", "WäitsCanary", "kx_waits_canary")


def variants(canary: str) -> Iterator[bytes]:
    """Yield what *canary* may look like where it is written, in small letters."""
    plain = canary.encode()
    yield plain
    yield json.dumps(canary)[1:-1].encode()
    for shift in range(3):
        # Without its ends, which depend upon what stands beside it.
        yield base64.b64encode(b"\0" * shift + plain)[4:-4]
    yield plain.hex().encode()


def found(everything: Iterator[bytes], *canaries: str) -> set[str]:
    """Return which of *canaries* stand anywhere in *everything*."""
    looked_at = [piece.lower() for piece in everything]
    return {
        canary
        for canary in canaries
        for variant in variants(canary)
        if any(variant.lower() in piece for piece in looked_at)
    }


def files(folder: Path) -> Iterator[bytes]:
    """Yield every file below *folder*."""
    for path in folder.rglob("*"):
        try:
            yield path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue


def columns(url: str) -> Iterator[bytes]:
    """Yield what stands in each column of text or bytes, of every row of every table."""
    query = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = "
        "'public' AND data_type IN ('bytea', 'text', 'character varying')"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for table, column in connection.execute(query).fetchall():
            statement = sql.SQL("SELECT {} FROM {}")
            names = sql.Identifier(column), sql.Identifier(table)
            for (content,) in connection.execute(statement.format(*names)).fetchall():
                yield content if isinstance(content, bytes) else str(content).encode()


Everything = Callable[[], Iterator[bytes]]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, str], Everything]:
    """Return the settings of a store on each engine, and what yields all that is in it."""
    if request.param == "sqlite":
        return {}, lambda: files(tmp_path)
    server: Postgres = request.getfixturevalue("server")
    url = postgres.migrated(server)
    spool = tmp_path / "spool"
    settings = {"STORE": url, "SPOOL": str(spool)}

    def everything() -> Iterator[bytes]:
        yield from columns(url)
        yield from files(tmp_path)

    return settings, everything


def test_neither_who_was_sent_nor_who_was_erased_is_found_in_any_byte_of_the_store(
    store: tuple[dict[str, str], Everything], tmp_path: Path
) -> None:
    settings, everything = store
    with judged_klaviyo() as klaviyo:
        environ = environment(tmp_path / "store", klaviyo.url, **settings)
        with Proxy(environ) as proxy:
            shop = Shop(proxy.url)
            shop.push("c-sent", {**CART, "email": SENT[0]})
            tokens = []
            # Of one there is no cart, so that it waits.
            for cart_id, who in (("c-sent", SENT), ("c-waits", WAITS)):
                customer = {"email": who[0], "last_name": who[2]}
                tokens.append(shop.token(cart_id, customer=customer))
                said = dict(zip(("email", "phone_number", "first_name", "kx"), who, strict=True))
                Page(proxy.url, tokens[-1]).say(**said)
            klaviyo.wait_for_events(1, timeout=30)
            if not settings:
                salvaged = tmp_path / "store" / "shop" / "inbox-7.db.salvaged-20260101T120000.0"
                salvaged.write_text(WAITS[0])
            until(lambda: not found(everything(), *SENT))
            # The control: who waits is found, by all that was said.
            assert found(everything(), *WAITS) == set(WAITS)

            asked = {"phone_number": "+49 (30) 333-444"}
            answer = requests.post(
                f"{proxy.url}/v1/erasures",
                json=asked,
                headers={"Authorization": f"Bearer {SHOP_KEY}"},
                timeout=15,
            )

            assert answer.status_code == 202
            until(lambda: not found(everything(), *SENT, *WAITS, *tokens))
    assert found(everything(), *SENT, *WAITS, *tokens) == set()
    assert len(klaviyo.events) == 1


@pytest.mark.parametrize("where", ["as we have it", "FILE"])
def test_what_sqlite_sorts_lies_in_no_file_outside_of_the_store(tmp_path: Path, where: str) -> None:
    url = f"sqlite:///{tmp_path}"
    store = Store(url)
    lay_up(store, 800, checkout_url=f"https://shop-demo.io/{'canary' * 600}")
    seen: set[str] = set()

    with closing(written(store)) as book:
        sqlalchemy.event.listen(book._engine, "connect", partial(_watch, seen, where))
        due = book.due("shop", datetime.now(UTC), 1_000)

    assert len(due) == 800
    # The control: as SQLite has it by itself, people are found there.
    assert seen == (set() if where != "FILE" else {"canary"})


def _watch(seen: set[str], where: str, connection: sqlite3.Connection, _record: object) -> None:
    """Look, while *connection* is at work, into the files that SQLite makes for itself."""
    if where == "FILE":
        connection.execute("PRAGMA temp_store = FILE")

    def look() -> int:
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if "etilqs_" in str(path.readlink()):
                    seen.update(found(iter([path.read_bytes()]), "canary"))
        return 0

    connection.set_progress_handler(look, 20_000)


CART = {"currency": "EUR", "total": "20.00", "items": [
    {"product_id": "tea-1", "name": "Tea", "quantity": 2, "unit_price": "10.00"}
]}  # fmt: skip
