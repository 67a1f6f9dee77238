"""Named: in which carts a person is named, by all that was written and by what is being read."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection, select, type_coerce

from proxy import erasures, facts
from proxy.checkouts import Status
from proxy.erasures import Sieve
from proxy.facts import Fact
from proxy.store import schema
from proxy.store.rows import CartKey

_OPEN = (Status.PENDING, Status.DEAD, Status.QUARANTINED)
_AT_ONCE = 1_000


class Named:
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

    def carts(
        self, shop: str, names: Iterable[str], came_before: Callable[[datetime], bool]
    ) -> set[CartKey]:
        """Return the carts in which any of *names* was said at a time that *came_before*."""
        found = {key for key in self._unreadable if key[0] == shop}
        for name in names:
            for key, times in self._in.get((shop, name), {}).items():
                if any(map(came_before, times)):
                    found.add(key)
        return found


# -- what was written --------------------------------------------------------------------


def by_hash(connection: Connection, shop: str, hashes: Collection[str]) -> set[CartKey]:
    """Return the carts whose checkouts are found under *hashes* of an address or a number."""
    if not hashes:
        return set()
    table = schema.checkouts
    # One question for each: there is an index of each.
    of = (table.c.address_hash, table.c.phone_hash)
    queries = (select(table.c.cart_id).where(table.c.shop == shop, c.in_(hashes)) for c in of)
    found = (connection.execute(query).scalars() for query in queries)
    return {(shop, cart_id) for cart_id in chain.from_iterable(found)}


def in_checkouts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[CartKey]:
    """Yield the carts whose checkouts may name somebody; those that are closed name nobody."""
    table = schema.checkouts
    columns = (type_coerce(table.c[name], schema.Sealed) for name in _ABOUT_A_PERSON)
    query = select(table.c.cart_id, *columns).where(table.c.shop == shop, table.c.status.in_(_OPEN))
    for cart_id, *bodies in _each(connection, query):
        if any(body is not None and sieve.catches(body) for body in bodies):
            yield shop, cart_id


_ABOUT_A_PERSON = ("latest", "addresses", "addressee")


def in_facts(
    connection: Connection, shop: str, sieve: Sieve
) -> Iterator[tuple[CartKey, Fact | None]]:
    """Yield the facts that may name somebody; ``None`` is one that cannot be read."""
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


def in_carts(connection: Connection, shop: str, sieve: Sieve) -> Iterator[CartKey]:
    """Yield the carts that may name somebody."""
    table = schema.carts
    body = type_coerce(table.c.cart, schema.Sealed)
    query = select(table.c.cart_id, body).where(table.c.shop == shop, table.c.has_email)
    for cart_id, cart in _each(connection, query):
        if sieve.catches(cart):
            yield shop, cart_id


def _each(connection: Connection, query: Any) -> Iterator[Any]:
    """Yield the rows of *query*, of which there may be a million."""
    return iter(connection.execute(query, execution_options={"yield_per": _AT_ONCE}))
