"""The shipped nginx files, in a real nginx in front of the real proxy."""

import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest
import requests

from proxy import facts
from proxy.facts import CartPushed, Fact, StatePosted
from proxy.store import Store
from tests import operator, running
from tests.actors import CART, SHOP_KEY, TEA, environment, until
from tests.running import HOST, Nginx, Proxy

pytestmark = pytest.mark.skipif(
    running.nginx() is None and not os.environ.get("CI"),
    reason="there is no nginx: apt-get install nginx-light, or set NGINX",
)

KIB = 1024
SECRET = "s3cret"
CART_ID = f"gid://shopify/Cart/abc?key={SECRET}"
CART_PATH = f"/v1/carts/gid%3A%2F%2Fshopify%2FCart%2Fabc%3Fkey%3D{SECRET}"
KEY = {"Authorization": f"Bearer {SHOP_KEY}"}


@dataclass(frozen=True)
class Client:
    """Somebody outside, who speaks HTTPS to the shop's host."""

    nginx: Nginx
    session: requests.Session

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, self.nginx.url + path, timeout=15, **more)

    def ask_plainly(self, method: str, path: str, **more: Any) -> requests.Response:
        """Ask over HTTP without TLS, and follow no redirect."""
        url = self.nginx.plain_url + path
        return self.session.request(method, url, timeout=15, allow_redirects=False, **more)

    def dial(
        self, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        """Return a connection for what an honest client would not send."""
        context = context or self.trust()
        port = int(self.nginx.url.rpartition(":")[2])
        plain = socket.create_connection(("127.0.0.1", port), timeout=15)
        return context.wrap_socket(plain, server_hostname=HOST, session=session)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.nginx.certificate))

    def token(self) -> str:
        answer = self.ask("POST", "/v1/sessions", json={"cart_id": CART_ID}, headers=KEY)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


@contextmanager
def client_of(nginx: Nginx) -> Iterator[Client]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(nginx.certificate)
        session.headers["Host"] = HOST
        yield Client(nginx, session)


@dataclass(frozen=True)
class Request:
    """What came out of nginx on the other side."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass
class Recorder:
    """A server that keeps what it is asked and says what it is told to: behind nginx, in place
    of the proxy where the requests are looked at, and as the shop.
    """

    said: str = "recorded by the one behind nginx"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    # Cleared, it lets a request wait.
    answers: threading.Event = field(default_factory=threading.Event)
    # How many requests a connection lives for; the one after it is cut off without an answer.
    keeps_alive: int = 0

    def __enter__(self) -> Self:
        self.answers.set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.recorder = self
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.seen]


class _Server(ThreadingHTTPServer):
    recorder: Recorder


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    asked = 0

    def handle_one_request(self) -> None:
        self.asked += 1
        super().handle_one_request()

    def log_message(self, *_: object) -> None: ...

    def answer(self) -> None:
        recorder = self.server.recorder
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        recorder.seen.append(Request(self.command, self.path, self.headers, body))
        recorder.answers.wait(15)
        if 0 < recorder.keeps_alive < self.asked:
            self.close_connection = True
            return
        self.send_response(recorder.status)
        said = recorder.said.encode()
        headers = {"Content-Type": "text/javascript", "Content-Length": str(len(said))}
        if not recorder.keeps_alive:
            headers["Connection"] = "close"
        for name, value in (headers | recorder.headers).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError):  # nginx has lost its patience
            self.wfile.write(said)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - http.server looks for these names


# -- scenes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site(Client):
    """A shop's site: nginx, the proxy, and the shop's own application."""

    shop: Recorder
    store: Path

    def kept(self) -> list[Fact]:
        """Return what the proxy has on disk."""
        with closing(Store.of("shop", f"sqlite:///{self.store}").inboxes("shop")) as inboxes:
            return [facts.decode(row.kind, row.body) for row in inboxes.after({}, 10_000)]


@dataclass(frozen=True)
class Glass(Client):
    """An nginx that one can look through: what it passes on is kept."""

    behind: Recorder


def proxy_at(store: Path) -> Proxy:
    env = environment(store, "http://127.0.0.1:9")
    return Proxy(env, "--workers", "1", "--web-only")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with (
        Recorder("the shop") as shop,
        proxy_at(folder / "store") as proxy,
        Nginx(folder, proxy=proxy.address, shop=shop.address) as nginx,
        client_of(nginx) as client,
    ):
        yield Site(nginx, client.session, shop, folder / "store")


@pytest.fixture(scope="module")
def one_glass(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    with (
        Recorder() as behind,
        Nginx(tmp_path_factory.mktemp("glass"), proxy=behind.address) as nginx,
        client_of(nginx) as client,
    ):
        yield Glass(nginx, client.session, behind)


@pytest.fixture
def glass(one_glass: Glass) -> Glass:
    one_glass.behind.seen.clear()
    one_glass.behind.headers.clear()
    return one_glass


@pytest.fixture(scope="module")
def one_hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    shorter = {
        "client_header_timeout 10s;": "client_header_timeout 1s;",
        "client_body_timeout 5s;": "client_body_timeout 1s;",
        "proxy_read_timeout 10s;": "proxy_read_timeout 1s;",
    }
    folder = tmp_path_factory.mktemp("hurried")
    with (
        Recorder() as behind,
        Nginx(folder, proxy=behind.address, edits=shorter) as nginx,
        client_of(nginx) as client,
    ):
        yield Glass(nginx, client.session, behind)


@pytest.fixture
def hurried(one_hurried: Glass) -> Iterator[Glass]:
    """An nginx whose patience is a second."""
    one_hurried.behind.seen.clear()
    yield one_hurried
    one_hurried.behind.answers.set()


@pytest.fixture(scope="module")
def deserted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An nginx whose proxy is not running."""
    nobody = f"127.0.0.1:{running.free_port()}"
    with (
        Nginx(tmp_path_factory.mktemp("deserted"), proxy=nobody) as nginx,
        client_of(nginx) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def one_opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    folder = tmp_path_factory.mktemp("opened")
    with (
        Recorder() as behind,
        Nginx(folder, proxy=behind.address, edits=with_operators_pages(folder)) as nginx,
        client_of(nginx) as client,
    ):
        yield Glass(nginx, client.session, behind)


@pytest.fixture
def opened(one_opened: Glass) -> Glass:
    """An nginx that has the operators' pages, too, and refuses nobody by address."""
    one_opened.behind.seen.clear()
    return one_opened


@pytest.fixture
def walled(tmp_path: Path) -> Iterator[Glass]:
    """An nginx at which /v1 and /admin are for one address, which is not ours."""
    edits = with_operators_pages(tmp_path)
    edits |= {f"# {each}": each for each in ("allow 203.0.113.10;", "allow 203.0.113.0/24;")}
    edits |= {"# deny all;": "deny all;"}
    with (
        Recorder() as behind,
        Nginx(tmp_path, proxy=behind.address, edits=edits) as nginx,
        client_of(nginx) as client,
    ):
        yield Glass(nginx, client.session, behind)


def with_operators_pages(folder: Path) -> dict[str, str]:
    """Return what an operator edits of site.conf in *folder*, so that it has the pages as well."""
    include = "include /etc/nginx/checkout-proxy/checkout-proxy-operators.conf;"
    return {f"# {include}": f"include {folder}/checkout-proxy-operators.conf;"}


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    with running.logs_shown():
        yield


def assert_problem(answer: requests.Response, status: int) -> None:
    """Check that *answer* has the form in which the proxy itself refuses."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert problem["type"].startswith("urn:checkout-proxy:")
    assert problem["status"] == status


# -- what is let through -----------------------------------------------------------------


def test_nginx_has_nothing_to_warn_of(site: Site) -> None:
    said = site.nginx.check()

    assert "test is successful" in said
    assert "[" not in said.replace("[notice]", "")


def test_a_state_posted_over_tls_arrives(site: Site) -> None:
    state = {"token": site.token(), "id": uuid4().hex, "email": "jane@shop-demo.io"}

    answer = site.ask("POST", "/co/state", data=json.dumps(state))

    assert answer.status_code == 202
    (kept,) = [fact for fact in site.kept() if fact.id == state["id"]]
    assert isinstance(kept, StatePosted)
    assert (kept.cart_id, kept.email) == (CART_ID, "jane@shop-demo.io")


def test_a_page_of_this_host_may_post_and_a_page_of_another_may_not(site: Site) -> None:
    body = json.dumps({"token": site.token()})

    ours = site.ask("POST", "/co/state", data=body, headers={"Origin": f"https://{HOST}"})
    theirs = site.ask("POST", "/co/state", data=body, headers={"Origin": "https://evil.io"})

    assert (ours.status_code, theirs.status_code) == (202, 403)


def test_what_the_proxy_says_of_a_mistake_reaches_the_page(site: Site) -> None:
    answer = site.ask("POST", "/co/state", data='{"token": "forged"}')

    assert_problem(answer, 401)


@pytest.mark.parametrize("path", ["/co/state", "/v1/sessions", "/v1/orders"])
def test_a_get_where_one_posts_is_refused_by_the_proxy(site: Site, path: str) -> None:
    answer = site.ask("GET", path, headers=KEY)

    assert_problem(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_a_preflight_reaches_the_proxy(site: Site) -> None:
    answer = site.ask("OPTIONS", "/co/state")

    assert answer.status_code == 200


def test_an_encoded_cart_id_is_the_cart_id(site: Site) -> None:
    answer = site.ask("PUT", CART_PATH, json=CART, headers=KEY)

    assert answer.status_code == 204, answer.text
    assert CART_ID in [fact.cart_id for fact in site.kept() if isinstance(fact, CartPushed)]


def test_an_encoded_path_is_passed_on_as_it_was_written(glass: Glass) -> None:
    glass.ask("PUT", CART_PATH, json=CART)

    assert glass.behind.paths == [CART_PATH]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/admin", "/admin/"])
def test_what_is_for_the_operator_is_not_outside(site: Site, path: str) -> None:
    answer = site.ask("GET", path)

    assert answer.text == "the shop"


@pytest.mark.parametrize("path", ["/v1/../metrics", "/co/..%2fhealthz", "/co//..//..//admin"])
def test_no_detour_leads_to_what_is_for_the_operator(glass: Glass, path: str) -> None:
    with glass.dial() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        connection.recv(KIB)

    assert glass.behind.seen == []


DETOURS = [
    "/v1/orders/../../co/x", "/admin/x/../../co/x", "/basket/../v1/orders", "//co/x", "//v1/orders",
    "/co/x/../../v1/orders", "/co/../admin/x", "/v1/../co/checkout.js", "/v1/../admin/x",
]  # fmt: skip


def asked(glass: Glass, target: str) -> str:
    """Return the status of the answer to a path that is sent as it is."""
    with glass.dial() as connection, connection.makefile("rb") as answer:
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        return answer.readline().decode().split()[1]


@pytest.mark.parametrize("path", DETOURS)
def test_a_detour_is_none_of_our_paths_whoever_may_call(opened: Glass, path: str) -> None:
    assert asked(opened, path) == "404"
    assert opened.behind.seen == []


def test_the_log_tells_that_a_detour_was_not_passed_on(opened: Glass) -> None:
    asked(opened, "//co/detour")
    asked(opened, "/co/straight")

    until(lambda: re.search(r'"GET /co/straight" 200 .* upstream=200/', opened.nginx.logged()))
    assert re.search(r'"GET /co/detour" 404 .* upstream=-/-', opened.nginx.logged())


def test_who_takes_no_detour_may_call_where_nobody_is_refused(opened: Glass) -> None:
    straight = ["/v1/orders", "/admin/x", "/co/x", "/co/checkout.js"]

    assert [asked(opened, path) for path in straight] == ["200"] * 4


def test_no_detour_leads_past_the_addresses_that_may_call(walled: Glass) -> None:
    answers = [asked(walled, target) for target in DETOURS]
    straight = ["/v1/orders", "/admin/x", "/co/x", "/co/checkout.js"]
    straight = [asked(walled, target) for target in straight]
    as_to_a_proxy = asked(walled, f"https://{HOST}/co/y")

    assert set(answers) <= {"403", "404"}
    assert straight == ["403", "403", "200", "200"]
    assert as_to_a_proxy == "200"
    assert walled.behind.paths == ["/co/x", "/co/checkout.js", "/co/y"]


# -- who is asking -----------------------------------------------------------------------


def test_a_forged_address_does_not_reach_the_proxy(glass: Glass) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"}

    glass.ask("POST", "/co/state", data="{}", headers=forged)
    glass.ask("POST", "/v1/orders", data="{}", headers=forged)

    for request in glass.behind.seen:
        assert request.headers.get_all("X-Forwarded-For") == ["127.0.0.1"]
        assert request.headers.get_all("X-Forwarded-Proto") == ["https"]
        assert request.headers.get_all("Host") == [HOST]
    assert glass.behind.paths == ["/co/state", "/v1/orders"]


def test_the_shop_learns_who_asks_it_too(site: Site) -> None:
    site.ask("GET", "/basket", headers={"X-Forwarded-For": "6.6.6.6", "Cookie": "session=1"})

    request = site.shop.seen[-1]
    assert request.headers.get_all("X-Forwarded-For") == ["127.0.0.1"]
    assert request.headers.get_all("X-Forwarded-Proto") == ["https"]
    assert request.headers.get_all("Host") == [HOST]
    assert request.headers.get_all("Cookie") == ["session=1"]


@pytest.mark.parametrize("path", ["/co/state", "/co/checkout.js", "/v1/orders"])
def test_no_cookie_passes_either_way(glass: Glass, path: str) -> None:
    glass.behind.headers["Set-Cookie"] = "proxy=1"

    answer = glass.ask("GET", path, headers={"Cookie": "shop_session=1"})

    assert "Set-Cookie" not in answer.headers
    assert [request.headers.get("Cookie") for request in glass.behind.seen] == [None]


@pytest.mark.parametrize("path", ["/co/gone", "/v1/gone"])
def test_who_asked_may_be_gone_before_the_answer(glass: Glass, path: str) -> None:
    glass.behind.answers.clear()

    with glass.dial() as asking:
        asking.sendall(_post(path, length=2) + b"{}")
        until(lambda: glass.behind.seen)
    # Once it has answered this, nginx has seen the other one go.
    glass.ask_plainly("GET", "/")
    glass.behind.answers.set()

    # nginx writes 499 of a request that it gave up.
    until(lambda: re.search(rf'"POST {path}" 200 \d+ .* upstream=200', glass.nginx.logged()))


def test_a_state_meant_for_a_dead_connection_is_sent_again(tmp_path: Path) -> None:
    with (
        Recorder(keeps_alive=1) as behind,
        Nginx(tmp_path, proxy=behind.address) as nginx,
        client_of(nginx) as client,
    ):
        answers = [client.ask("POST", "/co/state", data=body) for body in ("first", "second")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [request.body for request in behind.seen] == [b"first", b"second", b"second"]


# -- TLS ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_tls_is_spoken(glass: Glass, version: ssl.TLSVersion) -> None:
    context = glass.trust()
    context.minimum_version = context.maximum_version = version

    with glass.dial(context) as connection:
        assert connection.version() == version.name.replace("_", ".")


# Python warns of the old version, which is what this is about.
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_tls_1_1_is_refused(glass: Glass) -> None:
    context = glass.trust()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    # The alert is the server's: the client would have gone on.
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        glass.dial(context)


def test_a_cipher_that_does_not_authenticate_is_refused(glass: Glass) -> None:
    context = glass.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")

    with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        glass.dial(context)


def test_a_shopper_who_comes_back_saves_the_handshake(glass: Glass) -> None:
    context = glass.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    with glass.dial(context) as first, glass.dial(context, first.session) as second:
        assert second.session_reused
        assert second.session is not None
        assert not second.session.has_ticket


def test_http_2_is_spoken(glass: Glass) -> None:
    context = glass.trust()
    context.set_alpn_protocols(["h2", "http/1.1"])

    with glass.dial(context) as connection:
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("path", ["/", "/basket?x=1", "/co/state", "/co/checkout.js"])
def test_plain_http_leads_to_https(glass: Glass, path: str) -> None:
    answer = glass.ask_plainly("POST", path, data="{}", headers={"Host": "evil.io"})

    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://{HOST}{path}"
    assert glass.behind.seen == []


def test_lets_encrypt_finds_its_proof_over_plain_http(glass: Glass) -> None:
    path = "/.well-known/acme-challenge/token"
    proof = glass.nginx.folder / "letsencrypt" / path.lstrip("/")
    proof.parent.mkdir(parents=True)
    proof.write_text("proof")

    assert glass.ask_plainly("GET", path).text == "proof"


def test_the_version_of_nginx_is_nobodys_business(site: Site) -> None:
    answers = [site.ask_plainly("GET", "/")]
    answers += [site.ask("GET", path) for path in ("/", "/co/checkout.js", "/v1/orders")]

    assert [answer.headers["Server"] for answer in answers] == ["nginx"] * 4


def test_a_key_sent_in_clear_is_not_used(glass: Glass) -> None:
    answer = glass.ask_plainly("PUT", CART_PATH, json=CART, headers=KEY)

    assert answer.status_code == 403
    assert "replace the shop's key" in answer.text
    assert glass.behind.seen == []


# -- the snippet -------------------------------------------------------------------------


def test_the_snippet_is_served_compressed(site: Site) -> None:
    plain = site.ask("GET", "/co/checkout.js", headers={"Accept-Encoding": "identity"})
    small = site.ask("GET", "/co/checkout.js", headers={"Accept-Encoding": "gzip"})
    smallest = site.ask("HEAD", "/co/checkout.js", headers={"Accept-Encoding": "gzip, br"})

    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert small.content == plain.content == (running.ROOT / "static/dist/checkout.js").read_bytes()
    assert smallest.headers["Content-Encoding"] == "br"
    size = (running.ROOT / "static/dist/checkout.js.br").stat().st_size
    assert int(smallest.headers["Content-Length"]) == size
    for answer in (plain, small, smallest):
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert answer.headers["Cache-Control"] == "public, max-age=3600"


def test_the_snippet_is_asked_for_once_whatever_the_query(glass: Glass) -> None:
    glass.behind.headers["Cache-Control"] = "public, max-age=3600"

    answers = [
        glass.ask("GET", f"/co/checkout.0123abcd.js{query}") for query in ("", "", "?x=1", "?x=2")
    ]

    assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "HIT", "HIT", "HIT"]
    assert glass.behind.paths == ["/co/checkout.0123abcd.js"]


def test_there_is_one_copy_for_each_encoding_however_it_is_asked_for(glass: Glass) -> None:
    glass.behind.headers |= {"Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}
    asked = ("gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8", "br;q=0, gzip", "GZIP", "", "brr")

    answers = [
        glass.ask("GET", "/co/consent-tcf.js", headers={"Accept-Encoding": each}) for each in asked
    ]

    assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "HIT"] * 3
    told = [request.headers.get("Accept-Encoding") for request in glass.behind.seen]
    assert told == ["br", "gzip", None]


def test_a_browser_that_has_the_snippet_is_told_so(site: Site) -> None:
    etag = site.ask("GET", "/co/checkout.js").headers["ETag"]

    answer = site.ask("GET", "/co/checkout.js", headers={"If-None-Match": etag})

    assert (answer.status_code, answer.content) == (304, b"")


def test_the_snippet_is_served_while_the_proxy_is_stopped(tmp_path: Path) -> None:
    with (
        proxy_at(tmp_path / "store") as proxy,
        Nginx(tmp_path, proxy=proxy.address) as nginx,
        client_of(nginx) as client,
    ):
        before = client.ask("GET", "/co/checkout.js")

        proxy.stop()

        assert client.ask("GET", "/co/checkout.js").content == before.content
        assert client.ask("POST", "/co/state", data="{}").status_code == 502


def test_an_old_snippet_is_asked_for_by_its_etag_and_does_for_an_outage(tmp_path: Path) -> None:
    brief = {"Cache-Control": "max-age=1", "ETag": '"v1"'}
    with ExitStack() as stack:
        behind = Recorder("the snippet", headers=brief)
        stop = stack.enter_context(ExitStack())
        stop.enter_context(behind)
        nginx = stack.enter_context(Nginx(tmp_path, proxy=behind.address))
        client = stack.enter_context(client_of(nginx))

        def snippet() -> requests.Response:
            return client.ask("GET", "/co/checkout.js")

        snippet()
        until(lambda: snippet() and behind.seen[-1].headers.get("If-None-Match") == '"v1"')
        stop.close()
        until(lambda: snippet().headers["X-Cache"] in ("STALE", "UPDATING"))

        assert snippet().text == "the snippet"


def test_only_the_snippet_is_kept(glass: Glass) -> None:
    glass.behind.headers["Cache-Control"] = "public, max-age=3600"

    for path in ("/co/other.js", "/co/other.js", "/v1/openapi.json", "/v1/openapi.json"):
        assert "X-Cache" not in glass.ask("GET", path).headers

    assert len(glass.behind.seen) == 4


# -- limits ------------------------------------------------------------------------------


def in_one_piece(size: int) -> bytes:
    return b"x" * size


def in_chunks(size: int) -> Iterator[bytes]:
    return (b"x" * min(KIB, size - start) for start in range(0, size, KIB))


PIECES = pytest.mark.parametrize("pieces", [in_one_piece, in_chunks])


@PIECES
def test_a_state_over_16_kib_is_refused(glass: Glass, pieces: Callable[[int], Any]) -> None:
    fits = glass.ask("POST", "/co/state", data=pieces(16 * KIB))
    over = glass.ask("POST", "/co/state", data=pieces(16 * KIB + 1))

    assert fits.status_code == 200
    assert_problem(over, 413)
    assert [len(request.body) for request in glass.behind.seen] == [16 * KIB]


@PIECES
def test_a_cart_over_256_kib_is_refused(glass: Glass, pieces: Callable[[int], Any]) -> None:
    fits = glass.ask("PUT", "/v1/carts/c1", data=pieces(256 * KIB))
    over = glass.ask("PUT", "/v1/carts/c1", data=pieces(256 * KIB + 1))

    assert fits.status_code == 200
    assert_problem(over, 413)
    assert [len(request.body) for request in glass.behind.seen] == [256 * KIB]


def test_a_cart_of_100_kib_is_taken(site: Site) -> None:
    cart = CART | {"items": [TEA] * 400}
    assert len(json.dumps(cart)) > 100 * KIB - 12 * KIB

    answer = site.ask("PUT", "/v1/carts/large", json=cart, headers=KEY)

    assert answer.status_code == 204


def test_a_client_over_its_rate_is_told_when_to_come_back(glass: Glass) -> None:
    answers = _pipelined(glass, "/co/state", ["198.51.100.1"] * 120)

    assert answers[0].startswith("200")
    assert 0 < sum(answer.startswith("429") for answer in answers) <= 79
    refused = next(answer for answer in answers if answer.startswith("429"))
    assert "Retry-After: 5" in refused
    assert "Content-Type: application/problem+json" in refused
    assert '"status":429' in refused


def test_a_flood_does_not_fill_the_error_log(glass: Glass) -> None:
    _pipelined(glass, "/co/state", ["198.51.100.7"] * 120)

    until(lambda: "198.51.100.7" in glass.nginx.logged())
    assert "limiting requests" not in glass.nginx.logged()


def test_one_client_over_its_rate_does_not_slow_another(glass: Glass) -> None:
    _pipelined(glass, "/co/state", ["198.51.100.2"] * 120)

    answer = glass.ask("POST", "/co/state", headers={"X-Test-Address": "198.51.100.3"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "2001:db8:1:2:aaaa::{:x}",
        "2001:db8:3:0:{:x}:6:7:8",
        # Here the zeros that nginx writes as two colons are in the network, too.
        "2001:db8:4::{:x}",
        "2001:db8::{:x}:6:7:8",
        "2001:db8::{:x}",
        "2400::{:x}",
    ],
)
def test_addresses_of_one_ipv6_network_are_one_client(glass: Glass, address: str) -> None:
    neighbours = [address.format(number) for number in range(1, 121)]

    crowd = _pipelined(glass, "/co/state", neighbours)

    assert any(answer.startswith("429") for answer in crowd)


def test_addresses_of_other_ipv6_networks_are_other_clients(glass: Glass) -> None:
    strangers = [f"2001:db8:{number:x}:2:aaaa::1" for number in range(256, 281)]
    strangers += [f"2001:db8:{number:x}::1" for number in range(256, 281)]
    # What reaches a socket for both kinds is written so.
    strangers += [f"::ffff:192.0.2.{number}" for number in range(100, 125)]

    street = _pipelined(glass, "/co/state", strangers)

    assert all(answer.startswith("200") for answer in street)


def test_the_shops_server_has_a_rate_of_its_own(glass: Glass) -> None:
    carts = _pipelined(glass, "/v1/carts/c1", ["198.51.100.4"] * 150)

    assert all(answer.startswith("200") for answer in carts)


@pytest.mark.parametrize(("path", "most"), [("/co/state", 20), ("/v1/orders", 100)])
def test_a_client_has_only_so_many_requests_open(glass: Glass, path: str, most: int) -> None:
    address = f"198.51.100.{most}"
    half = _post(path, length=2, Expect="100-continue", X_Test_Address=address)
    with ExitStack() as stack:
        for _ in range(most):
            connection = stack.enter_context(glass.dial())
            connection.sendall(half)
            assert connection.recv(KIB).startswith(b"HTTP/1.1 100")

        answer = glass.ask("POST", path, data="{}", headers={"X-Test-Address": address})

        assert_problem(answer, 429)
        assert answer.headers["Retry-After"] == "5"


def test_the_shops_surface_may_be_kept_to_an_address(walled: Glass) -> None:
    shop, other = (
        walled.ask("POST", "/v1/orders", headers={"X-Test-Address": address})
        for address in ("203.0.113.10", "203.0.113.11")
    )

    assert shop.status_code == 200
    assert_problem(other, 403)


def test_a_client_that_trickles_its_header_is_cut_off(hurried: Glass) -> None:
    with hurried.dial() as connection:
        said = _trickle(connection, _post("/co/state", X_Long="x" * 4 * KIB))

    assert said == b""
    assert hurried.behind.seen == []


def test_a_client_that_never_ends_its_body_is_cut_off(hurried: Glass) -> None:
    with hurried.dial() as connection:
        connection.sendall(_post("/co/state", length=100) + b"{")

        assert connection.recv(KIB) == b""
    assert hurried.behind.seen == []


# -- outages -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/co/state", "/co/checkout.js", "/v1/orders", CART_PATH])
def test_without_the_proxy_one_is_told_when_to_come_back(deserted: Client, path: str) -> None:
    answer = deserted.ask("GET" if path.endswith(".js") else "PUT", path)

    assert_problem(answer, 502)
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Server"] == "nginx"


def test_a_proxy_that_does_not_answer_is_a_504(hurried: Glass) -> None:
    hurried.behind.answers.clear()

    answer = hurried.ask("POST", "/co/state", data="{}")

    assert_problem(answer, 504)
    assert answer.headers["Retry-After"] == "10"


# -- the log -----------------------------------------------------------------------------


def test_a_cart_id_stands_in_no_log(glass: Glass, deserted: Client) -> None:
    glass.ask("PUT", CART_PATH, json=CART)
    glass.ask("PUT", CART_PATH.replace("carts", "%63arts"), json=CART)
    glass.ask("PUT", CART_PATH, data=b"x" * 257 * KIB)
    glass.ask_plainly("PUT", CART_PATH, json=CART)
    _pipelined(deserted, CART_PATH, ["198.51.100.6"] * 400)
    deserted.ask("PUT", CART_PATH, json=CART)

    until(lambda: '"PUT /v1/carts/..." 413' in glass.nginx.logged())
    until(lambda: '"PUT /v1/carts/..." 502' in deserted.nginx.logged())
    assert '"POST /v1/carts/..." 429' in deserted.nginx.logged()
    assert SECRET not in glass.nginx.logged() + deserted.nginx.logged()


PAGE = {"Referer": f"https://{HOST}/pay?key=r3ferrer", "User-Agent": "br0wser"}
OF_THE_PAGE = re.compile("r3ferrer|qu3ry|b0dy|br0wser")


def test_a_state_leaves_neither_query_nor_body_nor_referrer_in_the_log(glass: Glass) -> None:
    glass.ask("POST", "/co/state?q=qu3ry", data="b0dy", headers=PAGE)
    glass.ask("POST", "/co/state?q=qu3ry", data="b0dy" * 5 * KIB, headers=PAGE)

    until(lambda: '"POST /co/state" 413' in glass.nginx.logged())
    assert '"POST /co/state" 200' in glass.nginx.logged()
    assert not OF_THE_PAGE.search(glass.nginx.logged())


def test_an_outage_leaves_nothing_of_the_page_in_the_log(deserted: Client) -> None:
    deserted.ask("POST", "/co/state?q=qu3ry", data="b0dy", headers=PAGE)
    deserted.ask("GET", "/co/checkout.js?q=qu3ry", headers=PAGE)

    until(lambda: '"GET /co/checkout.js" 502' in deserted.nginx.logged())
    assert '"POST /co/state" 502' in deserted.nginx.logged()
    assert not OF_THE_PAGE.search(deserted.nginx.logged())


# -- a site that was there before --------------------------------------------------------

SETTINGS_OF_ITS_OWN = r"""
    client_max_body_size 1k;
    client_body_buffer_size 1k;
    gzip off;
    auth_basic "staging";
    auth_basic_user_file PASSWORDS;
    proxy_cache checkout_proxy;
    proxy_cache_valid any 1h;
    proxy_intercept_errors on;
    error_page 403 404 413 502 503 /error.html;
    proxy_set_header X-Shop yes;
    add_header X-Frame-Options DENY;
    location ~ \.js$ { return 410; }
    location ~ ^/v1/ { return 410; }
"""
PASSWORD = ("jane", "pass")


@pytest.fixture(scope="module")
def one_old_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    folder = tmp_path_factory.mktemp("old_site")
    (folder / "passwords").write_text("jane:{PLAIN}pass")
    theirs = SETTINGS_OF_ITS_OWN.replace("PASSWORDS", f"{folder}/passwords")
    include = "\n    include /etc/nginx/checkout-proxy/checkout-proxy.conf;"
    with (
        Recorder() as behind,
        Nginx(folder, proxy=behind.address, edits={include: theirs + include}) as nginx,
        client_of(nginx) as client,
    ):
        yield Glass(nginx, client.session, behind)


@pytest.fixture
def old_site(one_old_site: Glass) -> Iterator[Glass]:
    """A site that was there before, behind a password, with our include in it."""
    one_old_site.behind.seen.clear()
    one_old_site.behind.headers.clear()
    yield one_old_site
    one_old_site.behind.status = 200
    one_old_site.behind.answers.set()


def test_an_old_site_serves_the_snippet_as_a_new_one_does(old_site: Glass) -> None:
    old_site.behind.headers["Cache-Control"] = "public, max-age=3600"

    answers = [old_site.ask("GET", "/co/checkout.js", auth=PASSWORD) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "HIT"]
    assert old_site.behind.seen[0].headers["Accept-Encoding"] == "gzip"


def test_an_old_sites_password_does_not_stand_before_the_shops_key(old_site: Glass) -> None:
    answer = old_site.ask("PUT", "/v1/carts/c1", json=CART, headers=KEY)

    assert answer.status_code == 200


@pytest.mark.parametrize("status", [403, 404, 503])
@pytest.mark.parametrize("path", ["/co/state", "/v1/orders"])
def test_an_old_sites_error_pages_do_not_replace_ours(
    old_site: Glass, path: str, status: int
) -> None:
    old_site.behind.status = status

    answer = old_site.ask("POST", path, auth=PASSWORD)

    assert (answer.status_code, answer.text) == (status, old_site.behind.said)


@pytest.mark.parametrize("path", ["/co/other", "/v1/openapi.json"])
def test_an_old_sites_cache_does_not_answer_for_the_proxy(old_site: Glass, path: str) -> None:
    for _ in range(2):
        old_site.ask("GET", path, auth=PASSWORD)

    assert old_site.behind.paths == [path, path]


@PIECES
@pytest.mark.parametrize(("path", "size"), [("/co/state", 16 * KIB), ("/v1/orders", 256 * KIB)])
def test_no_body_is_written_to_nginxs_disk(
    old_site: Glass, path: str, size: int, pieces: Callable[[int], Any]
) -> None:
    folder = old_site.nginx.folder / "body"
    before = folder.stat().st_mtime_ns

    answer = old_site.ask("POST", path, data=pieces(size), auth=PASSWORD)

    assert answer.status_code == 200
    assert len(old_site.behind.seen[0].body) == size
    # nginx takes the name of such a file away at once; the folder remembers it.
    assert folder.stat().st_mtime_ns == before


# -- below: what an honest client would not send -----------------------------------------


def _post(path: str, length: int = 0, **headers: str) -> bytes:
    """Return the header of a POST; an underscore in a name of *headers* becomes a dash."""
    headers = {"Host": HOST, "Content_Length": str(length)} | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode()


def _pipelined(client: Client, path: str, addresses: list[str]) -> list[str]:
    """Post once from each address, all in one breath, and return the answers from the status on."""
    *posts, last = (_post(path, X_Test_Address=address) for address in addresses)
    last = last.replace(b"Host:", b"Connection: close\r\nHost:")
    with client.dial() as connection, connection.makefile("rb") as answers:
        connection.sendall(b"".join([*posts, last]))
        text = answers.read().decode()
    assert text.count("HTTP/1.1 ") == len(addresses)
    return text.split("HTTP/1.1 ")[1:]


def _trickle(connection: ssl.SSLSocket, request: bytes) -> bytes:
    """Send a byte at a time until the other side has enough of it; return what it said."""
    connection.settimeout(0.02)
    for byte in request:
        try:
            connection.send(bytes([byte]))
            return connection.recv(KIB)
        except TimeoutError:
            continue
        except OSError:
            return b""
    raise AssertionError(f"all {len(request)} bytes were taken")


# -- the operator's pages ----------------------------------------------------------------


def guess(client: Client) -> requests.Response:
    headers = {"X-Test-Address": "203.0.113.7"}
    return client.ask("POST", "/admin/sign-in", data={"password": "guess"}, headers=headers)


def test_an_operator_signs_in_through_nginx(tmp_path: Path) -> None:
    word, folder = operator.PASSWORD, tmp_path / "nginx"
    env = environment(tmp_path / "store", "http://127.0.0.1:1", ADMIN_PASSWORD=word)
    with (
        Proxy(env, "--web-only") as proxy,
        Nginx(folder, proxy=proxy.address, edits=with_operators_pages(folder)) as nginx,
        client_of(nginx) as client,
    ):
        refused = client.ask("GET", "/admin/shop/", allow_redirects=False)
        stranger = [guess(client).status_code for _ in range(11)]
        signed_in = client.ask(
            "POST", "/admin/sign-in", data={"password": word}, allow_redirects=False
        )
        cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
        page = client.ask("GET", "/admin/shop/dead", headers={"Cookie": cookie})
        guesses = [client.ask("GET", "/admin/sign-in").status_code for _ in range(40)]

    assert (refused.status_code, refused.headers["Location"]) == (303, "/admin/sign-in")
    # Ten wrong passwords are heard of one client, and another's is heard all the same.
    assert stranger == [403] * 10 + [429]
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, "/admin/")
    assert "No sender has been at work here yet" in page.text
    assert 429 in guesses
    assert "/admin/" not in (folder / "log" / "error.log").read_text()


def test_no_page_of_an_operators_is_written_to_nginxs_disk(tmp_path: Path) -> None:
    # The last quarter of the page has to wait, while nginx could have it already.
    slowly = {"X-Accel-Limit-Rate": str(384 * KIB)}
    with (
        Recorder("x" * 512 * KIB, headers=slowly) as behind,
        Nginx(tmp_path, proxy=behind.address, edits=with_operators_pages(tmp_path)) as nginx,
        client_of(nginx) as client,
    ):
        before = (tmp_path / "proxy").stat().st_mtime_ns

        answer = client.ask("GET", "/admin/shop/what-would-be-sent")

        assert answer.text == behind.said
        assert (tmp_path / "proxy").stat().st_mtime_ns == before
