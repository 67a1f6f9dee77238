"""Inspection: what the web half makes of a token or a state, step by step; nothing is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from proxy import door, states
from proxy.carts.cart import public_id
from proxy.errors import Refused, Unauthorized
from proxy.facts import StatePosted
from proxy.identity import Profile, e164, masked
from proxy.money import rounded
from proxy.regions import is_region
from proxy.states import Head, Posted, Shop
from proxy.steps import Answer, Step, passed, stopped, unknown, warned
from proxy.tokens import Session, claimed_shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a state comes from: a page of *origin* that posts it to *host*, as *media_type*."""

    host: str = ""
    origin: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Inspected:
    """The steps up to the first that ends it, and what came out at the end."""

    steps: tuple[Step, ...]
    session: Session | None = None
    state: StatePosted | None = None

    @property
    def answer(self) -> Answer:
        """The steps alone."""
        return Answer(steps=self.steps)


def token(shop: Shop, text: str, now: datetime) -> Inspected:
    """Return what *shop* makes of a token at *now*."""
    walk = _Walk()
    return walk.end(_session(walk, shop, text, now))


def state(shop: Shop, body: bytes, page: Page, now: datetime) -> Inspected:
    """Return what *shop* makes of a state that *page* posts at *now*."""
    walk = _Walk()
    _look_at_request(walk, shop, body, page)
    posted: Posted | None = None
    with walk.step("JSON", "it has the form of a state"):
        posted = states.parsed(body)
    session = None if posted is None else _session(walk, shop, posted.token, now)
    if session is not None and session.origin and page.origin:
        with walk.step("bound to", f"pages of {session.origin}, as this one"):
            shop.tokens.check_origin(session, _of_address(page.origin))
    if posted is None or session is None:
        return walk.end(session)
    _look_at_members(walk, shop, posted)
    return walk.end(session, None if walk.is_stopped else _fact(shop, posted, session, now))


def _fact(shop: Shop, posted: Posted, session: Session, now: datetime) -> StatePosted:
    head = Head(host="", origin=None, media_type="", gpc=False, languages="")
    return states.fact(shop, posted, session, now, head)


class _Walk:
    """The steps gone so far."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @property
    def is_stopped(self) -> bool:
        return Answer(steps=tuple(self.steps)).stopped_by is not None

    @contextmanager
    def step(self, name: str, words: str) -> Iterator[None]:
        """Note that what the block does is let through, with *words*, or why it is refused."""
        try:
            yield
        except Refused as error:
            where = "" if error.pointer is None else f" (at {error.pointer})"
            self.steps.append(stopped(name, error.detail + where))
        else:
            self.steps.append(passed(name, words))

    def end(self, session: Session | None, state: StatePosted | None = None) -> Inspected:
        return Inspected(steps=tuple(self.steps), session=session, state=state)


# -- the request -------------------------------------------------------------------------


def _look_at_request(walk: _Walk, shop: Shop, body: bytes, page: Page) -> None:
    if page.origin:
        origin = _of_address(page.origin)
        with walk.step("origin", f"pages of {origin} may post"):
            states.check_origin(page.host, origin, shop.origins)
    else:
        listed = ", ".join(shop.origins) or "nothing"
        words = f"no page was named; CHECKOUT_PROXY_ORIGINS lists {listed}"
        walk.steps.append(unknown("origin", words))
    if media_type := page.media_type.partition(";")[0].strip().lower():
        with walk.step("media type", f"{media_type} is read"):
            door.check_type(media_type, states.MEDIA_TYPES)
    size = f"{len(body):,} of {states.MAX_BYTES:,} bytes"
    is_short = len(body) <= states.MAX_BYTES
    walk.steps.append((passed if is_short else stopped)("size", size))


def _of_address(text: str) -> str:
    """Return the origin where *text* is a page's whole address."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else text


# -- the token ---------------------------------------------------------------------------


def _session(walk: _Walk, shop: Shop, text: str, now: datetime) -> Session | None:
    """Return what the token *text* says, with a step for each thing that can be wrong with it."""
    named = _readable(walk, text)
    verified = None if named is None else _verified(walk, shop, text, named)
    if verified is None:
        return None
    session, signed_at = verified
    words = f"signed at {signed_at:%Y-%m-%d %H:%M:%S}Z, {_span(now - signed_at)} ago"
    with walk.step("age of the token", words):
        shop.tokens.check_age(signed_at, now)
    walk.steps += _said_by(session)
    return session


def _readable(walk: _Walk, text: str) -> str | None:
    """Return the shop that the token names; nobody has verified that yet."""
    try:
        named = claimed_shop(text)
    except Unauthorized as error:
        cut = "what it says cannot be read: it was cut, or changed on its way"
        words = error.detail if error.code == "token-malformed" else cut
        walk.steps.append(stopped("form", words))
        return None
    walk.steps.append(passed("form", f"it is written as a token is, in {len(text):,} characters"))
    return named


def _verified(walk: _Walk, shop: Shop, text: str, named: str) -> tuple[Session, datetime] | None:
    with walk.step("shop", f"{named:.70}"):
        shop.tokens.check_shop(named)
    try:
        verified = shop.tokens.verified(text)
        number, many = shop.tokens.key_of(text)
    except Unauthorized as error:
        name = "signature" if error.code == "token-forged" else "session"
        walk.steps.append(stopped(name, error.detail))
        return None
    place = "the one that signs" if number == many else "an older one, which still verifies"
    walk.steps.append(passed("signature", f"by key {number} of {many}, {place}"))
    return verified


def _said_by(session: Session) -> Iterator[Step]:
    """Yield what a session says, none of which can be wrong by itself."""
    guest = ", a guest's: nobody vouches for it" if session.guest else ""
    yield passed("cart id", f"{public_id(session.cart_id)}{guest}")
    yield passed("customer", _customer(session))
    yield passed("ref", "there is a credential that reads the cart" if session.ref else "none")
    yield _region(session.region)
    yield passed("bound to", session.origin or "no origin: any page that may post can use it")
    if session.cart is None:
        yield passed("snapshot", "the token carries no cart")
    else:
        total = f"{rounded(session.cart.total, session.cart.currency):,} {session.cart.currency}"
        yield passed("snapshot", f"{total}, lines: {len(session.cart.items)}")


def _region(region: str | None) -> Step:
    if region is not None and not is_region(region):
        return warned("region", f"{region} is no country of ISO 3166: the shop's default holds")
    return passed("region", region or "not said")


def _customer(session: Session) -> str:
    known = session.customer
    if known is None:
        return "not known: somebody has to type an address"
    profile = Profile(
        email=known.email, phone_number=known.phone_number, external_id=known.external_id
    )
    return masked(profile) or "only a name is known"


# -- what the page says ------------------------------------------------------------------


def _look_at_members(walk: _Walk, shop: Shop, posted: Posted) -> None:
    with walk.step("address", _typed(posted.email)):
        states.email(posted.email)
    walk.steps += _names(posted)
    if posted.phone_number:
        walk.steps.append(_telephone(posted.phone_number))
    walk.steps.append(_link(shop, posted.checkout_url))
    if posted.claimed is not None:
        with walk.step("total", "the page's is compared with the shop's, and never sent"):
            states.claim(posted.claimed)
    walk.steps.append(_age(shop, posted))


def _typed(text: str | None) -> str:
    return masked(Profile(email=(text or "").strip())) or "none was typed"


def _names(posted: Posted) -> Iterator[Step]:
    """Yield what the shopper's mail would not say as it was typed."""
    typed = [each for each in (posted.first_name, posted.last_name) if each]
    kept = [states.name(each) for each in typed]
    if None in kept:
        words = "one is too long, or has a link or markup in it, and is left out"
        yield warned("name", words)
    if any(name not in (None, text) for name, text in zip(kept, typed, strict=True)):
        yield warned("name", "a space was put behind a dot in one, so that it is no link")


def _telephone(text: str) -> Step:
    number = e164(text)
    if number is None:
        return warned("telephone", "it is no valid number such as +4930123456, and is left out")
    return passed("telephone", masked(Profile(phone_number=number)) or "")


def _link(shop: Shop, url: str | None) -> Step:
    name = "link"
    if url is None:
        return passed(name, "none: the link is the cart's own, if that has one")
    kept = states.checkout_url(url, shop.origins)
    if kept is None:
        why = states.why_no_link(url, shop.origins) or "it is too long"
        return warned(name, f"dropped: {why}")
    return passed(name, "kept" if kept == url else "kept, without what Klaviyo or a click added")


def _age(shop: Shop, posted: Posted) -> Step:
    age = states.age(posted.age_ms)
    if age > shop.oldest:
        words = f"it says {_span(age)}, and counts as {_span(shop.oldest)} old"
        return warned("age of the state", words)
    return passed("age of the state", f"posted {_span(age)} after the shopper's act")


def _span(length: timedelta) -> str:
    return f"{length.total_seconds():,.0f} s"
