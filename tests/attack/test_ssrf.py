"""Forged requests: nobody who is outside has the proxy ask a server of his choice."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urljoin

import msgspec
import pytest
import requests

from proxy.alarms import Name, Notice, State
from proxy.carts import presets
from proxy.carts.http import HttpCarts
from proxy.carts.recipe import Recipe
from proxy.carts.source import CartRef
from proxy.errors import CartError
from proxy.webhook import Webhook
from tests import running
from tests.actors import Page, Shop, environment, until
from tests.platform import Platform, recipe_of, recorded
from tests.running import HOST, Proxy

CART_ID = "cart_01M82D2SFH33B1SN426B380WC9"


@dataclass
class Canary:
    """A server that nobody is to ask for anything, at *address*."""

    address: str = ""
    heard: list[str] = field(default_factory=list)
    answer: bytes = b"{}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def listening(
    host: str = "127.0.0.1", port: int = 0, *, tls: Path | None = None, answer: bytes = b"{}"
) -> Iterator[Canary]:
    """Listen at *host*; with the certificate and the key that lie in *tls*."""
    canary = Canary(answer=answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            canary.heard.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(canary.answer)))
            self.end_headers()
            self.wfile.write(canary.answer)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of a client that did not trust us."""

    with Server((host, port), Handler) as server:
        canary.address = f"{host}:{server.server_port}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "certificate.pem", tls / "key.pem")
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield canary
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def canary() -> Iterator[Canary]:
    with listening() as canary:
        yield canary


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform(answer=recorded("medusa_eur")).serve() as platform:
        yield platform


# -- what a token names ------------------------------------------------------------------

# CANARY is its host and port.
DETOURS = [
    "@CANARY/",
    ":x@CANARY/",
    ".CANARY/",
    "//CANARY/",
    "///CANARY/",
    "/../..//CANARY/",
    "../../../CANARY",
    "http://CANARY/",
    "https:CANARY/",
    r"\\CANARY\x",
    r"/\CANARY/",
    r"..\..\CANARY",
    "%2f%2fCANARY%2f",
    "%252f%252fCANARY",
    "%40CANARY/",
    "%5c%5cCANARY",
    "x\r\nHost: CANARY\r\n\r\n",
    "x HTTP/1.1\r\nHost: CANARY\r\n\r\nGET /",
    "x%0d%0aHost:%20CANARY",
    "x%0aGET http://CANARY/ HTTP/1.1",
    "\tCANARY",
    "?next=http://CANARY/",
    "#@CANARY/",
    ";@CANARY/",
    "http://127.1:PORT/",
    "http://2130706433:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://localhost:PORT/",
    "file:///etc/passwd",
    "gopher://CANARY/_x",
    "．．／．．／CANARY",
    "。。/CANARY",
    "/\u2044CANARY",
    "\ud800@CANARY",
]


def towards(canary: Canary, detour: str) -> str:
    return detour.replace("CANARY", canary.address).replace("PORT", canary.address.split(":")[1])


def anywhere(path: str, **more: Any) -> Recipe:
    """Return a recipe that takes any id, and fills it in where it would do most harm."""
    request = msgspec.structs.replace(recipe_of("medusa").request, path=path, **more)
    medusa = recipe_of("medusa")
    return msgspec.structs.replace(medusa, id_pattern=r"(?s).*", request=request)


@pytest.mark.parametrize(
    "recipe",
    [
        anywhere("/{cart_id}"),
        anywhere("/carts/{cart_id}/lines"),
        anywhere("/{credential}/{cart_id}"),
        anywhere("/carts", query={"id": "{cart_id}"}),
        anywhere("/carts", headers={"Cart-Token": "{credential}", "Host-Of": "{cart_id}"}),
    ],
    ids=["alone", "in the middle", "both", "in the query", "in headers"],
)
def test_no_cart_id_and_no_credential_leads_elsewhere(
    platform: Platform, canary: Canary, recipe: Recipe
) -> None:
    with closing(HttpCarts(recipe, url=platform.url, key="a-key")) as carts:
        for detour in DETOURS:
            told = towards(canary, detour)
            with suppress(CartError, UnicodeError):
                carts.fetch(CartRef(shop="shop", cart_id=told, credential=told))

    assert canary.heard == []
    assert all(asked.headers["host"] in platform.url for asked in platform.asked)
    assert all(asked.path.count("/") <= 3 for asked in platform.asked)


@pytest.mark.parametrize("name", presets.names())
def test_no_cart_id_leads_a_preset_elsewhere(platform: Platform, canary: Canary, name: str) -> None:
    recipe, key, token_url = recipe_of(name), "an-id:a-secret", f"{platform.url}/token"
    with closing(HttpCarts(recipe, url=platform.url, key=key, token_url=token_url)) as carts:
        for detour in DETOURS:
            with suppress(CartError, UnicodeError):
                ref = towards(canary, detour)
                carts.fetch(CartRef(shop="shop", cart_id=ref, credential=ref))

    assert canary.heard == []


def test_control_a_naive_address_leads_elsewhere(platform: Platform, canary: Canary) -> None:
    ways: list[Callable[[str], str]] = [
        lambda told: platform.url + told,
        lambda told: urljoin(platform.url, told),
    ]

    for naive in ways:
        before = len(canary.heard)
        for detour in DETOURS:
            with suppress(requests.RequestException, ValueError, UnicodeError):
                requests.get(naive(towards(canary, detour)), timeout=2)
        assert len(canary.heard) > before


# -- what others answer, and pages say ---------------------------------------------------


def test_neither_klaviyos_redirect_nor_a_link_has_the_proxy_ask_elsewhere(
    tmp_path: Path, platform: Platform, canary: Canary
) -> None:
    elsewhere = {"Location": f"{canary.url}/latest/meta-data/"}
    said = msgspec.json.decode(platform.answer)
    said["cart"]["items"][0]["thumbnail"] = f"{canary.url}/tea.jpg"
    platform.answer = msgspec.json.encode(said)
    more = {"CARTS": "medusa", "CARTS_URL": platform.url, "CARTS_KEY": "a-key"}
    more["ORIGINS"] = f"https://shop.example,{canary.url}"
    with (
        Platform(status=307, headers=elsewhere).serve() as klaviyo,
        Proxy(environment(tmp_path, klaviyo.url, **more)) as proxy,
    ):
        page = Page(proxy.url, Shop(proxy.url).token(CART_ID))
        page.say(email="jane@shop-demo.io", checkout_url=f"{canary.url}/pay")
        until(lambda: klaviyo.asked)

    assert platform.asked
    assert canary.url.encode() in klaviyo.asked[0].body
    assert canary.heard == []


def test_a_redirect_does_not_lead_an_alarm_elsewhere(canary: Canary) -> None:
    elsewhere = {"Location": f"{canary.url}/"}
    now = datetime.now(UTC)
    told: dict[str, Any] = {"words": "w", "remedy": "r", "at": now}
    notice = Notice(id="1", shop="shop", name=next(iter(Name)), state=next(iter(State)), **told)

    with Platform(status=307, headers=elsewhere).serve() as receiver:
        said = Webhook(receiver.url, "a-key").tell(notice)

    assert said == "it answered 307"
    assert canary.heard == []


def test_control_a_client_that_follows_redirects_is_heard(canary: Canary) -> None:
    with Platform(status=307, headers={"Location": canary.url}).serve() as receiver:
        requests.post(receiver.url, timeout=2)

    assert canary.heard


# -- a name that means another address the second time -----------------------------------


@pytest.fixture
def rebinding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a name lead to the shop's address once, and from then on to loopback."""
    genuine, addresses = socket.getaddrinfo, ["127.0.0.2"]

    def resolve(host: Any, *more: Any, **options: Any) -> Any:
        if host == HOST:
            host = addresses.pop() if addresses else "127.0.0.1"
        return genuine(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def fetched_twice(url: str, ca_file: Path | None) -> list[bool]:
    """Return whether a cart came back, each time over a new connection."""
    came = []
    for _ in range(2):
        with closing(
            HttpCarts(recipe_of("medusa"), url=url, key="a-key", ca_file=ca_file)
        ) as carts:
            try:
                carts.fetch(CartRef(shop="shop", cart_id=CART_ID))
                came.append(True)
            except CartError:
                came.append(False)
    return came


@pytest.mark.usefixtures("rebinding")
@pytest.mark.parametrize("secure", [True, False], ids=["https", "control: plain http"])
def test_a_name_that_is_bound_anew_leads_to_nobody_without_its_certificate(
    tmp_path: Path, *, secure: bool
) -> None:
    shop_tls, other_tls = tmp_path / "shop", tmp_path / "other"
    for folder in (shop_tls, other_tls):
        folder.mkdir()
        running._certificate(folder)
    cart = recorded("medusa_eur")
    with (
        listening("127.0.0.2", tls=shop_tls if secure else None, answer=cart) as shop,
        listening(
            "127.0.0.1", int(shop.address.split(":")[1]), tls=other_tls if secure else None
        ) as canary,
    ):
        url = f"{'https' if secure else 'http'}://{HOST}:{shop.address.split(':')[1]}"

        came = fetched_twice(url, shop_tls / "certificate.pem" if secure else None)

    assert came == [True, False]
    assert len(shop.heard) == 1
    assert (canary.heard == []) == secure
