"""CORS: which page may post, and read the answer, to the header: a table without a gap."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask_cors import CORS
from werkzeug.serving import make_server

from proxy.store import Store
from tests.web import Web, token

LISTED, SECOND = "https://shop.example", "https://checkout.example"
ORIGINS = {
    "listed": LISTED,
    "the second that is listed": SECOND,
    "a sub-domain": "https://a.shop.example",
    "a parent": "https://example",
    "null": "null",
    "http": "http://shop.example",
    "another port": "https://shop.example:8443",
    "the port of https": "https://shop.example:443",
    "a suffix": "https://shop.example.evil.io",
    "a prefix": "https://evilshop.example",
    "with a user": "https://shop.example@evil.io",
    "with a slash": "https://shop.example/",
    "two": f"{LISTED} {SECOND}",
    "a pattern": "https://shop?example",
    "a star": "*",
    "none": None,
}
KINDS = ("preflight", "text/plain", "application/json", "credentials")

Serve = Callable[..., Web]


class Said(NamedTuple):
    """What the answer says to a browser that keeps CORS."""

    status: int
    origin: str | None
    credentials: str | None
    vary: str | None


def table(web: Web) -> dict[tuple[str, str], Said]:
    """Return what each origin is told, whichever way it posts."""
    return {(name, kind): told(web, ORIGINS[name], kind) for name in ORIGINS for kind in KINDS}


def told(web: Web, origin: str | None, kind: str) -> Said:
    if kind == "preflight":
        asking = {"Access_Control_Request_Method": "POST"}
        answer = web.ask("OPTIONS", "/co/state", None, Origin=origin, **asking)
    else:
        # A page that sends its cookies along is a page like any other.
        cookie = "session=1" if kind == "credentials" else None
        media_type = "text/plain" if kind == "credentials" else kind
        body = json.dumps({"token": token()})
        answer = web.post_state(body, Origin=origin, Content_Type=media_type, Cookie=cookie)
    headers = answer.headers
    allowed = headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Credentials"]
    return Said(answer.status, *allowed, headers["Vary"])


def expected(listed: set[str], *, vary: str | None, to_none: str | None) -> dict[object, Said]:
    """Return the table where the origins *listed* may post; who names none is told *to_none*."""
    rows: dict[object, Said] = {}
    for name, origin in ORIGINS.items():
        may_post = origin is None or origin in listed
        shown = to_none if origin is None else origin if may_post else None
        for kind in KINDS:
            status = 200 if kind == "preflight" else 202 if may_post else 403
            rows[name, kind] = Said(status, shown, None, vary if shown else None)
    return rows


def test_who_may_post_where_one_origin_is_listed(serve: Serve) -> None:
    web = serve(ORIGINS=LISTED)

    assert table(web) == expected({LISTED}, vary=None, to_none=LISTED)


def test_who_may_post_where_two_origins_are_listed(serve: Serve) -> None:
    web = serve(ORIGINS=f"{LISTED},{SECOND}")

    found = table(web)

    assert found == expected({LISTED, SECOND}, vary="Origin", to_none=SECOND)


def test_who_may_post_where_none_is_listed(serve: Serve) -> None:
    web = serve(ORIGINS="")

    found = table(web)

    assert found == expected(set(), vary=None, to_none=None)
    assert told(web, web.url, "text/plain").status == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_a_preflight_for_another_method_lets_nothing_through(web: Web, method: str) -> None:
    asking = {"Access_Control_Request_Method": method}

    answer = web.ask("OPTIONS", "/co/state", None, Origin=LISTED, **asking)

    assert answer.headers["Access-Control-Allow-Methods"] in (None, "POST")


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/orders", "/v1/carts/c-1", "/metrics"])
@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
def test_what_is_not_for_pages_is_not_for_the_shops_pages_either(
    web: Web, method: str, path: str
) -> None:
    asking = {"Access_Control_Request_Method": "POST", "Origin": LISTED}

    answer = web.ask(method, path, None, **asking)

    assert answer.headers["Access-Control-Allow-Origin"] is None


@contextmanager
def careless(store: Store, **options: Any) -> Iterator[Web]:
    """Serve what answers every page, as *options* have it."""
    app = Flask(__name__)
    app.add_url_rule("/co/state", view_func=lambda: ("", 202), methods=["POST"])
    CORS(app, **options)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Web(url=f"http://127.0.0.1:{server.port}", store=store, marks={})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("options", "let_in"),
    [
        ({"origins": r"https://shop.example"}, set()),
        ({"origins": r"https://shop.example.*"}, {"another port", "a suffix"}),
        ({"origins": "*", "supports_credentials": True}, {"a sub-domain", "null", "http"}),
    ],
    ids=["no check of its own", "a pattern without an end", "all, with cookies"],
)
def test_control_a_careless_server_is_noticed(
    web: Web, options: dict[str, Any], let_in: set[str]
) -> None:
    right = expected({LISTED}, vary=None, to_none=LISTED)

    with careless(web.store, **options) as other:
        found = table(other)

    assert found[("null", "text/plain")] != right[("null", "text/plain")]
    assert let_in <= {name for name, _ in found if found[name, "preflight"].origin}
