"""Person key: what addresses are hashed with, kept in the store for who has one of the secrets.

It is not made of the token keys: they rotate, and who was hashed before would not be found by an
erasure. In the store it lies locked under each of the shop's secrets, as a disk's key does under
several passwords, so that whoever has the store alone cannot tell whose a hash is.

Where no secret opens it, or it is damaged, another is made, with the next number. The locks on the
one before stay: it may be the secrets that are wrong, and be put right.
"""

import hmac
import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.store.book import Book

logger = logging.getLogger(__name__)

Lock = tuple[int, bytes]
"""A lock, behind the number of the key in it."""

_LENGTH = _NONCE = 32
_TAG = 16


def lock_key(secret: str) -> bytes:
    """Return what a lock under *secret* is made with, and nothing else is."""
    return hmac.digest(secret.encode(), b"checkout-proxy.person-key", "sha256")


def locked(key: bytes, under: bytes) -> bytes:
    """Return *key*, which :func:`opened` gives back to whoever has *under*."""
    nonce = secrets.token_bytes(_NONCE)
    body = nonce + _masked(key, under, nonce)
    return body + _tag(body, under)


def opened(lock: bytes, under: bytes) -> bytes | None:
    """Return the key that was locked *under* that; ``None`` where it was another, or is damaged."""
    body, tag = lock[:-_TAG], lock[-_TAG:]
    if not hmac.compare_digest(tag, _tag(body, under)):
        return None
    return _masked(body[_NONCE:], under, body[:_NONCE])


def found(locks: Sequence[Lock], under: Sequence[bytes]) -> dict[int, bytes]:
    """Return the keys in *locks* that any of *under* opens, by their numbers, the newest last."""
    keys = ((number, opened(lock, each)) for number, lock in locks for each in under)
    return dict(sorted((number, key) for number, key in keys if key is not None))


def lost(locks: Sequence[Lock], under: Sequence[bytes]) -> set[int]:
    """Return the numbers of the keys in *locks* that none of *under* opens."""
    return {number for number, _ in locks} - found(locks, under).keys()


def kept(book: "Book", shop: str, under: Sequence[bytes]) -> list[bytes]:
    """Return the keys of *shop* that any of *under* opens in its *book*, the newest last.

    From now on all of *under* open them, and no other secret does. Where none opens any, another
    is made.
    """
    locks = book.locks(shop)
    known = found(locks, under) or _another(shop, locks)
    # Of another key there is no other lock: were it deleted, the key would be lost for good.
    others = [(number, lock) for number, lock in locks if number not in known]
    ours = [(number, locked(key, each)) for number, key in known.items() for each in under]
    book.keep_locks(shop, [*others, *ours])
    return list(known.values())


def _another(shop: str, locks: Sequence[Lock]) -> dict[int, bytes]:
    if locks:
        words = (
            "%s: all secrets have changed at once, or the key under them is damaged: addresses "
            "hashed before are not found until one of the old ones is put back, or a sound lock"
        )
        logger.warning(words, shop)
    return {1 + max((number for number, _ in locks), default=0): secrets.token_bytes(_LENGTH)}


def _masked(key: bytes, under: bytes, nonce: bytes) -> bytes:
    mask = hmac.digest(under, b"mask" + nonce, "sha256")
    return bytes(one ^ other for one, other in zip(key, mask, strict=True))


def _tag(body: bytes, under: bytes) -> bytes:
    return hmac.digest(under, b"tag" + body, "sha256")[:_TAG]
