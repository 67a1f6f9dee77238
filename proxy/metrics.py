"""Metrics: what the book counts, for Prometheus: the same from every process and machine."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from proxy import tallies
from proxy.alarms import Name
from proxy.checkouts import Status
from proxy.tallies import EVER, SUM, What

if TYPE_CHECKING:
    from proxy.store.reader import Reader

CONTENT_TYPE = CONTENT_TYPE_LATEST

Readers = Callable[[], Iterable[tuple[str, "Reader"]]]

_PREFIX = "checkout_proxy_"


@dataclass(frozen=True, slots=True)
class _Counter:
    """A counter: its name, the name of its detail, and what it is."""

    name: str
    label: str
    help: str


_COUNTERS = {
    What.RECEIVED: _Counter("received", "kind", "Facts that were accepted and taken in"),
    What.REFUSED: _Counter("refused", "code", "Requests that were refused"),
    What.SESSIONS: _Counter("sessions", "to", "Sessions that were given out"),
    What.SETTLED: _Counter("settled", "", "Checkouts whose event was made"),
    What.SENT: _Counter("sent", "status", "Events that went to Klaviyo, by its answer"),
    What.RETRIED: _Counter("retried", "why", "Tries that have to be made again"),
    What.DELIVERED: _Counter("delivered", "", "Checkouts that Klaviyo took"),
    What.VALUE: _Counter("delivered_minor_units", "currency", "Value of what Klaviyo took"),
    What.CLAIM: _Counter("claims", "claim", "Totals that pages said, beside the shop's"),
    What.DEAD: _Counter("dead", "why", "Checkouts that were given up"),
    What.CANCELLED: _Counter("cancelled", "why", "Checkouts that were not to be sent"),
    What.QUARANTINED: _Counter("quarantined", "why", "Checkouts that were kept back"),
    What.AUDITED: _Counter("audited", "sight", "Events that were looked for in Klaviyo"),
}
_TIMES = {
    What.ACCEPT_TIME: ("accept_seconds", "How long it took to keep a state"),
    What.SEND_TIME: ("send_seconds", "How long a request to Klaviyo took"),
    What.DELAY: ("delay_seconds", "From the shopper's last act to Klaviyo's yes"),
}


def exposed(readers: Readers, now: datetime) -> bytes:
    """Return all metrics of the shops to whose books *readers* leads, as text."""
    registry = CollectorRegistry()
    registry.register(_Collector(readers, now))
    return generate_latest(registry)


class _Collector:
    """What prometheus_client asks for metrics."""

    def __init__(self, readers: Readers, now: datetime) -> None:
        self._readers = readers
        self._now = now

    def describe(self) -> Sequence[Metric]:
        """Return nothing: else all would be collected to see what there is."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with what every shop has of it."""
        found = [_Found.of(shop, reader) for shop, reader in self._readers()]
        yield from (_counter(what, counter, found) for what, counter in _COUNTERS.items())
        yield from (_histogram(what, *named, found) for what, named in _TIMES.items())
        yield from _gauges(found, self._now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the book says of one shop."""

    shop: str
    counted: Mapping[What, Mapping[str, int]]
    standing: Mapping[Status, int]
    oldest_due: datetime | None
    stopped: bool
    paused_until: datetime | None
    seen_at: datetime | None
    alarms: frozenset[str]

    @classmethod
    def of(cls, shop: str, reader: "Reader") -> "_Found":
        counted: dict[What, dict[str, int]] = defaultdict(dict)
        for each in reader.tallied(shop, since=EVER, until=EVER + timedelta(minutes=1)):
            counted[each.what][each.detail] = each.many
        standing = reader.standing(shop)
        return cls(
            shop=shop,
            counted=counted,
            standing=reader.counts(shop),
            oldest_due=reader.oldest_due(shop),
            stopped=standing.stopped,
            paused_until=standing.paused_until,
            seen_at=reader.seen_at(shop),
            alarms=frozenset(a.name for a in reader.alarms(shop) if a.cleared_at is None),
        )


def _counter(what: What, counter: _Counter, found: Iterable[_Found]) -> Metric:
    labels = ["shop", counter.label] if counter.label else ["shop"]
    family = CounterMetricFamily(_PREFIX + counter.name, counter.help, labels=labels)
    for each in found:
        for detail, many in each.counted.get(what, {}).items():
            family.add_metric([each.shop, detail][: len(labels)], many)
    return family


def _histogram(what: What, name: str, words: str, found: Iterable[_Found]) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, words, labels=["shop"])
    for each in found:
        counts = each.counted.get(what, {})
        steps = [*tallies.names(what)]
        sums = accumulate(counts.get(step, 0) for step in steps)
        family.add_metric(
            [each.shop], list(zip(steps, sums, strict=True)), counts.get(SUM, 0) / 1e3
        )
    return family


def _gauges(found: Sequence[_Found], now: datetime) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        f"{_PREFIX}checkouts", "Checkouts that are kept", labels=["shop", "status"]
    )
    for each in found:
        for status, many in each.standing.items():
            family.add_metric([each.shop, status], many)
    yield family
    yield _gauge("overdue_seconds", "Since when the oldest checkout is due", found, _overdue(now))
    yield _gauge("paused_seconds", "How long nothing is sent from now on", found, _paused(now))
    yield _gauge("stopped", "Whether Klaviyo refuses the account", found, lambda f: f.stopped)
    yield _gauge("sender_seen_timestamp_seconds", "When a sender was last at work", found, _seen)
    yield _alarms(found)


def _alarms(found: Iterable[_Found]) -> Metric:
    labels = ["shop", "alarm"]
    family = GaugeMetricFamily(_PREFIX + "alarm", "Whether an alarm stands", labels=labels)
    for each in found:
        for name in Name:
            family.add_metric([each.shop, name], name in each.alarms)
    return family


def _seen(found: _Found) -> float:
    return found.seen_at.timestamp() if found.seen_at else 0


def _gauge(
    name: str, words: str, found: Iterable[_Found], value: Callable[[_Found], float]
) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, words, labels=["shop"])
    for each in found:
        family.add_metric([each.shop], value(each))
    return family


def _overdue(now: datetime) -> Callable[[_Found], float]:
    return lambda found: max((now - (found.oldest_due or now)).total_seconds(), 0)


def _paused(now: datetime) -> Callable[[_Found], float]:
    return lambda found: max(((found.paused_until or now) - now).total_seconds(), 0)
