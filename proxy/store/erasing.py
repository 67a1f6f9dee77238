"""Erasing: whom a batch of facts wants forgotten, where they are named, and who was before."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, LargeBinary, delete, select, type_coerce

from proxy import erasures, facts
from proxy.carts.cart import Cart
from proxy.checkouts import Checkout, Status
from proxy.erasures import Sieve
from proxy.facts import ErasureAsked, Fact
from proxy.store import rows, schema
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart

_OPEN = (Status.PENDING, Status.DEAD, Status.QUARANTINED)
_AT_ONCE = 1_000

Marks = dict[tuple[str, str], datetime]


class Erasing:
    """The erasures of one batch of facts, and those before it that its facts may come too late for.

    What is there is read once for the whole batch, however many ask for something in it.
    """

    def __init__(
        self, connection: Connection, known: Sequence[Fact], keys: Collection[bytes]
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._changed: Marks = {}
        asked = [fact for fact in known if isinstance(fact, ErasureAsked)]
        self._found = _found(connection, asked, keys)
        self._named: dict[tuple[str, str], set[CartKey]] = {}
        self._marks = _marks(connection, known)
        self._is_needed = bool(asked or self._marks)

    @property
    def carts(self) -> set[CartKey]:
        """The carts in whose rows somebody is named who is to be erased."""
        return set().union(*self._found.values())

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
        if self._found:
            for name in erasures.names_in(fact):
                self._named.setdefault((fact.shop, name), set()).add((fact.shop, fact.cart_id))

    def reached(
        self,
        asked: ErasureAsked,
        checkouts: Mapping[CartKey, Sequence[Checkout]],
        carts: Mapping[CartKey, KeptCart | None],
    ) -> set[CartKey]:
        """Return the carts that *asked* is about, by what was written and by what is known."""
        names = erasures.names(asked)
        hashes = _hashes(asked, self._keys)
        reached = set(self._found.get(asked.id, ()))
        reached |= {(asked.shop, asked.cart_id)} if asked.cart_id else set()
        for name in names:
            reached |= self._named.get((asked.shop, name), set())
        for key, of in checkouts.items():
            if key[0] == asked.shop and any(_is_about(each, names, hashes) for each in of):
                reached.add(key)
        for key, kept in carts.items():
            if key[0] == asked.shop and kept and names & erasures.names_in_cart(kept.cart):
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


def _is_about(checkout: Checkout, names: frozenset[str], hashes: frozenset[str]) -> bool:
    if checkout.address_hash in hashes:
        return True
    return bool(names & erasures.names_in_checkout(checkout))


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


def _found(
    connection: Connection, asked: Sequence[ErasureAsked], keys: Collection[bytes]
) -> dict[str, set[CartKey]]:
    """Return in which carts' rows each of those *asked* for is named, by the id of who asked."""
    found: dict[str, set[CartKey]] = {each.id: set() for each in asked}
    for shop in {each.shop for each in asked}:
        ours = [each for each in asked if each.shop == shop]
        for each in ours:
            found[each.id] |= _by_hash(connection, shop, _hashes(each, keys))
        named = {each.id: erasures.names(each) for each in ours}
        if any(named.values()):
            for key, names in _naming(connection, shop, frozenset().union(*named.values())):
                for asked_id, wanted in named.items():
                    if names is None or names & wanted:
                        found[asked_id].add(key)
    return found


def _by_hash(connection: Connection, shop: str, hashes: Collection[str]) -> set[CartKey]:
    if not hashes:
        return set()
    table = schema.checkouts
    query = select(table.c.cart_id).where(table.c.shop == shop, table.c.address_hash.in_(hashes))
    return {(shop, cart_id) for cart_id in connection.execute(query).scalars()}


_Naming = tuple[CartKey, frozenset[str] | None]


def _naming(connection: Connection, shop: str, names: frozenset[str]) -> Iterator[_Naming]:
    """Yield the carts of *shop* in whose rows any of *names* stands, and the names that do.

    Those are ``None`` where what is written there cannot be read.
    """
    sieve = Sieve(names)
    yield from _in_checkouts(connection, shop, sieve)
    yield from _in_facts(connection, shop, sieve)
    yield from _in_carts(connection, shop, sieve)


def _in_checkouts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[_Naming]:
    table = schema.checkouts
    columns = (type_coerce(table.c[name], LargeBinary) for name in _ABOUT_A_PERSON)
    query = select(table.c.cart_id, *columns).where(table.c.shop == shop, table.c.status.in_(_OPEN))
    caught = {
        (shop, cart_id)
        for cart_id, *bodies in _each(connection, query)
        if any(body is not None and sieve.catches(body) for body in bodies)
    }
    for key, checkouts in rows.loaded(connection, caught).items() if caught else ():
        for checkout in checkouts:
            yield key, erasures.names_in_checkout(checkout)


_ABOUT_A_PERSON = ("latest", "addresses", "addressee")


def _in_facts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[_Naming]:
    table = schema.facts
    query = select(table.c.cart_id, table.c.kind, table.c.body).where(
        table.c.shop == shop, table.c.body.is_not(None)
    )
    for cart_id, kind, body in _each(connection, query):
        if sieve.catches(body):
            yield (shop, cart_id), _names_in(kind, body)


def _names_in(kind: str, body: bytes) -> frozenset[str] | None:
    try:
        return erasures.names_in(facts.decode(kind, body))
    except ValueError:
        return None


def _in_carts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[_Naming]:
    table = schema.carts
    body = type_coerce(table.c.cart, LargeBinary)
    query = select(table.c.cart_id, body).where(
        table.c.shop == shop, rows.names_address(connection)
    )
    for cart_id, cart in _each(connection, query):
        if sieve.catches(cart):
            yield (shop, cart_id), erasures.names_in_cart(_CART.decode(cart))


_CART = msgspec.json.Decoder(Cart)


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
