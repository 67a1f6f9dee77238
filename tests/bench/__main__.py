"""The command ``python -m tests.bench``: measure, print a table, write ``build/bench.json``."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from tests.bench import drain, load, report, rounds
from tests.bench.contenders import CONTENDERS
from tests.bench.rounds import Result
from tests.running import ROOT


@click.command()
@click.option("--rounds", "count", default=3, show_default=True, help="The best one counts.")
@click.option("--seconds", default=8.0, show_default=True, help="How long each is measured.")
@click.option("--events", default=40_000, show_default=True, help="The backlog; 0 for none.")
@click.option("--only", help="Some contenders, with commas between.")
@click.option(
    "--out",
    default=ROOT / "build" / "bench.json",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
def main(count: int, seconds: float, events: int, only: str | None, out: Path) -> None:
    """Measure how fast states are taken, ours and others', and how fast a backlog leaves."""
    chosen = {name: CONTENDERS[name] for name in only.split(",")} if only else CONTENDERS
    size = len(load.body().replace("@ID@", "0" * 16))
    click.echo(f"{count} rounds of {seconds:g} s for {', '.join(chosen)}; bodies of {size} bytes")
    results: Mapping[str, Result] = {}
    for after_one_more in rounds.measure(chosen, rounds=count, seconds=seconds):
        results = after_one_more
        click.echo(".", nl=False)
    drained = drain.measure(events)
    click.echo(f"\n\n{report.table(results, drained)}\n")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report.as_json(results, drained), indent=2) + "\n")
    click.echo(f"Written to {out}.")


if __name__ == "__main__":
    main()
