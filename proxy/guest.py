"""Guest: a session for the page of a shop that has no server of its own to vouch for it.

Anybody may ask for one, so it says no more than the page could: which cart. That nobody asks for a
stranger's is the platform's doing, whose cart ids, or the credentials that read a cart, cannot be
guessed; whether there is such a cart the sender learns from the shop.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from flask import Blueprint, request

from proxy import door, states
from proxy.counts import Counts
from proxy.errors import Forbidden, Unprocessable
from proxy.tallies import What
from proxy.tokens import CartId, Origin, Ref, Session, Tokens
from proxy.wire import Discreet

MAX_BYTES = 8 * 1024


class NewGuest(Discreet, frozen=True, kw_only=True):
    """The body of ``POST /co/session``: the cart, and the credential that reads it, if any."""

    cart_id: CartId
    ref: Ref | None = None


_DECODER = msgspec.json.Decoder(NewGuest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What the guests' surface needs of the rest; cart ids are of the form *pattern*."""

    tokens: Tokens
    shop: str
    origins: tuple[str, ...]
    pattern: str
    needs_ref: bool
    now: Callable[[], datetime]
    counts: Counts


def blueprint(surfaces: Sequence[Surface], prefix: str, *, hosted: bool = True) -> Blueprint:
    """Return the guests' surface under *prefix*.

    Where the proxy is *hosted* by one shop, pages of its own host need not be listed. Of several
    shops each is known by the origins that it lists.
    """
    routes = Blueprint("guest", __name__, url_prefix=prefix)

    @routes.post("/session")
    def new_session() -> tuple[dict[str, str], int]:
        surface = _of_page(surfaces, hosted=hosted)
        asked = door.body(_DECODER, *states.MEDIA_TYPES, most_bytes=MAX_BYTES)
        _check_cart(surface, asked)
        session = Session(
            shop=surface.shop,
            cart_id=asked.cart_id,
            ref=asked.ref,
            origin=_checked(request.headers["Origin"]),
            guest=True,
        )
        expires_at = surface.tokens.expires_at(surface.now()).isoformat(timespec="seconds")
        surface.counts.add(What.SESSIONS, "guest")
        body = {"token": surface.tokens.sign(session), "expires_at": expires_at}
        return body, 201

    return routes


def _of_page(surfaces: Sequence[Surface], *, hosted: bool) -> Surface:
    """Return the shop whose page asks, or raise :exc:`Forbidden`."""
    origin = request.headers.get("Origin")
    if origin is None:
        raise Forbidden("Only a page is given a session here, and a browser says whose it is.")
    for surface in surfaces:
        if origin in surface.origins:
            return surface
    if hosted:
        states.check_origin(request.host, origin, ())
        return surfaces[0]
    raise Forbidden(f"Pages of {origin} are of no shop that has guests: list it in its origins.")


def _checked(origin: str) -> str:
    """Return *origin* as a token may carry it, or raise :exc:`Forbidden`."""
    try:
        return msgspec.convert(origin, Origin)
    except msgspec.ValidationError as error:
        raise Forbidden("The Origin is none as a browser sends it.") from error


def _check_cart(surface: Surface, asked: NewGuest) -> None:
    if re.fullmatch(surface.pattern, asked.cart_id) is None:
        raise Unprocessable(
            "cart_id is not of the form that guests' carts have.", pointer="/cart_id"
        )
    if surface.needs_ref and not asked.ref:
        raise Unprocessable("ref is missing: this cart is read with it.", pointer="/ref")
