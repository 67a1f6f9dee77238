"""Tokens: whether the keys sign what they read, and why a given token would be refused."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from proxy.doctor.finding import Finding, skipped, well, wrong
from proxy.doctor.setup import Setup
from proxy.errors import Unauthorized
from proxy.settings import variable
from proxy.tokens import Session, Tokens


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield a round trip with the keys, and the verdict on the token that was asked about."""
    tokens = _tokens(setup, setup.settings.token_keys)
    try:
        token = tokens.sign(Session(shop=setup.settings.shop, cart_id="checkout-proxy-doctor"))
        tokens.read(token, datetime.now(UTC))
    except Unauthorized as error:
        yield wrong("keys", f"what the keys sign is refused: {error.detail}", "Report this bug.")
        return
    count = len(setup.settings.token_keys)
    verify = "all verify" if count > 1 else "it verifies"
    yield well("keys", f"{count} key{'s' * (count > 1)}: the last signs, {verify}")
    yield _given(setup, tokens)


def _tokens(setup: Setup, keys: Sequence[str]) -> Tokens:
    return Tokens(keys, shop=setup.settings.shop, max_age=setup.settings.token_age)


def _given(setup: Setup, tokens: Tokens) -> Finding:
    token = setup.asked.token
    if token is None:
        words = "no token of your shop's own server was examined"
        return skipped("token", words, "Give one with --token, from the page's data-token.")
    try:
        session = tokens.read(token.strip(), datetime.now(UTC))
    except Unauthorized as error:
        return wrong("token", error.detail, _remedy(setup, token.strip(), error.code))
    carried = ("customer", "cart", "ref")
    told = [name for name in carried if getattr(session, name) is not None]
    return well("token", f"it is taken; beside the cart's id it carries {_list(told)}")


def _list(names: Sequence[str]) -> str:
    return " and ".join(names) or "nothing"


def _remedy(setup: Setup, token: str, code: str) -> str:
    if code == "token-forged":
        return _mismatch(setup, token) or _REMEDIES[code]
    return _REMEDIES.get(code, "docs/tokens.md says what a token is.")


def _mismatch(setup: Setup, token: str) -> str:
    """Return how the shop's server misread the keys, where that is how it came to its signature."""
    keys = setup.settings.token_keys
    misread = {
        "the line break at the end of the key's file": [f"{key}\n" for key in keys],
        "the whole list of keys as if it were one": [",".join(keys)],
        "the shop's key instead": [setup.settings.shop_key or keys[0]],
    }
    for how, tried in misread.items():
        try:
            _tokens(setup, tried).read(token, datetime.now(UTC))
        except Unauthorized as error:
            if error.code == "token-forged":
                continue
        if tried != list(keys):
            return f"Your shop's server signs with {how}: let it sign with the last key alone."
    return ""


_REMEDIES = {
    "token-forged": "Your shop's server has another key: give it the last one of "
    f"{variable('token_keys')}, and keep old ones in the list until their tokens have expired.",
    "token-of-another-shop": "Let the shop's server sign with the same name, or change "
    f"{variable('shop')}.",
    "token-expired": "Make it with each page, and let no cache keep the page; "
    f"{variable('token_age')} is how old it may be.",
    "token-from-the-future": "Compare `date -u` there and here: a token may be two minutes ahead.",
    "token-malformed": "Is it all of it, as it stands in data-token? docs/tokens.md has examples.",
}
