"""Folding: a batch of facts on its way into the book."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from proxy import facts, tallies
from proxy.carts.cart import replaces
from proxy.checkouts import ERASED, Checkout, Rules, Status
from proxy.erasures import erased
from proxy.facts import (
    CartDeleted,
    CartPushed,
    ErasureAsked,
    Fact,
    OrderPlaced,
    PruneAsked,
    SignedOut,
    StatePosted,
)
from proxy.setbacks import found_at, is_ahead, was_before
from proxy.store import erasing, rows, schema
from proxy.store.erasing import Erasing
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart
from proxy.tallies import Tally
from proxy.visits import fold, ordered_at

logger = logging.getLogger(__name__)


class Folding:
    """One batch of facts on its way into the book: all is read first and written at the end."""

    def __init__(
        self,
        connection: Connection,
        received: Sequence[Received],
        rules: Rules,
        person_keys: Sequence[bytes],
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._read = {id(item): _fact_in(item) for item in received if item.kind not in _APART}
        found = ((item, self._read.get(id(item))) for item in received)
        known = [(item, fact) for item, fact in found if isinstance(fact, Fact)]
        self._erasing = Erasing(connection, known, person_keys)
        keys = {(item.shop, item.cart_id) for item in received} | self._erasing.carts
        self._seen = _seen(connection, received)
        self._checkouts: dict[CartKey, Sequence[Checkout]] = dict(rows.loaded(connection, keys))
        self._carts: dict[CartKey, KeptCart | None] = dict(rows.kept_carts(connection, keys))
        self._changed_carts: set[CartKey] = set()
        self._marks: dict[str, int] = {}
        self._facts: list[dict[str, Any]] = []
        self._changed: dict[CartKey, Sequence[Checkout]] = {}
        self._tallies: dict[str, Tally] = {}
        self.steps: list[tuple[Checkout | None, Checkout]] = []
        """Each checkout that a fact was folded into: before and after."""
        self._questions: list[Received] = []
        self._erased: dict[CartKey, datetime] = {}
        self._lie_elsewhere: list[Received] = []
        self._sign_outs: list[SignedOut] = []

        self.to_prune: dict[str, datetime] = {}
        """Before when all is to be removed, by shop, where somebody asked for that."""

    @property
    def carts(self) -> set[CartKey]:
        """The carts of which something is going to be written."""
        return {*self._changed, *self._erased}

    def take(self, item: Received) -> None:
        """Fold *item* into the checkouts of its cart, unless it is known."""
        self._marks[item.inbox] = max(item.seq, self._marks.get(item.inbox, 0))
        if item.kind == "counted":
            self._add_counts(item)
            return
        if item.kind == "signed-out":
            self._end_sessions(item)
            return
        if item.kind == "question":
            # It changes nothing, and what it says of a person is not to stay among the facts.
            self._questions.append(item)
            return
        if item.kind == "prune":
            self._note_wish_to_prune(item)
            return
        known = (item.shop, item.cart_id, item.id)
        if known in self._seen:
            return
        self._seen.add(known)
        fact = self._read[id(item)]
        if isinstance(fact, ErasureAsked):
            self._erase_person(item, fact)
        else:
            self._note(item, self._decision(item, fact), until=self._too_late(fact))

    def write(self) -> None:
        """Write down what came of the batch, and how far each inbox was read."""
        rows.save(self._connection, chain.from_iterable(self._changed.values()))
        rows.save_carts(self._connection, {key: self._carts[key] for key in self._changed_carts})
        if self._facts:
            self._connection.execute(insert(schema.facts), self._facts)
        self._erasing.write()
        erasing.erase_bodies(self._connection, self._erased)
        erasing.erase_received(self._connection, self._lie_elsewhere)
        heard = {(fact["shop"], fact["cart_id"]) for fact in self._facts}
        rows.erase_closed(self._connection, {key: self._checkouts.get(key, []) for key in heard})
        rows.save_questions(self._connection, self._questions)
        rows.save_sign_outs(self._connection, self._sign_outs)
        for shop, tally in self._tallies.items():
            rows.add_up(self._connection, shop, tally)
        marks = [{"inbox": inbox, "seq": seq} for inbox, seq in self._marks.items()]
        if marks:
            self._connection.execute(rows.replacing(schema.marks, self._connection), marks)

    def _decision(self, item: Received, fact: Fact | Exception) -> str:
        key = item.shop, item.cart_id
        try:
            if isinstance(fact, Exception):
                raise fact
            if (late := self._of_erased(item, fact)) is None:
                return ERASED
            fact = late
            after = fold(self._found_by(item), fact, self._rules)
        except Exception as error:
            # One fact that nobody foresaw must not stop all that come after it.
            logger.exception("a fact of the kind %s cannot be taken in", item.kind)
            return f"cannot be taken in ({type(error).__name__})"
        self._erasing.note(fact)
        if not self._keep_cart(fact, delayed=item.delayed):
            return "older than the cart that came before: changes nothing"
        self._count(item, self._checkouts.get(key, ()), after)
        self._checkouts[key] = self._changed[key] = after
        if not after:
            return "kept"
        if after[-1].status is Status.DELIVERED:
            return "delivered before this"
        return f"{after[-1].status}: {after[-1].reason}"

    def _count(self, item: Received, before: Sequence[Checkout], after: Sequence[Checkout]) -> None:
        self._tally(item.shop).add(item.received_at, tallies.of_fact(item.kind))
        self._count_steps(item, before, after)

    def _count_steps(
        self, item: Received, before: Sequence[Checkout], after: Sequence[Checkout]
    ) -> None:
        tally = self._tally(item.shop)
        known = {checkout.epoch: checkout for checkout in before}
        for checkout in after:
            step = known.get(checkout.epoch), checkout
            self.steps.append(step)
            tally.add(item.received_at, tallies.of_step(*step))

    def _note_wish_to_prune(self, item: Received) -> None:
        fact = self._read[id(item)]
        if isinstance(fact, PruneAsked):
            self.to_prune[item.shop] = fact.before

    def _add_counts(self, item: Received) -> None:
        try:
            counts = tallies.of_counted(item.body)
        except ValueError:
            logger.exception("counts cannot be taken in")
        else:
            self._tally(item.shop).add(item.received_at, counts)

    def _end_sessions(self, item: Received) -> None:
        fact = self._read[id(item)]
        if isinstance(fact, SignedOut):
            self._sign_outs.append(fact)
        elif isinstance(fact, Exception):
            logger.error("the end of a session cannot be taken in", exc_info=fact)

    def _tally(self, shop: str) -> Tally:
        return self._tallies.setdefault(shop, Tally())

    def _found_by(self, item: Received) -> Sequence[Checkout]:
        known = self._checkouts.get((item.shop, item.cart_id), [])
        return known if item.delayed else found_at(known, item.received_at)

    def _keep_cart(self, fact: Fact, *, delayed: bool) -> bool:
        """Keep or remove the cart that *fact* is about, unless it is older than the one we have."""
        if not isinstance(fact, CartPushed | CartDeleted | OrderPlaced):
            return True
        kept = self._carts.get((fact.shop, fact.cart_id))
        match fact:
            case CartPushed() if delayed and self._was_bought_since(fact):
                return False
            case CartPushed() if kept is None or _overtakes(fact, kept, delayed=delayed):
                self._keep(fact, KeptCart(fact.cart, fact.received_at))
            case CartDeleted() if kept is None or _came_later(fact, kept, delayed=delayed):
                self._keep(fact, None)
            case OrderPlaced():
                # What was bought is not what the next visit is about to buy.
                if kept is not None and _was_bought(kept, fact, delayed=delayed):
                    self._keep(fact, None)
            case _:
                return False
        return True

    def _keep(self, fact: Fact, cart: KeptCart | None) -> None:
        self._keep_in((fact.shop, fact.cart_id), cart)

    def _keep_in(self, key: CartKey, cart: KeptCart | None) -> None:
        self._carts[key] = cart
        self._changed_carts.add(key)

    def _was_bought_since(self, fact: Fact) -> bool:
        known = self._checkouts.get((fact.shop, fact.cart_id), [])
        return any(c.ordered_at is not None and fact.received_at <= c.ordered_at for c in known)

    # -- erasures --

    def _erase_person(self, item: Received, asked: ErasureAsked) -> None:
        """Erase the carts in which a person is named, and remember it for what comes late."""
        until = asked.received_at
        self._count(item, (), ())
        known = erasing.Asked(asked, item.delayed)
        reached = self._erasing.reached(known, self._checkouts, self._carts)
        self._erasing.remember(asked, until, reached)
        self._lie_elsewhere += [one for one in self._questions if one.received_at <= until]
        self._questions = [one for one in self._questions if one.received_at > until]
        erasing.forget_questions(self._connection, {item.shop}, until)
        for key in sorted(reached):
            self._erase_cart(key, item, until)
            self._note(item, ERASED, until=until, cart_id=key[1])
        if (item.shop, item.cart_id) not in reached:
            self._note(item, "taken in", until=until)

    def _erase_cart(self, key: CartKey, item: Received, until: datetime) -> None:
        known = self._checkouts.get(key, ())
        # A fact that came too late reaches no further than the erasure did.
        delayed = item.delayed or item.kind != "erasure"
        after = [erased(each, until, self._rules, delayed=delayed) for each in known]
        self._count_steps(item, known, after)
        self._checkouts[key] = self._changed[key] = after
        kept = self._carts.get(key)
        if kept is not None and kept.received_at <= until:
            self._keep_in(key, _nobodys(key, kept, item))
        for fact in self._facts:
            if (fact["shop"], fact["cart_id"]) == key:
                fact["body"] = None
        self._erased[key] = until

    def _too_late(self, fact: Fact | Exception) -> datetime | None:
        return None if isinstance(fact, Exception) else self._erasing.until(fact)

    def _of_erased(self, item: Received, fact: Fact) -> Fact | None:
        """Return what may be taken in of *fact*, which may be about somebody who was erased."""
        until = self._erasing.until(fact)
        if until is None:
            return fact
        key = item.shop, item.cart_id
        self._erasing.remember_cart(key, until)
        self._erase_cart(key, item, until)
        match fact:
            case StatePosted():
                return None
            case CartPushed() if self._erasing.until_all_of_it(fact) is not None:
                return None
            case CartPushed():
                cart = msgspec.structs.replace(fact.cart, email=None)
                return replace(fact, cart=cart)
        return fact

    def _note(
        self,
        item: Received,
        decision: str,
        *,
        until: datetime | None = None,
        cart_id: str | None = None,
    ) -> None:
        """Note what was decided; what was erased *until* some moment is kept without its body."""
        if until is not None:
            self._lie_elsewhere.append(item)
        # A cart is kept in its own table, and the last one only.
        body = None if item.kind == "cart" or until is not None else item.body
        self._facts.append(
            {
                "shop": item.shop,
                "cart_id": item.cart_id if cart_id is None else cart_id,
                "id": item.id,
                "kind": item.kind,
                "received_at": item.received_at,
                "body": body,
                "decision": decision,
            }
        )


# These change no checkout.
_APART = ("counted", "question")


def _fact_in(item: Received) -> Fact | Exception:
    """Return the fact that *item* holds, or why it cannot be read."""
    try:
        return facts.decode(item.kind, item.body)
    except (ValueError, RecursionError) as error:
        return error


def _nobodys(key: CartKey, kept: KeptCart, item: Received) -> KeptCart | None:
    """Return what stays of a cart in which somebody was named who is erased."""
    if item.kind == "erasure" and key == (item.shop, item.cart_id):
        return None
    return replace(kept, cart=msgspec.structs.replace(kept.cart, email=None))


def _seen(connection: Connection, received: Sequence[Received]) -> set[tuple[str, str, str]]:
    # A few at a time: each cart is looked up with each id.
    starts = range(0, len(received), _FEW)
    return {
        known for start in starts for known in _known(connection, received[start : start + _FEW])
    }


_FEW = 100


def _known(connection: Connection, received: Sequence[Received]) -> Iterator[tuple[str, str, str]]:
    table = schema.facts
    query = select(table.c.shop, table.c.cart_id, table.c.id).where(
        rows.among(table, {(item.shop, item.cart_id) for item in received}),
        table.c.id.in_({item.id for item in received}),
    )
    return ((row.shop, row.cart_id, row.id) for row in connection.execute(query))


def _overtakes(pushed: CartPushed, kept: KeptCart, *, delayed: bool) -> bool:
    came_later = _came_later(pushed, kept, delayed=delayed)
    return replaces(pushed.cart, kept.cart, came_later=came_later)


def _was_bought(kept: KeptCart, order: OrderPlaced, *, delayed: bool) -> bool:
    came_before = is_ahead(kept.received_at, order.received_at) and not delayed
    return came_before or kept.received_at <= ordered_at(order)


def _came_later(fact: Fact, kept: KeptCart, *, delayed: bool) -> bool:
    return was_before(kept.received_at, fact.received_at, delayed=delayed)
