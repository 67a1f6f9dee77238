"""Slow connections: two thousand that never come to their end, and shoppers who do not notice."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPSConnection
from math import ceil
from pathlib import Path
from statistics import median
from uuid import uuid4

import psutil
import pytest

from proxy.store import Store
from tests import running
from tests.actors import environment, until
from tests.conftest import Figure
from tests.crowd import token
from tests.running import HOST, Nginx, Proxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        running.nginx() is None or shutil.which("slowhttptest") is None,
        reason="nginx or slowhttptest is missing: apt-get install nginx-light slowhttptest",
    ),
]

SLOW = 2_000
POSTS = 500
# The machine is others' too, and what they do in one of the rounds does not decide.
ROUNDS = 3
# What the operator's own nginx.conf has room for (docs/security.md), and what the control has.
ROOM, NO_ROOM = 8_192, 256


@contextmanager
def site(folder: Path, *, room: int) -> Iterator[Nginx]:
    """Serve a site whose nginx has *room* for so many connections."""
    env = environment(folder / "store", "http://127.0.0.1:9")
    with Proxy(env, "--web-only") as proxy:
        nginx = Nginx(folder, proxy=proxy.address)
        conf = folder / "nginx.conf"
        wanted = f"worker_connections {room};"
        frame = conf.read_text().replace(f"worker_connections {NO_ROOM};", wanted)
        assert wanted in frame
        conf.write_text(f"worker_rlimit_nofile {2 * room};\n{frame}")
        with nginx:
            yield nginx


@contextmanager
def slow_clients(nginx: Nginx, kind: str) -> Iterator[None]:
    """Have slowhttptest hold connections open meanwhile, whose headers or bodies trickle."""
    command = ["slowhttptest", kind, "-c", str(SLOW), "-r", "1000", "-i", "4", "-l", "120"]
    command += ["-s", "8192", "-t", "POST", "-x", "24", "-p", "5", "-u", f"{nginx.url}/co/state"]
    # nginx cuts them off, and when all are gone it ends: then they come again.
    again = ["sh", "-c", 'while :; do "$@"; done', "sh", *command]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(again, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        until(lambda: connections(process.pid) > SLOW / 20, timeout=60)
        # All of them have come, or as many as are let in.
        until(lambda: connections(process.pid) >= SLOW or settled(process.pid), timeout=60)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connections(pid: int) -> int:
    """Return how many files, which are sockets, the children of the process *pid* have open."""
    many = 0
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):
            many += child.num_fds()
    return many


def settled(pid: int) -> bool:
    before = connections(pid)
    time.sleep(2)  # It is another program's doing, which tells nobody when it is done.
    return connections(pid) <= before


def p99(nginx: Nginx, ids: list[str]) -> float:
    """Return the 99th percentile, in seconds, of posts that are shoppers' one after the other.

    Each has a connection of its own, with TLS from the start. Its id goes into *ids* once it is
    accepted; whoever is not answered within five seconds counts as five.
    """
    took = []
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    for number in range(POSTS):
        id_ = uuid4().hex
        began = time.perf_counter()
        if accepted(nginx, context, id_, number):
            ids.append(id_)
            took.append(time.perf_counter() - began)
        else:
            took.append(5.0)
            if took.count(5.0) > POSTS / 50:
                break  # It is decided.
    return sorted(took)[ceil(len(took) * 0.99) - 1]


def accepted(nginx: Nginx, context: ssl.SSLContext, id_: str, number: int) -> bool:
    body = json.dumps({"token": token("c-1"), "id": id_})
    headers = {"Host": HOST, "X-Test-Address": f"198.51.{number % 200}.7", "Connection": "close"}
    address = nginx.url.removeprefix("https://").replace("127.0.0.1", "localhost")
    with closing(HTTPSConnection(address, timeout=5, context=context)) as connection:
        try:
            connection.request("POST", "/co/state", body, headers)
            return connection.getresponse().status == 202
        except OSError:
            return False


@pytest.mark.parametrize("kind", ["-H", "-B"], ids=["headers", "bodies"])
def test_good_clients_hardly_notice_two_thousand_slow_ones(
    tmp_path: Path, kind: str, figure: Figure
) -> None:
    ids: list[str] = []
    with site(tmp_path, room=ROOM) as nginx:
        p99(nginx, ids)  # It has come to its speed after this.
        rounds = [one_round(nginx, kind, ids) for _ in range(ROUNDS)]
    calm, besieged = (median(times) for times in zip(*rounds, strict=True))

    name = {"-H": "headers", "-B": "bodies"}[kind]
    figure(f"p99 beside {SLOW:,} slow {name}", f"{besieged * 1e3:.1f} ms", f"{2e3 * calm:.1f} ms")
    assert besieged <= 2 * calm
    with closing(Store.of("shop", f"sqlite:///{tmp_path / 'store'}").inboxes("shop")) as inboxes:
        assert set(ids) <= {row.id for row in inboxes.after({}, 10_000)}
    assert len(ids) == (1 + 2 * ROUNDS) * POSTS


def one_round(nginx: Nginx, kind: str, ids: list[str]) -> tuple[float, float]:
    """Return the 99th percentile in calm, and under siege right after it."""
    calm = p99(nginx, ids)
    with slow_clients(nginx, kind):
        return calm, p99(nginx, ids)


def test_control_an_nginx_without_room_for_them_is_noticed(tmp_path: Path) -> None:
    with site(tmp_path, room=NO_ROOM) as nginx:
        calm = p99(nginx, [])
        with slow_clients(nginx, "-H"):
            besieged = p99(nginx, [])

    assert besieged > 2 * calm
