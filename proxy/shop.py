"""Shop: what the shop's server says, sessions and carts and orders, under its bearer key."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import msgspec
from flask import Blueprint, request
from msgspec import Meta
from werkzeug.routing import BaseConverter

from proxy import door, erasures
from proxy.carts.cart import Cart, is_sane
from proxy.counts import Counts
from proxy.errors import Unauthorized, Unprocessable
from proxy.facts import CartDeleted, CartPushed, Customer, ErasureAsked, Fact, OrderPlaced
from proxy.regions import is_region
from proxy.tallies import What
from proxy.tokens import CartId, Origin, Ref, Region, Session, Tokens
from proxy.wire import Strict

T = TypeVar("T")

MAX_BYTES = 256 * 1024
# The page posts its token in a body of 16 KiB, beside an address of the checkout of up to 4,000.
MAX_TOKEN = 10_500


class NewSession(Strict, frozen=True, kw_only=True):
    """The body of ``POST /v1/sessions``."""

    cart_id: CartId
    customer: Customer | None = None
    cart: Cart | None = None
    ref: Ref | None = None
    region: Region | None = None
    origin: Origin | None = None


class NewOrder(Strict, frozen=True, kw_only=True):
    """The body of ``POST /v1/orders``."""

    cart_id: CartId
    order_id: Annotated[str, Meta(min_length=1, max_length=255)] | int
    placed_at: Annotated[datetime, Meta(tz=True)] | None = None


class NewErasure(Strict, frozen=True, kw_only=True):
    """The body of ``POST /v1/erasures``: one of the three."""

    email: Annotated[str, Meta(max_length=256)] | None = None
    phone_number: Annotated[str, Meta(max_length=256)] | None = None
    cart_id: CartId | None = None


_SESSION = msgspec.json.Decoder(NewSession)
_ERASURE = msgspec.json.Decoder(NewErasure)
_ORDER = msgspec.json.Decoder(NewOrder)
_CART = msgspec.json.Decoder(Cart)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What the shop's surface needs of the rest."""

    key: str | None = field(repr=False)
    tokens: Tokens
    shop: str
    append: Callable[[Fact], None]
    now: Callable[[], datetime]
    counts: Counts


def blueprint(surfaces: Sequence[Surface]) -> Blueprint:
    """Return the surface for the shops' servers, under ``/v1``: whose it is, its key tells."""
    routes = Blueprint("shop", __name__, url_prefix="/v1")
    routes.record(lambda setup: setup.app.url_map.converters.update(cart_id=CartIdConverter))

    @routes.post("/sessions")
    def new_session() -> tuple[dict[str, str], int]:
        surface = _caller(surfaces)
        token = _token(surface, _body(_SESSION))
        surface.counts.add(What.SESSIONS, "shop")
        expires_at = surface.tokens.expires_at(surface.now()).isoformat(timespec="seconds")
        return {"token": token, "expires_at": expires_at}, 201

    @routes.put("/carts/<cart_id:cart_id>")
    def put_cart(cart_id: str) -> tuple[str, int]:
        surface = _caller(surfaces)
        about = _about(surface, cart_id)
        surface.append(CartPushed(cart=_body(_CART), **about))
        return "", 204

    @routes.delete("/carts/<cart_id:cart_id>")
    def delete_cart(cart_id: str) -> tuple[str, int]:
        surface = _caller(surfaces)
        surface.append(CartDeleted(**_about(surface, cart_id)))
        return "", 204

    @routes.post("/orders")
    def new_order() -> tuple[dict[str, str], int]:
        surface = _caller(surfaces)
        surface.append(_order(surface, _body(_ORDER)))
        return {"status": "accepted"}, 202

    @routes.post("/erasures")
    def new_erasure() -> tuple[dict[str, str], int]:
        surface = _caller(surfaces)
        # Whether anybody is known by that, the sender finds out, and nobody is told.
        surface.append(_erasure(surface, _body(_ERASURE)))
        return {"status": "accepted"}, 202

    return routes


class CartIdConverter(BaseConverter):
    """A cart's id in a path: anything, slashes too, to the path's end."""

    regex = r"[\s\S]+"
    part_isolating = False


def _caller(surfaces: Sequence[Surface]) -> Surface:
    """Return the shop whose key was sent, or raise :exc:`Unauthorized`."""
    keys = [(surface, surface.key.encode()) for surface in surfaces if surface.key is not None]
    if not keys:
        raise Unauthorized("CHECKOUT_PROXY_SHOP_KEY is not set here, so /v1 is closed.")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("Send the shop's key: Authorization: Bearer <CHECKOUT_PROXY_SHOP_KEY>.")
    sent = given.strip().encode()
    # With all of them, whichever it is: the time that it takes tells nothing.
    found = [surface for surface, key in keys if hmac.compare_digest(sent, key)]
    if not found:
        raise Unauthorized("The key that was sent is not this proxy's CHECKOUT_PROXY_SHOP_KEY.")
    return found[0]


def _body(decoder: msgspec.json.Decoder[T]) -> T:
    return door.body(decoder, "application/json", most_bytes=MAX_BYTES)


def _token(surface: Surface, asked: NewSession) -> str:
    if asked.region and not is_region(asked.region):
        words = "region is no country of ISO 3166-1, such as DE, nor a part of one, such as US-CA."
        raise Unprocessable(words, pointer="/region")
    session = Session(
        shop=surface.shop,
        cart_id=asked.cart_id,
        customer=asked.customer,
        cart=asked.cart,
        ref=asked.ref,
        region=asked.region,
        origin=asked.origin,
    )
    token = surface.tokens.sign(session)
    if len(token) > MAX_TOKEN:
        raise Unprocessable(
            f"The token would have {len(token)} characters and may have {MAX_TOKEN}, or the page "
            "could not post it: put the cart (PUT /v1/carts/{cart_id}) instead.",
            pointer="/cart",
        )
    return token


def _order(surface: Surface, order: NewOrder) -> OrderPlaced:
    if order.placed_at is not None and not is_sane(order.placed_at):
        raise Unprocessable("placed_at is not of our time.", pointer="/placed_at")
    # An order told twice is one order: the time it was told first counts.
    # The colon keeps it apart from the ids that pages make: nobody can take it first.
    told_as = {"id": f"order:{sha256(str(order.order_id).encode()).hexdigest()[:32]}"}
    return OrderPlaced(
        order_id=str(order.order_id),
        placed_at=order.placed_at,
        **_fact(surface, order.cart_id) | told_as,
    )


def _erasure(surface: Surface, asked: NewErasure) -> ErasureAsked:
    if [asked.email, asked.phone_number, asked.cart_id].count(None) != 2:
        raise Unprocessable("Say one of email, phone_number and cart_id: whose data it is.")
    try:
        whom = erasures.whom(email=asked.email, phone_number=asked.phone_number)
    except ValueError as error:
        raise Unprocessable(
            f"{error}.", pointer="/email" if asked.email else "/phone_number"
        ) from error
    return ErasureAsked(**_fact(surface, asked.cart_id or "") | whom)


def _about(surface: Surface, cart_id: str) -> dict[str, Any]:
    """Return what every fact has, for the cart whose id stands in the request's path."""
    if request.query_string or "\ufffd" in cart_id:
        raise Unprocessable(
            "The cart's id in the path: percent-encode it ('/' is %2F, '?' is %3F), as UTF-8."
        )
    try:
        msgspec.convert(cart_id, CartId)
    except msgspec.ValidationError as error:
        raise Unprocessable(f"The cart's id in the path: {error}.") from error
    return _fact(surface, cart_id)


def _fact(surface: Surface, cart_id: str) -> dict[str, Any]:
    return {
        "id": uuid4().hex,
        "shop": surface.shop,
        "cart_id": cart_id,
        "received_at": surface.now(),
    }
