"""Two statements of the shop's own read a cart from its database, and change nothing there."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from proxy.carts.source import CartRef, Reading
from proxy.carts.sql import Queries, SqlCarts
from proxy.errors import (
    CartError,
    CartGone,
    CartInvalid,
    Misconfigured,
    SourceDown,
    SourceRefused,
)
from tests import postgres

TABLES = """
CREATE TABLE cart (
  id BIGINT, currency CHAR(3), total NUMERIC(12, 2), tax NUMERIC(12, 2), email VARCHAR(99),
  done INT
);
CREATE TABLE line (
  cart_id BIGINT, sku VARCHAR(9), name VARCHAR(99), quantity INT, price VARCHAR(9)
);
INSERT INTO cart VALUES
  (1, 'EUR', 59.97, 9.57, 'shopper@example.com', 0),
  (2, 'EUR', 5, NULL, '', 1),
  (3, 'EUR', 5, NULL, '', 0);
INSERT INTO line VALUES (1, 't-1', 'Tea', 3, '19.99'), (2, 'c-1', 'Cup', 1, '5');
"""
CART = """
SELECT id, currency, CAST(total AS VARCHAR(20)) AS total, CAST(tax AS VARCHAR(20)) AS tax,
  email, done = 1 AS completed
FROM cart WHERE id = CAST(:cart_id AS BIGINT)
"""
ITEMS = """
SELECT sku AS product_id, name, quantity, price AS unit_price
FROM line WHERE cart_id = CAST(:cart_id AS BIGINT)
"""


def queries(**changes: Any) -> Queries:
    said = {
        "id_pattern": "[0-9]{1,18}",
        "money": {"unit": "major"},
        "cart_query": CART,
        "items_query": ITEMS,
    }
    return Queries.parse(said | changes)


def filled(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in filter(str.strip, TABLES.split(";")):
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'shop.db'}"
    else:
        url = postgres.fresh(request.getfixturevalue("server"))
        url = url.replace("postgresql://", "postgresql+psycopg://")
    filled(create_engine(url))
    return url


@pytest.fixture
def carts(url: str) -> Iterator[SqlCarts]:
    with closing(SqlCarts(queries(), url)) as carts:
        yield carts


def read(carts: SqlCarts, cart_id: str = "1") -> Reading:
    return carts.fetch(CartRef(shop="shop", cart_id=cart_id))


def asked(url: str, **changes: Any) -> Reading:
    with closing(SqlCarts(queries(**changes), url)) as carts:
        return read(carts)


def test_a_cart_is_its_row_and_its_lines(carts: SqlCarts) -> None:
    reading = read(carts)

    cart = reading.cart
    assert (cart.total, cart.tax, cart.currency) == (Decimal("59.97"), Decimal("9.57"), "EUR")
    assert cart.email == "shopper@example.com"
    assert [(item.name, item.quantity, item.unit_price) for item in cart.items] == [
        ("Tea", Decimal(3), Decimal("19.99"))
    ]
    assert (reading.completed, reading.warnings) == (False, ())


def test_one_that_was_ordered_says_so(carts: SqlCarts) -> None:
    assert read(carts, "2").completed


@pytest.mark.parametrize(
    ("cart_id", "error"),
    [
        ("9", CartGone),
        ("3", CartGone),
        ("1 OR 1=1", CartInvalid),
        ("1; DROP TABLE cart", CartInvalid),
        ("", CartInvalid),
        ("1\n", CartInvalid),
    ],
)
def test_what_is_no_cart_is_an_error(carts: SqlCarts, cart_id: str, error: type[CartError]) -> None:
    with pytest.raises(error):
        read(carts, cart_id)


@pytest.mark.parametrize("statement", ["DELETE FROM line", "UPDATE cart SET total = 0"])
def test_a_statement_that_writes_is_refused(url: str, statement: str) -> None:
    writes = f"{statement} WHERE :cart_id = '1' RETURNING *"

    with pytest.raises(SourceRefused):
        asked(url, cart_query=writes)

    assert asked(url).cart.total == Decimal("59.97")


FOR_EVER = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT :cart_id UNION ALL SELECT i FROM n) SELECT i FROM n",
    "postgresql": "SELECT pg_sleep(60), :cart_id",
}


def test_a_statement_that_takes_for_ever_is_ended(url: str) -> None:
    endless = FOR_EVER[re.split(r"[+:]", url)[0]]
    if "sqlite" in url:
        endless += " WHERE i < 0"

    with pytest.raises(SourceDown, match="does not answer"):
        asked(url, cart_query=endless)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cart_query": "SELECT 1 AS nonsense, :cart_id AS id"}, "column 'nonsense'"),
        ({"cart_query": "SELECT * FROM nowhere WHERE id = :cart_id"}, "the database"),
        ({"items_query": "SELECT sku AS skew FROM line WHERE :cart_id = '1'"}, "column 'skew'"),
    ],
)
def test_a_query_that_is_wrong_burns_no_cart(
    url: str, changes: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SourceRefused, match=words):
        asked(url, **changes)

    (said,) = caplog.messages
    assert said.startswith("carts cannot be read: ")


def test_a_float_is_no_amount(url: str) -> None:
    query = "SELECT :cart_id AS id, 'EUR' AS currency, 1e0 AS total"
    if "postgresql" in url:
        query = query.replace("1e0", "CAST(1 AS float8)")

    with pytest.raises(CartInvalid, match="total is a float, which has lost digits"):
        asked(url, cart_query=query)


def test_a_database_that_is_away_is_a_shop_that_is_down() -> None:
    away = "postgresql+psycopg://reader:a-secret@127.0.0.1:9/shop"

    with pytest.raises(SourceDown) as error:
        asked(away)

    assert "a-secret" not in f"{error.value!r} {error.value.__cause__!r}"


@pytest.mark.parametrize(
    "url", ["", "shop.db", "sqlite://", "oracle+none://x", "postgresql+nothing://y"]
)
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(Misconfigured, match="is no database's address"):
        SqlCarts(queries(), url)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceDown):
        asked(f"sqlite:///{tmp_path / 'mistyped.db'}")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("done", ["'N'", "'false'", "2"])
def test_what_is_neither_true_nor_false_is_not_taken_for_an_order(url: str, done: str) -> None:
    with pytest.raises(CartInvalid, match="completed is neither true nor false"):
        asked(url, cart_query=CART.replace("done = 1", done))


def test_a_role_that_is_unknown_is_refused_and_not_waited_out(
    server: postgres.Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    url = re.sub(r"//[^@]*@", "//nobody:secret@", postgres.fresh(server))
    url = url.replace("postgresql://", "postgresql+psycopg://")

    with pytest.raises(SourceRefused):
        asked(url)

    assert "secret" not in caplog.text


def test_threads_share_the_connections(carts: SqlCarts) -> None:
    totals: list[Decimal] = []
    threads = [
        threading.Thread(target=lambda: totals.append(read(carts).cart.total)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert totals == [Decimal("59.97")] * 12


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(Misconfigured) as error:
        queries(id_pattern="(", money={"unit": "cents"}, cart_query="SELECT 1", items_query="")

    said = "\n".join(error.value.mistakes)
    for words in ("id_pattern", "money.unit", "cart_query has no :cart_id", "items_query has no"):
        assert words in said
