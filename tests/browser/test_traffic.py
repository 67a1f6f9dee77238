"""Traffic: no byte that a real browser gets or sends has a key of ours in it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

import pytest
from playwright.sync_api import Browser, Error, Page, Request

from proxy.checkouts import Status
from proxy.sandbox import shop as demo_shop
from proxy.store import Store
from proxy.story import tell
from tests.actors import (
    KLAVIYO_KEY,
    SHOP_KEY,
    TOKEN_KEYS,
    Ledger,
    environment,
    judged_klaviyo,
)
from tests.attack.canaries import found
from tests.books import lay_book
from tests.browser.test_through_nginx import add_to_cart, cart_id_of
from tests.running import Nginx, Proxy

KEYS = {
    "the private key": KLAVIYO_KEY,
    "the shop's key": SHOP_KEY,
    **{f"token key {number}": key for number, key in enumerate(TOKEN_KEYS.split(","))},
}


class Traffic:
    """All that goes over the wires of *page*, both ways, headers and bodies, as it goes."""

    def __init__(self, page: Page) -> None:
        self.said: dict[str, str | bytes] = {}
        # What has come, and was not to be read any more when it was asked for.
        self.missed: list[str] = []
        page.context.on("request", lambda request: self._note_sent(request))
        page.context.on("requestfinished", lambda request: self._note(request))

    def _note_sent(self, request: Request) -> None:
        # Here, and not once it is answered: that is told to nobody whose page is gone.
        name = f"{len(self.said)} {request.method} {request.url}"
        self.said[f"{name}: sent"] = request.post_data_buffer or b""

    def _note(self, request: Request) -> None:
        answer = request.response()
        assert answer is not None
        name = f"{len(self.said)} {request.method} {request.url}"
        self.said[f"{name}: headers"] = f"{request.all_headers()} {answer.headers_array()}"
        # A redirect has no body to be had; and the browser forgets one with its page.
        try:
            self.said[f"{name}: body"] = b"" if 300 <= answer.status < 400 else answer.body()
        except Error:
            self.missed.append(name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Ledger]]:
    """The demo shop behind nginx, over TLS, with the proxy under the same host."""
    folder = tmp_path_factory.mktemp("site")
    store = Store.of("shop", f"sqlite:///{folder}/store")
    lay_book(store)
    with ExitStack() as stack:
        klaviyo = stack.enter_context(judged_klaviyo())
        env = environment(store.folder.parent, klaviyo.url, SETTLE="1")
        proxy = stack.enter_context(Proxy(env))
        book = stack.enter_context(closing(store.book()))
        shop = demo_shop.create_shop(
            proxy_url=proxy.url,
            shop_key=SHOP_KEY,
            klaviyo_url=klaviyo.url,
            story=partial(tell, book, "shop"),
        )
        url = stack.enter_context(demo_shop.serve(shop))
        nginx = Nginx(folder / "nginx", proxy=proxy.address, shop=url.removeprefix("http://"))
        stack.enter_context(nginx)
        yield nginx.url, Ledger(store.folder.parent, klaviyo)


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    yield context.new_page()
    context.close()


def test_no_key_is_in_any_byte_of_a_shoppers_traffic(
    site: tuple[str, Ledger], visitor: Page
) -> None:
    url, ledger = site
    traffic = Traffic(visitor)

    visitor.goto(url, wait_until="networkidle")
    add_to_cart(visitor, "Morning sencha")
    visitor.get_by_role("link", name="To the checkout").click()
    visitor.wait_for_url("**/checkout")
    visitor.wait_for_function("() => window.checkoutProxy !== undefined")
    visitor.get_by_label("E-mail").fill("jane@halm-hafen.de")
    visitor.keyboard.press("Tab")
    ledger.wait(cart_id_of(visitor), Status.DELIVERED)
    for path in ("checkout", "co/checkout.js", "v1/openapi.json"):
        visitor.goto(f"{url}/{path}")
        visitor.wait_for_timeout(200)  # It is the browser that says when it has all of it.

    said = traffic.said
    assert found(said, KEYS) == set()
    # What is under way when the page is left.
    assert all(name.endswith(("/story.json", "/co/state")) for name in traffic.missed)
    assert any(name.endswith("/co/state: sent") and text for name, text in said.items())
    assert any("/co/checkout.js: body" in name and text for name, text in said.items())
    assert len(said) > 20


@pytest.mark.parametrize("place", ["body", "headers", "sent"])
def test_control_a_key_that_the_browser_gets_is_found(visitor: Page, place: str) -> None:
    traffic = Traffic(visitor)
    body = f"<script>const key = {KLAVIYO_KEY!r}</script>" if place == "body" else "<p>"
    headers = {"X-Key": KLAVIYO_KEY} if place == "headers" else {}
    visitor.route("**/*", lambda route: route.fulfill(body=body, headers=headers))

    visitor.goto("https://shop.test/")
    sent = KLAVIYO_KEY if place == "sent" else "nothing"
    visitor.evaluate("body => fetch('/', { method: 'POST', body }).then(it => it.text())", sent)
    visitor.wait_for_timeout(200)

    assert {name for _, name in found(traffic.said, KEYS)} == {"the private key"}
