"""Collect: what the browser asks for, the snippet and a place to post how the checkout stands."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import Annotated
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from flask import Blueprint, Response, abort, request
from msgspec import Meta

from proxy import bots, clients, door, kx, regions
from proxy.budgets import Budgets
from proxy.clients import Clients
from proxy.errors import Forbidden, Unauthorized, Unprocessable
from proxy.facts import Claim, Consent, ConsentState, Fact, Line, StatePosted
from proxy.identity import MAX_EMAIL_LENGTH
from proxy.money import check_amount
from proxy.snippet import Snippet
from proxy.tokens import Session, Tokens, claimed_shop

MAX_BYTES = 16 * 1024
MEDIA_TYPES = ("text/plain", "application/json")


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /co/state``. Members we do not know, a cart id say, have no effect."""

    token: Annotated[str, Meta(max_length=MAX_BYTES)]
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")] | None = None
    email: Line | None = None
    phone_number: Line | None = None
    first_name: Line | None = None
    last_name: Line | None = None
    kx: str | None = None
    kla_id: str | None = None
    consent: ConsentState | Consent | None = None
    checkout_url: str | None = None
    locale: Line | None = None
    claimed: Claim | None = None
    age_ms: float = 0


_DECODER = msgspec.json.Decoder(Posted)


def parsed(body: bytes) -> Posted:
    """Return the state in *body*, or raise :exc:`Refused`."""
    return door.parsed(_DECODER, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What the browser's surface needs of one shop."""

    name: str
    tokens: Tokens
    origins: tuple[str, ...]
    oldest: timedelta
    append: Callable[[Fact], None]
    took: Callable[[float], None]
    client_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What the browser's surface needs of the rest; *origins* are those of all *shops*.

    *region_header* is the header in which a CDN says where the shopper is, if one does.
    """

    shops: Mapping[str, Shop]
    origins: tuple[str, ...]
    region_header: str | None = None
    now: Callable[[], datetime]
    snippets: Mapping[str, Snippet]
    clients: Clients
    budgets: Budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the headers of a posted state say to us.

    *peer* is the address that the connection is from, and *real_ip* that which it tells.
    """

    host: str
    origin: str | None
    media_type: str
    gpc: bool
    languages: str
    user_agent: str = ""
    peer: str = field(default="", repr=False)
    real_ip: str = field(default="", repr=False)
    region: str | None = None


# What a view returns once the state is kept.
ACCEPTED = {"status": "accepted"}, 202


def keep(surface: Surface, head: Head, read: Callable[[], bytes]) -> None:
    """Return once the state in the body, which *read* gives, is on disk; or raise what forbids it.

    No framework's request comes in here, so that there may be several ways to this place.
    """
    began = perf_counter()
    check_origin(head.host, head.origin, surface.origins)
    door.check_type(head.media_type, MEDIA_TYPES)
    posted = parsed(read())
    shop = _shop(surface, posted.token)
    if shop.origins != surface.origins:
        check_origin(head.host, head.origin, shop.origins)
    now = surface.now()
    session = shop.tokens.read(posted.token, now)
    shop.tokens.check_origin(session, head.origin)
    client = surface.clients.client(head.peer, head.real_ip)
    state = fact(shop, posted, session, now, head, client=client)
    surface.budgets.spend(
        token=posted.token, cart=state.cart_id, address=state.email or "", client=client
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
        keep(surface, head, lambda: door.read(request.environ, MAX_BYTES))
        return ACCEPTED

    @routes.get("/client")
    def client() -> dict[str, str]:
        """Say who told from where this request comes, and not from where."""
        told = request.headers.get("X-Real-IP", "")
        return {"client": surface.clients.source(request.remote_addr or "", told)}

    @routes.get("/<name>.js")
    def snippet(name: str) -> Response:
        return _script(_named(surface, name), "public, max-age=3600")

    @routes.get("/<name>.<version>.js")
    def snippet_of_a_version(name: str, version: str) -> Response:
        snippet = _named(surface, name)
        if version != snippet.version:
            abort(404, f"This version of the snippet is not served any more; load {name}.js.")
        return _script(snippet, "public, max-age=31536000, immutable")

    return routes


def _named(surface: Surface, name: str) -> Snippet:
    if name not in surface.snippets:
        abort(404, f"The scripts here are {', '.join(surface.snippets)}.")
    return surface.snippets[name]


def _script(snippet: Snippet, cache_control: str) -> Response:
    encoding = next((each for each in snippet.compressed if request.accept_encodings[each]), "")
    response = Response(
        snippet.compressed.get(encoding, snippet.content), mimetype="text/javascript"
    )
    if encoding:
        response.content_encoding = encoding
    response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = cache_control
    response.headers["X-Content-Type-Options"] = "nosniff"
    # A page on another origin may load it with an integrity hash.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.set_etag(snippet.version + encoding)
    response.make_conditional(request)
    return response


def check_origin(host: str, origin: str | None, origins: tuple[str, ...]) -> None:
    """Raise :exc:`Forbidden` unless pages of *origin* may post to *host*."""
    if origin is None or origin in origins or _origin(origin)[1] == host:
        return
    raise Forbidden(
        f"Pages of {origin} may not post here: add it to CHECKOUT_PROXY_ORIGINS, "
        f"or serve the proxy under that page's own host (this is {host})."
    )


def _origin(url: str) -> tuple[str, str]:
    """Return the scheme and the host of *url*, empty where it is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc


# -- from the body to the fact -----------------------------------------------------------


def fact(
    shop: Shop, posted: Posted, session: Session, now: datetime, head: Head, *, client: str = ""
) -> StatePosted:
    """Return what *posted* says under *session*, or raise :exc:`Unprocessable`.

    Of *client*, who posted it, there is only a hash in it.
    """
    return StatePosted(
        id=posted.id or uuid4().hex,
        shop=shop.name,
        cart_id=session.cart_id,
        received_at=now,
        acted_at=now - min(age(posted.age_ms), shop.oldest),
        email=email(posted.email),
        phone_number=posted.phone_number or None,
        first_name=posted.first_name or None,
        last_name=posted.last_name or None,
        kx=kx.in_address(posted.checkout_url) or kx.valid(posted.kx) or kx.in_cookie(posted.kla_id),
        consent=_consent(posted.consent),
        gpc=head.gpc,
        checkout_url=checkout_url(posted.checkout_url, shop.origins),
        locale=_locale(posted.locale) or _locale(_first(head.languages)),
        claimed=claim(posted.claimed),
        customer=session.customer,
        cart=session.cart,
        ref=session.ref,
        client=clients.client_hash(client, shop.client_key, now.date()) if client else None,
        automated=bots.is_bot(head.user_agent) or None,
        region=session.region,
        region_seen=regions.valid(head.region),
    )


def age(age_ms: float) -> timedelta:
    """Return how old a state is; a clock that was set back meanwhile says less than nothing."""
    return timedelta(milliseconds=min(max(age_ms, 0), 1e12))


def email(text: str | None) -> str | None:
    """Return the address, judged by its form alone: nothing is looked up on the way to the 202."""
    if text is None or not text.strip():
        return None
    if _is_plain(text):
        return text
    try:
        # ``.test`` is let through here: it is the sender that keeps reserved domains back.
        address = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise Unprocessable(f"email is no address: {error}", pointer="/email") from error
    if len(address.normalized) > MAX_EMAIL_LENGTH:
        words = f"email must have {MAX_EMAIL_LENGTH} characters at most."
        raise Unprocessable(words, pointer="/email")
    return address.normalized


def _is_plain(address: str) -> bool:
    """Tell whether email-validator would return *address* as it is, in a twentieth of its time."""
    usual = len(address) <= _MAX_PLAIN and _PLAIN.fullmatch(address)
    return bool(usual) and address.rpartition(".")[2] not in _SPECIAL_TOP_LEVELS


_PLAIN = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,}")
# So none of its parts is too long either.
_MAX_PLAIN = 64
_SPECIAL_TOP_LEVELS = {name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES}


def _consent(said: ConsentState | Consent | None) -> Consent | None:
    return Consent(state=said) if isinstance(said, ConsentState) else said


def checkout_url(url: str | None, origins: tuple[str, ...]) -> str | None:
    """Return *url* where it leads to a listed origin: it ends up behind a button in a mail.

    The request's own host does not do here: whoever posts without a browser chooses it.
    """
    if url is None or why_no_link(url, origins):
        return None
    for shorter in (kx.without(url), url.partition("#")[0].partition("?")[0]):
        if len(shorter) <= _LONGEST_URL:
            return shorter
    return None


_LONGEST_URL = 4_000


def why_no_link(url: str, origins: tuple[str, ...]) -> str:
    """Return why *url* cannot be the link back to the checkout; nothing where it can."""
    if not _URL.fullmatch(url):
        return "it is no address as a browser writes it"
    origin = "://".join(_origin(url))
    return "" if origin in origins else f"its origin {origin} is not in CHECKOUT_PROXY_ORIGINS"


# What a browser leaves in an address that it has parsed.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


def _first(languages: str) -> str:
    """Return the language that a browser puts first."""
    return languages.partition(",")[0].partition(";")[0].strip()


def _locale(text: str | None) -> str | None:
    """Return the language tag, such as ``de-AT``, or ``None`` where it is none."""
    return text if text and re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", text) else None


def claim(said: Claim | None) -> Claim | None:
    """Return the total that the page says it shows, or raise :exc:`Unprocessable`."""
    if said is not None:
        try:
            check_amount("claimed.value", said.value)
        except ValueError as error:
            raise Unprocessable(str(error), pointer="/claimed/value") from error
    return said
