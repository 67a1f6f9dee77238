"""Config: the settings file, in which each shop says what does not fit into a variable.

::

    [shops.tea.carts]
    source = "http"
    url = "https://erp.example.com"
    key_file = "/etc/checkout-proxy/erp-key"
    …

Its simple members stand for the variables of the same meaning, the rest describes a source of
carts.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What stands for which setting. Secrets are in files of their own, or in the environment.
_SETTINGS = {
    "source": "carts",
    "url": "carts_url",
    "key_file": "carts_key_file",
    "token_url": "carts_token_url",
    "ca": "carts_ca",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What the file says of one shop: texts by the settings they stand for, and a description.

    *places* says where in the file each text stands, and *mistakes* what is wrong with the file.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    mistakes: tuple[str, ...] = ()


def read(path: str, shop: str) -> Section:
    """Return what the file at *path* says of *shop*."""
    try:
        said = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        return Section(mistakes=(f"{path} cannot be read: {error.strerror}",))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Section(mistakes=(f"{path} is no TOML: {error}",))
    mistakes = tuple(f"{path}: {mistake}" for mistake in _of_form(said))
    if mistakes:
        return Section(mistakes=mistakes)
    shops = said.get("shops", {})
    if "carts" not in shops.get(shop, {}):
        has = ", ".join(f"[shops.{name}]" for name in sorted(shops)) or "no shop at all"
        return Section(mistakes=(f"{path} has no [shops.{shop}.carts]: it has {has}",))
    return _section(shops[shop]["carts"], f"{path}: shops.{shop}.carts")


def _of_form(said: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the tables; what is in them is judged where it is used."""
    shops = said.get("shops", {})
    wrong = [
        f"{name} is nothing here: there is [shops.NAME.carts]" for name in said.keys() - {"shops"}
    ]
    if not isinstance(shops, dict):
        return [*wrong, "shops is a table, [shops.NAME.carts]"]
    for shop, tables in shops.items():
        if not isinstance(tables, dict):
            wrong.append(f"shops.{shop} is a table, [shops.{shop}.carts]")
            continue
        wrong += [f"shops.{shop}.{name} is nothing here" for name in tables.keys() - {"carts"}]
        if not isinstance(tables.get("carts", {}), dict):
            wrong.append(f"shops.{shop}.carts is a table")
    return sorted(wrong)


def _section(carts: Mapping[str, Any], place: str) -> Section:
    simple = {name: value for name, value in carts.items() if name in _SETTINGS}
    return Section(
        texts={_SETTINGS[name]: str(value) for name, value in simple.items()},
        places={_SETTINGS[name]: f"{place}.{name}" for name in simple},
        described={name: value for name, value in carts.items() if name not in _SETTINGS},
        place=place,
        mistakes=tuple(
            f"{place}.{name} is a text" for name, value in simple.items() if type(value) is not str
        ),
    )
