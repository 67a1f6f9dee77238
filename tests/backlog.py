"""Backlog: checkouts that have been due for long, and the real sender working them off."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from proxy.carts.cart import Cart, LineItem
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.facts import CartPushed, StatePosted
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from proxy.store.received import Received
from tests.actors import KLAVIYO_KEY, environment, until
from tests.books import written
from tests.running import ours
from tests.said import received

_RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
_TEA = LineItem(
    product_id="tea-1",
    sku="TEA-1",
    name="Green tea",
    quantity=Decimal(2),
    unit_price=Decimal("24.95"),
    row_total=Decimal("49.90"),
    product_url="https://shop-demo.io/tea",
    image_url="https://shop-demo.io/tea.jpg",
    categories=("Tea",),
)
_CART = Cart(currency="EUR", total=Decimal("99.80"), items=(_TEA, _TEA), version=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How a backlog was worked off: what the sender needed, and what Klaviyo saw."""

    events_per_s: float
    cpu_us_per_event: float
    max_rss_mb: float
    counted: int
    twice: int
    throttled: int


def lay_up(store: Store, count: int, **more: Any) -> None:
    """Leave *count* due checkouts in *store*, as a sender does that Klaviyo does not answer.

    *more* is what their pages say besides.
    """
    store.migrate()
    said = _said(count, more)
    with closing(written(store)) as book:
        while batch := list(islice(said, 1_000)):
            book.take_in(batch, _RULES)


def _said(count: int, more: dict[str, Any]) -> Iterator[Received]:
    began = datetime.now(UTC) - timedelta(hours=1)
    for number in range(count):
        about: dict[str, Any] = {"shop": "shop", "cart_id": f"c-{number}"}
        at = began + timedelta(microseconds=number)
        cart = CartPushed(id=f"p-{number}", received_at=at, cart=_CART, **about)
        email = f"jane.{number}@shop-demo.io"
        state = StatePosted(
            id=f"s-{number}", received_at=at, acted_at=at, email=email, **about, **more
        )
        for seq, fact in enumerate((cart, state), 2 * number + 1):
            yield received(fact, seq, inbox="an-inbox-that-is-gone")


def drain(
    folder: Path, count: int, *, throttled: bool, patience: float = 1_800, **settings: str
) -> Drained:
    """Let ``checkout-proxy work`` send what :func:`lay_up` left in *folder*, under *settings*."""
    with _klaviyo(throttled) as (url, ask):
        env = ours(environment(folder, url, **{"SETTLE": "0", **settings}))
        command = [sys.executable, "-m", "proxy", "work"]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as worker:
            process = psutil.Process(worker.pid)
            until(lambda: ask("counted"), timeout=60)
            began, cpu, first = time.monotonic(), _cpu(process), ask("counted")
            until(lambda: ask("counted") >= count, timeout=patience)
            took, used = time.monotonic() - began, _cpu(process) - cpu
            peak = _peak_mb(worker.pid)
            worker.terminate()
        return Drained(
            events_per_s=(count - first) / took,
            cpu_us_per_event=used / (count - first) * 1e6,
            max_rss_mb=peak,
            counted=ask("counted"),
            twice=ask("accepted") - ask("counted"),
            throttled=ask("throttled"),
        )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


# -- a Klaviyo in a process of its own ---------------------------------------------------


class _Ask:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, what: str) -> int:
        self._pipe.send(what)
        answer: int = self._pipe.recv()
        return answer


@contextmanager
def _klaviyo(throttled: bool) -> Iterator[tuple[str, _Ask]]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, throttled), daemon=True)
    process.start()
    try:
        yield here.recv(), _Ask(here)
    finally:
        process.kill()
        process.join()
        here.close()


def _serve(pipe: Connection, throttled: bool) -> None:
    with Klaviyo(key=KLAVIYO_KEY, throttled=throttled).serve() as klaviyo:
        pipe.send(klaviyo.url)
        while True:
            match pipe.recv():
                case "counted":
                    pipe.send(len(klaviyo.events))
                case "accepted":
                    pipe.send(len(klaviyo.accepted))
                case _:
                    pipe.send(sum(request.status == 429 for request in klaviyo.requests))
