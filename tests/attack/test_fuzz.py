"""Fuzz: whatever is posted, the answer is one that was promised, and never a failure of ours."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import schemathesis
from flask import Flask, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.serving import make_server

from proxy import shops
from proxy.app import create_app
from proxy.openapi import document
from tests.running import Proxy
from tests.web import ORIGIN, SHOP_KEY, TOKEN_KEY, Web, served, token

DOCUMENT = document("/co", guests=True)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SETTINGS = {
    "GUESTS": "on",
    "CARTS": "medusa",
    "CARTS_URL": "https://medusa.example",
    "CARTS_KEY": "a-key-that-reads-carts",
}
HEADERS = {"Authorization": f"Bearer {SHOP_KEY}", "Origin": ORIGIN}


@schemathesis.serializer("text/plain")
def _as_json(context: object, value: Any) -> bytes:
    """Write what the page sends: JSON, by a name that needs no preflight."""
    return json.dumps(value).encode()


def fuzz(operation: Any, url: str, examples: int, checks: Any = CHECKS) -> None:
    """Ask *url* for *operation* with what its schema allows, and with what it does not."""

    @settings(USUAL, max_examples=examples)
    @given(case=valid(operation) | invalid(operation))
    def answered_as_promised(case: Any) -> None:
        # Else nothing comes past the token.
        if isinstance(case.body, dict) and "token" in case.body:
            case.body["token"] = token()
        answer = case.call(base_url=url, headers=HEADERS)
        case.validate_response(answer, checks=checks)
        assert "Traceback" not in answer.text

    answered_as_promised()


USUAL = settings(suppress_health_check=list(HealthCheck), deadline=None, database=None)


def valid(operation: Any) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: operation.as_strategy())


def invalid(operation: Any) -> st.SearchStrategy[Any]:
    mode = schemathesis.GenerationMode.NEGATIVE
    return st.deferred(lambda: operation.as_strategy(generation_mode=mode))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with served(tmp_path_factory.mktemp("fuzz"), **SETTINGS) as web:
        yield web


def test_the_description_is_served_to_everybody(one: Web) -> None:
    answer = one.ask("GET", "/v1/openapi.json")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(DOCUMENT))


def test_everything_that_one_may_send_is_described(tmp_path: Path) -> None:
    settings = SETTINGS | {"TOKEN_KEYS": TOKEN_KEY, "STORE": f"sqlite:///{tmp_path}"}
    environ = {f"CHECKOUT_PROXY_{name}": text for name, text in settings.items()}

    app = create_app(shops.read(environ))

    served = {
        (method.lower(), rule.rule.replace("<cart_id:cart_id>", "{cart_id}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if rule.rule.startswith(("/v1/", "/co/"))
    }
    assert served == {
        (method, path) for path in DOCUMENT["paths"] for method in DOCUMENT["paths"][path]
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_sent_is_answered_as_promised(one: Web, operation: Any) -> None:
    fuzz(operation, one.url, examples=8)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_real_server_answers_as_promised(tmp_path: Path, operation: Any) -> None:
    env = {"TOKEN_KEYS": TOKEN_KEY, "SHOP_KEY": SHOP_KEY, "ORIGINS": ORIGIN, **SETTINGS}
    env |= {"KLAVIYO_KEY": "pk_none", "STORE": f"sqlite:///{tmp_path}"}
    with Proxy({f"CHECKOUT_PROXY_{name}": text for name, text in env.items()}, "--web-only") as it:
        fuzz(operation, it.url, examples=300)

        assert "Traceback" not in it.log
        assert "a request failed" not in it.log


@contextmanager
def careless() -> Iterator[str]:
    """Serve orders as they are often taken, and yield the URL."""
    app = Flask(__name__)

    @app.post("/v1/orders")
    def order() -> tuple[dict[str, str], int]:
        return {"status": request.get_json()["cart_id"].lower() and "accepted"}, 202

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_control_a_view_that_trusts_its_body_is_noticed() -> None:
    (orders,) = (each for each in OPERATIONS if each.label == "POST /v1/orders")

    with careless() as url, pytest.raises(BaseExceptionGroup, match="Server error"):
        # As many as it takes: it ends with the first.
        fuzz(orders, url, examples=1000, checks=[not_a_server_error])
