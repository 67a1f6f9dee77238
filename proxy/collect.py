"""Collect: the browser's surface, where a page posts how its checkout stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

from flask import Blueprint, request

from proxy import door, states
from proxy.budgets import Budgets
from proxy.clients import Clients
from proxy.errors import Unauthorized
from proxy.identity import canonical
from proxy.states import Head, Shop
from proxy.tokens import claimed_shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What the browser's surface needs of the rest; *origins* are those of all *shops*.

    *region_header* is the header in which a CDN says where the shopper is, if one does.
    """

    shops: Mapping[str, Shop]
    origins: tuple[str, ...]
    region_header: str | None = None
    now: Callable[[], datetime]
    clients: Clients
    budgets: Budgets


# What a view returns once the state is kept.
ACCEPTED = {"status": "accepted"}, 202


def keep(surface: Surface, head: Head, read: Callable[[], bytes]) -> None:
    """Return once the state in the body, which *read* gives, is on disk; or raise what forbids it.

    No framework's request comes in here, so that there may be several ways to this place.
    """
    began = perf_counter()
    states.check_origin(head.host, head.origin, surface.origins)
    door.check_type(head.media_type, states.MEDIA_TYPES)
    posted = states.parsed(read())
    shop = _shop(surface, posted.token)
    if shop.origins != surface.origins:
        states.check_origin(head.host, head.origin, shop.origins)
    now = surface.now()
    session = shop.tokens.read(posted.token, now)
    shop.tokens.check_origin(session, head.origin)
    client = surface.clients.client(head.peer, head.real_ip)
    state = states.fact(shop, posted, session, now, head, client=client)
    surface.budgets.spend(
        shop.name,
        client=client,
        token=posted.token,
        cart=state.cart_id,
        address=(canonical(state.email), client) if state.email else None,
    )
    shop.append(state)
    shop.took(perf_counter() - began)


def _shop(surface: Surface, token: str) -> Shop:
    """Return the shop whose keys are to verify *token*."""
    if len(surface.shops) == 1:
        return next(iter(surface.shops.values()))
    claimed = claimed_shop(token)
    if claimed not in surface.shops:
        raise Unauthorized(
            f"The token is of the shop {claimed!r:.70}, and there is none of that name here.",
            code="token-of-another-shop",
        )
    return surface.shops[claimed]


def blueprint(surface: Surface, prefix: str) -> Blueprint:
    """Return the browser's surface under *prefix*."""
    routes = Blueprint("collect", __name__, url_prefix=prefix)

    @routes.post("/state")
    def state() -> tuple[dict[str, str], int]:
        head = Head(
            host=request.host,
            origin=request.headers.get("Origin"),
            media_type=request.mimetype,
            gpc=request.headers.get("Sec-GPC") == "1",
            languages=request.headers.get("Accept-Language", ""),
            user_agent=request.headers.get("User-Agent", ""),
            peer=request.remote_addr or "",
            real_ip=request.headers.get("X-Real-IP", ""),
            region=request.headers.get(surface.region_header or "", ""),
        )
        keep(surface, head, lambda: door.read(request.environ, states.MAX_BYTES))
        return ACCEPTED

    @routes.get("/client")
    def client() -> dict[str, str]:
        """Say who told from where this request comes, and not from where."""
        told = request.headers.get("X-Real-IP", "")
        return {"client": surface.clients.source(request.remote_addr or "", told)}

    return routes
