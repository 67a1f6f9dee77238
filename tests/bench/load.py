"""Load: the same requests for every contender, sent by wrk."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from proxy.facts import Customer
from tests.bench.fetch import program
from tests.web import ORIGIN, token

CONNECTIONS = 32

_SCRIPT = Path(__file__).with_name("state.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk saw: answers a second, the quantiles of their times, and what failed."""

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float
    failed: int


def send(url: str, seconds: float) -> Load:
    """Post states to *url* over 32 connections for *seconds* (at least one)."""
    command = [program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s"]
    command += ["-s", f"{_SCRIPT}", f"{url}/co/state", "--", uuid4().hex[:8], body()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    saw = json.loads(done.stdout.splitlines()[-1])
    answered = saw["requests"] - saw["refused"]
    assert answered, f"every request to {url} was refused: {done.stdout}"
    return Load(
        requests=answered,
        rps=answered / saw["seconds"],
        p50_ms=saw["p50_ms"],
        p99_ms=saw["p99_ms"],
        failed=saw["refused"] + saw["broken"],
    )


def body() -> str:
    """Return a state such as the page posts, with ``@ID@`` where each has an id of its own."""
    state = {
        "id": "@ID@",
        "token": token("c-1001", customer=Customer(external_id="4711", email="jane@shop-demo.io")),
        "email": "jane.doe@shop-demo.io",
        "phone_number": "+4930123456",
        "first_name": "Jane",
        "last_name": "Doe",
        "consent": {"state": "granted", "source": "cookiebot"},
        "kx": "f3Jk0aLxQm7vB2nYtR9sWc5dEz1uHp8g.SITEID",
        "checkout_url": f"{ORIGIN}/checkout/onepage?step=address",
        "locale": "de-AT",
        "claimed": {"value": "49.90", "currency": "EUR"},
        "age_ms": 12,
    }
    return json.dumps(state, separators=(",", ":"))
