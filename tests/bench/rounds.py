"""Rounds: every contender measured in turn, again and again, and the best of each kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load
from tests.bench.contenders import Contender, Running
from tests.bench.fetch import NotAvailable
from tests.bench.load import Load
from tests.bench.machine import Meanwhile, cpu_seconds

# A JIT wants to be warm, and a database to have made its files.
_WARM_UP = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one contender did in one round; *others* is the share of the processors it missed."""

    load: Load
    cpu_us: float
    others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A contender's rounds, or the reason why it has none."""

    rounds: tuple[Round, ...] = ()
    missing: str = ""

    @property
    def best(self) -> Round | None:
        """The round with the most answers a second."""
        return max(self.rounds, key=lambda one: one.load.rps, default=None)


def measure(
    contenders: Mapping[str, Contender], *, rounds: int, seconds: float
) -> Iterator[dict[str, Result]]:
    """Yield the results after each measurement, a round of all before the next round of any."""
    results = {name: Result() for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            if not results[name].missing:
                results[name] = _one_more(results[name], contender, seconds)
                yield results


def _one_more(result: Result, contender: Contender, seconds: float) -> Result:
    try:
        with TemporaryDirectory(prefix="bench-") as folder, contender(Path(folder)) as running:
            return replace(result, rounds=(*result.rounds, _round(running, seconds)))
    except NotAvailable as error:
        return replace(result, missing=str(error))


def _round(running: Running, seconds: float) -> Round:
    load.send(running.url, seconds * _WARM_UP)
    before, cpu = Meanwhile.begins(running.pids), cpu_seconds(running.pids)
    seen = load.send(running.url, seconds)
    return Round(
        load=seen,
        cpu_us=(cpu_seconds(running.pids) - cpu) / max(seen.requests, 1) * 1e6,
        others=before.others_share(running.pids),
    )
