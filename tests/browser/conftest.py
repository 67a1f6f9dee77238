"""A shop with the real web half beside its pages, and a real Chromium that visits it."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from html import escape
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request
from werkzeug.datastructures import EnvironHeaders
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import ClosingIterator

from proxy import facts
from proxy.facts import Customer, StatePosted
from proxy.snippet import Snippet
from proxy.store import Store
from proxy.tokens import Session, Tokens
from tests.actors import SHOP_KEY, UNLIMITED
from tests.running import ROOT, Nginx, Proxy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_NUMBERS = count(1)

KEY = "a-key-of-this-test-suite"

# For `add_init_script`: the browser says so itself.
GPC = "Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })"

Body = list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One POST as it came in, also where it was answered with a failure."""

    content_type: str
    body: dict[str, Any]
    accepted: bool

    @property
    def id(self) -> str:
        return str(self.body["id"])


def is_about_somebody(body: dict[str, Any]) -> bool:
    """Tell a post that tests count from that of a page which knows nothing yet."""
    said = {"email", "phone_number", "first_name", "kx", "kla_id", "consent", "claimed"}
    # The token of a customer is longer than one of our short carts' alone.
    is_known = len(body.get("token", "")) > 100 or "_kx=" in body.get("checkout_url", "")
    return is_known or not said.isdisjoint(body)


class Host:
    """A shop's site: a real nginx before its pages and, under /co, before the real proxy.

    Between nginx and the proxy there is only ourselves, to note what is posted and to fail when a
    test says so.
    """

    def __init__(self, folder: Path) -> None:
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        address = f"127.0.0.1:{self._server.server_port}"
        self.insecure_url = f"http://shop.test:{self._server.server_port}"
        self.changed = threading.Condition()
        self.pages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        self.shops: dict[str, Shop] = {}
        self.methods: set[str] = set()
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._end = ExitStack()
        nginx = self._end.enter_context(Nginx(folder / "nginx", proxy=address, shop=address))
        self.url = nginx.url
        store = f"sqlite:///{folder / 'store'}"
        settings = {
            "CHECKOUT_PROXY_TOKEN_KEYS": KEY,
            "CHECKOUT_PROXY_SHOP": "demo",
            "CHECKOUT_PROXY_SHOP_KEY": SHOP_KEY,
            "CHECKOUT_PROXY_STORE": store,
            "CHECKOUT_PROXY_BUDGETS": UNLIMITED["BUDGETS"],
            "CHECKOUT_PROXY_ORIGINS": f"{self.url},{self.insecure_url}",
        }
        self.tokens = Tokens([KEY], shop="demo", max_age=timedelta(days=1))
        self._proxy = self._end.enter_context(Proxy(settings, "--web-only"))
        self.inboxes = self._end.enter_context(closing(Store.of("demo", store).inboxes("demo")))

    def close(self) -> None:
        self._end.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Any:
        if environ["PATH_INFO"] == "/co/state":
            return self._state(environ, start_response)
        if environ["PATH_INFO"].startswith("/co/"):
            return self._passed_on(environ, b"", start_response)
        return self._page(environ, start_response)

    def _page(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Body:
        path = environ["PATH_INFO"]
        if path.startswith("/dist/"):  # What a shop's own build would have taken in.
            start_response("200 OK", [("Content-Type", "text/javascript; charset=utf-8")])
            return [(ROOT / f"static{path}").read_bytes()]
        html, headers = self.pages.get(path, ("<!doctype html>", []))
        all_headers = {"Content-Type": "text/html; charset=utf-8"} | dict(headers)
        start_response("200 OK", list(all_headers.items()))
        return [html.encode()]

    def _state(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Any:
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.methods.add(environ["REQUEST_METHOD"])
        body = json.loads(raw or b"{}")
        shop = self.shops.get(body.get("token", "")) if is_about_somebody(body) else None
        failure = shop.next_failure() if shop else None
        if failure is None:
            # Taken in whole before anybody is told of it, so that the store can be asked.
            answer = self._passed_on(environ, raw, start_response)
        else:
            start_response(f"{failure} Played", [("Content-Length", "0")])
            answer = []
        if shop is None:
            return answer
        content_type = environ.get("CONTENT_TYPE", "")
        post = Post(content_type=content_type, body=body, accepted=failure is None)
        # Noted once the answer is out, so that no test runs ahead of the page.
        return ClosingIterator(answer, partial(shop.note, post))

    def _passed_on(
        self, environ: "WSGIEnvironment", body: bytes, start_response: "StartResponse"
    ) -> Body:
        headers = dict(EnvironHeaders(environ))
        with closing(HTTPConnection(self._proxy.address, timeout=30)) as proxy:
            proxy.request(environ["REQUEST_METHOD"], environ["PATH_INFO"], body, headers)
            answer = proxy.getresponse()
            own = {"connection", "server", "date", "transfer-encoding"}
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in own]
            start_response(f"{answer.status} {answer.reason}", kept)
            return [answer.read()]


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@dataclass(kw_only=True)
class Shop:
    """One cart at the host: its pages, what was posted for it, and what the store received."""

    host: Host
    page: Page
    failures: list[int] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    # Short: itsdangerous would compress a longer one, and then nobody can look into the token.
    cart_id: str = field(default_factory=lambda: f"c{next(_NUMBERS)}")

    @property
    def url(self) -> str:
        return self.host.url

    def token(self, **customer: str) -> str:
        """Return a token for this cart, and for *customer* where there is one."""
        session = Session(
            shop="demo",
            cart_id=self.cart_id,
            customer=Customer(**customer) if customer else None,
        )
        token = self.host.tokens.sign(session)
        self.host.shops[token] = self
        return token

    def publish(self, html: str = "", *, headers: dict[str, str] | None = None, **data: str) -> str:
        """Return the path of a page of *html* with the snippet, and *data* in its attributes."""
        data = {"token": self.token()} | data
        attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
        path = f"/checkout/{next(_NUMBERS)}"
        self.host.pages[path] = (
            '<!doctype html><html lang="de-AT"><title>Checkout</title>'
            f'<script defer src="/co/checkout.js" {attributes}></script>{html}',
            list((headers or {}).items()),
        )
        return path

    def run(self, script: str, html: str = "") -> None:
        """Have the shopper open a page of *html* with *script*, a module that may import ours."""
        self.show(f'{html}<script type="module">{script}</script>')

    def show(self, html: str, headers: dict[str, str] | None = None) -> None:
        """Have the shopper open a page of *html*."""
        path = f"/checkout/{next(_NUMBERS)}"
        whole = f"<!doctype html><title>Checkout</title>{html}"
        self.host.pages[path] = whole, list((headers or {}).items())
        self._goto(self.url + path)

    def _goto(self, url: str) -> None:
        self.page.goto(url)
        self.later(seconds=1)  # The pause after the first look at a page.

    def tag(self, **said: str) -> str:
        """Return the snippet's tag, as the proxy prints it for a template."""
        return Snippet.shipped().tag(token=self.token(), **said)

    def open(self, html: str = "", *, query: str = "", **more: Any) -> None:
        """Have the shopper open a page as :meth:`publish` makes it."""
        self._goto(self.url + self.publish(html, **more) + query)

    def later(self, **time: float) -> None:
        """Let *time* go by in the page, at once."""
        self.page.clock.fast_forward(int(timedelta(**time).total_seconds() * 1000))

    def next_failure(self) -> int | None:
        with self.host.changed:
            return self.failures.pop(0) if self.failures else None

    def note(self, post: Post) -> None:
        with self.host.changed:
            self.posts.append(post)
            self.host.changed.notify_all()

    def has_posts(self, number: int, *, accepted: bool = False) -> bool:
        """Return whether *number* posts come to be answered, or even accepted."""

        def are_here() -> bool:
            return sum(post.accepted or not accepted for post in self.posts) >= number

        with self.host.changed:
            return self.host.changed.wait_for(are_here, timeout=10)

    def states(self, number: int) -> list[StatePosted]:
        """Return what the store has of this cart: *number* states, each told once or more often."""
        assert self.has_posts(number, accepted=True)
        self._let_the_page_finish()
        received = {
            row.id: facts.decode(row.kind, row.body)
            for row in self.host.inboxes.after({}, 10_000)
            if row.cart_id == self.cart_id
        }
        ids = {post.id for post in self.posts}
        states = [received[id_] for id_ in received if id_ in ids]
        assert len(states) == number
        return [state for state in states if isinstance(state, StatePosted)]

    def assert_silent(self, posts: int = 0) -> None:
        """Fail if the page has posted more than *posts* times, or does within its hour."""
        self._let_the_page_finish()
        self.later(hours=1)
        self._let_the_page_finish()
        assert len(self.asked) == len(self.posts) == posts

    def slot(self) -> str:
        """Return what the snippet keeps in the browser."""
        return str(self.page.evaluate("JSON.stringify({...localStorage})"))

    def push(self, **patch: Any) -> None:
        """Have the page say *patch*, and the pause after it go by."""
        name = "(window.checkoutProxy ?? checkout)"
        self.page.evaluate(f"patch => {name}.push(patch)", patch)
        self.later(seconds=1)

    def _let_the_page_finish(self) -> None:
        if not self.page.is_closed():
            # Whatever the page asked for before this, the browser has told us of after this.
            self.page.evaluate("() => fetch('/nothing').then(answer => answer.text())")


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("store"))
    yield host
    host.close()


@pytest.fixture(scope="session")
def base_url() -> None:
    """Take the place of pytest-playwright 0.10's own, of which pytest 9.2 disapproves."""


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    # The first is the same engine without a window's trappings, at a third of the work a page.
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: install one, or name it in $CHROMIUM")
    return {
        "executable_path": found,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            # nginx's certificate is of our own making, and a context's leave to overlook it does
            # not cover what a page sends once it is gone.
            "--ignore-certificate-errors",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # A context's own ignore_https_errors does not cover what outlives its page.
            "--ignore-certificate-errors",
            # Else the snippet takes our shopper for the robot it is.
            "--disable-blink-features=AutomationControlled",
            # And the proxy by its name: HeadlessChrome is no shopper's.
            "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/140.0.0.0 Safari/537.36",
            # A name that is not loopback, so that plain http is what it is for a shop: insecure.
            "--host-resolver-rules=MAP shop.test 127.0.0.1",
        ],
    }


def enter(page: Page, label: str, text: str) -> None:
    """Type *text* key by key over what stands in the field, and go on to the next."""
    page.get_by_label(label).press("Control+a")
    page.get_by_label(label).press_sequentially(text)
    page.keyboard.press("Tab")


@pytest.fixture(scope="module")
def one_context(browser: Browser) -> Iterator[BrowserContext]:
    """Serve many tests: a new context costs more than most of them."""
    context = browser.new_context(locale="de-AT")
    yield context
    context.close()


@pytest.fixture
def context(one_context: BrowserContext) -> BrowserContext:
    one_context.clear_cookies()
    return one_context


@pytest.fixture
def page(context: BrowserContext, host: Host) -> Iterator[Page]:
    """Return a page of the test's own, for whose host nothing is stored."""
    page = context.new_page()
    everything = {"origin": host.url, "storageTypes": "all"}
    context.new_cdp_session(page).send("Storage.clearDataForOrigin", everything)
    yield page
    page.close()


@pytest.fixture
def console(page: Page) -> list[str]:
    """Return what the page writes to the console, as it comes in."""
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    return lines


@pytest.fixture(autouse=True)
def _nothing_is_thrown_at_the_page(page: Page) -> Iterator[None]:
    errors: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error":
            errors.append(said.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note)
    yield
    # The browser writes these itself: of every answer above 399, and of what it does not run.
    itself = ("Failed to load resource", "Failed to find a valid digest")
    assert [error for error in errors if not error.startswith(itself)] == []


@pytest.fixture
def shop(host: Host, page: Page) -> Shop:
    shop = Shop(host=host, page=page)

    def note(request: Request) -> None:
        if request.url.endswith("/state") and is_about_somebody(request.post_data_json or {}):
            shop.asked.append(request.method)

    page.on("request", note)
    page.clock.install(time=datetime.now(UTC))
    page.clock.resume()
    return shop
