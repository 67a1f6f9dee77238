"""Asking: what an operator wants done, written down as a fact; and whom they look for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

from flask import Blueprint, abort, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from proxy import personkey
from proxy.admin import questions
from proxy.admin.surface import Shop, Surface, checkout
from proxy.carts.cart import public_id
from proxy.checkouts import Checkout, Status
from proxy.facts import Asked, CancelAsked, ErasureAsked, HurryAsked, ReleaseAsked, ReplayAsked
from proxy.identity import address_hash, identify

if TYPE_CHECKING:
    from proxy.store.reader import Reader

_AT_ONCE = 64
_MOST_ASKED = 10_000

_ASKED: dict[str, type[Asked]] = {
    "hurry": HurryAsked,
    "cancel": CancelAsked,
    "replay": ReplayAsked,
    "release": ReleaseAsked,
}


def register(routes: Blueprint, surface: Surface) -> None:
    """Let *routes* take what an operator asks for."""

    @routes.post("/<shop>/search")
    def search(shop: str) -> ResponseReturnValue:
        words = request.form.get("words", "").strip()
        with surface.shop(shop).reader() as reader:
            return redirect(_where(surface.shops[shop], reader, words), 303)

    @routes.post("/<shop>/checkouts/<path:unique_id>")
    def ask(shop: str, unique_id: str) -> ResponseReturnValue:
        wish = request.form.get("wish", "")
        if wish == "preview":
            return _preview(surface, shop, unique_id)
        if wish == "erase":
            return _erase(surface, shop, unique_id)
        return _wish(surface, shop, unique_id, wish)

    @routes.post("/<shop>/dead")
    def replay(shop: str) -> ResponseReturnValue:
        count = _ask_for_all(surface.shop(shop), Status.DEAD, ReplayAsked)
        return redirect(url_for("admin.dead", shop=shop, asked=count), 303)

    @routes.post("/<shop>/quarantine")
    def release(shop: str) -> ResponseReturnValue:
        count = _ask_for_all(surface.shop(shop), Status.QUARANTINED, ReleaseAsked)
        return redirect(url_for("admin.quarantine", shop=shop, asked=count), 303)


def _wish(surface: Surface, shop: str, unique_id: str, wish: str) -> ResponseReturnValue:
    if wish not in _ASKED:
        abort(400, f"What can be asked for is {', '.join(_ASKED)}.")
    with surface.shop(shop).reader() as reader:
        found = checkout(reader, shop, unique_id)
    surface.shops[shop].append(_asked(_ASKED[wish], found.shop, found.cart_id, found.epoch))
    return redirect(url_for("admin.checkout", shop=shop, unique_id=unique_id, asked=wish), 303)


def _preview(surface: Surface, shop: str, unique_id: str) -> ResponseReturnValue:
    """Ask the sender what it would send now of a checkout, and go to where it answers."""
    with surface.shop(shop).reader() as reader:
        found = checkout(reader, shop, unique_id)
    asked = questions.put(surface.shops[shop], found.cart_id, epoch=found.epoch)
    place = url_for("admin.checkout", shop=shop, unique_id=unique_id, question=asked)
    return redirect(place, 303)


def _erase(surface: Surface, shop: str, unique_id: str) -> ResponseReturnValue:
    """Ask for all of a checkout's person to be erased, by whatever names are known of them."""
    if request.form.get("sure") != "yes":
        abort(400, "Tick the box to say that it is meant: what is erased is gone.")
    with surface.shop(shop).reader() as reader:
        found = checkout(reader, shop, unique_id)
    for asked in _erasures(found):
        surface.shops[shop].append(asked)
    place = url_for("admin.checkout", shop=shop, unique_id=unique_id, asked="erase")
    return redirect(place, 303)


def _erasures(found: Checkout) -> Iterator[ErasureAsked]:
    cart_id, hashed = found.cart_id, found.address_hash
    yield _erasure(found.shop, cart_id=cart_id, address_hash=hashed)
    person = found.addressee or identify(found.latest)
    if person.email:
        yield _erasure(found.shop, email=person.email)
    if person.phone_number:
        yield _erasure(found.shop, phone_number=person.phone_number)
    elif found.phone_hash:
        yield _erasure(found.shop, address_hash=found.phone_hash)


def _erasure(shop: str, *, cart_id: str = "", **whom: str | None) -> ErasureAsked:
    return ErasureAsked(id=uuid4().hex, shop=shop, cart_id=cart_id, received_at=g.now, **whom)


def _where(shop: Shop, reader: "Reader", words: str) -> str:
    """Return where to find what *words* name: neither an address nor a secret is in it."""
    if "@" in words and reader.checkout(shop.name, words) is None:
        kept = personkey.found(reader.locks(shop.name), shop.lock_keys)
        keys = [*shop.address_keys, *kept.values()]
        hashes = (address_hash(words, key) for key in keys)
        return url_for("admin.checkouts", shop=shop.name, address=",".join(hashes))
    if reader.checkout(shop.name, words) is not None:
        return url_for("admin.checkout", shop=shop.name, unique_id=words)
    known = reader.checkouts(shop.name, words)
    if len(known) == 1 or (known and public_id(words) != words):
        return url_for("admin.checkout", shop=shop.name, unique_id=known[-1].unique_id)
    return url_for("admin.checkouts", shop=shop.name, cart=public_id(words) if words else None)


def _asked(kind: type[Asked], shop: str, cart_id: str, epoch: datetime) -> Asked:
    return kind(id=uuid4().hex, shop=shop, cart_id=cart_id, received_at=g.now, epoch=epoch)


def _ask_for_all(shop: Shop, status: Status, kind: type[Asked]) -> int:
    """Ask for all at *status*, or those of one reason; return for how many: not for a million."""
    # The page has a button for each reason; others may contain it.
    reason = request.form.get("reason")
    with shop.reader() as reader, ThreadPoolExecutor(_AT_ONCE) as threads:
        ended = reader.ended(shop.name, status, reason=reason)
        meant = (each for each in ended if reason in (None, each.reason))
        asked = [
            _asked(kind, shop.name, each.cart_id, each.epoch) for each in islice(meant, _MOST_ASKED)
        ]
        return len(list(threads.map(shop.append, asked)))
