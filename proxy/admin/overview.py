"""Overview: from what was counted to what an operator wants to know at a glance."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from proxy import tallies
from proxy.alarms import Alarm
from proxy.money import Amount, minor_unit
from proxy.standing import Standing
from proxy.tallies import BEYOND, IN, OUT, SUM, Counted, What


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """So many steps up to now."""

    name: str
    steps: int
    step: timedelta

    def since(self, now: datetime) -> datetime:
        """Return when the first step began, where *now* is in the last.

        That one is under way: they begin on the clock's own marks.
        """
        step = self.step.total_seconds()
        last = datetime.fromtimestamp(now.timestamp() // step * step, UTC)
        return last - (self.steps - 1) * self.step


PERIODS = {
    period.name: period
    for period in (
        Period(name="hour", steps=60, step=timedelta(minutes=1)),
        Period(name="day", steps=96, step=timedelta(minutes=15)),
        Period(name="week", steps=84, step=timedelta(hours=2)),
    )
}


SERIES = (What.RECEIVED, What.DELIVERED, What.DEAD, What.WAITING)
"""Of what it is told when it was; of all else how much there was of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether all is well, in a sentence."""

    is_well: bool
    title: str
    words: str


# The sender says every 15 s that it is at work.
_SILENT = timedelta(minutes=1)


def verdict(
    figures: "Figures",
    standing: Standing,
    alarms: Sequence[Alarm],
    seen_at: datetime | None,
    now: datetime,
) -> Verdict:
    """Return what there is to say first."""
    if seen_at is None or now - seen_at > _SILENT:
        since = "" if seen_at is None else f" since {seen_at:%Y-%m-%d %H:%M:%S}"
        words = f"None was seen{since}. What comes in is kept, and goes out once one runs."
        return Verdict(is_well=False, title="No sender is at work.", words=words)
    if standing.waits(now):
        until = f"{standing.paused_until:%H:%M:%S}"
        words = f"{standing.reason}. It goes on at {until}, and nothing is lost meanwhile."
        return Verdict(is_well=False, title="Nothing is sent just now.", words=words)
    if alarms:
        words = f"{', '.join(alarm.name for alarm in alarms)}: see below."
        return Verdict(is_well=False, title=f"{_many(len(alarms), 'alarm')}.", words=words)
    sent = figures.sum(What.DELIVERED)
    many = _many(sent, "checkout") if sent else "No checkout"
    words = f"{many} reached Klaviyo in the last {figures.period.name}, and nothing is stuck."
    return Verdict(is_well=True, title="All is well.", words=words)


def _many(count: int, of: str) -> str:
    return f"{count:,} {of}{'' if count == 1 else 's'}"


class Figures:
    """What was *counted* in a *period* that ends with *now*."""

    def __init__(self, counted: Iterable[Counted], period: Period, now: datetime) -> None:
        self.period = period
        self.since = period.since(now)
        self._counted = [each for each in counted if each.minute >= self.since]

    def starts(self) -> list[datetime]:
        """Return when each step began."""
        return [self.since + place * self.period.step for place in range(self.period.steps)]

    def sum(self, what: What, detail: str | None = None) -> int:
        """Return how many there were, of one detail or of all."""
        return sum(each.many for each in self._of(what, detail))

    def by_detail(self, what: What) -> list[tuple[str, int]]:
        """Return how many there were of each detail, most first."""
        counts: Counter[str] = Counter()
        for each in self._of(what):
            counts[each.detail] += each.many
        return counts.most_common()

    def series(self, what: What, detail: str | None = None) -> list[int]:
        """Return how many there were in each step."""
        counts = [0] * self.period.steps
        for each in self._of(what, detail):
            place = (each.minute - self.since) // self.period.step
            if 0 <= place < len(counts):
                counts[place] += each.many
        return counts

    def waiting(self, now_waiting: int) -> list[int]:
        """Return how many waited at the end of each step, where *now_waiting* do so now."""
        came, went = self.series(What.WAITING, IN), self.series(What.WAITING, OUT)
        since = accumulate(
            (out - into for into, out in zip(reversed(came), reversed(went), strict=True)),
            initial=now_waiting,
        )
        return [max(count, 0) for count in list(since)[:-1][::-1]]

    def values(self) -> list[Amount]:
        """Return the value of what was delivered, in each currency."""
        return [
            Amount(Decimal(many) * minor_unit(currency), currency)
            for currency, many in self.by_detail(What.VALUE)
        ]

    def quantile(self, what: What, share: float) -> timedelta | None:
        """Return what time *share* of them did not exceed, ``None`` where there were none."""
        counts = dict(self.by_detail(what))
        return _quantile([counts.get(name, 0) for name in tallies.names(what)], what, share)

    def _of(self, what: What, detail: str | None = None) -> Iterable[Counted]:
        return (
            each
            for each in self._counted
            if each.what is what and detail in (None, each.detail) and each.detail != SUM
        )


def _quantile(counts: Sequence[int], what: What, share: float) -> timedelta | None:
    """Return the quantile, as if within a step all lay evenly."""
    if not sum(counts):
        return None
    wanted = share * sum(counts)
    before = 0
    lower = 0.0
    for name, count in zip(tallies.names(what), counts, strict=True):
        upper = lower if name == BEYOND else float(name)
        if count and before + count >= wanted:
            return timedelta(seconds=lower + (upper - lower) * (wanted - before) / count)
        before += count
        lower = upper
    return timedelta(seconds=lower)
