"""App: what becomes of a request that nobody foresaw."""

import subprocess
import sys
from pathlib import Path

import pytest
from flask import request

from proxy import shops
from proxy.app import create_app


def test_a_bug_is_a_problem_and_tells_nobody_whom_it_was_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"TOKEN_KEYS": "a-key", "SHOP_KEY": "a-shop-key", "STORE": f"sqlite:///{tmp_path}"}
    app = create_app(shops.read({f"CHECKOUT_PROXY_{name}": text for name, text in environ.items()}))

    def bug() -> str:
        raise LookupError(request.args["email"])

    app.add_url_rule("/bug", view_func=bug)
    answer = app.test_client().get("/bug?email=jane@shop-demo.io")

    assert answer.status_code == 500
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["type"] == "urn:checkout-proxy:internal"
    assert "LookupError" in caplog.text
    assert "jane" not in answer.get_data(as_text=True) + caplog.text


def test_a_web_worker_is_without_what_only_the_sender_needs() -> None:
    heavy = {"sqlalchemy", "alembic", "requests", "psycopg", "proxy.delivery", "proxy.sandbox"}
    code = "import proxy.cli, proxy.server, proxy.app, sys; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert "proxy.collect" in loaded
    assert not heavy & set(loaded)
