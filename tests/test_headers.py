"""Headers: what protects every answer of the web half, whoever gives it."""

import socket
from collections.abc import Iterator
from contextlib import closing
from email.message import Message

import pytest

from tests.actors import environment
from tests.books import lay_book
from tests.operator import PASSWORD, Operator
from tests.running import Proxy
from tests.web import ORIGIN, SHOP_KEY, Answer, Web, served, token

SNIPPET_CACHE = "public, max-age=3600"
STYLE_CACHE = "private, max-age=600"

PAGE = {"Content_Type": "text/plain", "Origin": ORIGIN}
SERVER = {"Content_Type": "application/json", "Authorization": f"Bearer {SHOP_KEY}"}
PREFLIGHT = {"Origin": ORIGIN, "Access_Control_Request_Method": "POST"}
STATE = f'{{"token":"{token()}"}}'
FORM = {"Content_Type": "application/x-www-form-urlencoded"}

# Method, path, body, headers, and the status that shows that it is the answer which is meant.
REQUESTS = {
    "a state": ("POST", "/co/state", STATE, PAGE, 202),
    "a state that goes through Flask": ("POST", "/co/state?", STATE, PAGE, 202),
    "a state that is no JSON": ("POST", "/co/state", "{", PAGE, 400),
    "a forged token": ("POST", "/co/state", '{"token":"a.b.c"}', PAGE, 401),
    "another origin": ("POST", "/co/state", STATE, PAGE | {"Origin": "https://evil.example"}, 403),
    "another type": ("POST", "/co/state", "<a/>", PAGE | {"Content_Type": "text/xml"}, 415),
    "another method": ("GET", "/co/state", None, {}, 405),
    "a preflight": ("OPTIONS", "/co/state", None, PREFLIGHT, 200),
    "the snippet": ("GET", "/co/checkout.js", None, {}, 200),
    "a consent tool": ("GET", "/co/consent-tcf.js", None, {}, 200),
    "no snippet": ("GET", "/co/nothing.js", None, {}, 404),
    "a guest where there are none": ("POST", "/co/session", "{}", PAGE, 404),
    "a session": ("POST", "/v1/sessions", '{"cart_id":"c-1"}', SERVER, 201),
    "no key": ("POST", "/v1/sessions", "{}", {"Content_Type": "application/json"}, 401),
    "no session": ("POST", "/v1/sessions", "{}", SERVER, 422),
    "a cart that is deleted": ("DELETE", "/v1/carts/c-1", None, SERVER, 204),
    "health": ("GET", "/healthz", None, {}, 200),
    "readiness": ("GET", "/readyz", None, {}, 200),
    "metrics": ("GET", "/metrics", None, {}, 200),
    "nothing": ("GET", "/<script>alert(1)</script>", None, {}, 404),
    "the operators' door": ("GET", "/admin", None, {}, 308),
    "an operators' page for strangers": ("GET", "/admin/shop/dead", None, {}, 303),
    "the sign-in": ("GET", "/admin/sign-in", None, {}, 200),
    "a wrong password": ("POST", "/admin/sign-in", "password=another", FORM, 403),
    "the style sheet": ("GET", "/admin/style.css", None, {}, 200),
}


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with served(tmp_path_factory.mktemp("headers"), ADMIN_PASSWORD=PASSWORD) as web:
        lay_book(web.store)
        yield web


def weaknesses(path: str, headers: Message) -> list[str]:
    """Return what is missing in the *headers* of an answer to a request for *path*."""
    is_admin = path.startswith("/admin/")
    cache = headers.get("Cache-Control", "")
    policy = headers.get("Content-Security-Policy", "")
    found = {
        "sniffed": headers.get("X-Content-Type-Options") != "nosniff",
        "refers": headers.get("Referrer-Policy") not in ("no-referrer", "same-origin"),
        "loads": not policy.startswith("default-src 'none'"),
        "inline": "unsafe" in policy,
        "framed": "frame-ancestors 'none'" not in policy,
        "kept": cache not in ("no-store", SNIPPET_CACHE, STYLE_CACHE),
        "opened": is_admin and headers.get("Cross-Origin-Opener-Policy") != "same-origin",
        "embedded": is_admin and headers.get("Cross-Origin-Resource-Policy") != "same-origin",
        "cookie": "Set-Cookie" in headers,
    }
    return [name for name, is_found in found.items() if is_found]


def ask(web: Web, name: str) -> tuple[str, Answer, int]:
    method, path, body, headers, status = REQUESTS[name]
    return path, web.ask(method, path, body, **headers), status


@pytest.mark.parametrize("name", REQUESTS)
def test_every_answer_is_protected(operators: Web, name: str) -> None:
    path, answer, status = ask(operators, name)

    assert answer.status == status
    assert weaknesses(path, answer.headers) == []


def test_what_an_operator_sees_is_protected_and_kept_nowhere(operators: Web) -> None:
    operator = Operator(operators.url)
    begun = operator.sign_in()
    pages = [operator.get(path) for path in ("shop/", "shop/checkouts", "shop/dead", "shop/qa")]

    assert {page.status_code for page in pages} == {200}
    for page in (begun, *pages):
        headers = Message()
        for header, value in page.headers.items():
            headers[header] = value
        assert weaknesses("/admin/", headers) == (["cookie"] if page is begun else [])
        assert headers["Cache-Control"] == "no-store"


def test_an_answer_without_protection_would_be_noticed() -> None:
    bare, inline = Message(), Message()
    bare["Set-Cookie"] = "a=b"
    inline["Content-Security-Policy"] = "default-src 'none'; script-src 'unsafe-inline'"

    assert weaknesses("/admin/", bare) == [
        "sniffed",
        "refers",
        "loads",
        "framed",
        "kept",
        "opened",
        "embedded",
        "cookie",
    ]
    assert "inline" in weaknesses("/", inline)


def test_the_only_cookie_is_the_operators_and_no_script_no_other_site_no_clear_text_gets_it(
    operators: Web,
) -> None:
    said = Operator(operators.url).sign_in().headers["Set-Cookie"]

    name, _, flags = said.partition("; ")
    assert name.startswith("__Secure-checkout-proxy-operator=")
    assert set(flags.split("; ")) >= {"Secure", "HttpOnly", "SameSite=Strict", "Path=/admin"}
    assert "Domain" not in flags


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"]
)
def test_what_the_server_itself_refuses_says_nothing_that_could_be_shown(
    real: Proxy, request_: bytes
) -> None:
    with closing(socket.create_connection(("127.0.0.1", real.port), timeout=15)) as connection:
        connection.sendall(request_)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    # Where it closes the connection without a word, that is well too.
    assert head[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 505", b"")
    assert body == b"" or b"application/problem+json" in head
    assert b"set-cookie" not in head.lower()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    env = environment(tmp_path_factory.mktemp("real") / "store", "http://127.0.0.1:9")
    with Proxy(env, "--web-only") as proxy:
        yield proxy
