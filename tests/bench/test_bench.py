"""The bench runs, and says what it found: a short look, so that it does not rot unseen."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench import report, rounds
from tests.bench.contenders import Running
from tests.bench.drain import Drained
from tests.bench.fetch import NotAvailable
from tests.bench.load import Load, body
from tests.bench.rounds import Result, Round
from tests.running import ROOT

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="wrk is missing: apt-get install wrk"
)


@needs_wrk
@pytest.mark.slow
def test_the_bench_measures_us_beside_bare_flask(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--rounds", "1", "--seconds", "1"]
    command += ["--only", "ours,flask", "--events", "2000", "--out", f"{out}"]

    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    measured = json.loads(out.read_text())
    assert set(measured) == {"accept", "drain"}
    assert set(measured["accept"]) == {"ours", "flask"}
    for figures in measured["accept"].values():
        assert set(figures) == {"rps", "p50_ms", "p99_ms", "cpu_us"}
        assert all(figure > 0 for figure in figures.values())
    assert set(measured["drain"]) == {"events_per_s", "cpu_us_per_event", "max_rss_mb"}
    assert "ours / flask" in ran.stdout
    assert "not measured: 'bullmq'" in ran.stdout


def test_every_request_is_some_560_bytes_with_an_id_of_its_own() -> None:
    assert 540 <= len(body().replace("@ID@", "0" * 16)) <= 580
    assert json.loads(body())["id"] == "@ID@"


def test_who_cannot_be_had_is_told_with_the_reason() -> None:
    @contextmanager
    def nobody(_: Path) -> Iterator[Running]:
        raise NotAvailable("there is no Redis here")
        yield

    [results] = rounds.measure({"bullmq": nobody}, rounds=1, seconds=1)

    assert results["bullmq"].missing == "there is no Redis here"
    assert "not available: there is no Redis here" in report.table(results, None)
    assert report.as_json(results, None) == {"accept": {}, "drain": {}}


def test_the_best_round_counts_and_says_whether_it_will_do() -> None:
    results = {"ours": _result(7_000, 9_000, p99_ms=30), "flask": _result(10_000, 9_500, p99_ms=1)}

    table = report.table(results, Drained(events_per_s=2_400, cpu_us_per_event=40, max_rss_mb=90))

    assert [line.split()[-1] for line in table.splitlines() if "ours / flask" in line] == ["met"]
    assert "0.90   ≥ 0.8" in table
    assert "30.00   < 25    NOT met" in table
    assert "2,400 events/s (≥ 2,300: met)" in table


def _result(*rps: float, p99_ms: float) -> Result:
    return Result(
        rounds=tuple(
            Round(
                load=Load(requests=1, rps=each, p50_ms=1, p99_ms=p99_ms, failed=0),
                cpu_us=100,
                others=0.1,
            )
            for each in rps
        )
    )
