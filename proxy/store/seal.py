"""Seal: what is kept about people, encrypted under keys of the operator's."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from proxy.errors import StoreSealed

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

OFF = "off"
"""What stands last among the keys where nothing is to be sealed any more."""

# No JSON begins like that, so what was kept before there were keys is known as such.
SEALED = b"sealed:"
MARK_LENGTH = 8
_HEAD_LENGTH = len(SEALED) + MARK_LENGTH + 1
SAYS_NOTHING = 4
"""In so many bytes of JSON nothing is said: ``{}``, ``[]``, ``null``."""


class Seal:
    """Seal under the last of *keys*, each a Fernet key, and open what any of them has sealed.

    Without keys, or with :data:`OFF` in the last one's place, what is to be sealed stays as it is.
    What is not sealed is opened as it is, so that keys may come and go.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._fernet = _fernet([key for key in keys if key != OFF])
        self._marks = frozenset(mark(key) for key in keys if key != OFF)
        seals = bool(keys) and keys[-1] != OFF
        self._head = SEALED + mark(keys[-1]).encode() + b":" if seals else b""
        self.has_keys = bool(self._marks)
        """Whether anything can be sealed, or can have been."""

    def sealed(self, content: bytes) -> bytes:
        """Return *content* so that only who has a key can read it; what says nothing as it is."""
        if not self._head or self._fernet is None:
            return content
        if len(content) <= SAYS_NOTHING or content.startswith(SEALED):
            return content
        return self._head + self._fernet.encrypt(content)

    def opened(self, content: bytes) -> bytes:
        """Return what :meth:`sealed` was given.

        Raise :exc:`StoreSealed` where its key is not there, :exc:`ValueError` where it is damaged.
        """
        if not content.startswith(SEALED):
            return content
        if self._fernet is None or mark_of(content) not in self._marks:
            raise missing([mark_of(content)])
        return self._decrypted(self._fernet, content[_HEAD_LENGTH:])

    def _decrypted(self, fernet: "MultiFernet", token: bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return fernet.decrypt(token)
        except InvalidToken as error:
            raise ValueError("what was sealed is damaged") from error

    def is_current(self, content: bytes) -> bool:
        """Tell whether *content* lies as it would if it were sealed now."""
        if self._head and len(content) > SAYS_NOTHING:
            return content.startswith(self._head)
        return not content.startswith(SEALED)

    def lacks(self, marks: Iterable[str]) -> list[str]:
        """Return those of *marks* whose keys are not there."""
        return [each for each in marks if each and each not in self._marks]


def mark(key: str) -> str:
    """Return by what the values that *key* has sealed are known; it tells nothing of the key."""
    return hashlib.sha256(f"checkout-proxy {key}".encode()).hexdigest()[:MARK_LENGTH]


def mark_of(content: bytes) -> str:
    """Return the mark of the key under which *content* was sealed; nothing where it was not."""
    if not content.startswith(SEALED):
        return ""
    return content[len(SEALED) : _HEAD_LENGTH - 1].decode("ascii", "replace")


def missing(marks: Sequence[str]) -> StoreSealed:
    """Return the error that says under which keys lies what cannot be opened."""
    named = ", ".join(sorted(set(marks)))
    return StoreSealed(
        f"{len(marks)} value{'s' if len(marks) > 1 else ''} in the store cannot be opened: sealed "
        f"under the key with the mark {named}, which is not among CHECKOUT_PROXY_STORE_KEYS: "
        "put that key back and reload"
    )


def _fernet(keys: Sequence[str]) -> "MultiFernet | None":
    if not keys:
        return None
    # Only here: cryptography is an extra.
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in reversed(keys)])


PLAIN = Seal()
"""The seal of whoever has no keys."""
