"""Finding: one thing that was examined, how it stands, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a thing stands; only ``wrong`` makes the examination fail."""

    WELL = "well"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was seen of the thing *name*, and the *remedy* where something is to be done.

    Neither has a secret, an address or anything else of a person in it.
    """

    name: str
    verdict: Verdict
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a *check* has found, of a *shop* or of what all shops have in common."""

    check: str
    shop: str | None
    findings: list[Finding]


def well(name: str, words: str) -> Finding:
    """Return that nothing is to be done."""
    return Finding(name=name, verdict=Verdict.WELL, words=words)


def warning(name: str, words: str, remedy: str) -> Finding:
    """Return that it works, and had better be otherwise."""
    return Finding(name=name, verdict=Verdict.WARNING, words=words, remedy=remedy)


def wrong(name: str, words: str, remedy: str) -> Finding:
    """Return that it cannot work like that, or breaks a promise."""
    return Finding(name=name, verdict=Verdict.WRONG, words=words, remedy=remedy)


def skipped(name: str, words: str, remedy: str = "") -> Finding:
    """Return that it was not examined, and why."""
    return Finding(name=name, verdict=Verdict.SKIPPED, words=words, remedy=remedy)
