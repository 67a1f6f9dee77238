"""Report: what was measured, as a table with ratios beside what we want to reach, and as JSON."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.drain import Drained
from tests.bench.load import CONNECTIONS
from tests.bench.rounds import Result, Round

Best = Mapping[str, Round]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure that we want to be at least, or at most, *bound*; ``None`` where it is missing."""

    words: str
    figure: Callable[[Best], float]
    bound: float
    at_most: bool = False

    def line(self, best: Best) -> str:
        """Say what was reached."""
        sign = "<" if self.at_most else "≥"
        try:
            figure = self.figure(best)
        except KeyError as error:
            return f"  {self.words:<40} {'–':>7}   {sign} {self.bound:<5g} not measured: {error}"
        met = figure < self.bound if self.at_most else figure >= self.bound
        verdict = "met" if met else "NOT met"
        return f"  {self.words:<40} {figure:>7.2f}   {sign} {self.bound:<5g} {verdict}"


def _ratio(one: str, other: str, bound: float) -> Target:
    return Target(
        words=f"{one} / {other}, requests/s",
        figure=lambda best: best[one].load.rps / best[other].load.rps,
        bound=bound,
    )


TARGETS = (
    _ratio("ours", "bullmq", 1.3),
    _ratio("ours", "article", 50),
    _ratio("ours", "flask", 0.8),
    _ratio("ours_postgres", "flask", 0.4),
    Target(
        words=f"ours, p99 in ms at {CONNECTIONS} connections",
        figure=lambda best: best["ours"].load.p99_ms,
        bound=25,
        at_most=True,
    ),
)
_DRAIN_EVENTS_PER_S = 2_300


def table(results: Mapping[str, Result], drained: Drained | None) -> str:
    """Return all of it, for people."""
    best = _best(results)
    lines = [*_accept(results), "", *_targets(best), "", *_drain(drained)]
    return "\n".join(lines)


def as_json(results: Mapping[str, Result], drained: Drained | None) -> dict[str, Any]:
    """Return the best rounds of all that could be measured, for programs."""
    accept = {
        name: {
            "rps": round(one.load.rps, 1),
            "p50_ms": round(one.load.p50_ms, 3),
            "p99_ms": round(one.load.p99_ms, 3),
            "cpu_us": round(one.cpu_us, 1),
        }
        for name, one in _best(results).items()
    }
    return {"accept": accept, "drain": {} if drained is None else asdict(drained)}


def _best(results: Mapping[str, Result]) -> dict[str, Round]:
    return {name: result.best for name, result in results.items() if result.best is not None}


def _accept(results: Mapping[str, Result]) -> Iterator[str]:
    yield f"accept: POST /co/state over {CONNECTIONS} connections; of each contender its best round"
    yield ""
    yield (
        f"  {'':<14}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}"
        f"{'others took':>13}{'failed':>8}   all rounds"
    )
    for name, result in results.items():
        yield f"  {name:<14}{_figures(result)}"


def _figures(result: Result) -> str:
    one = result.best
    if one is None:
        return f"not available: {result.missing}"
    load = one.load
    rounds = " ".join(f"{each.load.rps:.0f}" for each in result.rounds)
    return (
        f"{load.rps:>11,.0f}{load.p50_ms:>9.1f}{load.p99_ms:>9.1f}{one.cpu_us:>9.0f}"
        f"{one.others:>13.0%}{load.failed:>8}   {rounds}"
    )


def _targets(best: Best) -> Iterator[str]:
    yield "ratios within this run, and what we want to reach"
    yield ""
    for target in TARGETS:
        yield target.line(best)


def _drain(drained: Drained | None) -> Iterator[str]:
    if drained is None:
        yield "drain: not measured"
        return
    met = "met" if drained.events_per_s >= _DRAIN_EVENTS_PER_S else "NOT met"
    yield (
        f"drain: {drained.events_per_s:,.0f} events/s (≥ {_DRAIN_EVENTS_PER_S:,}: {met}), "
        f"{drained.cpu_us_per_event:.0f} µs of CPU an event, {drained.max_rss_mb:.0f} MB"
    )
