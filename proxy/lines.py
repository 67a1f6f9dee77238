"""Lines: where in a TOML text each table and each key stands, which tomllib keeps to itself."""

import tomllib
from collections.abc import Iterator
from typing import Any

Keys = tuple[str, ...]


def of(text: str) -> dict[Keys, int]:
    """Return the line at which each table and each key of *text*, which is TOML, is first said."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    for line, is_header, said in _statements(text):
        if is_header:
            table = ()
        for keys in _keys(said, table):
            lines.setdefault(keys, line)
            if is_header:
                table = keys
    return lines


def _statements(text: str) -> Iterator[tuple[int, bool, dict[str, Any]]]:
    """Yield each table's header, and each key with its value: its first line, and what it says.

    Each is TOML by itself, and until its last line is there it is none.
    """
    begins, so_far = 1, ""
    for number, line in enumerate(text.split("\n"), start=1):
        begins = begins if so_far else number
        so_far += f"{line}\n"
        try:
            said = tomllib.loads(so_far)
        except tomllib.TOMLDecodeError:
            continue
        if said:
            yield begins, so_far.lstrip().startswith("["), said
        so_far = ""


def _keys(said: Any, above: Keys) -> Iterator[Keys]:
    """Yield the keys of *said*, the outer before the inner."""
    for key, value in said.items() if isinstance(said, dict) else ():
        yield (*above, key)
        yield from _keys(value, (*above, key))
