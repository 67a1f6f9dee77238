"""Presets: the recipes of platforms, a file each."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the platforms that need no recipe of the shop's own."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def text(name: str) -> str:
    """Return the recipe for the platform *name*, as TOML."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
