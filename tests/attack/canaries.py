"""Canaries: words that are secrets or about a person, and the search for them in what is said."""

import base64
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote

PERSON = {
    "email": "canary-jane@shop-demo.io",
    "phone_number": "+4930123456",
    "first_name": "Canaryna",
    "last_name": "O'Canary-Smith",
}
SECRETS = {
    "TOKEN_KEYS": "canary-of-the-token-key-0123456789",
    "SHOP_KEY": "canary-of-the-shop-key-0123456789",
    "KLAVIYO_KEY": "pk_canary0123456789abcdef",
    "CARTS_KEY": "canary-of-the-carts-key-0123456789",
    "ADMIN_PASSWORD": "canary-of-the-password",
    "ALARM_KEY": "canary-of-the-alarm-key-0123456789",
}
REF = "canary-of-a-credential"


def found(said: Mapping[str, str | bytes], words: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return where in what was *said* which of *words* stands, in whatever writing."""
    return {
        (place, name)
        for place, text in said.items()
        for name, word in words.items()
        for way in _writings(word)
        if way in (text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    }


def _writings(word: str) -> Iterator[bytes]:
    plain = word.encode()
    yield plain
    yield quote(word, safe="").encode()
    yield json.dumps(word)[1:-1].encode()
    yield word.replace("'", "&#39;").encode()
    yield plain.hex().encode()
    # Whichever of three places it begins at in what is encoded, its middle is the same.
    for before in range(3):
        encoded = base64.urlsafe_b64encode(b"\0" * before + plain)
        yield encoded[4 if before else 0 : -4]
