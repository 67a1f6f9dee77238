"""Said: facts as a page, a shop's server and an operator tell them, in minutes after noon."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from proxy import facts
from proxy.carts.cart import Cart, LineItem
from proxy.facts import (
    CancelAsked,
    CartDeleted,
    CartPushed,
    Consent,
    ConsentState,
    Counted,
    ErasureAsked,
    Fact,
    HurryAsked,
    OrderPlaced,
    ReleaseAsked,
    ReplayAsked,
    StatePosted,
)
from proxy.store.received import Received

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
JANE, JOHN = "jane@shop-demo.io", "john@shop-demo.io"
GRANTED = Consent(state=ConsentState.GRANTED)
DENIED = Consent(state=ConsentState.DENIED)
TEA = LineItem(product_id=7, name="Tea", quantity=Decimal("1.50"), unit_price=Decimal("5.10"))
CART = Cart(currency="EUR", total=Decimal("7.65"), items=(TEA,), version=3)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def state(minute: float = 0, cart_id: str = "c-1", *, late: float = 0, **said: Any) -> StatePosted:
    """Return what a page says at *minute* and we hear *late* minutes later."""
    return StatePosted(**{**_fact(minute + late, cart_id), "acted_at": after(minute), **said})


def order(minute: float, cart_id: str = "c-1", *, placed: float | None = None) -> OrderPlaced:
    """Return the order we hear of at *minute*, said to be placed at the minute *placed*."""
    placed_at = None if placed is None else after(placed)
    return OrderPlaced(order_id="o-1", placed_at=placed_at, **_fact(minute, cart_id))


def pushed(minute: float, cart: Cart = CART, cart_id: str = "c-1") -> CartPushed:
    return CartPushed(cart=cart, **_fact(minute, cart_id))


def deleted(minute: float, cart_id: str = "c-1") -> CartDeleted:
    return CartDeleted(**_fact(minute, cart_id))


def replay(minute: float, cart_id: str = "c-1", *, epoch: datetime = NOON) -> ReplayAsked:
    return ReplayAsked(epoch=epoch, **_fact(minute, cart_id))


def hurry(minute: float, cart_id: str = "c-1", *, epoch: datetime = NOON) -> HurryAsked:
    return HurryAsked(epoch=epoch, **_fact(minute, cart_id))


def cancel(minute: float, cart_id: str = "c-1", *, epoch: datetime = NOON) -> CancelAsked:
    return CancelAsked(epoch=epoch, **_fact(minute, cart_id))


def release(minute: float, cart_id: str = "c-1", *, epoch: datetime = NOON) -> ReleaseAsked:
    return ReleaseAsked(epoch=epoch, **_fact(minute, cart_id))


def erasure(minute: float, cart_id: str = "", **whom: Any) -> ErasureAsked:
    """Return that of a person whom *whom* names, or of a cart."""
    return ErasureAsked(**_fact(minute, cart_id), **whom)


def counted(minute: float, **counts: dict[str, int]) -> Counted:
    return Counted(counts=counts, **_fact(minute, ""))


def received(fact: Fact, seq: int = 1, inbox: str = "i-1") -> Received:
    """Return *fact* as it lies in an inbox."""
    return Received(
        inbox=inbox,
        seq=seq,
        id=fact.id,
        shop=fact.shop,
        kind=facts.kind(fact),
        cart_id=fact.cart_id,
        received_at=fact.received_at,
        body=facts.encode(fact),
    )


def _fact(received_at: float, cart_id: str) -> dict[str, Any]:
    return {
        "id": uuid4().hex,
        "shop": "shop",
        "cart_id": cart_id,
        "received_at": after(received_at),
    }
