"""The examples in docs/tokens.md, run by their own languages."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from flask import Flask
from werkzeug.serving import make_server

from proxy import shop
from proxy.counts import Counts
from proxy.errors import Unauthorized
from proxy.facts import Fact
from proxy.tokens import Session, Tokens
from tests.running import NODE

_HERE = Path(__file__).parent
_DOCUMENT = (_HERE.parent / "docs" / "tokens.md").read_text(encoding="utf-8")
_EXAMPLES = dict(re.findall(r"^```(\w+)\n(.*?)^```$", _DOCUMENT, re.DOTALL | re.MULTILINE))

Mint = Callable[..., str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A token and all that it is made of; ``session`` is the exact text that is signed."""

    name: str
    key: str
    time: int
    session: str
    token: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How a language runs a file, and the lines that hand stdin's JSON array to its example."""

    interpreter: str
    suffix: str
    harness: str


_LANGUAGES = {
    "python": Language(
        interpreter=sys.executable,
        suffix=".py",
        harness="import sys; print(checkout_token(*json.load(sys.stdin.buffer)))",
    ),
    "js": Language(
        interpreter=str(NODE),
        suffix=".mjs",
        harness='import { readFileSync } from "node:fs";'
        "console.log(checkoutToken(...JSON.parse(readFileSync(0))));",
    ),
    "php": Language(
        interpreter="php",
        suffix=".php",
        harness="echo checkout_token(...json_decode(file_get_contents('php://stdin'), true));",
    ),
    "ruby": Language(
        interpreter="ruby",
        suffix=".rb",
        harness="puts checkout_token(*JSON.parse($stdin.binmode.read))",
    ),
}
_VECTORS = msgspec.json.decode(
    (_HERE / "vectors" / "tokens.json").read_bytes(), type=tuple[Vector, ...]
)

_TOKENS = Tokens(["a-key"], shop="shop", max_age=timedelta(minutes=1))

every_language = pytest.mark.parametrize("language", _LANGUAGES)
every_vector = pytest.mark.parametrize("vector", _VECTORS, ids=str)


@every_vector
@every_language
def test_every_language_mints_the_same_token(mint: Mint, language: str, vector: Vector) -> None:
    token = mint(language, vector.session, vector.key, vector.time)

    assert token == vector.token


@every_vector
@every_language
def test_a_token_minted_elsewhere_is_read_as_the_session_it_was_minted_from(
    mint: Mint, language: str, vector: Vector
) -> None:
    token = mint(language, vector.session, vector.key, vector.time)

    assert _read(token, vector) == _session(vector)


@every_language
def test_a_token_is_signed_now_where_no_time_is_given(mint: Mint, language: str) -> None:
    token = mint(language, '{"shop":"shop","cart_id":"c-1001"}', "a-key")

    assert _TOKENS.read(token, datetime.now(UTC)) == Session(shop="shop", cart_id="c-1001")


@every_vector
def test_a_stored_token_is_read_as_the_session_beside_it(vector: Vector) -> None:
    assert _read(vector.token, vector) == _session(vector)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["session", "time", "signature"])
@every_vector
def test_a_token_that_was_altered_is_refused(vector: Vector, part: int) -> None:
    parts = vector.token.split(".")
    parts[part] = ("B" if parts[part].startswith("A") else "A") + parts[part][1:]

    with pytest.raises(Unauthorized) as refusal:
        _read(".".join(parts), vector)

    assert refusal.value.code == "token-forged"


def test_the_session_shown_is_one_that_the_proxy_reads(mint: Mint) -> None:
    session = _TOKENS.read(mint("python", _EXAMPLES["json"], "a-key"), datetime.now(UTC))

    assert session == msgspec.json.decode(_EXAMPLES["json"], type=Session)


def test_curl_is_given_a_token_by_the_proxy(sessions: str) -> None:
    environ = {"PROXY": sessions, "SHOP_KEY": "the-shops-key"}

    answer = json.loads(_run(["bash"], _EXAMPLES["bash"], environ))

    assert sorted(answer) == ["expires_at", "token"]
    assert _TOKENS.read(answer["token"], datetime.now(UTC)).cart_id == "c-1001"


@pytest.fixture(scope="module")
def mint(tmp_path_factory: pytest.TempPathFactory) -> Mint:
    """Return a function that mints by the example of a language, once for the same arguments."""
    folder = tmp_path_factory.mktemp("examples")

    @cache
    def run(name: str, session: str, *key_and_time: str | int) -> str:
        language = _LANGUAGES[name]
        if shutil.which(language.interpreter) is None:
            pytest.skip(f"{language.interpreter} is not installed: its example was not run")
        script = (folder / name).with_suffix(language.suffix)
        script.write_text(_EXAMPLES[name] + language.harness, encoding="utf-8")
        arguments = ",".join([session, *map(json.dumps, key_and_time)])
        return _run([language.interpreter, str(script)], f"[{arguments}]")

    return run


@pytest.fixture
def sessions() -> Iterator[str]:
    """Serve the surface for the shop's server, which needs no store to sign, and say where."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: its example was not run")
    facts: list[Fact] = []
    counter = shop.Surface(
        key="the-shops-key",
        tokens=_TOKENS,
        shop="shop",
        append=facts.append,
        now=lambda: datetime.now(UTC),
        counts=Counts("shop", facts.append, lambda: datetime.now(UTC)),
    )
    app = Flask(__name__)
    app.register_blueprint(shop.blueprint([counter]))
    server = make_server("127.0.0.1", 0, app)
    Thread(target=server.serve_forever, args=(0.01,)).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()


def _run(command: list[str], stdin: str, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        input=stdin.encode(),
        env={**os.environ, **(environ or {})},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode().strip()


def _session(vector: Vector) -> Session:
    return msgspec.json.decode(vector.session, type=Session)


def _read(token: str, vector: Vector) -> Session:
    tokens = Tokens([vector.key], shop=_session(vector).shop, max_age=timedelta(hours=24))
    return tokens.read(token, datetime.fromtimestamp(vector.time, UTC))
