"""Sql: carts that are read from the shop's own database, by two statements of the shop's own."""

import re
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    RowMapping,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from proxy.carts import answer
from proxy.carts.cart import Cart, LineItem
from proxy.carts.fields import Fields, Money
from proxy.carts.recipe import converted, of_patterns
from proxy.carts.rest import Rest
from proxy.carts.source import CartRef, Reading
from proxy.errors import CartGone, CartInvalid, Misconfigured, SourceDown, SourceRefused
from proxy.wire import Strict

_CONNECT_SECONDS = 2
_STATEMENT_SECONDS = 3
_CONNECTIONS = 4
_MOST_LINES = 10_000


class Queries(Strict, frozen=True, kw_only=True):
    """Two SELECTs with the parameter ``:cart_id``, whose columns bear our names.

    *cart_query* gives one row with ``id``, ``currency``, ``total`` and what else of a cart is
    known, ``completed`` too; *items_query* one for each line. What is a list in a cart is an array
    there, or text with commas between.
    """

    id_pattern: str
    guest_pattern: str = ""
    money: Money
    cart_query: str
    items_query: str

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Self:
        """Return the queries that *said* describes, or raise :exc:`Misconfigured`."""
        queries = converted(said, cls)
        mistakes = [
            *queries.fields.mistakes(),
            *of_patterns(queries.id_pattern, queries.guest_pattern),
        ]
        both = ("cart_query", "items_query")
        lacking = [name for name in both if ":cart_id" not in getattr(queries, name)]
        mistakes += [f"{name} has no :cart_id in it" for name in lacking]
        if mistakes:
            raise Misconfigured(*mistakes)
        return queries

    @property
    def fields(self) -> Fields:
        """Where in the rows what stands: where it is called so."""
        return Fields(money=self.money, cart=_CART, item=_ITEM)


_CART = {name: name for name in ("id", "completed", *Cart.__struct_fields__)} | {"root": "@"}
_ITEM = {name: name for name in LineItem.__struct_fields__}
_LISTS = ("coupons", "categories")


class SqlCarts:
    """Read carts from the database at *url*, SQLAlchemy's, with *queries*; change nothing there.

    To connect takes two seconds at most, and a statement three. Raises :exc:`Misconfigured` where
    the address is none, or the database's driver is not installed.
    """

    def __init__(self, queries: Queries, url: str) -> None:
        self._queries = queries
        self._engine = _engine(url)
        self._rest = Rest()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def fetch(self, ref: CartRef) -> Reading:
        """Return the cart as its rows are now, or raise :exc:`CartError`."""
        if not re.fullmatch(self._queries.id_pattern, ref.cart_id):
            raise CartInvalid("the token's cart id is not of the form that this shop's have")
        self._rest.check()
        with self._rest.heeded():
            said = self._asked(ref.cart_id)
        return answer.read(said, self._queries.fields, ref.cart_id)

    def _asked(self, cart_id: str) -> dict[str, Any]:
        try:
            with self._engine.connect() as connection:
                return self._said(connection, cart_id)
        except DataError as error:
            raise CartInvalid(f"the database cannot take the cart's id: {_name(error)}") from None
        except (OperationalError, InterfaceError) as error:
            if not _is_refusal(error.orig):
                raise SourceDown(f"the database does not answer: {_name(error)}") from None
            raise SourceRefused(f"the database refuses us: {_name(error)}") from None
        except SQLAlchemyError as error:
            raise SourceRefused(f"the database refuses the query: {_name(error)}") from None

    def _said(self, connection: Connection, cart_id: str) -> dict[str, Any]:
        _guard(connection)
        asked = {"cart_id": cart_id}
        cart = connection.execute(text(self._queries.cart_query), asked).mappings().first()
        if cart is None:
            raise CartGone("the shop does not know the cart")
        items = connection.execute(text(self._queries.items_query), asked).mappings()
        rows = [_ours(row, _ITEM) for row in items.fetchmany(_MOST_LINES)]
        return _ours(cart, _CART) | {"items": rows}


def _guard(connection: Connection) -> None:
    """Have nothing written in this reading, and have no statement of it take for ever."""
    dialect: Any = connection.dialect
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    for guard in _GUARDS.get(name, ()):
        connection.execute(text(guard))
    driver: Any = connection.connection.dbapi_connection
    if isinstance(driver, sqlite3.Connection):
        until = time.monotonic() + _STATEMENT_SECONDS
        driver.set_progress_handler(lambda: time.monotonic() > until, 10_000)


_GUARDS = {
    "postgresql": (
        "SET TRANSACTION READ ONLY",
        f"SET LOCAL statement_timeout = {_STATEMENT_SECONDS * 1000}",
    ),
    "mysql": (
        f"SET SESSION max_execution_time = {_STATEMENT_SECONDS * 1000}",
        "START TRANSACTION READ ONLY",
    ),
    "mariadb": (
        f"SET SESSION max_statement_time = {_STATEMENT_SECONDS}",
        "START TRANSACTION READ ONLY",
    ),
}


def _ours(row: RowMapping, known: Mapping[str, str]) -> dict[str, Any]:
    """Return *row* by its columns' names; a misspelt one is refused rather than lost."""
    for name in row:
        if name not in (*known, "exponent"):
            raise SourceRefused(f"a query has a column {name!r}, and a cart has no such member")
    return {name: _listed(value) if name in _LISTS else value for name, value in row.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _is_refusal(error: BaseException | None) -> bool:
    """Tell whether it is for somebody to mend: a password, a right, the name of a column."""
    state = getattr(error, "sqlstate", None) or ""
    number = error.args[0] if error is not None and error.args else None
    said = str(error)
    is_sqlites = isinstance(error, sqlite3.Error) and not said.startswith(_PASSING)
    is_login = "authentication failed" in said or "does not exist" in said
    return is_sqlites or is_login or state[:2] in ("28", "42") or number in _MYSQL_REFUSALS


# What goes by itself; all else that SQLite says is about the file or the statement.
_PASSING = ("database is locked", "interrupted", "disk I/O error", "unable to open")
# Access denied, unknown database, column or table, syntax error (MySQL's reference of errors).
_MYSQL_REFUSALS = frozenset({1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, 1792})


def _name(error: SQLAlchemyError) -> str:
    """Return what kind of error it is; its words may have the cart's data in them."""
    return type(error.orig if isinstance(error, DBAPIError) else error).__name__


# -- connecting --------------------------------------------------------------------------


def check_address(url: str) -> None:
    """Raise :exc:`Misconfigured` where *url* is no database's address."""
    _engine(url).dispose()


def _engine(url: str) -> Engine:
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite":
            return _sqlite(address)
        engine = create_engine(address, **_POOL)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        words = "is no database's address, or its driver is not installed"
        raise Misconfigured(f"the key {words} ({type(error).__name__})") from None
    event.listen(engine, "do_connect", _in_time)
    return engine


_POOL: Any = {
    "pool_size": _CONNECTIONS,
    "max_overflow": 0,
    "pool_pre_ping": True,
    "hide_parameters": True,
    "poolclass": QueuePool,
}


def _sqlite(address: URL) -> Engine:
    if not address.database:
        raise ValueError("without a file")
    # Opened otherwise, a file that is not there is made.
    uri = f"file:{quote(address.database)}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=_CONNECT_SECONDS, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        return connection

    return create_engine("sqlite://", creator=connect, **_POOL)


def _in_time(_dialect: Any, _record: Any, _args: Any, kwargs: dict[str, Any]) -> None:
    kwargs["connect_timeout"] = _CONNECT_SECONDS
