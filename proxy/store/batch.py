"""Batch: what a batch of facts makes of its carts, put together and written at once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection, insert

from proxy import tallies
from proxy.checkouts import Checkout
from proxy.facts import SignedOut
from proxy.store import rows, schema
from proxy.store.received import Received
from proxy.store.rows import CartKey, KeptCart
from proxy.tallies import Count, Tally


class Batch:
    """The carts of *keys* as they stand, and what is to be written of them and beside them."""

    def __init__(self, connection: Connection, keys: set[CartKey]) -> None:
        self._connection = connection
        self.checkouts: dict[CartKey, Sequence[Checkout]] = dict(rows.loaded(connection, keys))
        self.carts: dict[CartKey, KeptCart | None] = dict(rows.kept_carts(connection, keys))
        self.changed: dict[CartKey, Sequence[Checkout]] = {}
        self.steps: list[tuple[Checkout | None, Checkout]] = []
        """Each checkout that a fact was folded into: before and after."""
        self.questions: list[Received] = []
        self.sign_outs: list[SignedOut] = []
        self._changed_carts: set[CartKey] = set()
        self._facts: list[dict[str, Any]] = []
        self._forgotten: dict[CartKey, int] = {}
        """How many facts were noted by the time the bodies of a cart were to be forgotten."""
        self._tallies: dict[str, Tally] = {}

    def put(self, key: CartKey, after: Sequence[Checkout], at: datetime) -> None:
        """Have the checkouts of a cart be as they are *after* a fact that was received at *at*."""
        before = {checkout.epoch: checkout for checkout in self.checkouts.get(key, ())}
        for checkout in after:
            step = before.get(checkout.epoch), checkout
            self.steps.append(step)
            self.count(key[0], at, tallies.of_step(*step))
        self.checkouts[key] = self.changed[key] = after

    def keep_cart(self, key: CartKey, cart: KeptCart | None) -> None:
        """Have *cart* be the last that was put; where it is ``None``, there is none."""
        self.carts[key] = cart
        self._changed_carts.add(key)

    def count(self, shop: str, at: datetime, counts: Iterable[Count]) -> None:
        """Count what happened in *shop* at *at*."""
        self._tallies.setdefault(shop, Tally()).add(at, counts)

    def note(
        self, item: Received, decision: str, *, body: bytes | None, cart_id: str | None = None
    ) -> None:
        """Note what was decided about *item*, by default in its own cart's story."""
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

    def forget_bodies(self, key: CartKey) -> None:
        """Keep no body of what was noted of a cart so far."""
        self._forgotten[key] = len(self._facts)

    def write(self) -> None:
        """Write all of it down."""
        rows.save(self._connection, chain.from_iterable(self.changed.values()))
        rows.save_carts(self._connection, {key: self.carts[key] for key in self._changed_carts})
        self._forget()
        if self._facts:
            self._connection.execute(insert(schema.facts), self._facts)
        heard = {(fact["shop"], fact["cart_id"]) for fact in self._facts}
        rows.erase_closed(self._connection, {key: self.checkouts.get(key, []) for key in heard})
        rows.save_questions(self._connection, self.questions)
        rows.save_sign_outs(self._connection, self.sign_outs)
        for shop, tally in self._tallies.items():
            rows.add_up(self._connection, shop, tally)

    def _forget(self) -> None:
        """Do so in one go: an erasure may reach thousands of carts."""
        for number, fact in enumerate(self._facts if self._forgotten else ()):
            if number < self._forgotten.get((fact["shop"], fact["cart_id"]), 0):
                fact["body"] = None
