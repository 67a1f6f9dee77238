"""Tokens: what the shop vouches for, signed so that a browser can carry it."""

import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from itsdangerous import (
    BadData,
    BadPayload,
    Signer,
    TimestampSigner,
    URLSafeTimedSerializer,
    want_bytes,
)
from itsdangerous.encoding import base64_decode, base64_encode
from msgspec import Meta

from proxy import regions
from proxy.carts.cart import Cart
from proxy.errors import Forbidden, Unauthorized
from proxy.facts import Customer
from proxy.wire import Strict

SALT = "checkout-proxy.session"

# A key with fewer characters can be guessed.
SHORTEST_KEY = 16

CartId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x20\x7f]+\Z")]

# It goes into headers.
Ref = Annotated[str, Meta(max_length=4_000, pattern=r"^[!-~]*\Z")]

Region = Annotated[str, Meta(pattern=regions.FORM)]

# As a browser sends it: without a path, and without a port that the scheme has anyway.
Origin = Annotated[str, Meta(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?\Z")]

# The shop's server signs with its own clock, which may run ahead of ours by this much.
_CLOCK_SKEW = timedelta(minutes=2)


class Session(Strict, frozen=True, kw_only=True):
    """One shopper's cart, as the shop's server vouches for it.

    ``cart`` is a snapshot for the cart source ``signed``; ``ref`` is the credential that reads
    the cart, for sources that need the shopper's own. ``region`` is where the shopper is, by ISO
    3166, and ``origin`` that of the only pages which may post under it. A ``guest``'s is vouched
    for by nobody.
    """

    shop: str
    cart_id: CartId
    customer: Customer | None = None
    cart: Cart | None = None
    ref: Ref | None = None
    region: Region | None = None
    origin: Origin | None = None
    guest: bool = False


class Tokens:
    """Sign and read tokens with *keys*, oldest first: the last signs, all verify."""

    def __init__(self, keys: Sequence[str], *, shop: str, max_age: timedelta) -> None:
        self._shop = shop
        self._max_age = max_age
        self._keys = tuple(keys)
        self._serializer = _serializer(keys)

    def sign(self, session: Session) -> str:
        """Return a token for *session*, signed now."""
        token = self._serializer.dumps(session)
        return token if isinstance(token, str) else token.decode()

    def expires_at(self, signed_at: datetime) -> datetime:
        """Return when a token signed at *signed_at* ceases to be read."""
        return signed_at + self._max_age

    def read(self, token: str, now: datetime) -> Session:
        """Return what *token* vouches for, or raise :exc:`Unauthorized` with the reason."""
        session, signed_at = self.verified(token)
        self.check_age(signed_at, now)
        self.check_shop(session.shop)
        return session

    def check_age(self, signed_at: datetime, now: datetime) -> None:
        """Raise :exc:`Unauthorized` where a token signed at *signed_at* is not read at *now*."""
        if signed_at > now + _CLOCK_SKEW:
            raise Unauthorized(
                "The token is signed in the future: set the clock of the server that signed it.",
                code="token-from-the-future",
            )
        if now > self.expires_at(signed_at):
            age = int((now - signed_at).total_seconds())
            raise Unauthorized(
                f"The token is {age} s old and may be {self._max_age.total_seconds():.0f} s: "
                "load the page again for a new one.",
                code="token-expired",
            )

    def check_shop(self, shop: str) -> None:
        """Raise :exc:`Unauthorized` where a token of *shop* is another's."""
        if shop != self._shop:
            raise Unauthorized(
                f"The token is of the shop {shop!r:.70}; here CHECKOUT_PROXY_SHOP is "
                f"{self._shop!r}.",
                code="token-of-another-shop",
            )

    @staticmethod
    def check_origin(session: Session, origin: str | None) -> None:
        """Raise :exc:`Forbidden` where *session* is bound to pages of another origin."""
        if session.origin is not None and session.origin != origin:
            raise Forbidden(
                f"The session is for pages of {session.origin}, and this one is of "
                f"{origin or 'none':.100}.",
                code="token-of-another-origin",
            )

    def key_of(self, token: str) -> tuple[int, int]:
        """Return which of the keys has signed *token*, counted from the oldest, and of how many."""
        for number, key in enumerate(self._keys, 1):
            with suppress(Unauthorized):
                _verified(_serializer([key]), token)
                return number, len(self._keys)
        raise _forged()

    def verified(self, token: str) -> tuple[Session, datetime]:
        """Return what *token* says and when it was signed, or raise :exc:`Unauthorized`."""
        return _verified(self._serializer, token)


def _verified(serializer: "_Serializer", token: str) -> tuple[Session, datetime]:
    try:
        _check_form(token)
        # Not its own max_age: that reads a clock, and knows nothing of one that runs ahead.
        session, signed_at = serializer.loads(token, return_timestamp=True)
    except BadPayload as error:
        words = f"The token is signed, and what it says is no session: {error.original_error}"
        raise _malformed(words) from error
    except BadData as error:
        raise _forged() from error
    except (ValueError, OverflowError, OSError) as error:
        raise _malformed("The token's time is no time: it is in seconds.") from error
    return session, signed_at.astimezone(UTC)


def _check_form(token: str) -> None:
    """Refuse what is not written as a token is: base64 itself reads one thing in several ways."""
    if token.count(".") < 2:
        raise _malformed("This is no token: a token has three parts with a dot between.")
    signature = token.rpartition(".")[2]
    if base64_encode(base64_decode(signature)) != signature.encode():
        raise _forged()


def _forged() -> Unauthorized:
    return Unauthorized(
        "The token's signature matches no key: it is forged, or its key was rotated away. "
        "`checkout-proxy doctor --only tokens --token TOKEN` says more.",
        code="token-forged",
    )


def _malformed(why: str) -> Unauthorized:
    return Unauthorized(why, code="token-malformed")


def claimed_shop(token: str) -> str:
    """Return the shop of which *token* says that it is; nobody has verified that yet.

    It is good for one thing, to choose the keys that shall verify it. What cannot be read is
    :exc:`Unauthorized`, as it would be under any key.
    """
    if token.count(".") < 2:
        raise _malformed("This is no token: a token has three parts with a dot between.")
    payload = token.rsplit(".", 2)[0]
    try:
        said = base64_decode(payload.removeprefix("."))
        if payload.startswith("."):  # itsdangerous' mark of what is compressed
            said = zlib.decompressobj().decompress(said, _LONGEST_CLAIM)
        return _CLAIM.decode(said).shop
    except (BadData, zlib.error, ValueError, RecursionError) as error:
        raise _forged() from error


# A few bytes can be made that become gigabytes. A cart of a thousand items is shorter than this.
_LONGEST_CLAIM = 2**20


class _Claimed(msgspec.Struct):
    shop: str


_CLAIM = msgspec.json.Decoder(_Claimed)


class _Signer(TimestampSigner):
    """A signer that derives its keys once, and not for each token anew."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._derived = {key: super(_Signer, self).derive_key(key) for key in self.secret_keys}

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        """Return what signs in the name of *secret_key*, by default of the last."""
        key = self.secret_keys[-1] if secret_key is None else want_bytes(secret_key)
        return self._derived[key]


class _Serializer(URLSafeTimedSerializer):
    """A serializer that keeps its signer, where itsdangerous makes one for each token."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._signer = super().make_signer()

    def make_signer(self, salt: str | bytes | None = None) -> Signer:
        """Return the one signer there is: *salt* is never another here."""
        return self._signer


class _SessionJson:
    """The serializer that itsdangerous asks for: a :class:`Session` to JSON and back."""

    _decoder = msgspec.json.Decoder(Session)

    @staticmethod
    def dumps(session: Session, **_: Any) -> str:
        return msgspec.json.encode(session).decode()

    @classmethod
    def loads(cls, text: str | bytes) -> Session:
        return cls._decoder.decode(text)


def _serializer(keys: Sequence[str]) -> _Serializer:
    return _Serializer(
        list(keys),
        salt=SALT,
        serializer=_SessionJson,
        signer=_Signer,
        signer_kwargs={"digest_method": sha256},
    )
