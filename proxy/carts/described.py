"""Described: a source of carts as data, from a preset, from the settings file, or from both."""

from collections.abc import Mapping
from typing import Any

from proxy.carts import presets
from proxy.carts.recipe import Recipe
from proxy.carts.sql import Queries, check_address
from proxy.errors import Misconfigured


def read(carts: str, described: Mapping[str, Any]) -> Recipe | Queries:
    """Return how *carts* are asked for, or raise :exc:`Misconfigured`."""
    if carts == "sql":
        return Queries.parse(described)
    return Recipe.parse(presets.read(carts, described))


def mistakes(carts: str, described: Mapping[str, Any], key: str) -> list[str]:
    """Return what is wrong with it, and with the *key*, if there is one."""
    found: list[str] = []
    for check in (lambda: read(carts, described), lambda: _check_key(carts, described, key)):
        try:
            check()
        except Misconfigured as error:
            found += error.mistakes
    return found


def _check_key(carts: str, described: Mapping[str, Any], key: str) -> None:
    if key and carts == "sql":
        check_address(key)
    if key and ":" not in key and "oauth" in presets.read(carts, described):
        raise Misconfigured("the key is a client's id and secret with a colon between")
