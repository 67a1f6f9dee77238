"""The demo shop in a real Chromium: an address is typed, and the page tells what becomes of it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.demo_shop import Demo, opened


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with opened(tmp_path_factory.mktemp("demo") / "store", settle=1) as demo:
        yield demo


@pytest.fixture
def checkout(demo: Demo, page: Page) -> Iterator[Page]:
    """The checkout, with a tin of tea in the cart."""
    page.goto(demo.url)
    page.get_by_role("button", name="Add to cart: Morning sencha").click()
    page.get_by_role("link", name="To the checkout").click()
    page.wait_for_url("**/checkout")  # and for its scripts: before them a form is sent as usual
    yield page
    demo.klaviyo.behave()


def test_a_typed_address_becomes_an_event_before_the_shoppers_eyes(checkout: Page) -> None:
    checkout.get_by_label("Lie about the total").check()

    checkout.get_by_label("E-mail").fill("jane@halm-hafen.de")
    checkout.keyboard.press("Tab")

    expect(checkout.locator("#headline")).to_have_text(
        "Started Checkout, for jane@halm-hafen.de", timeout=15_000
    )
    expect(checkout.locator("#step-cart")).to_contain_text("The page claims €0.01")
    expect(checkout.locator("#step-counted code")).to_contain_text('"value": 19.80')


def test_asking_for_trouble_keeps_what_was_typed(checkout: Page, demo: Demo) -> None:
    checkout.get_by_label("E-mail").fill("jane@halm")

    checkout.get_by_role("button", name="Break down (503)").click()

    expect(checkout.locator("output")).to_contain_text("watch the proxy try again")
    expect(checkout.get_by_label("E-mail")).to_have_value("jane@halm")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_the_screen(checkout: Page, demo: Demo, width: int) -> None:
    checkout.set_viewport_size({"width": width, "height": 800})

    for path in ("/", "/cart", "/checkout", "/klaviyo"):
        checkout.goto(demo.url + path)

        assert checkout.evaluate("document.documentElement.scrollWidth") <= width, path
