"""Person key: what addresses are hashed with, kept in the store for who has one of the secrets.

It is not made of the token keys: they rotate, and who was hashed before would not be found by an
erasure. In the store it lies locked under each of the shop's secrets, as a disk's key does under
several passwords, so that whoever has the store alone cannot tell whose a hash is.
"""

import hmac
import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.store.book import Book

logger = logging.getLogger(__name__)

_LENGTH = _NONCE = 32
_TAG = 16


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


def found(locks: Sequence[bytes], under: Sequence[bytes]) -> bytes | None:
    """Return the key in *locks*, where any of *under* opens one."""
    keys = (opened(lock, each) for lock in locks for each in under)
    return next((key for key in keys if key is not None), None)


def kept(book: "Book", shop: str, under: Sequence[bytes]) -> bytes:
    """Return the key of *shop* from its *book*, which keeps it under all of *under* from now on.

    Where none of them opens it, another is made.
    """
    locks = book.locks(shop)
    key = found(locks, under)
    if key is None and locks:
        words = (
            "%s: all secrets have changed at once: addresses hashed before are not found by them"
        )
        logger.warning(words, shop)
    known = key or secrets.token_bytes(_LENGTH)
    if len(locks) != len(under) or not all(found(locks, [each]) == known for each in under):
        book.keep_locks(shop, [locked(known, each) for each in under])
    return known


def _masked(key: bytes, under: bytes, nonce: bytes) -> bytes:
    mask = hmac.digest(under, b"checkout-proxy.person-key.mask" + nonce, "sha256")
    return bytes(one ^ other for one, other in zip(key, mask, strict=True))


def _tag(body: bytes, under: bytes) -> bytes:
    return hmac.digest(under, b"checkout-proxy.person-key.tag" + body, "sha256")[:_TAG]
