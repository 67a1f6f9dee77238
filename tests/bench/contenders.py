"""Contenders: real servers, each started as its users start it, with an empty store."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from proxy.store import Store
from tests import postgres
from tests.bench.fetch import node_modules, program
from tests.running import ROOT, Nginx, Program, Proxy, free_port, listens
from tests.web import ORIGIN, SHOP_KEY, TOKEN_KEY

NODE_MODULES = ROOT / "build" / "bench" / "bullmq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A contender that answers at *url*, and the processes that do its work."""

    url: str
    pids: tuple[int, ...]


Contender = Callable[[Path], AbstractContextManager[Running]]


# -- ours --------------------------------------------------------------------------------


@contextmanager
def ours(folder: Path) -> Iterator[Running]:
    """Serve the web half on SQLite: two workers, a commit with fsync before each 202."""
    with _proxy(f"sqlite:///{folder}/store") as proxy:
        yield Running(url=proxy.url, pids=(proxy.pid,))


@contextmanager
def ours_nginx(folder: Path) -> Iterator[Running]:
    """Serve the same behind nginx, with TLS and all its limits: each request is of a client."""
    with (
        _proxy(f"sqlite:///{folder}/store") as proxy,
        Nginx(folder / "nginx", proxy=proxy.address) as nginx,
    ):
        yield Running(url=nginx.url, pids=(proxy.pid, nginx.pid))


@contextmanager
def ours_postgres(folder: Path) -> Iterator[Running]:
    """Serve the web half on PostgreSQL as it is installed, on the same machine."""
    as_installed: dict[str, str] = {}  # with fsync
    with postgres.served(as_installed) as server:
        url, spool = server.url("postgres"), folder / "spool"
        Store(url, spool).migrate()
        with _proxy(url, CHECKOUT_PROXY_SPOOL=f"{spool}") as proxy:
            yield Running(url=proxy.url, pids=(proxy.pid, server.pid))


def _proxy(store: str, **more: str) -> Proxy:
    return Proxy(_settings(store) | more, "--web-only")


def _settings(store: str) -> dict[str, str]:
    return {
        "CHECKOUT_PROXY_TOKEN_KEYS": TOKEN_KEY,
        "CHECKOUT_PROXY_SHOP_KEY": SHOP_KEY,
        "CHECKOUT_PROXY_ORIGINS": ORIGIN,
        "CHECKOUT_PROXY_STORE": store,
        # One token is posted all the time: it is counted, and never too much.
        "CHECKOUT_PROXY_BUDGETS": "token=999999999 cart=999999999",
    }


# -- the others --------------------------------------------------------------------------


@contextmanager
def flask(_folder: Path) -> Iterator[Running]:
    """Serve a Flask route that does nothing."""
    with _Granian("bare") as server:
        yield Running(url=server.url, pids=(server.pid,))


@contextmanager
def article(_folder: Path) -> Iterator[Running]:
    """Serve the view that verifies the token and posts to Klaviyo before it answers."""
    port = free_port()
    command = (sys.executable, "-m", "tests.bench.stand_in", f"{port}")
    with (
        _Listening("stand-in Klaviyo", port, *command, env=_AT_ROOT),
        _Granian("article", KLAVIYO_URL=f"http://127.0.0.1:{port}/api/events") as server,
    ):
        yield Running(url=server.url, pids=(server.pid,))


@contextmanager
def bullmq(folder: Path) -> Iterator[Running]:
    """Serve Fastify and BullMQ in two processes, on a Redis that syncs before it answers."""
    redis, node = program("redis-server"), program("node", "nodejs")
    modules = node_modules(Path(__file__).with_name("bullmq"), NODE_MODULES)
    port, redis_port = free_port(), free_port()
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", f"{folder}")
    with (
        _Listening("redis", redis_port, redis, "--port", f"{redis_port}", *durable) as stored,
        _Answering("bullmq", port, node, f"{modules}/server.mjs", f"{port}", f"{redis_port}") as it,
    ):
        yield Running(url=it.url, pids=(it.pid, stored.pid))


CONTENDERS: Mapping[str, Contender] = {
    "ours": ours,
    "ours_nginx": ours_nginx,
    "ours_postgres": ours_postgres,
    "flask": flask,
    "article": article,
    "bullmq": bullmq,
}


# -- how they are started ----------------------------------------------------------------

_AT_ROOT = os.environ | {"PYTHONPATH": f"{ROOT}"}


class _Listening(Program):
    """A program that is up when it listens on *port*."""

    def __init__(
        self, name: str, port: int, *command: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(name, *command, env=env)

    def is_up(self) -> bool:
        return listens(self.port)


class _Answering(_Listening):
    """A server that is up when it answers anything."""

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code < 500
        except requests.RequestException:
            return False


class _Granian(_Answering):
    """An app of ``flask_apps`` under the server that we use, with as many processes and threads."""

    def __init__(self, app: str, **environ: str) -> None:
        port = free_port()
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", f"{port}"]
        command += ["--workers", "2", "--blocking-threads", "20", "--no-ws"]
        command += [f"tests.bench.flask_apps:{app}"]
        super().__init__(app, port, *command, env=_AT_ROOT | environ)
