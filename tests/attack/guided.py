"""Guided: inputs that are bred towards code not yet reached, for one parser of ours each.

``python -m tests.attack.guided TARGET FOLDER -runs=N``: FOLDER holds what the first ones are made
from. It ends with 0, or with what libFuzzer says of an error that a target does not expect.
"""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import atheris
import msgspec
from itsdangerous import TimestampSigner
from itsdangerous.encoding import base64_encode

with atheris.instrument_imports(include=["proxy", "itsdangerous", "tests.attack"]):
    from proxy import door, guest, shop, states
    from proxy.errors import Refused
    from proxy.tokens import SALT, claimed_shop
    from tests.attack.forgery import KEYS, TOKENS

Target = Callable[[bytes], object]

_NOW = datetime.now(UTC)


def _token(data: bytes) -> object:
    """Read what nobody has signed."""
    text = data.decode("utf-8", "surrogateescape")
    if TOKENS.read(text, _NOW).cart_id == "c-1":
        return None  # It is the one from which all the others are bred.
    raise AssertionError("a forged token was read")


def _claimed(data: bytes) -> object:
    return claimed_shop(data.decode("utf-8", "surrogateescape"))


def _signed(data: bytes) -> object:
    """Read what is no session, although the signature holds."""
    signer = TimestampSigner(KEYS[-1], salt=SALT, digest_method=sha256)
    said = b"." + base64_encode(data[1:]) if data[:1] == b"." else base64_encode(data)
    return TOKENS.read(signer.sign(said).decode(), _NOW)


def _state(data: bytes) -> object:
    posted = states.parsed(data)
    states.email(posted.email)
    states.claim(posted.claimed)
    states.age(posted.age_ms)
    return states.checkout_url(posted.checkout_url, ("https://shop.example",))


def _bodies(data: bytes) -> object:
    """Read one text as each of the other bodies."""
    decoders: list[msgspec.json.Decoder[Any]] = [shop._SESSION, shop._ORDER, shop._CART]
    for decoder in (*decoders, guest._DECODER):
        try:
            door.parsed(decoder, data)
        except Refused:
            continue
    return None


def _trusting(data: bytes) -> object:
    """Read a body as it is often read: the control."""
    return str(json.loads(data or b"{}").get("token", ""))


TARGETS: Mapping[str, Target] = {
    "token": _token,
    "claimed": _claimed,
    "signed": _signed,
    "state": _state,
    "bodies": _bodies,
    "trusting": _trusting,
}


def main() -> None:
    """Breed inputs for the target that is named."""
    target = TARGETS[sys.argv[1]]

    def refused_or_read(data: bytes) -> None:
        try:
            target(data)
        except Refused:
            return

    atheris.Setup([sys.argv[0], *sys.argv[2:]], refused_or_read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
