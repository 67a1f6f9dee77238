"""Schema: the tables; what is about a shop begins its key with it, so that they shard by shop."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Engine,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

from proxy.alarms import Name, State
from proxy.carts.cart import Cart
from proxy.checkouts import Status, Trouble
from proxy.claims import Compared
from proxy.consents import Decided
from proxy.identity import Profile
from proxy.latest import Latest
from proxy.money import Amount
from proxy.store.seal import Seal
from proxy.tallies import What


class _Text(UserDefinedType[str]):
    """What SQLite keeps of a DATETIME. SQLAlchemy's own type takes thrice as long to write it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "DATETIME"


_UTC = "+00:00"


class Instant(TypeDecorator[datetime]):
    """An aware UTC time; in SQLite, which keeps no time zone, without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _Text() if dialect.name == "sqlite" else self.impl_instance

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(" ", "microseconds")[: -len(_UTC)]

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if isinstance(value, str):
            # Six times as fast as to give the time its zone afterwards.
            return datetime.fromisoformat(value + _UTC)
        assert value is None or isinstance(value, datetime)
        return value


class Json(TypeDecorator[Any]):
    """A value of one type, as JSON that keeps every digit of an amount."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._decoder = msgspec.json.Decoder(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else msgspec.json.encode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        return None if value is None else self._decoder.decode(value)


class Sealed(TypeDecorator[bytes]):
    """What may be about a person, sealed as its engine was told by :func:`set_seal`."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        return None if value is None else seal_of(dialect).sealed(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        return None if value is None else seal_of(dialect).opened(value)


class SealedJson(Json):
    """The same, as JSON."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        written = super().process_bind_param(value, dialect)
        return None if written is None else seal_of(dialect).sealed(written)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        opened = None if value is None else seal_of(dialect).opened(value)
        return super().process_result_value(opened, dialect)


def set_seal(engine: Engine, seal: Seal) -> None:
    """Have *engine* seal under *seal*: its dialect is its own, and all that a type is given."""
    vars(engine.dialect)["seal"] = seal


def seal_of(dialect: Dialect) -> Seal:
    """Return the seal of the engine that has *dialect*."""
    seal: Seal = vars(dialect)["seal"]
    return seal


def words(kind: type[StrEnum]) -> Enum:
    """Return the type of a column that holds a member of *kind*, as its value."""
    return Enum(kind, native_enum=False, length=32, values_callable=list)


# SQLite numbers by itself only what is called INTEGER, and beyond 2^31 all the same.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

book = MetaData()

marks = Table(
    "marks",
    book,
    Column("inbox", String(32), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

facts = Table(
    "facts",
    book,
    Column("seq", _NUMBER, primary_key=True),
    Column("shop", String(64), nullable=False),
    Column("cart_id", String(255), nullable=False),
    Column("id", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("body", Sealed),
    Column("decision", Text, nullable=False),
    UniqueConstraint("shop", "cart_id", "id"),
    Index("facts_received", "shop", "received_at"),
    Index(
        "facts_with_a_body",
        "shop",
        "cart_id",
        sqlite_where=text("body IS NOT NULL"),
        postgresql_where=text("body IS NOT NULL"),
    ),
)

carts = Table(
    "carts",
    book,
    Column("shop", String(64), nullable=False),
    Column("cart_id", String(255), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("cart", SealedJson(Cart), nullable=False),
    # What is sealed cannot be searched.
    Column("has_email", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("shop", "cart_id"),
    Index("carts_received", "shop", "received_at"),
)

erasures = Table(
    "erasures",
    book,
    Column("shop", String(64), nullable=False),
    Column("mark", String(32), nullable=False),
    Column("until", Instant, nullable=False),
    PrimaryKeyConstraint("shop", "mark"),
    Index("erasures_until", "shop", "until"),
)

checkouts = Table(
    "checkouts",
    book,
    Column("shop", String(64), nullable=False),
    Column("cart_id", String(255), nullable=False),
    Column("epoch", Instant, nullable=False),
    Column("unique_id", String(300), nullable=False),
    Column("acted_at", Instant, nullable=False),
    Column("settled_at", Instant, nullable=False),
    Column("status", words(Status), nullable=False),
    Column("reason", Text, nullable=False),
    Column("due_at", Instant),
    Column("ordered_at", Instant),
    Column("attempts", Integer, nullable=False),
    Column("trouble", words(Trouble)),
    Column("troubled_at", Instant),
    Column("retry_at", Instant),
    Column("latest", SealedJson(Latest), nullable=False),
    Column("addresses", SealedJson(tuple[str, ...]), nullable=False),
    Column("addressee", SealedJson(Profile)),
    Column("maybe_sent", Boolean, nullable=False),
    Column("claim", words(Compared)),
    Column("total", Json(Amount)),
    Column("delivered_at", Instant),
    Column("address_hash", String(32)),
    Column("called_off", Boolean, nullable=False, server_default=false()),
    Column("erased_at", Instant),
    Column("released", Boolean, nullable=False, server_default=false()),
    Column("client", String(32)),
    Column("consent", SealedJson(Decided)),
    Column("heard_at", Instant),
    Column("phone_hash", String(32)),
    PrimaryKeyConstraint("shop", "cart_id", "epoch"),
    Index("checkouts_due", "shop", "status", "due_at", "acted_at"),
    Index("checkouts_acted", "shop", "acted_at"),
    Index("checkouts_of_an_event", "shop", "unique_id"),
    Index("checkouts_of_an_address", "shop", "address_hash", "settled_at"),
    Index("checkouts_of_a_client", "shop", "client", "settled_at"),
    # Few give their number.
    Index(
        "checkouts_of_a_number",
        "shop",
        "phone_hash",
        sqlite_where=text("phone_hash IS NOT NULL"),
        postgresql_where=text("phone_hash IS NOT NULL"),
    ),
)

sent = Table(
    "sent",
    book,
    Column("shop", String(64), nullable=False),
    Column("cart_id", String(255), nullable=False),
    Column("epoch", Instant, nullable=False),
    Column("event", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shop", "cart_id", "epoch"),
)

tallies = Table(
    "tallies",
    book,
    Column("shop", String(64), nullable=False),
    Column("minute", Instant, nullable=False),
    Column("what", words(What), nullable=False),
    Column("detail", String(64), nullable=False),
    Column("many", BigInteger, nullable=False),
    PrimaryKeyConstraint("shop", "minute", "what", "detail"),
)

alarms = Table(
    "alarms",
    book,
    Column("shop", String(64), nullable=False),
    Column("name", words(Name), nullable=False),
    Column("raised_at", Instant, nullable=False),
    Column("said_at", Instant, nullable=False),
    Column("grade", BigInteger, nullable=False),
    Column("words", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("cleared_at", Instant),
    PrimaryKeyConstraint("shop", "name", "raised_at"),
)

notices = Table(
    "notices",
    book,
    Column("seq", _NUMBER, primary_key=True),
    Column("id", String(32), nullable=False),
    Column("shop", String(64), nullable=False),
    Column("name", words(Name), nullable=False),
    Column("state", words(State), nullable=False),
    Column("words", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("told_at", Instant),
    Index("notices_of_a_shop", "shop", "at"),
)

questions = Table(
    "questions",
    book,
    Column("shop", String(64), nullable=False),
    Column("id", String(64), nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("body", Sealed),
    Column("answer", Sealed),
    Column("answered_at", Instant),
    PrimaryKeyConstraint("shop", "id"),
)

attempts = Table(
    "attempts",
    book,
    Column("seq", _NUMBER, primary_key=True),
    Column("shop", String(64), nullable=False),
    Column("cart_id", String(255), nullable=False),
    Column("epoch", Instant, nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer),
    Column("request_id", String(128)),
    Column("reason", Text, nullable=False),
    Index("attempts_of_a_cart", "shop", "cart_id"),
)

# The row without a session says in which era all are that nobody has ended.
sign_outs = Table(
    "sign_outs",
    book,
    Column("shop", String(64), nullable=False),
    Column("session", String(64), nullable=False),
    Column("id", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("shop", "session"),
)

# The keys that addresses are hashed with, by number, each once under each of the shop's secrets.
locks = Table(
    "locks",
    book,
    Column("shop", String(64), nullable=False),
    Column("place", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("lock", Sealed, nullable=False),
    PrimaryKeyConstraint("shop", "place"),
)

accounts = Table(
    "accounts",
    book,
    Column("shop", String(64), primary_key=True),
    Column("paused_at", Instant),
    Column("paused_until", Instant),
    Column("reason", Text, nullable=False),
    Column("stopped", Boolean, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("seen_at", Instant),
    Column("revision", String(32)),
    Column("retires_on", Date),
    Column("prune_before", Instant),
)
