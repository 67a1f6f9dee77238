"""Sender: the real one, at work in a thread of the test's, and something for it to send."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from proxy import shops, work
from proxy.carts.cart import Cart, LineItem
from proxy.facts import StatePosted
from tests.actors import environment


@contextmanager
def sending(folder: Path, klaviyo_url: str) -> Iterator[None]:
    """Let the real sender work on the store in *folder*."""
    settings = shops.read(environment(folder, klaviyo_url, CARTS="signed"))
    stop = threading.Event()
    sender = threading.Thread(target=work.work, args=(settings, stop))
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def state() -> StatePosted:
    """Return a fact of a few KB, so that a short run has checkpoints."""
    name = uuid4().hex
    item = LineItem(
        product_id="tea-1", name="Green tea " * 200, quantity=Decimal(1), unit_price=Decimal(20)
    )
    return StatePosted(
        id=name,
        shop="shop",
        cart_id=f"cart-{name}",
        received_at=datetime.now(UTC),
        acted_at=datetime.now(UTC),
        email=f"{name}@shop-demo.io",
        cart=Cart(currency="EUR", total=Decimal(20), items=(item,)),
    )
