"""The examples for any backend, run by their own languages against a real proxy."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask, request

from proxy.sandbox.shop import serve
from tests.actors import CART, until
from tests.push.conftest import Pushed, run
from tests.running import NODE, ROOT

EXAMPLES = ROOT / "docs/examples/push/generic"
# They call what standard input names, one after the other.
HARNESSES = {
    "python": [
        sys.executable,
        "-c",
        "import json, sys, push\n"
        "for verb, noun, *rest in json.load(sys.stdin): getattr(push, f'{verb}_{noun}')(*rest)",
    ],
    "node": [
        f"{NODE}",
        "--input-type=module",
        "-e",
        f'import * as push from "{EXAMPLES}/push.mjs"; import {{ readFileSync }} from "node:fs";'
        "for (const [verb, noun, ...rest] of JSON.parse(readFileSync(0, 'utf8')))"
        "  await push[verb + noun[0].toUpperCase() + noun.slice(1)](...rest);",
    ],
}

Example = Callable[..., str]


@pytest.fixture(params=HARNESSES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Example:
    """Return a function that runs calls by an example, and returns what it complained about."""

    def call(url: str, key: str, *calls: list[Any]) -> str:
        settings = {"CHECKOUT_PROXY_URL": url, "CHECKOUT_PROXY_SHOP_KEY": key}
        # Python warns of what its owner has to know, and keeps no bytecode beside the example.
        python = {"PYTHONPATH": f"{EXAMPLES}", "PYTHONDONTWRITEBYTECODE": "1"}
        return run(HARNESSES[request.param], calls, settings | python, tmp_path)[1]

    return call


@pytest.fixture
def told(example: Example, pushed: Pushed) -> Callable[..., str]:
    """Return a function that tells the proxy."""
    shop = pushed.shop_settings
    url, key = shop["CHECKOUT_PROXY_URL"], shop["CHECKOUT_PROXY_SHOP_KEY"]
    return lambda *calls: example(url, key, *calls)


@pytest.fixture
def cart_id() -> str:
    """Return one that needs to be quoted in a path."""
    return f"cärt/{uuid4().hex}?1"


def test_a_cart_arrives(told: Callable[..., str], pushed: Pushed, cart_id: str) -> None:
    assert told(["push", "cart", cart_id, CART]) == ""

    cart = pushed.wait(cart_id, "20.00")
    assert cart["items"][0]["name"] == "Green tea"
    assert cart["updated_at"]


def test_an_older_cart_that_comes_later_does_not_count(
    told: Callable[..., str], pushed: Pushed, cart_id: str
) -> None:
    old = CART | {"total": "10.00", "updated_at": "2026-01-01T00:00:00Z"}

    told(["push", "cart", cart_id, CART], ["push", "cart", cart_id, old])

    until(lambda: pushed.story(cart_id).count("cart pushed") == 2)
    assert pushed.wait(cart_id, "20.00")


def test_a_cart_is_taken_away(told: Callable[..., str], pushed: Pushed, cart_id: str) -> None:
    told(["push", "cart", cart_id, CART])
    pushed.wait(cart_id, "20.00")

    assert told(["delete", "cart", cart_id]) == ""

    pushed.wait_for_none(cart_id)


def test_an_order_forgets_the_cart(told: Callable[..., str], pushed: Pushed, cart_id: str) -> None:
    told(["push", "cart", cart_id, CART])
    pushed.wait(cart_id, "20.00")

    assert told(["push", "order", cart_id, uuid4().hex]) == ""

    pushed.wait_for_none(cart_id)


def test_a_cart_that_is_refused_is_complained_about(told: Callable[..., str], cart_id: str) -> None:
    complaint = told(["push", "cart", cart_id, CART | {"totl": "1.00"}])

    assert "totl" in complaint


def test_a_proxy_that_is_down_is_complained_about(example: Example) -> None:
    complaint = example("http://127.0.0.1:1", "a-key", ["push", "cart", "c-1", CART])

    assert "checkout-proxy was not told: PUT /v1/carts/c-1" in complaint


@dataclass
class Moody:
    """A proxy that gives the answers it was told to, the last of them for ever."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@pytest.fixture
def moody() -> Iterator[Moody]:
    """Serve one."""
    moody = Moody()
    app = Flask("moody")

    @app.put("/v1/carts/<cart_id>")
    def put(cart_id: str) -> tuple[str, int]:
        moody.bodies.append(request.get_data())
        return "", moody.answers.pop(0) if len(moody.answers) > 1 else moody.answers[0]

    with serve(app) as moody.url:
        yield moody


@pytest.mark.parametrize(
    ("answers", "tries"),
    [([503, 204], 2), ([429, 204], 2), ([503], 2), ([422], 1), ([401], 1)],
    ids=str,
)
def test_it_tries_twice_where_that_may_help(
    example: Example, moody: Moody, answers: list[int], tries: int
) -> None:
    moody.answers = list(answers)

    complaint = example(moody.url, "a-key", ["push", "cart", "c-1", CART])

    assert len(moody.bodies) == tries
    assert len(set(moody.bodies)) == 1
    assert (complaint == "") is (answers[-1] == 204)
