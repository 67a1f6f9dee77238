"""Folding: a batch of facts on its way into the book."""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

from sqlalchemy import Connection, insert, select

from proxy import facts, tallies
from proxy.carts.cart import replaces
from proxy.checkouts import INBOXES_APART, Checkout, Rules, Status, fold, found_at, ordered_at
from proxy.facts import CartDeleted, CartPushed, Fact, OrderPlaced
from proxy.store import rows, schema
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart
from proxy.tallies import Tally

logger = logging.getLogger(__name__)


class Folding:
    """One batch of facts on its way into the book: all is read first and written at the end."""

    def __init__(self, connection: Connection, received: Sequence[Received], rules: Rules) -> None:
        keys = {(item.shop, item.cart_id) for item in received}
        self._connection = connection
        self._rules = rules
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

    def take(self, item: Received) -> None:
        """Fold *item* into the checkouts of its cart, unless it is known."""
        self._marks[item.inbox] = max(item.seq, self._marks.get(item.inbox, 0))
        if item.kind == "counted":
            self._add_counts(item)
            return
        if item.kind == "question":
            # It changes nothing, and what it says of a person is not to stay among the facts.
            self._questions.append(item)
            return
        known = (item.shop, item.cart_id, item.id)
        if known not in self._seen:
            self._seen.add(known)
            self._note(item, self._decision(item))

    def write(self) -> None:
        """Write down what came of the batch, and how far each inbox was read."""
        rows.save(self._connection, chain.from_iterable(self._changed.values()))
        rows.save_carts(self._connection, {key: self._carts[key] for key in self._changed_carts})
        if self._facts:
            self._connection.execute(insert(schema.facts), self._facts)
        heard = {(fact["shop"], fact["cart_id"]) for fact in self._facts}
        rows.erase_closed(self._connection, {key: self._checkouts.get(key, []) for key in heard})
        rows.save_questions(self._connection, self._questions)
        for shop, tally in self._tallies.items():
            rows.add_up(self._connection, shop, tally)
        marks = [{"inbox": inbox, "seq": seq} for inbox, seq in self._marks.items()]
        if marks:
            self._connection.execute(rows.replacing(schema.marks, self._connection), marks)

    def _decision(self, item: Received) -> str:
        key = item.shop, item.cart_id
        try:
            fact = facts.decode(item.kind, item.body)
            after = fold(self._found_by(item), fact, self._rules)
        except Exception as error:
            # One fact that nobody foresaw must not stop all that come after it.
            logger.exception("a fact of the kind %s cannot be taken in", item.kind)
            return f"cannot be taken in ({type(error).__name__})"
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
        tally = self._tally(item.shop)
        tally.add(item.received_at, tallies.of_fact(item.kind))
        known = {checkout.epoch: checkout for checkout in before}
        for checkout in after:
            step = known.get(checkout.epoch), checkout
            self.steps.append(step)
            tally.add(item.received_at, tallies.of_step(*step))

    def _add_counts(self, item: Received) -> None:
        try:
            counts = tallies.of_counted(item.body)
        except ValueError:
            logger.exception("counts cannot be taken in")
        else:
            self._tally(item.shop).add(item.received_at, counts)

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
        key = fact.shop, fact.cart_id
        self._carts[key] = cart
        self._changed_carts.add(key)

    def _was_bought_since(self, fact: Fact) -> bool:
        known = self._checkouts.get((fact.shop, fact.cart_id), [])
        return any(c.ordered_at is not None and fact.received_at <= c.ordered_at for c in known)

    def _note(self, item: Received, decision: str) -> None:
        # A cart is kept in its own table, and the last one only.
        body = None if item.kind == "cart" else item.body
        self._facts.append(
            {
                "shop": item.shop,
                "cart_id": item.cart_id,
                "id": item.id,
                "kind": item.kind,
                "received_at": item.received_at,
                "body": body,
                "decision": decision,
            }
        )


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
    is_ahead = not delayed and kept.received_at - order.received_at > INBOXES_APART
    return is_ahead or kept.received_at <= ordered_at(order)


def _came_later(fact: Fact, kept: KeptCart, *, delayed: bool) -> bool:
    """Tell whether *fact* was received after the cart that is kept.

    Two workers' inboxes are read within a moment of each other. What seems to be far older than
    what was read before it was received under a clock that has been set back meanwhile, unless it
    was *delayed* on its way to us.
    """
    behind: timedelta = kept.received_at - fact.received_at
    return behind <= timedelta(0) or (behind > INBOXES_APART and not delayed)
