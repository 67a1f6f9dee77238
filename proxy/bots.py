"""Bots: which user agents are of programs, by the list that crawler-user-agents keeps.

A search for all of its 1,500 patterns takes a millisecond, and anybody may send another user agent
each time. So a pattern is looked for only where four letters of its own are.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

from crawleruseragents import CRAWLER_USER_AGENTS_DATA

# What a person's app may be built with, or a shop's own server: bots say what they like.
_NOT_MEANT = "http-library"
_LONGEST = 512
_LETTERS = 4


@lru_cache(maxsize=4096)
def is_bot(user_agent: str) -> bool:
    """Tell whether *user_agent* is one of a crawler, a monitor or a browser that is driven."""
    text = user_agent[:_LONGEST]
    by_letters, others = _patterns()
    here = {text[at : at + _LETTERS] for at in range(len(text) - _LETTERS + 1)}
    wanted = (by_letters[letters] for letters in here & by_letters.keys())
    return others.search(text) is not None or any(each.search(text) for each in wanted)


@cache
def _patterns() -> tuple[dict[str, re.Pattern[str]], re.Pattern[str]]:
    """Return the patterns by letters that each cannot do without, and those that have none."""
    patterns = [
        str(each["pattern"])
        for each in CRAWLER_USER_AGENTS_DATA
        if _NOT_MEANT not in each.get("tags", ())
    ]
    grouped: dict[str, list[str]] = {}
    for pattern in patterns:
        grouped.setdefault(_letters(pattern), []).append(pattern)
    others = _any_of(grouped.pop("", [_NOTHING]))
    return {letters: _any_of(each) for letters, each in grouped.items()}, others


_NOTHING = r"(?!)"


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


def _letters(pattern: str) -> str:
    """Return letters without which *pattern* matches nothing, and that no browser says."""
    found = (
        literal[at : at + _LETTERS]
        for literal in _literals(pattern)
        for at in range(len(literal) - _LETTERS + 1)
    )
    return next((letters for letters in found if letters not in _USUAL), "")


# What stands in the user agents of browsers.
_USUAL = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/ "
    "Safari/537.36 Edg/ (Macintosh; Intel Mac OS X 10_15_7) Version/ (X11; Linux x86_64; rv:) "
    "Gecko/20100101 Firefox/ (Linux; Android 10; K) Mobile (iPhone; CPU iPhone OS 18_0 like Mac OS"
)


def _literals(pattern: str) -> Iterator[str]:
    """Yield the runs of characters that *pattern* has to find as they are."""
    if re.search(r"(?<!\\)[(|]", pattern):
        return
    run = ""
    for escaped, plain, quantifier in _TOKEN.findall(pattern):
        if quantifier in ("", "+") and (escaped or plain):
            run += escaped or plain
        if quantifier or not (escaped or plain):
            yield run
            run = ""
    yield run


# An escaped sign, a plain one, or a class and the like; and how often it may be there.
_TOKEN = re.compile(r"(?:\\([^A-Za-z0-9])|([^\\\[.^$?*+{])|\[[^\]]*\]|\\.|[.^$])([?*+]|\{[^}]*\})?")
