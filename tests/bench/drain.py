"""Drain: how fast a backlog leaves, and what it costs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """A backlog sent to the stand-in Klaviyo at full speed."""

    events_per_s: float
    cpu_us_per_event: float
    max_rss_mb: float


def measure() -> Drained | None:
    """Return what was measured, or ``None``: this half of the bench is still to be written."""
    return None
