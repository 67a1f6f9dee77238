"""Config: the settings file, in which each shop has a table of its own.

::

    [shops.tea]
    origins = ["https://tea.example"]
    klaviyo_key_file = "/etc/checkout-proxy/tea-klaviyo-key"

    [shops.tea.carts]
    source = "http"
    url = "https://erp.example.com"
    …

The members of a shop's table are settings, those of the table of carts stand for some too, and the
rest of it describes a source of carts.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from proxy import lines

# What in the table of carts stands for which setting.
_OF_CARTS = {
    "source": "carts",
    "url": "carts_url",
    "key_file": "carts_key_file",
    "key_env": "carts_key_env",
    "token_url": "carts_token_url",
    "ca": "carts_ca",
}
_SECRET_OF_CARTS = "key"  # noqa: S105 - a member's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of settings: which a shop's table may have, which are secrets, which are shared."""

    own: frozenset[str]
    secret: frozenset[str]
    shared: frozenset[str]

    @property
    def members(self) -> set[str]:
        """What may stand in a shop's table: of a secret only where it is."""
        ways = {f"{name}_{way}" for name in self.own & self.secret for way in ("file", "env")}
        members = (self.own - self.secret) | ways
        return {name for name in members if name not in _OF_CARTS.values()} | {"carts"}


class Places:
    """Where in the file what stands, for whoever has to mend it."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._lines = lines.of(text)

    def __call__(self, *keys: str) -> str:
        """Return the line and the name of *keys*; the line of their table where they are none."""
        near = keys
        while near and near not in self._lines:
            near = near[:-1]
        line = f":{self._lines[near]}" if near else ""
        return f"{self._path}{line}: {'.'.join(map(_as_said, keys))}"


def _as_said(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What the file says of one shop: texts by the settings they stand for, and a description.

    *at* says where in the file each text stands, and *mistakes* what is wrong with the table.
    """

    shop: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    at: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)
    places: Places | None = None
    mistakes: tuple[str, ...] = ()

    def place(self, *keys: str) -> str:
        """Return where *keys* of this shop stand."""
        return "" if self.places is None else self.places("shops", str(self.shop), *keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What the file says: a section for each shop, and what is wrong beside them."""

    sections: Mapping[str, Section] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()


def read(path: str, names: Names) -> File:
    """Return what the file at *path* says of shops."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        said = tomllib.loads(text)
    except OSError as error:
        return File(mistakes=(f"{path} cannot be read: {error.strerror}",))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return File(mistakes=(f"{path} is no TOML: {error}",))
    return _file(said, Places(path, text), names)


def _file(said: Mapping[str, Any], places: Places, names: Names) -> File:
    shops = said.get("shops", {})
    wrong = [
        f"{places(name)} is nothing here: there is [shops.NAME]" for name in said if name != "shops"
    ]
    if not isinstance(shops, dict):
        return File(mistakes=(*wrong, f"{places('shops')} is a table, [shops.NAME]"))
    for shop, table in shops.items():
        if not isinstance(table, dict):
            wrong.append(f"{places('shops', shop)} is a table, [shops.{_as_said(shop)}]")
        elif not shop:
            # Without one it would be called what a shop is by default, as another table may be.
            wrong.append(f"{places('shops', shop)} has no name")
    sections = {
        shop: _Table(shop, table, places, names).section()
        for shop, table in shops.items()
        if isinstance(table, dict)
    }
    return File(sections=sections, mistakes=tuple(wrong))


class _Table:
    """One shop's table, looked through once."""

    def __init__(self, shop: str, table: Mapping[str, Any], places: Places, names: Names) -> None:
        self._shop = shop
        self._table = table
        self._places = places
        self._names = names
        self._texts: dict[str, str] = {}
        self._at = {"shop": self._place()}
        self._mistakes: list[str] = []

    def section(self) -> Section:
        carts = self._table.get("carts", {})
        for name, value in self._table.items():
            if name in self._names.members and not (name == "carts" and isinstance(value, dict)):
                self._take(name, value, name)
            elif name not in self._names.members:
                self._mistakes.append(f"{self._place(name)} {self._why_not(name)}")
        return Section(
            shop=self._shop,
            described=dict(self._described(carts if isinstance(carts, dict) else {})),
            texts=self._texts,
            at=self._at,
            places=self._places,
            mistakes=tuple(self._mistakes),
        )

    def _described(self, carts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield what describes the source, and take in what stands for a setting."""
        for name, value in carts.items():
            if name == _SECRET_OF_CARTS:
                self._mistakes.append(f"{self._place('carts', name)} {_no_secret(name)}")
            elif name not in _OF_CARTS:
                yield name, value
            else:
                self._take(_OF_CARTS[name], value, "carts", name)

    def _take(self, setting: str, value: Any, *keys: str) -> None:
        # A source's address is none by being a number.
        place, text = self._place(*keys), _text(value) if len(keys) == 1 else _string(value)
        if text is None:
            self._mistakes.append(f"{place} is a text")
        elif not text.strip() and value != []:
            self._mistakes.append(f"{place} is empty: leave it out")
        else:
            self._texts[setting], self._at[setting] = text.strip(), place

    def _place(self, *keys: str) -> str:
        return self._places("shops", self._shop, *keys)

    def _why_not(self, name: str) -> str:
        of_carts = {setting: member for member, setting in _OF_CARTS.items()}
        if name in self._names.shared:
            return f"is the same for all shops: CHECKOUT_PROXY_{name.upper()} sets it"
        if name in self._names.secret:
            return _no_secret(name)
        if name in of_carts:
            return f"is said as {of_carts[name]} in [shops.{_as_said(self._shop)}.carts]"
        for meant in difflib.get_close_matches(name, self._names.members, n=1, cutoff=0.75):
            return f"is no setting: did you mean {meant}?"
        return "is no setting of a shop: see `checkout-proxy settings`"


def _no_secret(name: str) -> str:
    return (
        f"is a secret, which does not belong here: say {name}_file, where it lies, or {name}_env, "
        "the variable that has it"
    )


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _text(value: Any) -> str | None:
    """Return *value* as a variable would say it, or ``None`` where none could."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | date):
        return None
    return str(value)
