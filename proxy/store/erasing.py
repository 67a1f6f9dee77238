"""Erasing: whom a batch of facts wants forgotten, who was before, and what that erases."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import msgspec
from sqlalchemy import Connection, delete, select

from proxy import erasures
from proxy.checkouts import ERASED, Checkout, Rules
from proxy.erasures import Sieve, erased
from proxy.facts import CartPushed, ErasureAsked, Fact, StatePosted
from proxy.setbacks import was_before
from proxy.store import named, rows, schema
from proxy.store.batch import Batch
from proxy.store.named import Named
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart

Marks = dict[tuple[str, str], datetime]


@dataclass(frozen=True, slots=True)
class _Asked:
    """An erasure, and whether it was delayed on its way to us."""

    fact: ErasureAsked
    delayed: bool

    def came_after(self, at: datetime) -> bool:
        """Tell whether what was at *at* was before it."""
        return was_before(at, self.fact.received_at, delayed=self.delayed)

    def is_about(self, checkout: Checkout, hashes: Collection[str], kept: KeptCart | None) -> bool:
        """Tell whether somebody is named in *checkout* whom it is about; its cart is *kept*."""
        put_since = _email_since(kept, self.fact.received_at)
        return erasures.is_about(
            checkout, self.fact, hashes, delayed=self.delayed, cart_email=put_since
        )


class Erasing:
    """The erasures of one batch of facts, and those before it that its facts may come too late for.

    What is there is read once for the whole batch, however many ask for something in it. Who is
    erased is known by *keys* afterwards.
    """

    def __init__(
        self,
        connection: Connection,
        known: Sequence[tuple[Received, Fact]],
        rules: Rules,
        keys: Collection[bytes],
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._keys = keys
        self._changed: Marks = {}
        self._asked = [
            _Asked(fact, item.delayed) for item, fact in known if isinstance(fact, ErasureAsked)
        ]
        self._hashes = {each.fact.id: _hashes(each.fact, keys) for each in self._asked}
        self._named = Named()
        self.carts: set[CartKey] = set()
        """The carts in whose rows somebody may be named who is to be erased."""
        self._look()
        self._marks = _marks(connection, [fact for _, fact in known])
        self._is_needed = bool(self._asked or self._marks)
        self._erased: set[CartKey] = set()
        self._lie_elsewhere: list[Received] = []

    def _look(self) -> None:
        """Look through all that is written for those who are to be erased."""
        for shop in {each.fact.shop for each in self._asked}:
            ours = [each.fact for each in self._asked if each.fact.shop == shop]
            hashes = frozenset().union(*(self._hashes[fact.id] for fact in ours))
            self.carts |= named.by_hash(self._connection, shop, hashes)
            if names := frozenset().union(*map(erasures.names, ours)):
                sieve = Sieve(names)
                self.carts |= set(named.in_checkouts(self._connection, shop, sieve))
                self.carts |= set(named.in_carts(self._connection, shop, sieve))
                for key, fact in named.in_facts(self._connection, shop, sieve):
                    self.carts.add(key)
                    self._named.note(key, fact)

    def note(self, fact: Fact) -> None:
        """Remember whom *fact* names, for an erasure that comes in the same batch."""
        if self._asked:
            self._named.note((fact.shop, fact.cart_id), fact)

    def write(self) -> None:
        """Write down who was erased, and erase what was received."""
        marks = [
            {"shop": shop, "mark": mark, "until": until}
            for (shop, mark), until in self._changed.items()
        ]
        if marks:
            statement = rows.replacing(schema.erasures, self._connection)
            self._connection.execute(statement, marks)
        _erase_bodies(self._connection, self._erased)
        _erase_received(self._connection, self._lie_elsewhere)

    # -- an erasure --

    def erase(self, batch: Batch, item: Received, asked: ErasureAsked) -> None:
        """Erase the carts in which a person is named, and remember it for what comes late."""
        until = asked.received_at
        reached = self._reached(batch, _Asked(asked, item.delayed))
        self._remember(asked, reached)
        self._forget_questions(batch, item.shop, until)
        for key in sorted(reached):
            is_asked = key == (item.shop, item.cart_id)
            self._erase_cart(
                batch, key, until, item.received_at, delayed=item.delayed, all_of_it=is_asked
            )
            batch.note(item, ERASED, body=None, cart_id=key[1])
        if (item.shop, item.cart_id) not in reached:
            batch.note(item, "taken in", body=None)
        self._lie_elsewhere.append(item)

    def _reached(self, batch: Batch, asked: _Asked) -> set[CartKey]:
        """Return the carts that *asked* is about, by what was written and by what is known."""
        fact, hashes = asked.fact, self._hashes[asked.fact.id]
        names = erasures.names(fact)
        reached = {(fact.shop, fact.cart_id)} if fact.cart_id else set()
        reached |= self._named.carts(fact.shop, names, asked.came_after)
        for key, of in batch.checkouts.items():
            kept = batch.carts.get(key)
            if key[0] == fact.shop and any(asked.is_about(each, hashes, kept) for each in of):
                reached.add(key)
        for key, kept in batch.carts.items():
            # Also one that was put later: it may have replaced another that named them before.
            if key[0] == fact.shop and kept and names & erasures.names_in_cart(kept.cart):
                reached.add(key)
        return reached

    def _remember(self, asked: ErasureAsked, carts: Iterable[CartKey]) -> None:
        """Remember whom *asked* was about, and their *carts*, for what comes late."""
        marks = _hashes(asked, self._keys)
        if asked.cart_id:
            marks |= erasures.cart_mark(asked.cart_id, self._keys)
        for mark in marks:
            self._mark(asked.shop, mark, asked.received_at)
        for key in carts:
            self._remember_cart(key, asked.received_at)

    def _forget_questions(self, batch: Batch, shop: str, until: datetime) -> None:
        """Forget what was asked before, and what was answered: that does not say whom it names."""
        self._lie_elsewhere += [one for one in batch.questions if one.received_at <= until]
        batch.questions = [one for one in batch.questions if one.received_at > until]
        table = schema.questions
        asked = (table.c.shop == shop) & (table.c.asked_at <= until)
        self._connection.execute(delete(table).where(asked))

    # -- what comes too late for one --

    def until(self, fact: Fact) -> datetime | None:
        """Return until when what *fact* is about was erased, where it comes too late for that."""
        if not self._is_needed:
            return None
        marks = erasures.marks(erasures.names_in(fact), self._keys) | self._of_cart(fact.cart_id)
        return self._latest(fact, marks)

    def _until_all_of_it(self, fact: Fact) -> datetime | None:
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

    def erase_again(self, batch: Batch, item: Received, until: datetime) -> None:
        """Erase the cart of *item*, which is about somebody who was erased *until* then."""
        self._lie_elsewhere.append(item)
        key = item.shop, item.cart_id
        self._remember_cart(key, until)
        # A fact that came too late reaches no further than the erasure did.
        self._erase_cart(batch, key, until, item.received_at, delayed=True)

    def left_of(self, fact: Fact) -> Fact | None:
        """Return what may be taken in of *fact*, which is about somebody who was erased."""
        match fact:
            case StatePosted():
                return None
            case CartPushed() if self._until_all_of_it(fact) is not None:
                return None
            case CartPushed():
                return replace(fact, cart=msgspec.structs.replace(fact.cart, email=None))
        return fact

    # -- either --

    def _erase_cart(
        self,
        batch: Batch,
        key: CartKey,
        until: datetime,
        at: datetime,
        *,
        delayed: bool,
        all_of_it: bool = False,
    ) -> None:
        kept = batch.carts.get(key)
        erase = partial(
            erased,
            until=until,
            rules=self._rules,
            delayed=delayed,
            cart_email=_email_since(kept, until),
        )
        batch.put(key, [erase(each) for each in batch.checkouts.get(key, ())], at)
        if kept is not None and kept.received_at <= until:
            batch.keep_cart(key, None if all_of_it else _nobodys(kept))
        batch.forget_bodies(key)
        self._erased.add(key)

    def _remember_cart(self, key: CartKey, until: datetime) -> None:
        """Remember that somebody was named in a cart who was erased."""
        for mark in erasures.persons_cart_mark(key[1], self._keys):
            self._mark(key[0], mark, until)

    def _mark(self, shop: str, mark: str, until: datetime) -> None:
        known = self._marks.get((shop, mark))
        if known is None or known < until:
            self._marks[shop, mark] = self._changed[shop, mark] = until
            self._is_needed = True


def _hashes(asked: ErasureAsked, keys: Collection[bytes]) -> frozenset[str]:
    given = {asked.address_hash} if asked.address_hash else set()
    return erasures.marks(erasures.names(asked), keys) | given


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


def _email_since(kept: KeptCart | None, until: datetime) -> str | None:
    """Return whom the cart that is *kept* names, where it was put after *until*."""
    return None if kept is None or kept.received_at <= until else kept.cart.email


def _nobodys(kept: KeptCart) -> KeptCart:
    return replace(kept, cart=msgspec.structs.replace(kept.cart, email=None))


def _erase_bodies(connection: Connection, keys: Collection[CartKey]) -> None:
    """Erase what was received for carts, whatever stands still open in them."""
    if keys:
        about = [{"of_shop": shop, "of_cart": cart_id} for shop, cart_id in keys]
        connection.execute(rows.ERASE_BODIES, about)


def _erase_received(connection: Connection, items: Iterable[Received]) -> None:
    """Erase facts where they lie until their day is over, which is so in PostgreSQL alone."""
    if connection.dialect.name == "postgresql":
        # An erasure is noted in each cart that it reaches, and lies there once.
        for shop, inbox, seq in sorted({(item.shop, item.inbox, item.seq) for item in items}):
            about = {"shop": shop, "inbox": inbox, "seq": seq}
            connection.execute(rows.ERASE_RECEIVED, about)
