"""Drain: how fast a backlog leaves, and what it costs."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy.store import Store
from tests import backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """A backlog sent to the stand-in Klaviyo at full speed."""

    events_per_s: float
    cpu_us_per_event: float
    max_rss_mb: float


def measure(events: int) -> Drained | None:
    """Return how *events* left that were due; nothing where there were none to measure."""
    if events == 0:
        return None
    with TemporaryDirectory() as folder:
        backlog.lay_up(Store.of("shop", f"sqlite:///{folder}"), events)
        drained = backlog.drain(Path(folder), events, throttled=False)
    return Drained(
        events_per_s=round(drained.events_per_s, 1),
        cpu_us_per_event=round(drained.cpu_us_per_event, 1),
        max_rss_mb=round(drained.max_rss_mb, 1),
    )
