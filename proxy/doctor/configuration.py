"""Configuration: every mistake of the settings at once, and keys that can be guessed or read."""

from collections.abc import Iterator
from pathlib import Path

from proxy import keyfiles
from proxy.doctor.finding import Finding, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.settings import PREFIX, Settings
from proxy.tokens import SHORTEST_KEY

# A word or a date typed twice has few; 32 random digits in hexadecimal have fewer in a billionth.
_FEWEST_CHARACTERS = 8

_MAKE_ONE = "Make one with `openssl rand -hex 32`"


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield the settings' mistakes, and what is odd about keys."""
    for mistake in setup.all_mistakes:
        yield wrong("settings", mistake, "`checkout-proxy settings` says what each one means.")
    if not setup.all_mistakes:
        count = sum(name.startswith(PREFIX) for name in setup.environ)
        of = f" of {len(setup.shops)} shops" if setup.beside else ""
        yield well("settings", f"{count} variables are set; all{of} can be read")
    for shop in setup.shops:
        whose = f" (shop {shop.settings.shop})" if setup.beside else ""
        yield from _keys(shop.settings, whose)
        yield from _consent(shop.settings, whose)
    yield from _files(setup)


def _consent(settings: Settings, whose: str) -> Iterator[Finding]:
    """Yield what is asked of shoppers where, if that differs by region."""
    if settings.consent_regions:
        modes = {mode for _, mode in settings.consent_regions}
        listed = {
            mode: " ".join(region for region, of in settings.consent_regions if of == mode)
            for mode in sorted(modes)
        }
        where = "; ".join(f"{mode} in {regions}" for mode, regions in listed.items())
        header = settings.region_header
        by = "the token says where a shopper is" + (f", or {header}" if header else "")
        yield well("consent", f"{where}; {settings.consent} elsewhere; {by}{whose}")


def _keys(settings: Settings, whose: str) -> Iterator[Finding]:
    named = {"TOKEN_KEYS": settings.token_keys or (), "SHOP_KEY": (settings.shop_key or "",)}
    for name, keys in named.items():
        if any(key and _is_weak(key) for key in keys):
            yield warning(
                "keys",
                f"a key of {PREFIX}{name}{whose} can be guessed: it is short, or has few "
                "characters that differ",
                f"{_MAKE_ONE}; docs/tokens.md says how keys rotate.",
            )
    if settings.shop_key and settings.shop_key in (settings.token_keys or ()):
        yield warning(
            "keys",
            f"{PREFIX}SHOP_KEY{whose} also signs tokens: who may do the one may do the other",
            f"{_MAKE_ONE} for each.",
        )


def _is_weak(key: str) -> bool:
    return len(key) < SHORTEST_KEY or len(set(key)) < _FEWEST_CHARACTERS


def _files(setup: Setup) -> Iterator[Finding]:
    named = {where: path for shop in setup.shops for where, path in shop.key_files.items()}
    for where, path in named.items():
        if (found := keyfiles.opened(Path(path))) is not None:
            yield warning("keys", f"{found.who} may read the file that {where} names", found.remedy)
