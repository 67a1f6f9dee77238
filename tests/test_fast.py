"""Fast: whichever way a request goes, it is answered in the same words."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import collect, shops
from proxy.app import create_app
from tests.actors import UNLIMITED
from tests.running import Proxy
from tests.web import ORIGIN, SHOP_KEY, TOKEN_KEY, Web, served, token

OTHER_ORIGIN = "https://m.shop.example"
TWO_ORIGINS = f"{ORIGIN},{OTHER_ORIGIN}"
USUAL = {"Content_Type": "text/plain;charset=UTF-8", "Origin": ORIGIN}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Web]]:
    """Serve the same twice: the fast way open, and closed."""
    with ExitStack() as stack:
        yield tuple(  # type: ignore[misc]
            stack.enter_context(
                served(tmp_path_factory.mktemp(fast) / "store", FAST=fast, ORIGINS=TWO_ORIGINS)
            )
            for fast in ("on", "off")
        )


def exchanged(url: str, request: bytes, *, says_when_done: bool = True) -> bytes:
    """Send the bytes of *request* and return the bytes of the answer, without its date."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request.replace(b"{host}", f"{host}:{port}".encode()))
        if says_when_done:
            connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    lines = answer.replace(f":{port}".encode(), b":port").split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"date: "))


def written(
    body: bytes, *, method: str = "POST", path: str = "/co/state", **headers: str | None
) -> bytes:
    """Return the bytes of a request."""
    usual = {"Host": "{host}", "Connection": "close", "Content_Length": str(len(body))}
    sent = {**usual, **USUAL, **headers}
    lines = [
        f"{name.replace('_', '-')}: {value}" for name, value in sent.items() if value is not None
    ]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


STATE = json.dumps({"token": token(), "id": "post-1", "email": "jane@shop.com"}).encode()


# -- the same answer ---------------------------------------------------------------------

# Mostly what is usual, so that what is not is met in all company.
tokens = st.sampled_from([token()] * 6 + [token("c-2"), "c-1", "a.b.c", token() + "x", "", 17])
values: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["post-1", "a/b", "", None]),
    "email": st.sampled_from(["jane@shop.com", "jane@", "jane@shöp.de", " ", None]) | st.text(),
    "phone_number": st.sampled_from(["+4930123456", "none", None]),
    "kx": st.sampled_from(["abc", "a b"]),
    "consent": st.sampled_from(["granted", "perhaps", {"state": "denied"}, {}]),
    "claimed": st.sampled_from([{"value": "1.00", "currency": "EUR"}, {"value": "1e15"}, "1"]),
    "checkout_url": st.sampled_from([f"{ORIGIN}/checkout", "https://evil.example/", "https://["]),
    "age_ms": st.sampled_from([0, 12, -1, 1e300, "12"]),
}
states = st.fixed_dictionaries({"token": tokens}, optional=values)
bodies = st.one_of(
    states.map(lambda state: json.dumps(state).encode()),
    st.sampled_from([b"", b"{", b"null", b"[]", b"\xff", b" " * 16_384, b"x" * 16_385]),
    st.binary(),
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content_Type": st.sampled_from(
            [
                None,
                "",
                "text/plain",
                "TEXT/PLAIN",
                "text/plain; charset=utf-8",
                "text/plain;charset=utf-16",
                "application/json",
                "application/json; charset=UTF-8",
                "text/html",
                "multipart/form-data",
                ";",
                "text/plain, text/html",
            ]
        ),
        "Content_Length": st.sampled_from(["0", "00", "1", "9999"]),
        "Origin": st.sampled_from(
            [None, "", "null", ORIGIN, ORIGIN.upper(), OTHER_ORIGIN, "https://evil.example", "["]
        ),
        "Host": st.sampled_from(
            ["", "shop.example", "shop.example:80", "a b", "[::1]:80", "é", "/"]
        ),
        "Sec_GPC": st.sampled_from(["1", "0"]),
        "Transfer_Encoding": st.just("chunked"),
        "Access_Control_Request_Private_Network": st.sampled_from(["true", "false"]),
        "Access_Control_Request_Method": st.just("POST"),
        "X_Http_Method_Override": st.just("GET"),
        "Cookie": st.just("session=x"),
    },
)
methods = st.sampled_from(["POST"] * 6 + ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "post"])
paths = st.sampled_from(
    ["/co/state"] * 6
    + ["/co/state/", "/co//state", "/co/state?x=1", "/co/state?", "/co/%73tate", "/CO/state", "/co"]
)


@settings(max_examples=300)
@given(body=bodies, headers=headers, method=methods, path=paths)
def test_a_request_is_answered_the_same_whichever_way_it_goes(
    both: tuple[Web, Web], body: bytes, headers: dict[str, str | None], method: str, path: str
) -> None:
    request = written(body, method=method, path=path, **headers)

    fast, slow = (exchanged(web.url, request) for web in both)

    assert fast == slow
    assert not fast.startswith(b"HTTP/1.1 5"), fast


@pytest.mark.parametrize("origin", [ORIGIN, OTHER_ORIGIN, None])
@pytest.mark.parametrize("time", ["the first time", "again"])
def test_an_accepted_state_is_answered_to_the_byte_as_by_flask(
    both: tuple[Web, Web], origin: str | None, time: str
) -> None:
    fast, slow = (exchanged(web.url, written(STATE, Origin=origin)) for web in both)

    assert b"202 ACCEPTED" in fast
    assert fast == slow


def test_an_answer_that_differs_in_one_header_would_be_noticed(
    both: tuple[Web, Web], tmp_path: Path
) -> None:
    with served(tmp_path / "store", FAST="on", ORIGINS=ORIGIN) as other:
        answer = exchanged(other.url, written(STATE))

    assert answer != exchanged(both[1].url, written(STATE))
    assert answer == exchanged(both[1].url, written(STATE)).replace(b"Vary: Origin\r\n", b"")


def test_what_is_kept_is_the_same_whichever_way_it_came(both: tuple[Web, Web]) -> None:
    kept = []
    for web in (web.from_now_on() for web in both):
        exchanged(web.url, written(STATE, Sec_GPC="1"))
        [fact] = web.facts()
        kept.append({"id": fact.id, "gpc": getattr(fact, "gpc", None), "cart": fact.cart_id})

    assert kept == [{"id": "post-1", "gpc": True, "cart": "c-1"}] * 2


# -- on the real server ------------------------------------------------------------------


def test_the_real_server_answers_the_same_whichever_way_it_goes(tmp_path: Path) -> None:
    asked = [
        written(STATE),
        written(STATE, Origin=None),
        written(b"{}"),
        written(b"x" * 16_385),
        written(STATE, Origin="https://evil.example"),
        written(b"5\r\n{\"a\":\r\n3\r\n 1}\r\n0\r\n\r\n", Content_Length=None,
                Transfer_Encoding="chunked"),
        written(STATE, method="PUT"),
        written(STATE, Expect="100-continue"),
    ]  # fmt: skip

    answers = []
    for fast in ("on", "off"):
        # One seed for both, or the methods in Allow stand in another order.
        environ = _environ(tmp_path / fast, fast) | {"PYTHONHASHSEED": "0"}
        with Proxy(environ, "--web-only", "--workers", "1") as proxy:
            # To granian a client that closes its half is one that is gone.
            answers.append([exchanged(proxy.url, it, says_when_done=False) for it in asked])

    assert answers[0] == answers[1]
    statuses = [int(answer.rpartition(b"HTTP/1.1 ")[2][:3]) for answer in answers[0]]
    assert statuses == [202, 202, 422, 413, 403, 422, 405, 202]


def test_a_body_that_comes_in_pieces_is_waited_for(tmp_path: Path) -> None:
    request = written(STATE, Host="shop.example")
    with (
        Proxy(_environ(tmp_path, "on"), "--web-only", "--workers", "1") as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for end in (-len(STATE), -20, -10):
            connection.sendall(request[:end])
            request = request[end:]
            requests.get(f"{proxy.url}/healthz", timeout=30)  # so long a pause
        connection.sendall(request)

        assert connection.recv(65_536).startswith(b"HTTP/1.1 202 ")


# -- which way it goes -------------------------------------------------------------------


def test_the_usual_state_does_without_flasks_dispatch(tmp_path: Path) -> None:
    assert _dispatched(_app(tmp_path, "on"), 5) == 0


def test_the_fast_way_can_be_closed(tmp_path: Path) -> None:
    assert _dispatched(_app(tmp_path, "off"), 5) == 5


def _dispatched(app: Flask, states: int) -> int:
    """Post so many states, and return how often Flask was asked."""
    asked = []
    app.before_request(lambda: asked.append(1))
    for _ in range(states):
        answer = app.test_client().post("/co/state", data=STATE, content_type="text/plain")
        assert answer.status_code == 202
    return len(asked)


# -- when it goes wrong ------------------------------------------------------------------


@pytest.mark.parametrize("fast", ["on", "off"])
def test_a_state_that_cannot_be_kept_is_tried_once(
    tmp_path: Path, fast: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served(tmp_path / "store", FAST=fast) as web:
        web.post_state(STATE)
        with closing(sqlite3.connect(web.store.folder / "inbox-0.db")) as disk:
            disk.execute(
                "CREATE TRIGGER full BEFORE INSERT ON inbox BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
            answer = web.post_state(STATE, Origin=ORIGIN)
        tries = caplog.text.count("cannot be written")  # What was counted is to be written, too.

    assert (answer.status, answer.code) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert tries == 1


def test_a_bug_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(*_: object) -> None:
        raise LookupError(STATE.decode())

    app = _app(tmp_path, "on")
    monkeypatch.setattr(collect, "keep", bug)
    answer = app.test_client().post("/co/state", data=STATE, content_type="text/plain")

    assert answer.status_code == 500
    assert answer.get_json()["type"] == "urn:checkout-proxy:internal"
    assert "LookupError" in caplog.text
    assert "jane" not in caplog.text


def _app(folder: Path, fast: str) -> Flask:
    return create_app(shops.read(_environ(folder, fast)))


def _environ(folder: Path, fast: str) -> dict[str, str]:
    return {
        "CHECKOUT_PROXY_TOKEN_KEYS": TOKEN_KEY,
        "CHECKOUT_PROXY_SHOP_KEY": SHOP_KEY,
        "CHECKOUT_PROXY_ORIGINS": ORIGIN,
        "CHECKOUT_PROXY_STORE": f"sqlite:///{folder}",
        "CHECKOUT_PROXY_FAST": fast,
        "CHECKOUT_PROXY_BUDGETS": UNLIMITED["BUDGETS"],
    }
