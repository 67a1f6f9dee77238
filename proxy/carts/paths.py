"""Paths: where in an answer what stands, in JMESPath with four functions of our own.

``total(amounts)`` is their sum, exact, where JMESPath's own takes no decimals; of none it is null.
``before(text, mark)`` is what comes before the first *mark*, ``after(text, mark)`` what comes
after the last. ``joined(lines, details, key)`` has each of *lines* with what the one of *details*
says that has the same *key*.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature

Json = Any


class _Ours(Functions):
    @signature({"types": ["array", "null"]})
    def _func_total(self, amounts: list[Json] | None) -> Json:
        try:
            numbers = [Decimal(amount) for amount in amounts or () if amount is not None]
            return sum(numbers) if numbers else None
        except (ArithmeticError, TypeError, ValueError):
            raise JMESPathError("total() of what is no number") from None

    @signature({"types": ["string", "null"]}, {"types": ["string"]})
    def _func_before(self, text: str | None, mark: str) -> str | None:
        return text and text.partition(mark)[0]

    @signature({"types": ["string", "null"]}, {"types": ["string"]})
    def _func_after(self, text: str | None, mark: str) -> str | None:
        return text and text.rpartition(mark)[2]

    @signature(
        {"types": ["array-object", "null"]},
        {"types": ["array-object", "null"]},
        {"types": ["string"]},
    )
    def _func_joined(
        self, lines: list[Json] | None, details: list[Json] | None, key: str
    ) -> list[Json] | None:
        known = {str(detail[key]): detail for detail in details or () if key in detail}
        return lines and [{**known.get(str(line.get(key, "")), {}), **line} for line in lines]


_OURS = _Ours()
_OPTIONS = jmespath.Options(custom_functions=_OURS)


def check(path: str) -> None:
    """Raise :exc:`ValueError` where *path* is no JMESPath."""
    try:
        parsed = jmespath.compile(path).parsed
    except JMESPathError as error:
        raise ValueError(f"is no JMESPath: {error}") from error
    for name, arguments in _calls(parsed):
        if name not in _OURS.FUNCTION_TABLE:
            raise ValueError(f"is no JMESPath: there is no function {name}()")
        wanted = _OURS.FUNCTION_TABLE[name]["signature"]
        is_variadic = bool(wanted and wanted[-1].get("variadic"))
        if arguments < len(wanted) or (arguments > len(wanted) and not is_variadic):
            raise ValueError(f"is no JMESPath: {name}() takes {len(wanted)} arguments")


def _calls(node: Json) -> Iterator[tuple[str, int]]:
    """Yield the functions that are called in *node*, and with how many arguments."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        if isinstance(child, dict) and "type" in child:
            yield from _calls(child)


def find(path: str, within: Json) -> Json:
    """Return what stands at *path*; raise :exc:`LookupError` where its functions cannot take it."""
    try:
        # JMESPath keeps the last ones it has compiled.
        return jmespath.compile(path).search(within, options=_OPTIONS)
    except (JMESPathError, ArithmeticError, ValueError):
        raise LookupError(path) from None
