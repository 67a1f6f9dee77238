"""Presets: the recipes of platforms, a file each."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_NOTHING: Mapping[str, Any] = {}


def names() -> list[str]:
    """Return the platforms that need no recipe of the shop's own."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str, changes: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Return what the recipe *name* says, with *changes*; those alone where there is none."""
    path = _FOLDER / f"{name}.toml"
    said = tomllib.loads(path.read_text(encoding="utf-8")) if name in names() else {}
    return _merged(said, changes)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return *one* with what *other* says in its place, table by table."""

    def both(name: str, said: Any) -> Any:
        known = one.get(name)
        return _merged(known, said) if isinstance(said, dict) and isinstance(known, dict) else said

    return {**one, **{name: both(name, said) for name, said in other.items()}}
