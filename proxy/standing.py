"""Standing: whether an account may be sent to, and what each answer changes about it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.backoff import backoff

# One failure may be about one event; so many in a row, without a yes between, are an outage.
_OUTAGE = 5

# A refused key burns nothing, so asking again now and then costs nothing, and a scope that was
# added at Klaviyo is noticed without a restart.
_STOPPED_FOR = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether an account may be sent to: not between ``paused_at`` and ``paused_until``.

    ``failures`` counts the requests that failed in a row: after a few of them the account is
    paused, longer each time, and then asked with one event before the others follow (a circuit
    breaker). ``stopped`` says that Klaviyo refused us rather than failed: somebody must act.
    """

    paused_at: datetime | None = None
    paused_until: datetime | None = None
    reason: str = ""
    stopped: bool = False
    failures: int = 0

    def waits(self, now: datetime) -> bool:
        """Tell whether nothing is sent at *now*.

        A pause that has not begun yet was written down under a clock that was ahead.
        """
        if self.paused_at is None or self.paused_until is None:
            return False
        return self.paused_at <= now < self.paused_until

    @property
    def is_probing(self) -> bool:
        """Whether the next request is to find out if Klaviyo is back."""
        return self.stopped or self.failures >= _OUTAGE

    def after_failure(self, reason: str, *, now: datetime, jitter: float) -> "Standing":
        """Return the standing after a request without a word of Klaviyo's own.

        *jitter* is a random number in [0, 1).
        """
        failures = self.failures + 1
        if failures < _OUTAGE:
            return Standing(failures=failures)
        until = now + backoff(failures - _OUTAGE, jitter)
        return Standing(paused_at=now, paused_until=until, reason=reason, failures=failures)

    def after_throttling(self, reason: str, *, now: datetime, wait: timedelta) -> "Standing":
        """Return the standing after Klaviyo asked to *wait*."""
        until = now + wait
        return Standing(paused_at=now, paused_until=until, reason=reason)

    def after_refusal(self, reason: str, *, now: datetime) -> "Standing":
        """Return the standing after Klaviyo refused the account rather than an event."""
        until = now + _STOPPED_FOR
        return Standing(paused_at=now, paused_until=until, reason=reason, stopped=True)
