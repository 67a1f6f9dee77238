"""Described: a source of carts as data, from a preset, from the settings file, or from both."""

from collections.abc import Mapping
from typing import Any

from proxy.carts import presets
from proxy.carts.recipe import Recipe
from proxy.carts.sql import Queries
from proxy.errors import Misconfigured


def read(carts: str, described: Mapping[str, Any]) -> Recipe | Queries:
    """Return how *carts* are asked for, or raise :exc:`Misconfigured`."""
    if carts == "sql":
        return Queries.parse(described)
    return Recipe.parse(presets.read(carts, described))


def mistakes(carts: str, described: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with it, all of it."""
    try:
        read(carts, described)
    except Misconfigured as error:
        return error.mistakes
    return ()
