"""Revision: how long Klaviyo goes on serving the revision of its API that we speak.

"API versioning and deprecation policy" (developers.klaviyo.com): a revision is stable for a year,
deprecated for another, and then retired: it is answered 410, or as the next one would be.
"""

import re
from calendar import monthrange
from datetime import date
from email.utils import parsedate_to_datetime
from enum import IntEnum

_SERVED_FOR = 24
_STABLE_FOR = 12
# It is to be felt before the year's busiest weeks begin.
_ENDING = 3


class Stage(IntEnum):
    """How far a revision has come; the later, the more it is to be changed."""

    STABLE = 0
    DEPRECATED = 1
    ENDING = 2
    RETIRED = 3


def retirement(revision: date, told: date | None = None) -> date:
    """Return the day on which *revision* is retired: what Klaviyo has *told* counts more."""
    return moved(revision, _SERVED_FOR) if told is None else told


def stage(retires_on: date, today: date) -> Stage:
    """Return how far a revision that *retires_on* a day has come *today*."""
    if today >= retires_on:
        return Stage.RETIRED
    if today >= moved(retires_on, -_ENDING):
        return Stage.ENDING
    if today >= moved(retires_on, _STABLE_FOR - _SERVED_FOR):
        return Stage.DEPRECATED
    return Stage.STABLE


def told(header: str | None) -> date | None:
    """Return the day in Klaviyo's *header* about it; ``None`` where there is none to be read."""
    try:
        if re.match(r"\d{4}-\d\d-\d\d", header or ""):
            return date.fromisoformat((header or "")[:10])
        return parsedate_to_datetime(header or "").date()
    except ValueError:
        return None


def moved(day: date, months: int) -> date:
    """Return *day*, so many *months* later, or the last of a month that is too short for it."""
    year, month = divmod(12 * day.year + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
