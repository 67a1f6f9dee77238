"""Report: findings on a terminal of 80 columns, or as JSON for a program."""

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from proxy.doctor.finding import Examined, Finding, Verdict

Found = Sequence[Examined]

_WIDTH = 79
_INDENT = " " * 13
_SYMBOLS = {
    Verdict.WELL: ("✓", "+", "green"),
    Verdict.WARNING: ("!", "!", "yellow"),
    Verdict.WRONG: ("✗", "x", "red"),
    Verdict.SKIPPED: ("·", "-", "cyan"),
}


def section(examined: Examined, *, of_several: bool) -> Iterator[str]:
    """Yield the lines about one check, which has its shop's name where it is one *of_several*."""
    shop = f"{examined.shop}: " if of_several and examined.shop else ""
    yield click.style(f"{shop}{examined.check}", bold=True)
    for finding in examined.findings:
        yield from _lines(finding)


def _lines(finding: Finding) -> Iterator[str]:
    symbol, plain, colour = _SYMBOLS[finding.verdict]
    mark = plain if "?" in _shown(symbol) else symbol
    first, *rest = _wrapped(f"{finding.name}: {finding.words}")
    yield f"  {click.style(f'{mark} {finding.verdict:<7}', fg=colour)}  {first}"
    yield from (f"{_INDENT}{line}" for line in rest)
    if finding.remedy:
        first, *rest = _wrapped(f"To do: {finding.remedy}")
        yield from (f"{_INDENT}{line}" for line in (first, *rest))


def _wrapped(text: str) -> list[str]:
    width = _WIDTH - len(_INDENT)
    return textwrap.wrap(_safe(text), width, break_long_words=False, break_on_hyphens=False)


def _safe(text: str) -> str:
    """Return *text* without what moves a terminal's cursor: part of it comes from servers."""
    return _shown("".join(letter if letter.isprintable() else " " for letter in text))


def _shown(text: str) -> str:
    """Return *text* with a question mark for each letter that the terminal does not have."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def is_wrong(found: Found) -> bool:
    """Tell whether anything is wrong."""
    return bool(_counts(found)[Verdict.WRONG])


def _counts(found: Found) -> Counter[Verdict]:
    return Counter(finding.verdict for each in found for finding in each.findings)


def summary(found: Found) -> str:
    """Return how it stands in one line."""
    counts = _counts(found)
    wrongs, warnings = counts[Verdict.WRONG], counts[Verdict.WARNING]
    said = f"{wrongs} thing{_s(wrongs)} wrong" if wrongs else "Nothing is wrong"
    colour = "red" if wrongs else "green"
    skipped = counts[Verdict.SKIPPED]
    more = f"{warnings} warning{_s(warnings)}, {skipped} not examined"
    return click.style(f"{said}; {more}.", fg=colour, bold=True)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def as_json(found: Found) -> str:
    """Return all findings, each with its shop and its check, and whether nothing is wrong."""
    listed: list[dict[str, Any]] = [
        {"shop": each.shop, "check": each.check, **_members(finding)}
        for each in found
        for finding in each.findings
    ]
    # Whatever a terminal or a pipe can take, it takes ASCII.
    return json.dumps({"well": not is_wrong(found), "findings": listed}, indent=2)


def _members(finding: Finding) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(finding)
    return members
