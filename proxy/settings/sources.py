"""Sources: what each source of carts wants to be said of it."""

from collections.abc import Mapping
from typing import Any

from proxy.carts import presets

# The sources of carts that nobody is asked for.
OURS = ("push", "signed")
# Those that a shop describes itself, in the settings file.
OWN = ("http", "sql")


def can_do_without(name: str, carts: str | None, described: Mapping[str, Any]) -> bool:
    """Tell whether nothing needs the setting *name* where *carts* is the source of totals."""
    if not name.startswith("carts_"):
        return name == "shop_key" and carts == "signed"
    if carts in (None, *OURS) or (carts in OWN and not described):
        return True
    return name.removeprefix("carts_") not in _demands(str(carts), described)


def guest_pattern(carts: str | None, described: Mapping[str, Any]) -> str:
    """Return the form of cart ids that nobody guesses; it is empty where there is none."""
    if carts in (None, *OURS):
        return ""
    return str(presets.read(str(carts), described).get("guest_pattern", ""))


def _demands(carts: str, described: Mapping[str, Any]) -> set[str]:
    """Return what it takes to ask for carts, of ``url``, ``key`` and ``token_url``."""
    if carts == "sql":
        return {"key"}  # The database's address, with the password in it.
    recipe = presets.read(carts, described)
    places = {"key": "{key}" in str(recipe), "token_url": "oauth" in recipe}
    return {"url"} | {name for name, is_there in places.items() if is_there}
