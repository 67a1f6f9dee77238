"""The whole product: Chromium, nginx, the demo shop, the proxy, and a strict Klaviyo."""

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from proxy.checkouts import Status
from proxy.sandbox import shop as demo_shop
from proxy.store import Store
from proxy.story import tell
from tests.actors import SHOP_KEY, Ledger, environment, judged_klaviyo
from tests.books import lay_book
from tests.running import Nginx, Proxy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Ledger]]:
    """The demo shop behind nginx, over TLS, with the proxy under the same host."""
    folder = tmp_path_factory.mktemp("site")
    store = Store.of("shop", f"sqlite:///{folder}/store")
    lay_book(store)
    with (
        judged_klaviyo() as klaviyo,
        Proxy(environment(store.folder.parent, klaviyo.url, SETTLE="3")) as proxy,
        closing(store.book()) as book,
        demo_shop.serve(
            demo_shop.create_shop(
                proxy_url=proxy.url,
                shop_key=SHOP_KEY,
                klaviyo_url=klaviyo.url,
                story=partial(tell, book, "shop"),
            )
        ) as shop_url,
        Nginx(folder / "nginx", proxy=proxy.address, shop=shop_url[len("http://") :]) as nginx,
    ):
        yield nginx.url, Ledger(store.folder.parent, klaviyo)


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    yield context.new_page()
    context.close()


def add_to_cart(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Add to cart: {name}").click()
    page.wait_for_url("**/cart")


def cart_id_of(page: Page) -> str:
    return next(c["value"] for c in page.context.cookies() if "cart" in c["name"])


def test_three_typings_and_a_lie_are_one_event_to_the_last_with_the_shops_total(
    site: tuple[str, Ledger], visitor: Page
) -> None:
    url, ledger = site
    visitor.goto(url)
    add_to_cart(visitor, "Harbour teapot")
    visitor.goto(f"{url}/checkout")
    total = Decimal(visitor.locator(".sums .total dd").inner_text().strip("€ \u00a0"))
    cart_id = cart_id_of(visitor)
    email = visitor.get_by_label("E-mail")

    visitor.get_by_label("Lie about the total").check()
    for typed in ("jane@gmial", "jane@gmial.com"):
        email.fill(typed)
        email.blur()
    with visitor.expect_request("**/co/state") as posted:
        email.fill("jane@shop-demo.io")
        email.blur()

    ledger.wait(cart_id, Status.DELIVERED)
    assert json.loads(posted.value.post_data or "")["claimed"]["value"] == 0.01
    (event,) = ledger.events(cart_id)
    assert event["profile"]["data"]["attributes"]["email"] == "jane@shop-demo.io"
    assert event["value"] == total
    assert ledger.answered_yes(cart_id) == 1
    assert b"0.01" not in b"".join(request.body for request in ledger.klaviyo.requests)


def test_the_shopper_is_told_what_became_of_it(site: tuple[str, Ledger], visitor: Page) -> None:
    url, _ = site
    visitor.goto(url)
    add_to_cart(visitor, "Morning sencha")
    visitor.goto(f"{url}/checkout")

    visitor.get_by_label("E-mail").fill("sarah@shop-demo.io")
    visitor.get_by_label("E-mail").blur()

    expect(visitor.locator("#story")).to_contain_text('"unique_id"', timeout=30_000)
    expect(visitor.locator("#story")).to_contain_text("sarah@shop-demo.io")


def test_an_address_typed_just_before_leaving_arrives(
    site: tuple[str, Ledger], visitor: Page
) -> None:
    url, ledger = site
    visitor.goto(url)
    add_to_cart(visitor, "Heron kettle")
    visitor.goto(f"{url}/checkout")
    cart_id = cart_id_of(visitor)

    visitor.get_by_label("E-mail").fill("jane@shop-demo.io")
    visitor.get_by_role("link", name="Halm & Hafen").click()

    ledger.wait(cart_id, Status.DELIVERED)
    assert len(ledger.events(cart_id)) == 1


def test_who_types_and_orders_at_once_is_not_reminded_of_the_checkout(
    site: tuple[str, Ledger], visitor: Page
) -> None:
    url, ledger = site
    visitor.goto(url)
    add_to_cart(visitor, "Fine strainer")
    visitor.goto(f"{url}/checkout")
    cart_id = cart_id_of(visitor)

    visitor.get_by_label("E-mail").fill("jane@shop-demo.io")
    visitor.get_by_label("E-mail").press("Enter")
    visitor.wait_for_url("**/orders/*")

    ledger.wait(cart_id, Status.CANCELLED)
    assert ledger.answered_yes(cart_id) == 0
