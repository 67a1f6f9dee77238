"""The demo shop sells, tells the proxy, and shows what became of it."""

import json
import re
import socket
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psutil
import pytest

from proxy.carts.cart import Cart
from proxy.sandbox.shop import TROUBLES, create_shop, serve
from proxy.standing import Standing
from proxy.story import Story
from proxy.tokens import Tokens
from tests.actors import SHOP_KEY, TOKEN_KEYS, until
from tests.demo_shop import Demo, Shopper, opened
from tests.running import free_port


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with opened(tmp_path_factory.mktemp("demo") / "store", settle=2) as demo:
        yield demo


@pytest.fixture
def shopper(demo: Demo) -> Iterator[Shopper]:
    shopper = Shopper(demo.url)
    with shopper.http:
        yield shopper
    demo.klaviyo.behave()


@pytest.fixture
def alone() -> Iterator[Shopper]:
    """A shopper in a shop whose proxy and Klaviyo are both away."""
    shop = create_shop(
        proxy_url=f"http://127.0.0.1:{free_port()}",
        shop_key=SHOP_KEY,
        klaviyo_url=f"http://127.0.0.1:{free_port()}",
        story=lambda cart_id: Story(checkouts=[], lines=[], standing=Standing()),
    )
    with serve(shop) as url:
        shopper = Shopper(url)
        with shopper.http:
            yield shopper


def pushed(demo: Demo, shopper: Shopper, total: str) -> Cart:
    """Return the cart once the proxy has it with *total*."""

    def has_arrived() -> bool:
        cart = demo.cart(shopper.cart_id)
        return cart is not None and cart.total == Decimal(total)

    until(has_arrived, timeout=15)
    cart = demo.cart(shopper.cart_id)
    assert cart is not None
    return cart


# -- money -------------------------------------------------------------------------------


def test_three_things_at_ten_cents_are_thirty_cents(demo: Demo, shopper: Shopper) -> None:
    shopper.take("filter", "filter", "filter")

    cart = pushed(demo, shopper, "5.20")

    assert (cart.subtotal, cart.shipping) == (Decimal("0.30"), Decimal("4.90"))


def test_the_coupon_takes_ten_percent_off_the_goods_alone(demo: Demo, shopper: Shopper) -> None:
    shopper.take("filter", "filter", "filter")

    shopper.send("/cart", coupon=" tea10 ")

    cart = pushed(demo, shopper, "5.17")
    assert (cart.discount, cart.coupons) == (Decimal("0.03"), ("TEA10",))


def test_tax_is_told_rate_by_rate(demo: Demo, shopper: Shopper) -> None:
    shopper.take("sencha", "teapot")

    shopper.send("/cart", coupon="TEA10")

    # 13.41 at 7 % hold 0.88, and 45.22 at 19 % hold 7.22.
    assert pushed(demo, shopper, "58.63").tax == Decimal("8.10")


def test_a_coupon_of_somebody_else_changes_nothing(demo: Demo, shopper: Shopper) -> None:
    shopper.take("cups")

    page = shopper.send("/cart", coupon="KAFFEE50")

    assert "KAFFEE50 is no coupon of ours." in page.text
    assert pushed(demo, shopper, "23.00").coupons == ()


def test_shipping_is_free_from_sixty_euros(demo: Demo, shopper: Shopper) -> None:
    shopper.take("kettle")

    assert pushed(demo, shopper, "68.00").shipping == 0


def test_what_is_taken_out_is_out_for_the_proxy_too(demo: Demo, shopper: Shopper) -> None:
    shopper.take("kettle", "strainer")
    pushed(demo, shopper, "77.20")

    shopper.send("/cart", kettle=0, strainer=2)

    (item,) = pushed(demo, shopper, "23.30").items
    assert item.product_id == "strainer"
    assert item.row_total == Decimal("18.40")


def test_no_more_than_99_of_a_thing_are_sold(demo: Demo, shopper: Shopper) -> None:
    shopper.take("filter")

    shopper.send("/cart", filter=10**9)

    pushed(demo, shopper, "14.80")


def test_what_is_not_on_the_shelf_is_not_sold(shopper: Shopper) -> None:
    answer = shopper.http.post(f"{shopper.url}/cart/items", data={"product": "crown"}, timeout=15)

    assert answer.status_code == 404


# -- what the browser gets ---------------------------------------------------------------


def test_the_checkout_carries_a_token_for_this_cart(shopper: Shopper) -> None:
    shopper.take("cups")
    tokens = Tokens(TOKEN_KEYS.split(","), shop="shop", max_age=timedelta(minutes=1))

    session = tokens.read(shopper.token(), datetime.now(UTC))

    assert session.cart_id == shopper.cart_id


def test_nobody_can_guess_a_cart(demo: Demo) -> None:
    carts = set()
    for _ in range(2):
        shopper = Shopper(demo.url)
        with shopper.http:
            shopper.take("filter")
            carts.add(shopper.cart_id)

    assert len(carts) == 2
    assert all(len(cart_id) >= 22 for cart_id in carts)


def test_the_snippet_comes_through_the_shop_as_it_is(demo: Demo, shopper: Shopper) -> None:
    theirs = shopper.get("/co/checkout.js")

    ours = shopper.http.get(f"{demo.proxy_url}/co/checkout.js", timeout=15)
    assert theirs.content == ours.content
    assert theirs.headers["Content-Type"] == ours.headers["Content-Type"]
    again = shopper.get("/co/checkout.js", headers={"If-None-Match": theirs.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_shops_own_pages_may_post_through_it(demo: Demo, shopper: Shopper) -> None:
    shopper.take("cups")

    assert shopper.post({"Origin": demo.url}).status_code == 202


def test_other_peoples_pages_may_not(shopper: Shopper) -> None:
    shopper.take("cups")

    answer = shopper.post({"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert shopper.story()["steps"]["posted"]["title"] == "The page’s post was refused"


def test_the_pages_ask_no_other_server(shopper: Shopper) -> None:
    shopper.take("cups")
    paths = ["/", "/cart", "/checkout", "/klaviyo", "/static/shop.css", "/static/shop.js"]

    pages = [shopper.get(path) for path in paths]

    for page in pages:
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert re.findall(r"(?:src|href|url\(|@import)\W{0,2}(?:https?:)?//", page.text) == []


# -- what happens ------------------------------------------------------------------------


def test_a_browser_that_hangs_up_leaves_no_file_open(shopper: Shopper) -> None:
    port = int(shopper.url.rpartition(":")[2])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as browser:
            browser.sendall(b"GET /static/shop/teapot.svg HTTP/1.1\r\nHost: x\r\n\r\n")
            browser.recv(1)
            # Without lingering, the connection is reset rather than closed.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert shopper.get("/static/shop/teapot.svg").content.startswith(b"<svg")
    until(lambda: not [file for file in psutil.Process().open_files() if "teapot" in file.path])


def test_an_address_becomes_an_event_with_the_shops_total(shopper: Shopper) -> None:
    shopper.take("sencha")

    shopper.post(email="jane@halm-hafen.de", claimed={"value": 0.01, "currency": "EUR"})

    shopper.story_once("Started Checkout, for jane@halm-hafen.de")
    until(lambda: shopper.story()["steps"]["sent"]["state"] == "done")
    steps = shopper.story()["steps"]
    event = json.loads(steps["counted"]["code"], parse_float=Decimal)["data"]["attributes"]
    assert event["value"] == Decimal("19.80")
    assert steps["cart"]["lines"] == ["The page claims €0.01. Noted, and never sent."]
    assert steps["counted"]["text"] == "€19.80. Received once, counted once."
    assert event["unique_id"] in shopper.get("/klaviyo").text


def test_an_order_cancels_what_is_settling(shopper: Shopper) -> None:
    shopper.take("sencha")
    before = shopper.cart_id
    shopper.post(email="jane@halm-hafen.de")
    shopper.story_once("Settling")

    page = shopper.send("/orders", email="jane@halm-hafen.de")

    order = page.url.removeprefix(shopper.url)
    told = shopper.story_once("Not sent", f"{order}/story.json")
    assert told["steps"]["settled"]["text"] == "An order was placed for the cart."
    shopper.take("sencha")
    assert shopper.cart_id != before


def test_global_privacy_control_reaches_the_proxy(shopper: Shopper) -> None:
    shopper.take("sencha")

    shopper.post({"Sec-GPC": "1"}, email="jane@halm-hafen.de")

    told = shopper.story_once("Not sent")
    assert told["steps"]["settled"]["text"] == "The browser sends Global Privacy Control."


def test_a_broken_klaviyo_is_tried_again(shopper: Shopper) -> None:
    shopper.take("sencha")

    shopper.send("/klaviyo/trouble", trouble="503")
    shopper.post(email="jane@halm-hafen.de")

    sent = shopper.story_once("Trying again")["steps"]["sent"]
    assert "Klaviyo answered 503" in sent["lines"][0]
    assert sent["seconds"] > 0


@pytest.mark.parametrize("trouble", [trouble.name for trouble in TROUBLES])
def test_klaviyo_understands_every_trouble_we_ask_for(
    demo: Demo, shopper: Shopper, trouble: str
) -> None:
    form = {"trouble": trouble}

    answer = shopper.http.post(
        f"{demo.url}/klaviyo/trouble", data=form, allow_redirects=False, timeout=15
    )

    assert answer.status_code == 303


def test_the_link_in_the_event_brings_the_cart_back(demo: Demo, shopper: Shopper) -> None:
    shopper.take("kettle")
    link = pushed(demo, shopper, "68.00").checkout_url
    elsewhere = Shopper(demo.url)

    with elsewhere.http:
        page = elsewhere.get(str(link).removeprefix(demo.url))

    assert "Heron kettle" in page.text


def test_what_a_page_posts_is_shown_as_text(shopper: Shopper) -> None:
    shopper.take("cups")

    shopper.post(first_name="<script>alert(1)</script>")

    assert "<script>alert" not in shopper.story()["html"]["step-posted"]
    assert "<script>alert" not in shopper.get("/checkout").text


# -- when the others are away ------------------------------------------------------------


def test_the_shop_sells_while_the_proxy_is_away(alone: Shopper) -> None:
    alone.take("kettle")

    checkout, order = alone.get("/checkout"), alone.send("/orders", email="jane@halm-hafen.de")

    assert "The proxy is not there" in checkout.text
    assert "data-token" not in checkout.text
    assert "Thank you" in order.text


def test_the_page_is_told_that_the_proxy_is_away(alone: Shopper) -> None:
    answer = alone.get("/co/checkout.js")

    assert answer.status_code == 502
