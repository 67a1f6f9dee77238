"""Forgery: tokens made out of those that somebody has, in every way that was thought of."""

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from hashlib import sha1, sha256, sha512
from typing import Any

import msgspec
from itsdangerous import Signer, TimestampSigner
from itsdangerous.encoding import base64_decode, base64_encode

from proxy.facts import Customer
from proxy.tokens import SALT, Session, Tokens

KEYS = ("an-old-key-of-the-shop", "a-new-key-of-the-shop")
TOKENS = Tokens(KEYS, shop="shop", max_age=timedelta(days=1))

_HIS = Session(shop="shop", cart_id="the-cart-of-another")
_LONG = Session(shop="shop", cart_id="c" * 200, customer=Customer(email="a" * 200))
# One is short, one says who it is, one is so long that it is compressed, one is of the old key.
OURS = (
    TOKENS.sign(Session(shop="shop", cart_id="c-1")),
    TOKENS.sign(Session(shop="shop", cart_id="c-2", customer=Customer(email="jane@shop.com"))),
    TOKENS.sign(_LONG),
    Tokens(KEYS[:1], shop="shop", max_age=timedelta(days=1)).sign(_HIS),
)

Mutation = Callable[[random.Random], str]


def forgeries(seed: int, count: int) -> Iterator[str]:
    """Yield *count* tokens that nobody signed, each way in turn."""
    chance = random.Random(seed)
    made = 0
    while made < count:
        forged = WAYS[made % len(WAYS)](chance)
        # By chance it may be what it was made from.
        if forged not in OURS:
            made += 1
            yield forged


def _one(chance: random.Random) -> str:
    return chance.choice(OURS)


def _parts(token: str) -> tuple[str, str, str]:
    said, time, signature = token.rsplit(".", 2)
    return said, time, signature


def _flipped(chance: random.Random) -> str:
    """Flip a few bits of the text as it travels."""
    text = bytearray(_one(chance), "ascii")
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        text[chance.randrange(len(text))] ^= 1 << chance.randrange(8)
    return text.decode("latin-1")


def _flipped_inside(chance: random.Random) -> str:
    """Flip a bit of what a part says, and write that part down as it should be."""
    parts = list(_parts(_one(chance)))
    place = chance.randrange(3)
    lead = "." if parts[place].startswith(".") else ""
    said = bytearray(base64_decode(parts[place].removeprefix(".")))
    said[chance.randrange(len(said))] ^= 1 << chance.randrange(8)
    parts[place] = lead + base64_encode(bytes(said)).decode()
    return ".".join(parts)


def _cut(chance: random.Random) -> str:
    token = _one(chance)
    begin, end = sorted(chance.sample(range(len(token) + 1), 2))
    return chance.choice((token[:end], token[begin:], token[:begin] + token[end:]))


def _swapped(chance: random.Random) -> str:
    """Put together the parts of several tokens, or of one in another order."""
    parts = [part for token in OURS for part in _parts(token)]
    return ".".join(chance.sample(parts, chance.choice((2, 3, 3, 3, 4))))


def _retimed(chance: random.Random) -> str:
    said, _, signature = _parts(_one(chance))
    seconds = chance.choice((0, 1, 2**31, 2**32 - 1, chance.getrandbits(31), 2**63))
    size = chance.choice((4, 5, 8, 12))
    time = (seconds % 256**size).to_bytes(size, "big")
    return f"{said}.{base64_encode(time).decode()}.{signature}"


def _respelt(chance: random.Random) -> str:
    """Write one of the parts in another way that base64 reads as the same."""
    parts = list(_parts(_one(chance)))
    place = chance.randrange(3)
    parts[place] = chance.choice(_SPELLINGS)(parts[place])
    return ".".join(parts)


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _next_of_kin(text: str) -> str:
    """Return *text* with another last character, of whose bits the last do not count."""
    return text[:-1] + _ALPHABET[_ALPHABET.index(text[-1]) ^ 1]


_SPELLINGS: Sequence[Callable[[str], str]] = (
    lambda text: text + "=",
    lambda text: text + "==",
    lambda text: text + "=" * (-len(text) % 4),
    lambda text: text.replace("-", "+").replace("_", "/") + "=",
    lambda text: text + "\n",
    lambda text: " " + text,
    lambda text: text[:4] + "\r\n" + text[4:],
    lambda text: text[:3] + "\0" + text[3:],
    lambda text: text + "A",
    lambda text: text.replace("A", "%41", 1) + "%",
    lambda text: text + "\u200b",
    lambda text: "\ufeff" + text,
    lambda text: "".join(chr(ord(each) + 0xFEE0) for each in text if each not in "-_"),
    lambda text: text.swapcase(),
    _next_of_kin,
)


def _strange(chance: random.Random) -> str:
    """Put a character of another script, or half of one, somewhere."""
    token = _one(chance)
    place = chance.randrange(len(token))
    odd = chance.choice(("\ud800", "\udfff", "é", "а", "．", "‥", "\x00", "\U0001f375", "İ", "ſ"))
    return token[:place] + odd + token[place + chance.randrange(2) :]


def _by_another(chance: random.Random) -> str:
    """Sign what we said with another key, salt, digest, or way to make a key of it."""
    key, salt, digest, derivation = chance.choice(_STRANGERS)
    said = _parts(_one(chance))[0]
    signer = TimestampSigner(key, salt=salt, digest_method=digest, key_derivation=derivation)
    return signer.sign(said).decode()


_STRANGERS: Sequence[tuple[str, str, Any, str]] = (
    ("another-key-of-nobody", SALT, sha256, "django-concat"),
    (KEYS[1], "itsdangerous", sha256, "django-concat"),
    (KEYS[1], "checkout-proxy.admin", sha256, "django-concat"),
    (KEYS[1], SALT, sha1, "django-concat"),
    (KEYS[1], SALT, sha512, "django-concat"),
    (KEYS[1], SALT, sha256, "hmac"),
    (KEYS[1], SALT, sha256, "none"),
    (KEYS[1] + "\n", SALT, sha256, "django-concat"),
    ("", SALT, sha256, "django-concat"),
)


def _unsigned(chance: random.Random) -> str:
    """Say something of our own under a signature that is empty, guessed, or another's."""
    said = msgspec.json.encode(chance.choice((_HIS, _LONG)))
    _, time, signature = _parts(_one(chance))
    guess = base64_encode(chance.randbytes(chance.choice((0, 20, 32, 64)))).decode()
    signed = chance.choice((guess, signature, "", "none", base64_encode(bytes(32)).decode()))
    return f"{base64_encode(said).decode()}.{time}.{signed}"


def _as_jwt(chance: random.Random) -> str:
    said = base64_encode(msgspec.json.encode(_HIS)).decode()
    algorithm = chance.choice(("none", "None", "HS256", "RS256"))
    head = base64_encode(b'{"alg":"%s","typ":"JWT"}' % algorithm.encode()).decode()
    return f"{head}.{said}.{chance.choice(('', _parts(_one(chance))[2]))}"


def _bomb(chance: random.Random) -> str:
    """Have a few bytes claim to be a great many."""
    _, time, signature = _parts(_one(chance))
    return f".{chance.choice(_BOMBS)}.{time}.{signature}"


_BOMBS = [
    base64_encode(zlib.compress(b'{"shop":"shop","cart_id":"' + b"c" * size, 9)).decode()
    for size in (2**10, 2**20, 2**23)
] + [base64_encode(zlib.compress(zlib.compress(bytes(2**23), 9), 9)).decode()]


def _without_the_time(chance: random.Random) -> str:
    """Sign without a time: the right key, for something that is no token."""
    said = _parts(_one(chance))[0]
    return Signer(KEYS[1], salt=SALT, digest_method=sha256).sign(said).decode()


WAYS: Sequence[Mutation] = (
    *(_flipped, _flipped_inside, _cut, _swapped, _retimed, _respelt, _strange),
    *(_by_another, _unsigned, _as_jwt, _bomb, _without_the_time),
)
