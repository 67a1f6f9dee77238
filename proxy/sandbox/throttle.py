"""Throttle: Klaviyo's two fixed windows of an endpoint, a second and a minute."""

import math
from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Throttle:
    """Let *burst* requests a second and *steady* a minute through; 0 is no limit."""

    burst: int
    steady: int
    _seconds: Counter[int] = field(default_factory=Counter, repr=False)
    _minutes: Counter[int] = field(default_factory=Counter, repr=False)

    def retry_after(self, now: float) -> int | None:
        """Count a request at *now*; where it is one too many, return when to come back."""
        second, minute = int(now), int(now // 60)
        if self.steady and self._minutes[minute] >= self.steady:
            return math.ceil((minute + 1) * 60 - now)
        if self.burst and self._seconds[second] >= self.burst:
            return 1
        self._seconds[second] += 1
        self._minutes[minute] += 1
        return None

    def headers(self, now: float) -> dict[str, str]:
        """Return what an answer says of the steady window."""
        used = self._minutes[int(now // 60)]
        return {
            "RateLimit-Limit": str(self.steady),
            "RateLimit-Remaining": str(max(0, self.steady - used)),
            "RateLimit-Reset": str(math.ceil(60 - now % 60)),
        }


def single_events() -> Throttle:
    """Return that of ``POST /api/events``."""
    return Throttle(burst=350, steady=3_500)


def bulk_jobs() -> Throttle:
    """Return that of ``POST /api/event-bulk-create-jobs``."""
    return Throttle(burst=10, steady=150)
