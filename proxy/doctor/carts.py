"""Carts: whether totals can be had, and what is understood of one cart."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

from proxy import work
from proxy.carts.cart import Cart
from proxy.carts.source import CartRef, Reading
from proxy.doctor import book
from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.errors import (
    CartError,
    CartGone,
    CartInvalid,
    CartNotReady,
    SourceDown,
    SourceRefused,
    Unauthorized,
)
from proxy.money import rounded
from proxy.settings import variable
from proxy.store.reader import Reader
from proxy.tokens import Session, Tokens


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield how carts come in, and what becomes of the one that was asked about."""
    match setup.settings.carts:
        case "signed":
            yield _signed(setup)
        case "push":
            yield from _pushed(setup)
        case _ if setup.blames("carts"):
            yield skipped("cart", "what is set cannot be asked with: see the check `settings`")
        case platform if setup.asked.cart_id is None:
            words = f"{platform} can be asked; no cart was"
            yield skipped("cart", words, "Name one that is open now: --cart CART_ID [--ref REF].")
        case _:
            yield _fetched(setup, _asked(setup))


def _asked(setup: Setup, pushed: Cart | None = None) -> CartRef:
    asked = setup.asked
    return CartRef(
        shop=setup.settings.shop,
        cart_id=asked.cart_id or "",
        credential=asked.ref,
        pushed=pushed,
    )


def _signed(setup: Setup) -> Finding:
    if setup.asked.token is None or setup.lacks("token_keys"):
        words = "carts are signed into tokens; no token was examined"
        return skipped("cart", words, "Give one with --token, from the page's data-token.")
    try:
        session = _session(setup, setup.asked.token)
    except Unauthorized:
        return skipped("cart", "the token is refused: see the check `tokens`")
    shop = setup.settings.shop
    return _fetched(setup, CartRef(shop=shop, cart_id=session.cart_id, snapshot=session.cart))


def _session(setup: Setup, token: str) -> Session:
    settings = setup.settings
    tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
    return tokens.read(token.strip(), datetime.now(UTC))


def _pushed(setup: Setup) -> Iterator[Finding]:
    why = "not without a store: see the check `settings`" if setup.lacks("store", "shop") else ""
    if why := why or book.closed(setup):
        yield skipped("carts", f"your server pushes carts; {why}")
        return
    with closing(setup.store.book()) as opened:
        yield from _in(opened, setup)


def _in(opened: Reader, setup: Setup) -> Iterator[Finding]:
    count, last = opened.pushed(setup.settings.shop)
    if last is None:
        remedy = "Let your server put each cart that changes: docs/push.md."
        yield warning("carts", "no cart is in the book: none was pushed yet", remedy)
    else:
        yield well("carts", f"{count} in the book, the last pushed {last:%Y-%m-%d %H:%M:%S}Z")
    if setup.asked.cart_id is None:
        yield skipped("cart", "no cart was looked at", "Name one: --cart CART_ID.")
    else:
        cart = opened.cart(setup.settings.shop, setup.asked.cart_id)
        yield _fetched(setup, _asked(setup, pushed=cart))


# -- one cart ----------------------------------------------------------------------------


def _fetched(setup: Setup, ref: CartRef) -> Finding:
    try:
        with work.source(setup.settings) as carts:
            reading = carts.fetch(ref)
    except CartError as error:
        return wrong("cart", f"{type(error).__name__}: {error}", _REMEDIES.get(type(error), _ELSE))
    words = _understood(reading)
    if reading.completed:
        return well("cart", f"{words}; it became an order, so nothing is sent for it")
    if reading.warnings:
        odd = "; ".join(reading.warnings)
        remedy = "Compare it with what the shop shows; it is sent like that."
        return warning("cart", f"{words}. Odd, and perhaps right: {odd}", remedy)
    return well("cart", f"{words}; `checkout-proxy cart` shows all of it")


def _understood(reading: Reading) -> str:
    cart = reading.cart
    pieces = sum((item.quantity for item in cart.items), Decimal(0))
    total = rounded(cart.total, cart.currency)
    lines = f"{len(cart.items)} line{'s' * (len(cart.items) > 1)}"
    return f"understood: {lines}, {pieces.normalize():f} pieces, total {total} {cart.currency}"


_ELSE = "docs/carts.md says how carts are read."
_REMEDIES = {
    CartNotReady: "Your server did not put it under this id, or not since the last order: "
    "docs/push.md.",
    CartGone: "Is it a cart that is open now, with something in it, under the id that the token "
    "carries, and is --ref the credential that it wants? Of a mapping of your own, does `id` lead "
    "to that id (docs/own-carts.md)?",
    CartInvalid: "The cart's id, or what was answered, has not the form that is described: compare "
    f"it with the mapping in {variable('config')} (docs/own-carts.md); of a platform's, report it.",
    SourceDown: f"Is {variable('carts_url')} right, does it answer from this machine, and is its "
    f"certificate one that is trusted here ({variable('carts_ca')})?",
    SourceRefused: f"Is {variable('carts_key')} right, and may it read carts? docs/carts.md says "
    "which credential, and which of them the shopper has (--ref).",
}
