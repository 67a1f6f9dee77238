"""Folding: a batch of facts on its way into the book."""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from proxy import erasures, facts, tallies
from proxy.carts.cart import replaces
from proxy.checkouts import ERASED, Checkout, Rules, Status
from proxy.facts import (
    CartDeleted,
    CartPushed,
    Counted,
    ErasureAsked,
    Fact,
    OrderPlaced,
    PruneAsked,
    SignedOut,
    StatePosted,
)
from proxy.setbacks import found_at, is_ahead, was_before
from proxy.store import rows, schema
from proxy.store.batch import Batch
from proxy.store.erasing import Erasing
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart
from proxy.visits import fold, ordered_at

logger = logging.getLogger(__name__)

# These change no checkout. None stays among the facts, by which it would be known when it comes
# again; but for a count, twice comes to the same as once.
_ASIDE = ("counted", "question", "signed-out", "prune")


class Folding:
    """One batch of facts on its way into the book: all is read first and written at the end.

    Who is erased is known by *person_keys* afterwards.
    """

    def __init__(
        self,
        connection: Connection,
        received: Sequence[Received],
        rules: Rules,
        person_keys: Sequence[bytes],
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._read = [(item, _fact_in(item)) for item in received]
        of_carts = ((item, fact) for item, fact in self._read if item.kind not in _ASIDE)
        known = [(item, fact) for item, fact in of_carts if isinstance(fact, Fact)]
        self._erasing = Erasing(connection, known, rules, person_keys)
        keys = {(item.shop, item.cart_id) for item in received} | self._erasing.carts
        self._batch = Batch(connection, keys)
        self._seen = _seen(connection, received)
        self._marks: dict[str, int] = {}
        self.to_prune: dict[str, datetime] = {}
        """Before when all is to be removed, by shop, where somebody asked for that."""

    @property
    def carts(self) -> set[CartKey]:
        """The carts of which something is going to be written."""
        return set(self._batch.changed)

    @property
    def steps(self) -> list[tuple[Checkout | None, Checkout]]:
        """Each checkout that a fact was folded into: before and after."""
        return self._batch.steps

    def take_in(self) -> None:
        """Fold each fact into the checkouts of its cart, unless it is known."""
        for item, fact in self._read:
            self._marks[item.inbox] = max(item.seq, self._marks.get(item.inbox, 0))
            if item.kind in _ASIDE:
                self._set_aside(item, fact)
            elif self._is_new(item):
                self._take(item, fact)

    def write(self) -> None:
        """Write down what came of the batch, and how far each inbox was read."""
        self._batch.write()
        self._erasing.write()
        marks = [{"inbox": inbox, "seq": seq} for inbox, seq in self._marks.items()]
        if marks:
            self._connection.execute(rows.replacing(schema.marks, self._connection), marks)

    # -- what changes no checkout --

    def _set_aside(self, item: Received, fact: Fact | Exception) -> None:
        match fact:
            case _ if item.kind == "question":
                # As it came: who answers it says so where it cannot be read.
                self._batch.questions.append(item)
            case Counted():
                self._batch.count(item.shop, item.received_at, tallies.of_counted(fact))
            case SignedOut():
                self._batch.sign_outs.append(fact)
            case PruneAsked():
                self.to_prune[item.shop] = fact.before
            case Exception():
                _not_taken_in(item, fact)

    # -- what may change some --

    def _is_new(self, item: Received) -> bool:
        known = item.shop, item.cart_id, item.id
        is_new = known not in self._seen
        self._seen.add(known)
        return is_new

    def _take(self, item: Received, fact: Fact | Exception) -> None:
        if isinstance(fact, ErasureAsked):
            self._batch.count(item.shop, item.received_at, tallies.of_fact(item.kind))
            self._erasing.erase(self._batch, item, fact)
            return
        until = None if isinstance(fact, Exception) else self._erasing.until(fact)
        decision = self._decision(item, fact, until)
        self._batch.note(item, decision, body=None if until is not None else _trail(item, fact))

    def _decision(self, item: Received, fact: Fact | Exception, until: datetime | None) -> str:
        """Return what becomes of *fact*, which is about somebody erased *until* then, if any."""
        if isinstance(fact, Exception):
            return _not_taken_in(item, fact)
        key = item.shop, item.cart_id
        try:
            if (left := self._left_of(item, fact, until)) is None:
                return ERASED
            after = fold(self._found_by(key, item), left, self._rules)
        except Exception as error:
            # One fact that nobody foresaw must not stop all that come after it.
            return _not_taken_in(item, error)
        self._erasing.note(left)
        if not self._keep_cart(left, delayed=item.delayed):
            return "older than the cart that came before: changes nothing"
        self._batch.count(item.shop, item.received_at, tallies.of_fact(item.kind))
        self._batch.put(key, after, item.received_at)
        return _in_words(after)

    def _left_of(self, item: Received, fact: Fact, until: datetime | None) -> Fact | None:
        if until is None:
            return fact
        self._erasing.erase_again(self._batch, item, until)
        return self._erasing.left_of(fact)

    def _found_by(self, key: CartKey, item: Received) -> Sequence[Checkout]:
        known = self._batch.checkouts.get(key, [])
        return known if item.delayed else found_at(known, item.received_at)

    def _keep_cart(self, fact: Fact, *, delayed: bool) -> bool:
        """Keep or remove the cart that *fact* is about, unless it is older than the one we have."""
        if not isinstance(fact, CartPushed | CartDeleted | OrderPlaced):
            return True
        key = fact.shop, fact.cart_id
        kept = self._batch.carts.get(key)
        match fact:
            case CartPushed() if delayed and self._was_bought_since(fact):
                return False
            case CartPushed() if kept is None or _overtakes(fact, kept, delayed=delayed):
                self._batch.keep_cart(key, KeptCart(fact.cart, fact.received_at))
            case CartDeleted() if kept is None or _came_before(kept, fact, delayed=delayed):
                self._batch.keep_cart(key, None)
            case OrderPlaced():
                # What was bought is not what the next visit is about to buy.
                if kept is not None and _was_bought(kept, fact, delayed=delayed):
                    self._batch.keep_cart(key, None)
            case _:
                return False
        return True

    def _was_bought_since(self, fact: Fact) -> bool:
        known = self._batch.checkouts.get((fact.shop, fact.cart_id), [])
        return any(c.ordered_at is not None and fact.received_at <= c.ordered_at for c in known)


def _trail(item: Received, fact: Fact | Exception) -> bytes | None:
    """Return what is kept of a fact beside what it led to, where nobody in it was erased."""
    match fact:
        case StatePosted():
            return erasures.trail(fact)
        case _ if item.kind == "cart":
            return None  # It is in a table of its own, and the last one only.
    return item.body


def _fact_in(item: Received) -> Fact | Exception:
    """Return the fact that *item* holds, or why it cannot be read."""
    try:
        return facts.decode(item.kind, item.body)
    except (ValueError, RecursionError) as error:
        return error


def _not_taken_in(item: Received, error: Exception) -> str:
    """Tell the log why *item* cannot be taken in; return what its cart's story says."""
    logger.error("a fact of the kind %s cannot be taken in", item.kind, exc_info=error)
    return f"cannot be taken in ({type(error).__name__})"


def _in_words(after: Sequence[Checkout]) -> str:
    """Return how the last of a cart's checkouts stands."""
    if not after:
        return "kept"
    if after[-1].status is Status.DELIVERED:
        return "delivered before this"
    return f"{after[-1].status}: {after[-1].reason}"


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
    came_later = _came_before(kept, pushed, delayed=delayed)
    return replaces(pushed.cart, kept.cart, came_later=came_later)


def _came_before(kept: KeptCart, fact: Fact, *, delayed: bool) -> bool:
    return was_before(kept.received_at, fact.received_at, delayed=delayed)


def _was_bought(kept: KeptCart, order: OrderPlaced, *, delayed: bool) -> bool:
    came_before = is_ahead(kept.received_at, order.received_at) and not delayed
    return came_before or kept.received_at <= ordered_at(order)
