"""The example for Vite, built and run as its readers do: what is typed there arrives."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page

from proxy.facts import ConsentState, StatePosted
from proxy.sandbox import shop as demo_shop
from tests.running import NODE, ROOT, Program, free_port, listens
from tests.test_package import npm
from tests.web import Web, token

EXAMPLE = "docs/examples/vite"


class Preview(Program):
    """``vite preview`` of the example in *folder*: page, proxy and shop in one origin."""

    def __init__(self, folder: Path, port: int, *, proxy: str, shop: str) -> None:
        self._port = port
        vite = (f"{NODE}", f"{folder}/node_modules/vite/bin/vite.js", "preview", f"{folder}")
        where = ("--host", "127.0.0.1", "--port", f"{port}", "--strictPort")
        env = os.environ | {"CHECKOUT_PROXY_URL": proxy, "SHOP_URL": shop}
        super().__init__("vite", *vite, *where, env=env)

    def is_up(self) -> bool:
        return listens(self._port)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the example, built beside a copy of the package."""
    root = tmp_path_factory.mktemp("root")
    for name in (EXAMPLE, "static"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("node_modules"))
    # What somebody built before is no proof.
    shutil.rmtree(root / EXAMPLE / "dist", ignore_errors=True)
    npm("ci", cwd=root / EXAMPLE)
    npm("run", "build", cwd=root / EXAMPLE)
    return root / EXAMPLE


@pytest.fixture
def port() -> int:
    """Return where the page will be."""
    return free_port()


@pytest.fixture
def web(serve: Callable[..., Web], port: int) -> Web:
    """Return a web half that takes what pages at :func:`port` post."""
    return serve(ORIGINS=f"http://127.0.0.1:{port}", CONSENT="required")


@pytest.fixture
def url(built: Path, port: int, web: Web) -> Iterator[str]:
    """Serve the built page; the shop's server knows one cart."""
    shop = Flask("shop")
    shop.add_url_rule("/token", view_func=token)
    with demo_shop.serve(shop) as shop_url, Preview(built, port, proxy=web.url, shop=shop_url):
        yield f"http://127.0.0.1:{port}/"


def test_a_typed_address_leaves_the_page_once_consent_is_given(
    url: str, web: Web, page: Page
) -> None:
    page.clock.install()
    with page.expect_response("**/token"):
        page.goto(url)
        page.clock.fast_forward(1_000)
    page.get_by_label("E-mail").fill("jane@shop-demo.io")
    page.keyboard.press("Tab")
    page.clock.fast_forward(1_000)

    with page.expect_response("**/co/state") as answer:
        page.get_by_role("button", name="You may write to me").click()
        page.clock.fast_forward(1_000)

    assert answer.value.status == 202
    [state] = web.facts()
    assert isinstance(state, StatePosted)
    assert state.consent is not None
    assert state.consent.state is ConsentState.GRANTED
    assert (state.cart_id, state.email) == ("c-1", "jane@shop-demo.io")
    assert state.checkout_url == url
