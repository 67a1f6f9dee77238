"""Revision: how old the revision of Klaviyo's API is, and whether Klaviyo still serves it.

One is stable for a year and deprecated for another; then it is retired, and a request is served by
the oldest one that lives, which may read it otherwise ("API versioning and deprecation policy",
developers.klaviyo.com).
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime

from proxy.doctor import clock
from proxy.doctor.finding import Finding, warning, well, wrong
from proxy.doctor.klaviyo import SMALLEST, client
from proxy.doctor.setup import Setup
from proxy.klaviyo import Told
from proxy.revision import Stage, retirement, stage
from proxy.revision import told as announced
from proxy.settings import variable

_REMEDY = (
    "Upgrade checkout-proxy, whose default follows Klaviyo's; or set "
    f"{variable('revision')} to a newer one, and try it with `doctor --send-test ADDRESS`."
)


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield the revision's age, and what Klaviyo says of it."""
    revision = setup.settings.revision
    if setup.lacks("klaviyo_key"):
        yield _aged(revision, datetime.now(UTC).date())
        return
    with closing(client(setup)) as klaviyo:
        # Else a retired revision is served by another, without a word (the same page).
        told = klaviyo.ask("GET", SMALLEST, X_Klaviyo_Revision_Fall_Forward_Opt_Out="1")
    today = (clock.date(told) or datetime.now(UTC)).date()
    yield _aged(revision, today)
    yield from _served(told)
    yield from _announced(told, today)


def _aged(revision: str, today: date) -> Finding:
    since = date.fromisoformat(revision)
    months = (today.year - since.year) * 12 + today.month - since.month - (today.day < since.day)
    end = retirement(since)
    words = f"{revision} is {months} months old"
    match stage(end, today):
        case Stage.RETIRED:
            return wrong(
                "age", f"{words}: Klaviyo has retired it, and reads it as another", _REMEDY
            )
        case Stage.ENDING:
            return warning("age", f"{words}: IT IS RETIRED ON {end}", _REMEDY)
        case Stage.DEPRECATED:
            return warning("age", f"{words}: it is deprecated, and retired on {end}", _REMEDY)
    return well("age", f"{words}; it is stable for a year, and retired after two")


def _served(told: Told) -> Iterator[Finding]:
    if told.is_document and told.answer.status in (404, 410):
        yield wrong("served", f"it is not served: {told.answer.reason}", _REMEDY)


def _announced(told: Told, today: date) -> Iterator[Finding]:
    """Yield the end that an answer announces.

    No page of Klaviyo's documents the header, and no answer is known to have it: its age is what
    counts. Where it comes it is believed.
    """
    text = told.headers.get("X-Klaviyo-Api-Retirement-Date", "")
    end = announced(text)
    if not text:
        return
    if end is None:
        yield warning("retirement", "Klaviyo announces its end, on a day not understood", _REMEDY)
    elif end <= today:
        yield wrong("retirement", f"Klaviyo says that it was retired on {end}", _REMEDY)
    else:
        yield warning("retirement", f"Klaviyo says that it is retired on {end}", _REMEDY)
