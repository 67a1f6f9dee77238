"""Fetch: what the bench needs and the machine lacks, from Debian and npm, and said before."""

import os
import shutil
import subprocess
from pathlib import Path

import click

# A desktop user's PATH leaves these out, and Debian puts servers there.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class NotAvailable(Exception):
    """A contender cannot be had here; the message says why."""


def program(name: str, package: str | None = None) -> str:
    """Return the path of the program *name*, or raise :exc:`NotAvailable`.

    Where it is missing it comes with Debian's *package*, which is called like it if not given.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        _install(package or name)
        found = shutil.which(name, path=_PATH)
    if found is None:
        raise NotAvailable(f"{name} is missing: apt-get install {package or name}")
    return found


def node_modules(source: Path, folder: Path) -> Path:
    """Return *folder* with a copy of *source* and the packages that its lock file pins."""
    npm = program("npm")
    lock = (source / "package-lock.json").read_bytes()
    installed = folder / "node_modules" / ".installed"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    if not installed.exists() or installed.read_bytes() != lock:
        click.echo(f"Fetching with npm what {source.name}/package-lock.json pins …")
        _run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", f"{folder}")
        installed.write_bytes(lock)
    return folder


def _install(package: str) -> None:
    click.echo(f"Fetching Debian's package {package} …")
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    _run(*as_root, *quietly, "update")
    _run(*as_root, *quietly, "install", "-y", "--no-install-recommends", package)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise NotAvailable(f"{' '.join(command)}: {said}") from error
