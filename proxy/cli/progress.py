"""Progress: how far a command has come that somebody may wait for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def shown(label: str, length: int) -> Iterator[Callable[[int], object]]:
    """Give what counts how many of *length* are done, for somebody who waits at a terminal."""
    if not (length and sys.stderr.isatty()):
        yield lambda _: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
