"""Tallies: what is counted of what came in and what became of it, minute by minute."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from proxy import facts
from proxy.checkouts import Checkout, Status
from proxy.money import in_minor_units

EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""The minute that stands for all time."""


class What(StrEnum):
    """What is counted; each says in brackets what its details are."""

    RECEIVED = "received"  # facts (the kind)
    REFUSED = "refused"  # requests that were refused (the problem's code)
    SESSIONS = "sessions"  # sessions that were given out (to whom)
    ACCEPT_TIME = "accept time"  # posted states, by how long it took to keep them (seconds)
    WAITING = "waiting"  # checkouts that began to wait to be sent, or ceased to (in, out)
    SETTLED = "settled"  # checkouts that were about to be sent for the first time
    SENT = "sent"  # attempts (Klaviyo's status)
    SEND_TIME = "send time"  # requests to Klaviyo, by how long they took (seconds)
    RETRIED = "retried"  # attempts and readings that have to be made again (why)
    DELIVERED = "delivered"  # checkouts
    DELAY = "delay"  # delivered checkouts, by the time since the shopper's last act (seconds)
    VALUE = "value"  # minor units of delivered checkouts (the currency)
    CLAIM = "claim"  # delivered checkouts, by how the page's total stood to the shop's
    DEAD = "dead"  # checkouts (why)
    CANCELLED = "cancelled"  # checkouts (why)
    QUARANTINED = "quarantined"  # checkouts (why)
    AUDITED = "audited"  # events that were looked for in Klaviyo (what was seen)

    # Enum's own is written in Python, and millions are counted.
    __hash__ = str.__hash__


class Sight(StrEnum):
    """What is seen of an event that Klaviyo took, by who looks for it there."""

    ARRIVED = "arrived"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Count(NamedTuple):
    """How many there were of something; *detail* tells one kind of it from the others."""

    what: What
    detail: str = ""
    many: int = 1


class Counted(NamedTuple):
    """How many there were of something in a minute."""

    minute: datetime
    what: What
    detail: str
    many: int


class Tally:
    """Counts, each in its minute, until they are written down."""

    def __init__(self) -> None:
        self._minutes: dict[datetime, Counter[tuple[What, str]]] = {}

    def add(self, at: datetime, counts: Iterable[Count]) -> None:
        """Count what happened at *at*."""
        minute = at.astimezone(UTC).replace(second=0, microsecond=0)
        counted = self._minutes.setdefault(minute, Counter())
        for (what, detail, many), times in Counter(counts).items():
            counted[what, detail] += many * times

    def __iter__(self) -> Iterator[Counted]:
        """Yield what was counted, in each minute and in all."""
        ever = sum(self._minutes.values(), Counter[tuple[What, str]]())
        for minute, counted in [*self._minutes.items(), (EVER, ever)]:
            yield from (Counted(minute, *key, many) for key, many in counted.items())


def of_fact(kind: str) -> Iterator[Count]:
    """Count a fact of *kind* that was taken in."""
    yield Count(What.RECEIVED, kind)


def of_counted(said: facts.Counted) -> list[Count]:
    """Return what a web worker counted; what it calls by a name that we do not know is left out."""
    return [
        Count(What(name), detail[:_LONGEST], many)
        for name, details in said.counts.items()
        if name in _OF_THE_WEB_HALF
        for detail, many in details.items()
    ]


_OF_THE_WEB_HALF = {What.REFUSED, What.SESSIONS, What.ACCEPT_TIME}


def of_answer(status: int | None) -> Iterator[Count]:
    """Count an attempt to which Klaviyo answered *status*, or nothing."""
    yield Count(What.SENT, "no answer" if status is None else str(status))


def of_step(before: Checkout | None, after: Checkout) -> Iterator[Count]:
    """Count what happened to a checkout that was *before* and is *after*."""
    if after is before:
        return
    if after.total is not None and (before is None or before.total is None):
        yield Count(What.SETTLED)
    if before is not None and after.attempts > before.attempts:
        yield Count(What.RETRIED, str(after.trouble or ""))
    was = None if before is None else before.status
    if after.status is not was:
        yield from _of_waiting(was, after.status)
        yield from _of_end(after)


def _of_waiting(before: Status | None, after: Status) -> Iterator[Count]:
    if after is Status.PENDING:
        yield Count(What.WAITING, IN)
    elif before is Status.PENDING:
        yield Count(What.WAITING, OUT)


IN, OUT = "in", "out"


def _of_end(checkout: Checkout) -> Iterator[Count]:
    match checkout.status:
        case Status.DELIVERED:
            yield from _of_delivery(checkout)
        case Status.DEAD:
            yield Count(What.DEAD, why(checkout.reason))
        case Status.CANCELLED:
            yield Count(What.CANCELLED, why(checkout.reason))
        case Status.QUARANTINED:
            yield Count(What.QUARANTINED, why(checkout.reason))


def _of_delivery(checkout: Checkout) -> Iterator[Count]:
    yield Count(What.DELIVERED)
    if checkout.claim is not None:
        yield Count(What.CLAIM, checkout.claim)
    if checkout.total is not None:
        currency = checkout.total.currency
        value = in_minor_units(checkout.total.value, currency)
        yield Count(What.VALUE, currency, min(value, _LARGEST_VALUE))
    if checkout.delivered_at is not None:
        yield from of_time(What.DELAY, checkout.delivered_at - checkout.acted_at)


# A total may have fifteen digits before its point, a hundred of which no database adds up: and what
# cannot be counted would keep all that was sent from being written down.
_LARGEST_VALUE = 10**13


def why(reason: str) -> str:
    """Return the beginning of *reason*, which many have in common."""
    return reason.partition(":")[0].partition(" (")[0][:_LONGEST]


_LONGEST = 64


# -- how long things take ----------------------------------------------------------------


def of_time(what: What, took: timedelta) -> Iterator[Count]:
    """Count something that took so long: in its step, and its milliseconds in the sum."""
    seconds = max(took.total_seconds(), 0)
    yield Count(what, _NAMES[what][bisect_left(STEPS[what], seconds)])
    yield Count(what, SUM, round(seconds * 1000))


SUM = "sum"
BEYOND = "+Inf"

STEPS: dict[What, tuple[float, ...]] = {
    What.ACCEPT_TIME: (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    What.SEND_TIME: (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30),
    What.DELAY: (
        *(1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 31, 32, 33, 34, 36, 38, 40, 45, 50, 60, 75, 90, 120),
        *(180, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 259200),
    ),
}
"""The upper bounds of the steps that times are counted in, in seconds."""


def names(what: What) -> tuple[str, ...]:
    """Return the details under which a time of *what* is counted, the shortest first."""
    return _NAMES[what]


_NAMES = {what: (*(f"{step:g}" for step in steps), BEYOND) for what, steps in STEPS.items()}
