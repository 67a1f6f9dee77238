"""Pace: how many requests may go now, so that no window of Klaviyo's is ever overrun."""

from collections import deque
from dataclasses import dataclass
from datetime import timedelta

# Klaviyo counts when a request arrives, we when it leaves: two may come closer than they went.
_SLACK = 1.02


@dataclass(frozen=True, slots=True)
class Window:
    """So many requests in so long. Klaviyo's are fixed: where they begin, nobody tells us."""

    requests: int
    period: timedelta


class Pace:
    """Keep several windows at once. Times are seconds of a monotonic clock.

    In any stretch of a window's length, wherever it begins, no more than its requests go out, so
    a fixed window is kept as well.
    """

    def __init__(self, *windows: Window) -> None:
        self._windows = windows
        self._sent: deque[float] = deque(maxlen=max(window.requests for window in windows))
        self._told: tuple[float, int] | None = None

    def allowance(self, now: float, *, in_flight: int = 0, again: int = 0) -> int:
        """Return how many requests may go at *now*.

        Each of them, like those *in_flight*, may have to be made *again* so many times.
        """
        left = [
            window.requests - self._sent_since(now - _stretch(window)) for window in self._windows
        ]
        if self._told is not None and now < self._told[0]:
            left.append(self._told[1])
        return max(0, min(left) - in_flight * again) // (1 + again)

    def sent(self, now: float) -> None:
        """Count a request that goes at *now*."""
        self._sent.append(now)
        if self._told is not None:
            self._told = (self._told[0], self._told[1] - 1)

    def told(self, *, remaining: int, reset: timedelta, now: float, in_flight: int) -> None:
        """Heed what an answer says of the longest window: others may use the account as well.

        Of the *remaining* requests those *in_flight* may be gone already.
        """
        until, left = now + reset.total_seconds(), remaining - in_flight
        if self._told is not None and now < self._told[0]:
            until, left = min(until, self._told[0]), min(left, self._told[1])
        self._told = until, left

    def _sent_since(self, moment: float) -> int:
        # The newest first: most of the time the stretch is short.
        count = 0
        for at in reversed(self._sent):
            if at <= moment:
                break
            count += 1
        return count


def _stretch(window: Window) -> float:
    return window.period.total_seconds() * _SLACK


# "Create Event" and "Bulk Create Events", Klaviyo's API reference (revision 2026-07-15).
def single_events() -> Pace:
    """Return the pace of ``POST /api/events``."""
    return Pace(Window(350, timedelta(seconds=1)), Window(3_500, timedelta(minutes=1)))


def bulk_jobs() -> Pace:
    """Return the pace of ``POST /api/event-bulk-create-jobs``."""
    return Pace(Window(10, timedelta(seconds=1)), Window(150, timedelta(minutes=1)))
