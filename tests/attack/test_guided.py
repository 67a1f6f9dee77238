"""Guided fuzzing: no input that was bred for it breaks the parsers of tokens and bodies."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from proxy.tokens import Session
from tests.actors import CART
from tests.attack.forgery import TOKENS
from tests.conftest import Figure

pytestmark = pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine"
)

PARSERS = ["token", "claimed", "signed", "state", "bodies"]
SEEDS = [
    TOKENS.sign(Session(shop="shop", cart_id="c-1")),
    '{"shop":"shop","cart_id":"c-1","customer":{"email":"jane@shop.com"},"ref":"r"}',
    json.dumps({"token": "a.b.c", "email": "jane@shop.com", "claimed": {"value": "1.50"}}),
    json.dumps({"token": "a.b.c", "consent": {"state": "granted"}, "age_ms": 1e3, "id": "p-1"}),
    json.dumps({"token": "a.b.c", "checkout_url": "https://shop.example/pay?_kx=a.b&x=1#here"}),
    json.dumps(CART),
    '{"cart_id":"c-1","order_id":17,"placed_at":"2026-11-26T08:00:00Z"}',
]


def bred(target: str, folder: Path, runs: int) -> "subprocess.CompletedProcess[str]":
    """Return how *target* fared with *runs* inputs."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / f"{number}").write_text(seed)
    command = [sys.executable, "-m", "tests.attack.guided", target, str(corpus)]
    options = [f"-runs={runs}", "-max_len=2048", f"-artifact_prefix={folder}/", "-timeout=10"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_no_input_that_is_signed_breaks_the_parser_of_tokens(tmp_path: Path) -> None:
    done = bred("signed", tmp_path, runs=2_000)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("target", PARSERS)
def test_no_input_of_a_million_breaks_a_parser(tmp_path: Path, target: str, figure: Figure) -> None:
    done = bred(target, tmp_path, runs=1_000_000)

    figure(f"bred inputs, {target}", "1,000,000", "none breaks it")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_control_a_parser_that_trusts_its_input_breaks(tmp_path: Path) -> None:
    done = bred("trusting", tmp_path, runs=2_000)

    assert done.returncode != 0
    assert "Uncaught Python exception" in done.stdout + done.stderr
