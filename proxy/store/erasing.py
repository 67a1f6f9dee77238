"""Erasing: whom a batch of facts wants forgotten, where they are named, and who was before."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, type_coerce

from proxy import erasures, facts
from proxy.checkouts import Checkout, Status
from proxy.erasures import Sieve
from proxy.facts import ErasureAsked, Fact
from proxy.setbacks import was_before
from proxy.store import rows, schema
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart

_OPEN = (Status.PENDING, Status.DEAD, Status.QUARANTINED)
_AT_ONCE = 1_000

Marks = dict[tuple[str, str], datetime]


@dataclass(frozen=True, slots=True)
class Asked:
    """An erasure, and whether it was delayed on its way to us."""

    fact: ErasureAsked
    delayed: bool

    def came_after(self, at: datetime) -> bool:
        """Tell whether what was at *at* was before it."""
        return was_before(at, self.fact.received_at, delayed=self.delayed)


class Erasing:
    """The erasures of one batch of facts, and those before it that its facts may come too late for.

    What is there is read once for the whole batch, however many ask for something in it.
    """

    def __init__(
        self,
        connection: Connection,
        known: Sequence[tuple[Received, Fact]],
        keys: Collection[bytes],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._changed: Marks = {}
        self._asked = [
            Asked(fact, item.delayed) for item, fact in known if isinstance(fact, ErasureAsked)
        ]
        self._hashes = {each.fact.id: _hashes(each.fact, keys) for each in self._asked}
        self._named = _Named()
        self.carts: set[CartKey] = set()
        """The carts in whose rows somebody may be named who is to be erased."""
        self._look()
        self._marks = _marks(connection, [fact for _, fact in known])
        self._is_needed = bool(self._asked or self._marks)

    def _look(self) -> None:
        """Look through all that is written for those who are to be erased."""
        for shop in {each.fact.shop for each in self._asked}:
            ours = [each.fact for each in self._asked if each.fact.shop == shop]
            hashes = frozenset().union(*(self._hashes[fact.id] for fact in ours))
            self.carts |= _by_hash(self._connection, shop, hashes)
            if names := frozenset().union(*map(erasures.names, ours)):
                sieve = Sieve(names)
                self.carts |= set(_in_checkouts(self._connection, shop, sieve))
                self.carts |= set(_in_carts(self._connection, shop, sieve))
                for key, fact in _in_facts(self._connection, shop, sieve):
                    self.carts.add(key)
                    self._named.note(key, fact)

    def until(self, fact: Fact) -> datetime | None:
        """Return until when what *fact* is about was erased, where it comes too late for that."""
        if not self._is_needed:
            return None
        marks = erasures.marks(erasures.names_in(fact), self._keys) | self._of_cart(fact.cart_id)
        return self._latest(fact, marks)

    def until_all_of_it(self, fact: Fact) -> datetime | None:
        """Return the same where all of the cart was to be erased, and not a person in it."""
        if not self._is_needed:
            return None
        return self._latest(fact, erasures.cart_mark(fact.cart_id, self._keys))

    def _of_cart(self, cart_id: str) -> frozenset[str]:
        of_person = erasures.persons_cart_mark(cart_id, self._keys)
        return of_person | erasures.cart_mark(cart_id, self._keys)

    def _latest(self, fact: Fact, marks: Iterable[str]) -> datetime | None:
        known = (self._marks.get((fact.shop, mark)) for mark in marks)
        at = erasures.when(fact)
        return max((until for until in known if until is not None and at <= until), default=None)

    def note(self, fact: Fact) -> None:
        """Remember whom *fact* names, for an erasure that comes in the same batch."""
        if self._asked:
            self._named.note((fact.shop, fact.cart_id), fact)

    def reached(
        self,
        asked: Asked,
        checkouts: Mapping[CartKey, Sequence[Checkout]],
        carts: Mapping[CartKey, KeptCart | None],
    ) -> set[CartKey]:
        """Return the carts that *asked* is about, by what was written and by what is known."""
        fact, hashes = asked.fact, self._hashes[asked.fact.id]
        names = erasures.names(fact)
        reached = {(fact.shop, fact.cart_id)} if fact.cart_id else set()
        reached |= self._named.carts(asked, names)
        for key, of in checkouts.items():
            if key[0] == fact.shop and any(_is_about(each, asked, hashes) for each in of):
                reached.add(key)
        for key, kept in carts.items():
            # Also one that was put later: it may have replaced another that named them before.
            if key[0] == fact.shop and kept and names & erasures.names_in_cart(kept.cart):
                reached.add(key)
        return reached

    def remember(self, asked: ErasureAsked, until: datetime, carts: Iterable[CartKey]) -> None:
        """Remember whom *asked* was about, and their *carts*, for what comes late."""
        marks = _hashes(asked, self._keys)
        if asked.cart_id:
            marks |= erasures.cart_mark(asked.cart_id, self._keys)
        for mark in marks:
            self._mark(asked.shop, mark, until)
        for key in carts:
            self.remember_cart(key, until)

    def remember_cart(self, key: CartKey, until: datetime) -> None:
        """Remember that somebody was named in a cart who was erased."""
        for mark in erasures.persons_cart_mark(key[1], self._keys):
            self._mark(key[0], mark, until)

    def _mark(self, shop: str, mark: str, until: datetime) -> None:
        known = self._marks.get((shop, mark))
        if known is None or known < until:
            self._marks[shop, mark] = self._changed[shop, mark] = until
            self._is_needed = True

    def write(self) -> None:
        """Write down who was erased."""
        marks = [
            {"shop": shop, "mark": mark, "until": until}
            for (shop, mark), until in self._changed.items()
        ]
        if marks:
            statement = rows.replacing(schema.erasures, self._connection)
            self._connection.execute(statement, marks)


def _hashes(asked: ErasureAsked, keys: Collection[bytes]) -> frozenset[str]:
    given = {asked.address_hash} if asked.address_hash else set()
    return erasures.marks(erasures.names(asked), keys) | given


def _is_about(checkout: Checkout, asked: Asked, hashes: Collection[str]) -> bool:
    return erasures.is_about(checkout, asked.fact, hashes, delayed=asked.delayed)


class _Named:
    """Who was named in which cart, and when, as facts say that are not read again."""

    def __init__(self) -> None:
        self._in: dict[tuple[str, str], dict[CartKey, list[datetime]]] = {}
        self._unreadable: set[CartKey] = set()

    def note(self, key: CartKey, fact: Fact | None) -> None:
        """Note whom a fact names; ``None`` is one that names somebody, and cannot be read."""
        if fact is None:
            self._unreadable.add(key)
            return
        for name in erasures.names_in(fact):
            times = self._in.setdefault((fact.shop, name), {}).setdefault(key, [])
            times.append(erasures.when(fact))

    def carts(self, asked: Asked, names: Iterable[str]) -> set[CartKey]:
        """Return the carts in which any of *names* was said before that was *asked*."""
        found = {key for key in self._unreadable if key[0] == asked.fact.shop}
        for name in names:
            for key, times in self._in.get((asked.fact.shop, name), {}).items():
                if any(map(asked.came_after, times)):
                    found.add(key)
        return found


def _marks(connection: Connection, known: Sequence[Fact]) -> Marks:
    """Return who was erased so lately that some of the facts that are *known* may be too late."""
    if not known:
        return {}
    table = schema.erasures
    query = select(table.c.shop, table.c.mark, table.c.until).where(
        table.c.shop.in_({fact.shop for fact in known}),
        table.c.until >= min(map(erasures.when, known)),
    )
    return {(row.shop, row.mark): row.until for row in connection.execute(query)}


# -- what was written --------------------------------------------------------------------


def _by_hash(connection: Connection, shop: str, hashes: Collection[str]) -> set[CartKey]:
    if not hashes:
        return set()
    table = schema.checkouts
    query = select(table.c.cart_id).where(table.c.shop == shop, table.c.address_hash.in_(hashes))
    return {(shop, cart_id) for cart_id in connection.execute(query).scalars()}


def _in_checkouts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[CartKey]:
    table = schema.checkouts
    columns = (type_coerce(table.c[name], schema.Sealed) for name in _ABOUT_A_PERSON)
    query = select(table.c.cart_id, *columns).where(table.c.shop == shop, table.c.status.in_(_OPEN))
    for cart_id, *bodies in _each(connection, query):
        if any(body is not None and sieve.catches(body) for body in bodies):
            yield shop, cart_id


_ABOUT_A_PERSON = ("latest", "addresses", "addressee")


def _in_facts(
    connection: Connection, shop: str, sieve: Sieve
) -> Iterator[tuple[CartKey, Fact | None]]:
    table = schema.facts
    query = select(table.c.cart_id, table.c.kind, table.c.body).where(
        table.c.shop == shop, table.c.body.is_not(None)
    )
    for cart_id, kind, body in _each(connection, query):
        if sieve.catches(body):
            yield (shop, cart_id), _fact_in(kind, body)


def _fact_in(kind: str, body: bytes) -> Fact | None:
    try:
        return facts.decode(kind, body)
    except (ValueError, RecursionError):
        return None


def _in_carts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[CartKey]:
    table = schema.carts
    body = type_coerce(table.c.cart, schema.Sealed)
    query = select(table.c.cart_id, body).where(table.c.shop == shop, table.c.has_email)
    for cart_id, cart in _each(connection, query):
        if sieve.catches(cart):
            yield shop, cart_id


def _each(connection: Connection, query: Any) -> Iterator[Any]:
    """Yield the rows of *query*, of which there may be a million."""
    return iter(connection.execute(query, execution_options={"yield_per": _AT_ONCE}))


# -- and where it is erased --------------------------------------------------------------


def erase_bodies(connection: Connection, keys: Collection[CartKey]) -> None:
    """Erase what was received for carts, whatever stands still open in them."""
    for shop, cart_id in keys:
        connection.execute(rows.ERASE_BODIES, {"of_shop": shop, "of_cart": cart_id})


def forget_questions(connection: Connection, shops: Collection[str], before: datetime) -> None:
    """Forget what was asked before, and what was answered: that does not say whom it names."""
    table = schema.questions
    asked = table.c.shop.in_(shops) & (table.c.asked_at <= before)
    connection.execute(delete(table).where(asked))


def erase_received(connection: Connection, items: Iterable[Received]) -> None:
    """Erase facts where they lie until their day is over, which is so in PostgreSQL alone."""
    if connection.dialect.name == "postgresql":
        for item in items:
            about = {"shop": item.shop, "inbox": item.inbox, "seq": item.seq}
            connection.execute(rows.ERASE_RECEIVED, about)
