"""Configuration: every mistake of the settings at once, and keys that can be guessed or read."""

import stat
from collections.abc import Iterator
from pathlib import Path

from proxy.doctor.finding import Finding, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.settings import PREFIX
from proxy.tokens import SHORTEST_KEY

# A word or a date typed twice has few; 32 random digits in hexadecimal have fewer in a billionth.
_FEWEST_CHARACTERS = 8

_MAKE_ONE = "Make one with `openssl rand -hex 32`"


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield the settings' mistakes, and what is odd about keys."""
    for mistake in setup.mistakes:
        yield wrong("settings", mistake, "`checkout-proxy settings` says what each one means.")
    if not setup.mistakes:
        count = sum(name.startswith(PREFIX) for name in setup.environ)
        yield well("settings", f"{count} variables are set, and all can be read")
    yield from _keys(setup)
    yield from _files(setup)


def _keys(setup: Setup) -> Iterator[Finding]:
    settings = setup.settings
    named = {"TOKEN_KEYS": settings.token_keys or (), "SHOP_KEY": (settings.shop_key or "",)}
    for name, keys in named.items():
        if any(key and _is_weak(key) for key in keys):
            yield warning(
                "keys",
                f"a key of {PREFIX}{name} can be guessed: it is short, or has few characters "
                "that differ",
                f"{_MAKE_ONE}; docs/tokens.md says how keys rotate.",
            )
    if settings.shop_key and settings.shop_key in (settings.token_keys or ()):
        yield warning(
            "keys",
            f"{PREFIX}SHOP_KEY also signs tokens: who may do the one may do the other",
            f"{_MAKE_ONE} for each.",
        )


def _is_weak(key: str) -> bool:
    return len(key) < SHORTEST_KEY or len(set(key)) < _FEWEST_CHARACTERS


def _files(setup: Setup) -> Iterator[Finding]:
    for name, path in sorted(setup.environ.items()):
        if name.startswith(PREFIX) and name.endswith("_FILE") and _is_open(Path(path.strip())):
            words = f"everybody on this machine may read the file that {name} names"
            yield warning("keys", words, f"chmod o-rwx {path.strip()}")


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False  # It was said among the mistakes.
