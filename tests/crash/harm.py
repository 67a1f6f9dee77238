"""Harm: what can happen to the file of an inbox, a whole page at least."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

PAGE = 4096
FRAME = 24 + PAGE

Hurt = Callable[[Path], None]


def in_the_middle(path: Path) -> None:
    pages = path.stat().st_size // PAGE
    scribble(path, PAGE * (pages // 3), PAGE * (pages // 3))


def in_the_header(path: Path) -> None:
    scribble(path, 0, PAGE)


def at_the_root(path: Path) -> None:
    scribble(path, PAGE, PAGE)


def at_the_end(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // PAGE // 2 * PAGE)


def in_the_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    frames = log.stat().st_size // FRAME
    scribble(log, 32 + FRAME * (frames // 3), FRAME * (frames // 3))


def everywhere(path: Path) -> None:
    scribble(path, 0, path.stat().st_size)


def scribble(path: Path, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(Random(0).randbytes(size))


def pages(path: Path) -> list[bytes]:
    """Return the pages of the database and of its log."""
    database, log = path.read_bytes(), path.with_name(f"{path.name}-wal").read_bytes()[32:]
    return [database[at : at + PAGE] for at in range(0, len(database), PAGE)] + [
        log[at : at + FRAME] for at in range(0, len(log), FRAME)
    ]


def checkpoint(path: Path) -> None:
    """Bring all that is in the log into the database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def outside(act: Hurt, path: Path) -> None:
    """Do *act* in another process: to open a file in this one would end SQLite's locks on it."""
    command = [sys.executable, "-m", "tests.crash.harm", act.__name__, str(path)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
