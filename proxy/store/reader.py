"""Reader: what the book says, to be read by anybody, while the sender goes on writing it."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Engine,
    LargeBinary,
    Row,
    Select,
    case,
    false,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
)

from proxy.alarms import Notice, RaisedAlarm
from proxy.carts.cart import Cart
from proxy.checkouts import Checkout, Status
from proxy.claims import Compared
from proxy.money import Amount
from proxy.standing import Standing
from proxy.steps import Answer, decode
from proxy.store import migration, retention, rows, schema
from proxy.store.resealing import KEYS, sealed
from proxy.store.seal import MARK_LENGTH, SAYS_NOTHING, SEALED, Seal
from proxy.tallies import EVER, Counted, What


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to send a checkout: when, what Klaviyo answered, in words."""

    at: datetime
    status: int | None
    request_id: str | None
    reason: str


class DeadLetter(NamedTuple):
    """A checkout that was given up, or kept back in quarantine, and why."""

    cart_id: str
    epoch: datetime
    reason: str
    unique_id: str

    def __repr__(self) -> str:
        # A cart's id is the key to the cart on some platforms.
        return f"<DeadLetter {self.unique_id}>"


class Place(NamedTuple):
    """A place in a list of checkouts, the shopper's last act first."""

    acted_at: datetime
    cart_id: str
    epoch: datetime

    def __repr__(self) -> str:
        return f"<Place {self.acted_at}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which checkouts are looked for; those after *after*, where a list goes on."""

    status: Status | None = None
    cart_id: str | None = field(default=None, repr=False)
    address_hashes: Collection[str] | None = field(default=None, repr=False)
    after: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A checkout in a list."""

    unique_id: str
    cart_id: str = field(repr=False)
    epoch: datetime
    acted_at: datetime
    status: Status
    reason: str
    due_at: datetime | None
    delivered_at: datetime | None
    total: Amount | None

    @property
    def place(self) -> Place:
        """Where it stands in the list."""
        return Place(self.acted_at, self.cart_id, self.epoch)


class Reader:
    """Checkouts, carts, attempts, accounts and tallies behind *engine*."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def is_current(self) -> bool:
        """Whether its tables are as this version has them; else little of it can be read."""
        with self._engine.connect() as connection:
            return migration.is_current(connection)

    def marks(self) -> dict[str, int]:
        """Return how far each inbox was taken in."""
        with self._engine.connect() as connection:
            found = connection.execute(select(schema.marks))
            return {row.inbox: row.seq for row in found}

    def carts(self, shop: str, cart_ids: Collection[str]) -> dict[str, Cart]:
        """Return the last carts that the shop's server pushed under *cart_ids*."""
        table = schema.carts
        query = select(table.c.cart_id, table.c.cart).where(
            table.c.shop == shop, table.c.cart_id.in_(cart_ids)
        )
        with self._engine.connect() as connection:
            return {row.cart_id: row.cart for row in connection.execute(query)}

    def cart(self, shop: str, cart_id: str) -> Cart | None:
        """Return the last cart that the shop's server pushed."""
        return self.carts(shop, [cart_id]).get(cart_id)

    def pushed(self, shop: str) -> tuple[int, datetime | None]:
        """Return how many carts are kept that the shop's server pushed, and when the last came."""
        table = schema.carts
        query = select(func.count(), func.max(table.c.received_at)).where(table.c.shop == shop)
        with self._engine.connect() as connection:
            count, last = connection.execute(query).one()
            return count, last

    def standing(self, shop: str) -> Standing:
        """Return whether *shop*'s account may be sent to."""
        table = schema.accounts
        columns = (table.c[field.name] for field in fields(Standing))
        query = select(*columns).where(table.c.shop == shop)
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return Standing() if row is None else Standing(**row._asdict())

    def sign_outs(self, shop: str, session: str) -> tuple[str, bool]:
        """Return the era of the operators' sessions, and whether *session* was ended."""
        table = schema.sign_outs
        query = select(table.c.session, table.c.id).where(
            table.c.shop == shop, table.c.session.in_(("", session))
        )
        with self._engine.connect() as connection:
            known = {row.session: row.id for row in connection.execute(query)}
        return known.pop("", ""), bool(known)

    def counts(self, shop: str) -> dict[Status, int]:
        """Return how many checkouts of *shop* stand where."""
        table = schema.checkouts
        count = select(table.c.status, func.count().label("many")).group_by(table.c.status)
        with self._engine.connect() as connection:
            found = connection.execute(count.where(table.c.shop == shop))
            counted = {row.status: row.many for row in found}
        return {status: counted.get(status, 0) for status in Status}

    def claims(self, shop: str) -> dict[Compared, int]:
        """Return how the pages' totals stood to those that were sent, and how often."""
        table = schema.checkouts
        sent = (table.c.shop == shop) & (table.c.status == Status.DELIVERED)
        query = select(table.c.claim, func.count().label("many")).where(sent)
        with self._engine.connect() as connection:
            counted = {
                row.claim: row.many for row in connection.execute(query.group_by(table.c.claim))
            }
        return {claim: counted.get(claim, 0) for claim in Compared}

    def oldest_due(self, shop: str) -> datetime | None:
        """Return since when the checkout that is longest due has been due."""
        table = schema.checkouts
        query = select(func.min(table.c.due_at)).where(
            table.c.shop == shop, table.c.status == Status.PENDING
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def checkouts(self, shop: str, cart_id: str) -> list[Checkout]:
        """Return the checkouts of one cart, oldest first."""
        with self._engine.connect() as connection:
            return rows.loaded(connection, {(shop, cart_id)}).get((shop, cart_id), [])

    def checkout(self, shop: str, unique_id: str) -> Checkout | None:
        """Return the checkout under *unique_id*, if there is one."""
        table = schema.checkouts
        query = select(table.c.cart_id).where(table.c.shop == shop, table.c.unique_id == unique_id)
        with self._engine.connect() as connection:
            cart_id = connection.execute(query).scalar()
        known = [] if cart_id is None else self.checkouts(shop, cart_id)
        return next((each for each in known if each.unique_id == unique_id), None)

    def dead(
        self, shop: str, *, reason: str | None = None, cart_id: str | None = None
    ) -> Iterator[DeadLetter]:
        """Yield the dead letters of *shop*, as :meth:`ended` does."""
        return self.ended(shop, Status.DEAD, reason=reason, cart_id=cart_id)

    def ended(
        self, shop: str, status: Status, *, reason: str | None = None, cart_id: str | None = None
    ) -> Iterator[DeadLetter]:
        """Yield those of *shop* at *status*: all, those whose reason contains *reason*, a cart's.

        After three days without Klaviyo there may be a million dead letters.
        """
        table = schema.checkouts
        columns = (table.c[name] for name in DeadLetter._fields)
        query = select(*columns).where(table.c.shop == shop, table.c.status == status)
        if reason is not None:
            query = query.where(table.c.reason.icontains(reason, autoescape=True))
        if cart_id is not None:
            query = query.where(table.c.cart_id == cart_id)
        with self._engine.connect() as connection:
            some_at_once = connection.execution_options(yield_per=1_000)
            for row in some_at_once.execute(query.order_by(table.c.acted_at)):
                yield DeadLetter(*row)

    def received(self, shop: str, cart_id: str, newest: int | None = None) -> list[Row[Any]]:
        """Return what was received for one cart: ``received_at``, ``kind``, ``decision``.

        Where there is a *newest*, of so many at most, the last that came.
        """
        table = schema.facts
        query = (
            select(table.c.received_at, table.c.kind, table.c.decision)
            .where(table.c.shop == shop, table.c.cart_id == cart_id)
            .order_by(table.c.seq.desc())
            .limit(newest)
        )
        with self._engine.connect() as connection:
            found: list[Row[Any]] = list(connection.execute(query))
        return found[::-1]

    def many_received(self, shop: str, cart_id: str) -> int:
        """Return how much was received for one cart."""
        table = schema.facts
        count = select(func.count()).select_from(table)
        with self._engine.connect() as connection:
            ours = (table.c.shop == shop) & (table.c.cart_id == cart_id)
            return connection.execute(count.where(ours)).scalar_one()

    def attempts(self, shop: str, cart_id: str) -> list[Attempt]:
        """Return every attempt to send one cart's checkouts, oldest first."""
        table = schema.attempts
        query = (
            select(*(table.c[field.name] for field in fields(Attempt)))
            .where(table.c.shop == shop, table.c.cart_id == cart_id)
            .order_by(table.c.seq)
        )
        with self._engine.connect() as connection:
            return [Attempt(**row._asdict()) for row in connection.execute(query)]

    def event(self, shop: str, cart_id: str, epoch: datetime) -> bytes | None:
        """Return what Klaviyo took of one checkout, without what is about a person, as JSON."""
        table = schema.sent
        query = select(table.c.event).where(
            table.c.shop == shop, table.c.cart_id == cart_id, table.c.epoch == epoch
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def search(self, shop: str, wanted: Wanted, limit: int) -> list[Found]:
        """Return at most *limit* of the checkouts that are *wanted*, the last act first."""
        with self._engine.connect() as connection:
            rows = connection.execute(_listing(shop, wanted).limit(limit))
            return [Found(**row._asdict()) for row in rows]

    def by_reason(self, shop: str, status: Status) -> list[tuple[str, int]]:
        """Return the reasons of those at *status*, and how many have each, most first."""
        table = schema.checkouts
        many = func.count().label("many")
        query = (
            select(table.c.reason, many)
            .where(table.c.shop == shop, table.c.status == status)
            .group_by(table.c.reason)
            .order_by(many.desc())
        )
        with self._engine.connect() as connection:
            return [(row.reason, row.many) for row in connection.execute(query)]

    def tallied(
        self,
        shop: str,
        *,
        since: datetime,
        until: datetime,
        by_minute: Collection[What] = tuple(What),
    ) -> list[Counted]:
        """Return what was counted in the minutes from *since* to before *until*.

        What is not wanted *by_minute* is added up, and told as if all of it had been at *since*: in
        a week's minutes there are half a million counts, most of them of how long things took.
        """
        table = schema.tallies
        counts = table.c.minute, table.c.what, table.c.detail, table.c.many
        counted = (table.c.shop == shop) & (table.c.minute >= since) & (table.c.minute < until)
        each = select(*counts).where(counted, table.c.what.in_(by_minute))
        added_up = (
            select(table.c.what, table.c.detail, func.sum(table.c.many))
            .where(counted, table.c.what.not_in(by_minute))
            .group_by(table.c.what, table.c.detail)
        )
        with self._engine.connect() as connection:
            found = [Counted(*row) for row in connection.execute(each)]
            rest = connection.execute(added_up)
            return found + [Counted(since, what, detail, int(n)) for what, detail, n in rest]

    def answer(self, shop: str, question_id: str) -> Answer | None:
        """Return what was answered to a question; ``None`` before that, and an hour after it."""
        table = schema.questions
        query = select(table.c.answer).where(table.c.shop == shop, table.c.id == question_id)
        with self._engine.connect() as connection:
            answer = connection.execute(query).scalar()
        return None if answer is None else decode(answer)

    def prune_before(self, shop: str) -> datetime | None:
        """Return before when all is to be removed, where that was asked and is not done yet."""
        query = select(schema.accounts.c.prune_before).where(schema.accounts.c.shop == shop)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def old(self, shop: str, before: datetime) -> int:
        """Return how many rows there are that were *before* and are to be removed."""
        with self._engine.connect() as connection:
            return retention.left(connection, shop, before)

    def was_erased(self, shop: str) -> bool:
        """Tell whether it is remembered that somebody was erased."""
        query = select(schema.erasures.c.mark).where(schema.erasures.c.shop == shop).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() is not None

    def locks(self, shop: str) -> list[tuple[int, bytes]]:
        """Return the keys that *shop*'s addresses are hashed with, locked, each with its number.

        A lock that is damaged comes as it lies there: no secret opens it, and it stops no other.
        """
        table, seal = schema.locks, schema.seal_of(self._engine.dialect)
        raw = type_coerce(table.c.lock, LargeBinary)
        query = select(table.c.number, raw).where(table.c.shop == shop).order_by(table.c.place)
        with self._engine.connect() as connection:
            return [(number, _opened(seal, lock)) for number, lock in connection.execute(query)]

    def sealed_under(self, shop: str) -> dict[str, int]:
        """Return how many values lie in the book under keys of which mark; ``""``: unsealed."""
        counted: Counter[str] = Counter()
        with self._engine.connect() as connection:
            for table in KEYS:
                for column in sealed(table):
                    raw = type_coerce(column, LargeBinary)
                    found = connection.execute(_marks(raw).where(table.c.shop == shop))
                    counted.update({mark.decode(errors="replace"): many for mark, many in found})
        return dict(counted)

    # -- what the watch looks at, and what it says --

    def dead_letters(self, shop: str) -> int:
        """Return how many dead letters *shop* has."""
        table = schema.checkouts
        count = select(func.count()).select_from(table)
        with self._engine.connect() as connection:
            are_dead = (table.c.shop == shop) & (table.c.status == Status.DEAD)
            return connection.execute(count.where(are_dead)).scalar_one()

    def ever(self, shop: str, what: What) -> int:
        """Return how many there ever were of *what*, whatever the details."""
        table = schema.tallies
        query = select(func.sum(table.c.many)).where(
            table.c.shop == shop, table.c.minute == EVER, table.c.what == what
        )
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar() or 0)

    def commonest(self, shop: str, what: What, since: datetime) -> str:
        """Return the detail that most of *what* had since the minute of *since*; or nothing."""
        table = schema.tallies
        minute = since.replace(second=0, microsecond=0)
        query = (
            select(table.c.detail)
            .where(table.c.shop == shop, table.c.minute >= minute, table.c.what == what)
            .group_by(table.c.detail)
            .order_by(func.sum(table.c.many).desc(), table.c.detail)
            .limit(1)
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() or ""

    def by_detail(self, shop: str, what: What, since: datetime, until: datetime) -> dict[str, int]:
        """Return how many there were of *what* from *since* to *until*, by its details."""
        table = schema.tallies
        query = (
            select(table.c.detail, func.sum(table.c.many))
            .where(table.c.shop == shop, table.c.minute.between(since, until), table.c.what == what)
            .group_by(table.c.detail)
        )
        with self._engine.connect() as connection:
            return {detail: int(many) for detail, many in connection.execute(query)}

    def minutes(
        self,
        shop: str,
        since: datetime,
        whats: Iterable[tuple[What, str | None]],
        *,
        until: datetime,
        limit: int | None = None,
    ) -> list[datetime]:
        """Return the minutes from *since* to *until* that have any of *whats*, the last first.

        These are with one detail each, or with ``None`` for whatever detail.
        """
        table = schema.tallies
        wanted: Any = false()
        for what, detail in whats:
            each = table.c.what == what
            wanted |= each if detail is None else each & (table.c.detail == detail)
        query = (
            select(table.c.minute)
            .where(table.c.shop == shop, table.c.minute.between(since, until), wanted)
            .order_by(table.c.minute.desc())
            .limit(limit)
            .distinct()
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def alarms(self, shop: str) -> list[RaisedAlarm]:
        """Return the alarms that stand, and then those that were cleared in the last week."""
        table = schema.alarms
        columns = [table.c[field.name] for field in fields(RaisedAlarm)]
        order = table.c.cleared_at.is_not(None), table.c.cleared_at.desc(), table.c.raised_at
        query = select(*columns).where(table.c.shop == shop).order_by(*order)
        with self._engine.connect() as connection:
            return [RaisedAlarm(**row._asdict()) for row in connection.execute(query)]

    def untold(self, shop: str, since: datetime) -> list[Notice]:
        """Return what happened to alarms since *since* and was not told yet, oldest first."""
        table = schema.notices
        query = (
            select(*(table.c[field.name] for field in fields(Notice)))
            .where(table.c.shop == shop, table.c.at >= since, table.c.told_at.is_(None))
            .order_by(table.c.seq)
        )
        with self._engine.connect() as connection:
            return [Notice(**row._asdict()) for row in connection.execute(query)]

    def seen_at(self, shop: str) -> datetime | None:
        """Return when a sender last looked after *shop*: every 15 s, where one is at work."""
        query = select(schema.accounts.c.seen_at).where(schema.accounts.c.shop == shop)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def retires_on(self, shop: str, revision: str) -> date | None:
        """Return when Klaviyo retires *revision*, as far as it has said so."""
        table = schema.accounts
        query = select(table.c.retires_on).where(table.c.shop == shop, table.c.revision == revision)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()


def _opened(seal: Seal, content: bytes) -> bytes:
    try:
        return seal.opened(content)
    except ValueError:
        return content


def _marks(raw: Any) -> Select[Any]:
    """Return the query for the marks of what lies in the column *raw*, and how many have each."""
    beginning = func.substr(raw, 1, len(SEALED), type_=LargeBinary)
    mark = func.substr(raw, len(SEALED) + 1, MARK_LENGTH, type_=LargeBinary)
    found = case((beginning == SEALED, mark), else_=literal(b"", LargeBinary)).label("mark")
    says_something = raw.is_not(None) & (func.length(raw) > SAYS_NOTHING)
    return select(found, func.count()).where(says_something).group_by(found)


def _listing(shop: str, wanted: Wanted) -> Select[Any]:
    columns = schema.checkouts.c
    query = select(*(columns[field.name] for field in fields(Found))).where(columns.shop == shop)
    if wanted.status is not None:
        query = query.where(columns.status == wanted.status)
    if wanted.cart_id is not None:
        query = query.where(columns.cart_id == wanted.cart_id)
    if wanted.address_hashes is not None:
        query = query.where(columns.address_hash.in_(wanted.address_hashes))
    # SQLite, which keeps no statistics, takes the index that gives the order. Where few are wanted,
    # it would read all there are for them: so the order is of something else than what is indexed.
    acted_at = func.coalesce(columns.acted_at, columns.acted_at)
    order = acted_at if _are_few(wanted) else columns.acted_at, columns.cart_id, columns.epoch
    if wanted.after is not None:
        query = query.where(tuple_(*order) < tuple_(*wanted.after))
    return query.order_by(*(column.desc() for column in order))


def _are_few(wanted: Wanted) -> bool:
    by_name = wanted.cart_id is not None or wanted.address_hashes is not None
    return by_name or wanted.status not in (None, Status.DELIVERED, Status.CANCELLED)
