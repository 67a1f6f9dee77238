"""Live: shops of other people's making, as npm has them, each installed once on a machine.

A shop that is large has a folder of its own with what it needs. After a change of a package.json
``npm install --package-lock-only --omit-lockfile-registry-resolved`` beside it pins all of it anew.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.running import NODE

HERE = Path(__file__).parent
# Outside of the tree: another clone, and the next run, need not fetch it again.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "checkout-proxy-tests"
_PATIENCE = 300.0
_ONE_RETRY = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")


def cache(name: str) -> Path:
    """Return a folder that outlives this run, for what is fetched once on a machine."""
    folder = _CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def node_environment(pins: Path = HERE) -> dict[str, str]:
    """Return the environment in which Node finds what the lock file in *pins* names.

    The test is skipped where it cannot be had.
    """
    folder = _installed(pins)
    # With its bytecode kept, Vendure's four hundred packages are loaded in half the time.
    return os.environ | {
        "NODE_PATH": f"{folder}/node_modules",
        "NODE_COMPILE_CACHE": f"{folder}/compiled",
    }


def _installed(pins: Path) -> Path:
    if not NODE.exists():
        pytest.skip(f"Node is missing: {NODE}")
    folder = _CACHE / hashlib.sha256((pins / "package-lock.json").read_bytes()).hexdigest()[:16]
    with _alone():
        if not folder.exists():
            _install(pins, folder)
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    """Have the other workers of this run wait, and every other run on the machine."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(pins: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for pinned in (*pins.glob("package*.json"), *pins.glob(".npmrc")):
            shutil.copy(pinned, made)
        done = _npm("ci", "--ignore-scripts", "--prefix", f"{made}")
        if done.returncode != 0:
            _skip_where_the_registry_is_away()
            raise AssertionError(done.stderr)
        # All of it or nothing: who is killed half-way leaves nothing that looks installed.
        made.rename(folder)


def _skip_where_the_registry_is_away() -> None:
    # What npm says of a failed installation does not tell: it may say that npm itself is broken.
    done = _npm("view", "sql.js", "version")
    if done.returncode != 0:
        code = re.search(r"\bE[A-Z_]{4,}", done.stderr)
        pytest.skip(f"npm's registry cannot be reached: {code[0] if code else done.stderr}")


def _npm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    options = ("--no-audit", "--no-fund", "--no-update-notifier", *_ONE_RETRY)
    command = (f"{NODE.with_name('npm')}", *arguments, *options)
    return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
