"""Live: shops of other people's making, as npm has them, each installed once on a machine."""

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
_PINNED = ("package.json", "package-lock.json")
# Outside of the tree: another clone, and the next run, need not fetch it again.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "checkout-proxy-tests"
_PATIENCE = 300.0


def node_environment() -> dict[str, str]:
    """Return the environment in which Node finds what the lock file pins.

    The test is skipped where it cannot be had.
    """
    folder = _installed()
    # With its bytecode kept, Vendure's four hundred packages are loaded in half the time.
    return os.environ | {
        "NODE_PATH": f"{folder}/node_modules",
        "NODE_COMPILE_CACHE": f"{folder}/compiled",
    }


def _installed() -> Path:
    if not NODE.exists():
        pytest.skip(f"Node is missing: {NODE}")
    folder = _CACHE / hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    with _alone():
        if not folder.exists():
            _install(folder)
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    """Have the other workers of this run wait, and every other run on the machine."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for name in _PINNED:
            shutil.copy(HERE / name, made)
        _npm_ci(made)
        # All of it or nothing: who is killed half-way leaves nothing that looks installed.
        made.rename(folder)


def _npm_ci(folder: Path) -> None:
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    command = [f"{NODE.with_name('npm')}", "ci", *options, "--prefix", f"{folder}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if found := re.search(_OUT_OF_REACH, done.stderr):
        pytest.skip(f"npm's registry cannot be reached: {found[0]}")
    assert done.returncode == 0, done.stderr


_OUT_OF_REACH = r"EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ETIMEDOUT"
