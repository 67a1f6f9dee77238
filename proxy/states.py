"""States: what a page posts of its checkout, from the body of a request to the fact."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from msgspec import Meta

from proxy import bots, clients, door, kx, regions
from proxy.errors import Forbidden, Unprocessable
from proxy.facts import Claim, Consent, ConsentState, Fact, Line, StatePosted
from proxy.identity import MAX_EMAIL_LENGTH
from proxy.money import check_amount
from proxy.tokens import Session, Tokens
from proxy.wire import Discreet

MAX_BYTES = 16 * 1024
MEDIA_TYPES = ("text/plain", "application/json")


# No greatest length: too long a name must not cost the state.
Name = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]*\Z",
        description="Parted at its dots. Left out where it has more than 64 characters, or a link "
        "or markup in it.",
    ),
]


class Posted(Discreet, frozen=True, kw_only=True):
    """The body of ``POST /co/state``. Members we do not know, a cart id say, have no effect."""

    token: Annotated[str, Meta(max_length=MAX_BYTES)]
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")] | None = None
    email: Line | None = None
    phone_number: Line | None = None
    first_name: Name | None = None
    last_name: Name | None = None
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
        first_name=name(posted.first_name),
        last_name=name(posted.last_name),
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


def name(text: str | None) -> str | None:
    """Return the name, or ``None`` where it is none, or had better not be in the shop's mail.

    Whoever has a token may have a mail sent to anybody: "Hi {{ first_name }}" is to be no link of
    theirs. So what may be a domain is parted at its dots, "Md.Rahman" as well as "evil.io".
    """
    if not text or len(text) > _LONGEST_NAME:
        return None
    if text.isalpha() or _MARK.search(text) is None:
        return text
    return None if _NO_NAME.search(text) else _PLACE_BEHIND_DOT.sub(" ", text)


_LONGEST_NAME = 64
# In an address browsers take each of them for a full stop.
_DOTS = r".\u2024\u3002\ufe52\uff0e\uff61"
# Most names have none of these, and to look for them alone takes a tenth of the time.
_MARK = re.compile(rf"[/\\@:<>{{}}\[\]&{_DOTS}]")
# Markup, templates, schemes and the path behind a domain. A slash alone is in legal names, such as
# "Muthu a/l Samy".
_NO_NAME = re.compile(rf"[\\@:<>{{}}\[\]]|//|&#?\w+;|[{_DOTS}]\S*/")
# Of a domain without a space in it mail programs make a link by themselves. No part of one begins
# with what needs no space here.
_PLACE_BEHIND_DOT = re.compile(rf"""(?<=\S[{_DOTS}])(?=[^\s.,)"'-])""")


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
    """Return what was said; a record that cannot be kept as it is must not cost the word."""
    if not isinstance(said, Consent):
        return None if said is None else Consent(state=said)
    source = _record(said.source, _LONGEST_SOURCE)
    evidence = _record(said.evidence, _LONGEST_EVIDENCE)
    if source is said.source and evidence is said.evidence:
        return said
    return Consent(state=said.state, source=source, evidence=evidence)


def _record(text: str | None, most: int) -> str | None:
    if text is None or (len(text) <= most and text.isprintable()):
        return text
    return _CONTROL.sub(" ", text[:most])


# A TC string of all vendors is shorter.
_LONGEST_SOURCE, _LONGEST_EVIDENCE = 256, 4_000
# It is shown on terminals.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
