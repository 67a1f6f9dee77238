"""Erasures: who is to be forgotten, where a person is named, and what is left without them."""

import dataclasses
from collections.abc import Collection, Iterable
from datetime import datetime
from hashlib import sha256
from unicodedata import normalize

import msgspec
from msgspec.structs import replace

from proxy.carts.cart import Cart
from proxy.checkouts import ERASED, Checkout, Rules, Status, erased_if_closed, judged
from proxy.consents import Decided
from proxy.facts import CartPushed, Customer, ErasureAsked, Fact, StatePosted
from proxy.identity import (
    Profile,
    address_hash,
    canonical,
    e164,
    hash_in,
    identify,
    is_found_in,
    phone_hash_in,
)
from proxy.latest import Latest, value
from proxy.setbacks import was_before

Keys = Iterable[bytes]


def whom(*, email: str | None = None, phone_number: str | None = None) -> dict[str, str]:
    """Return what an erasure says of a person, or raise :exc:`ValueError`: nobody has that name."""
    if email is not None:
        if "@" not in email.strip()[1:-1]:
            raise ValueError("email is no address")
        return {"email": email.strip()}
    if phone_number is not None:
        number = e164(phone_number)
        if number is None:
            raise ValueError("phone_number is no number with its country: +49 30 123456, say")
        return {"phone_number": number}
    return {}


def names(asked: ErasureAsked) -> frozenset[str]:
    """Return the names by which *asked* knows the person: an address, a telephone number."""
    return _names([asked.email], [asked.phone_number])


def names_in(fact: Fact) -> frozenset[str]:
    """Return the names of the people that *fact* is about."""
    match fact:
        case StatePosted():
            customer = fact.customer or Customer()
            cart_email = None if fact.cart is None else fact.cart.email
            return _names(
                [fact.email, customer.email, cart_email],
                [fact.phone_number, customer.phone_number],
            )
        case CartPushed():
            return names_in_cart(fact.cart)
    return frozenset()


def trail(state: StatePosted) -> bytes | None:
    """Return what is kept of *state* once it is taken in: by whom it names, a cart is found.

    Another word may take theirs' place, and what else they said stays. It decodes as a state;
    where nobody is named, nothing is kept.
    """
    customer, cart = state.customer or Customer(), state.cart
    cart_email = None if cart is None else cart.email
    by_shop = customer.email or customer.phone_number
    if not (state.email or state.phone_number or by_shop or cart_email):
        return None
    known = {"email": customer.email, "phone_number": customer.phone_number}
    return msgspec.json.encode(
        {
            "id": state.id,
            "shop": state.shop,
            "cart_id": state.cart_id,
            "received_at": state.received_at,
            "acted_at": state.acted_at,
            "email": state.email,
            "phone_number": state.phone_number,
            "customer": known if by_shop else None,
            "cart": replace(cart, items=()) if cart is not None and cart_email else None,
        }
    )


def is_about(
    checkout: Checkout,
    asked: ErasureAsked,
    hashes: Collection[str],
    *,
    delayed: bool,
    cart_email: str | None = None,
) -> bool:
    """Tell whether somebody had been named in *checkout* whom *asked* is about.

    *hashes* are those of the address, or the number. *cart_email* is that of a cart which was put
    since. *delayed* is as in :func:`proxy.setbacks.was_before`.
    """
    wanted = names(asked)
    if was_before(checkout.acted_at, asked.received_at, delayed=delayed):
        is_named = bool(wanted & (_names_in_latest(checkout.latest) | _names_beside(checkout)))
        return is_named or _is_hashed(checkout, hashes)
    said_before = checkout.latest.until(asked.received_at)
    is_hashed = checkout.status in _CLOSED and _is_hashed(checkout, hashes)
    since = _named_since(checkout, asked.received_at, cart_email)
    names_before = _names_bound_before(checkout, since) | _names_in_latest(said_before)
    return is_hashed or bool(wanted & names_before)


_CLOSED = (Status.DELIVERED, Status.CANCELLED)


def _is_hashed(checkout: Checkout, hashes: Collection[str]) -> bool:
    return checkout.address_hash in hashes or checkout.phone_hash in hashes


def _named_since(checkout: Checkout, until: datetime, cart_email: str | None) -> Profile:
    """Return who was named in *checkout* after *until*, or in the cart that was put after it."""
    since = checkout.latest.since(until)
    signed = value(since.cart)
    return identify(since, cart_email=cart_email or (None if signed is None else signed.email))


def _is_bound_to_another(checkout: Checkout, named: Profile) -> bool:
    """Tell whether *checkout* is bound to somebody who is not who is *named*."""
    to = checkout.addressee
    return to is not None and not is_found_in(to, named)


def _names_bound_before(checkout: Checkout, named: Profile) -> frozenset[str]:
    """Return the names that *checkout* is bound to, and that are not of who is *named* since."""
    bound = _names_bound(checkout)
    if _is_bound_to_another(checkout, named):
        return bound
    return bound - _names([named.email], [named.phone_number])


def _names_beside(checkout: Checkout) -> frozenset[str]:
    return _names_bound(checkout) | _names(checkout.addresses, [])


def _names_bound(checkout: Checkout) -> frozenset[str]:
    to = checkout.addressee or Profile()
    return _names([to.email], [to.phone_number])


def _names_in_latest(latest: Latest) -> frozenset[str]:
    customer = value(latest.customer) or Customer()
    cart = value(latest.cart)
    cart_email = None if cart is None else cart.email
    return _names(
        [value(latest.email), customer.email, cart_email],
        [value(latest.phone_number), customer.phone_number],
    )


def names_in_cart(cart: Cart) -> frozenset[str]:
    """Return the name of the person that *cart* is about, if it has one."""
    return _names([cart.email], [])


def _names(emails: Iterable[str | None], numbers: Iterable[str | None]) -> frozenset[str]:
    addresses = (canonical(email) for email in emails if email)
    spelt = (number for number in map(e164, numbers) if number is not None)
    return frozenset([*addresses, *spelt]) - {""}


def when(fact: Fact) -> datetime:
    """Return when what *fact* says was done: an erasure reaches what was done before it."""
    return fact.acted_at if isinstance(fact, StatePosted) else fact.received_at


# -- what is left of a checkout ----------------------------------------------------------


def erased(
    checkout: Checkout,
    until: datetime,
    rules: Rules,
    *,
    delayed: bool = True,
    cart_email: str | None = None,
) -> Checkout:
    """Return *checkout* without what was said in it *until* then, or a trace of who said it.

    Where nothing was said since, it is closed. *cart_email* and *delayed* are as in
    :func:`is_about`.
    """
    if checkout.erased_at is not None:
        return checkout
    if was_before(checkout.acted_at, until, delayed=delayed):
        return _forgotten(checkout, until)
    return _begun_anew(checkout, until, rules, _named_since(checkout, until, cart_email))


def _begun_anew(checkout: Checkout, until: datetime, rules: Rules, named: Profile) -> Checkout:
    """Return *checkout* as if nothing had been said before *until*, but a no.

    *named* is who was named since.
    """
    said = checkout.latest
    latest = said.until(until).refusal().joined(said.since(until))
    typed = value(latest.email)
    known = replace(
        checkout,
        latest=latest,
        addressee=checkout.addressee and _without_the_rest(checkout.addressee, named),
        consent=_without_record(checkout.consent, latest),
        client=value(latest.client),
        address_hash=hash_in(latest, rules.address_key),
        phone_hash=phone_hash_in(latest, rules.address_key),
        addresses=() if typed is None else (canonical(typed),),
    )
    if _is_bound_to_another(checkout, named):
        # It may have reached somebody who is to be forgotten: so it goes to nobody else.
        return _closed(known)
    return judged(known, rules, until) if known.status is Status.PENDING else known


def _without_the_rest(to: Profile, named: Profile) -> Profile:
    """Return *to* with no more than they are found by, and what is said of who is *named*."""
    rest = ("phone_number", "first_name", "last_name", "locale")
    unsaid = {each: None for each in rest if getattr(to, each) != getattr(named, each)}
    return dataclasses.replace(to, **unsaid)


def _without_record(decided: Decided | None, latest: Latest) -> Decided | None:
    """Return what was *decided*, with what it rests on only where that is in *latest*."""
    if decided is None or decided.consent == value(latest.consent):
        return decided
    return replace(decided, consent=None)


def _forgotten(checkout: Checkout, until: datetime) -> Checkout:
    forgotten = replace(
        checkout,
        latest=Latest(),
        address_hash=None,
        phone_hash=None,
        client=None,
        consent=_without_record(checkout.consent, Latest()),
        erased_at=until,
    )
    return _closed(forgotten)


def _closed(checkout: Checkout) -> Checkout:
    closed = replace(checkout, due_at=None, retry_at=None, trouble=None, troubled_at=None)
    if checkout.status not in _CLOSED:
        closed = replace(closed, status=Status.CANCELLED, reason=ERASED)
    return erased_if_closed(closed)


# -- what is kept of who was erased, so that what comes late is known --------------------


def marks(names: Iterable[str], keys: Keys) -> frozenset[str]:
    """Return what stands for *names*: only *keys* tell for which."""
    return frozenset(address_hash(name, key) for name in names for key in keys)


def cart_mark(cart_id: str, keys: Keys) -> frozenset[str]:
    """Return what stands for a cart that was to be erased as such."""
    return _cart_marks("cart", cart_id, keys)


def persons_cart_mark(cart_id: str, keys: Keys) -> frozenset[str]:
    """Return what stands for a cart in which a person was named that was to be erased."""
    return _cart_marks("cart of a person", cart_id, keys)


def _cart_marks(what: str, cart_id: str, keys: Keys) -> frozenset[str]:
    # A cart's id is told from another by its capitals too, which a hash of an address is not.
    return marks([f"{what}:{sha256(cart_id.encode()).hexdigest()}"], keys)


# -- looking through what was written ----------------------------------------------------

# The end of a number is written in digits, whatever the country and whatever stands between them.
_END = 6
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


class Sieve:
    """Tells of JSON, in a fraction of the time it takes to read it, whether it may name somebody.

    It errs on one side only: what names one of *names* is never let through.
    """

    def __init__(self, names: Iterable[str]) -> None:
        known = set(names)
        numbers = {name for name in known if name.startswith("+") and "@" not in name}
        self._ends = [number[-_END:].encode() for number in numbers]
        self._addresses = [_in_json(name) for name in known - numbers]
        self._before_at = [_in_json(name.rpartition("@")[0]) + "@" for name in known - numbers]

    def catches(self, body: bytes) -> bool:
        """Tell whether *body* may name one of them."""
        return self._may_have_address(body) or self._may_have_number(body)

    def _may_have_address(self, body: bytes) -> bool:
        if not self._addresses:
            return False
        text = body.decode(errors="replace")
        folded = text.casefold()
        if text.isascii() and "xn--" not in folded:
            return any(address in folded for address in self._addresses)
        # A domain may be spelt in several ways: what stands before it has one.
        folded = normalize("NFC", normalize("NFC", text).casefold())
        return any(name in folded for name in self._before_at)

    def _may_have_number(self, body: bytes) -> bool:
        digits = body.translate(None, _NO_DIGITS) if self._ends else b""
        return any(end in digits for end in self._ends)


def _in_json(text: str) -> str:
    return msgspec.json.encode(text)[1:-1].decode()
