"""Paths: where in an answer what stands, in JMESPath with four functions of our own.

``total(amounts)`` is their sum, exact, where JMESPath's own takes no decimals; of none it is null.
``before(text, mark)`` is what comes before the first *mark*, ``after(text, mark)`` what comes
after the last. ``joined(lines, details, key)`` has each of *lines* with what the one of *details*
says that has the same *key*.
"""

from decimal import Decimal, InvalidOperation
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
        except (InvalidOperation, TypeError, ValueError):
            raise JMESPathError("total() of what is no number") from None
        return sum(numbers) if numbers else None

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
        known = {str(detail.get(key)): detail for detail in details or ()}
        return lines and [{**known.get(str(line.get(key)), {}), **line} for line in lines]


_OPTIONS = jmespath.Options(custom_functions=_Ours())


def check(path: str) -> None:
    """Raise :exc:`ValueError` where *path* is no JMESPath."""
    try:
        jmespath.compile(path)
    except JMESPathError as error:
        raise ValueError(f"is no JMESPath: {error}") from error


def find(path: str, within: Json) -> Json:
    """Return what stands at *path*; raise :exc:`LookupError` where its functions cannot take it."""
    try:
        # JMESPath keeps the last ones it has compiled.
        return jmespath.compile(path).search(within, options=_OPTIONS)
    except JMESPathError:
        raise LookupError(path) from None
