"""The example for django-oscar, in a real Oscar whose own views change the basket."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pytest

from tests.actors import Page, Shop, until
from tests.push.conftest import Pushed
from tests.running import ROOT

EXAMPLE = ROOT / "docs/examples/push/oscar"
SHOP = Path(__file__).with_name("oscar_shop.py")

# Too heavy for the development environment. The first run installs them, in half a minute.
REQUIREMENTS = ("django-oscar==4.2.1", "django==5.2.*", "requests", "sorl-thumbnail")
CACHE = Path.home() / ".cache/checkout-proxy-tests"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Oscar:
    """The shop, and its shopper's browser."""

    asked: IO[str]
    told: IO[str]

    def do(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Have a function of :mod:`tests.push.oscar_shop` called, and return what it returns."""
        print(json.dumps([name, *arguments]), file=self.asked, flush=True)
        line = self.told.readline()
        assert line, "the shop has ended; its standard error says why"
        return json.loads(line) or {}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has Oscar."""
    known_as = sha256(f"{REQUIREMENTS} {sys.version}".encode()).hexdigest()[:12]
    folder = CACHE / f"oscar-{known_as}"
    if not folder.exists():
        _install(folder)
    return folder / "bin/python"


def _install(folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    # Half an environment is none, and somebody else may be at it.
    half = Path(tempfile.mkdtemp(prefix="half-", dir=CACHE))
    try:
        subprocess.run([sys.executable, "-m", "venv", half], check=True, capture_output=True)
        pip = [f"{half}/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, *REQUIREMENTS], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != 0:
            why = done.stderr.strip().rpartition("\n")[2]
            pytest.skip(f"Oscar cannot be installed, perhaps PyPI is out of reach: {why}")
        if not folder.exists():
            half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


@pytest.fixture(scope="module")
def shop(python: Path, pushed: Pushed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oscar]:
    """Run the shop, with the example in it."""
    path = {"PYTHONPATH": f"{EXAMPLE}", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [python, SHOP, tmp_path_factory.mktemp("oscar")],
        env=os.environ | pushed.shop_settings | path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Oscar(process.stdin, process.stdout)
        # The end of its input is the end of the shop.
        process.stdin.close()


@pytest.fixture
def oscar(shop: Oscar) -> Oscar:
    """Return the shop as it is to somebody who was never there."""
    shop.do("leave")
    return shop


def three_lines(oscar: Oscar) -> dict[str, Any]:
    """Put three products into the basket, and return its id and its total."""
    oscar.do("add", "tee", 3)
    oscar.do("add", "jeans", 1)
    return oscar.do("add", "socks", 1)


def test_a_basket_with_a_voucher_arrives_as_oscar_computed_it(oscar: Oscar, pushed: Pushed) -> None:
    three_lines(oscar)

    basket = oscar.do("add_voucher", "SAVE10")

    assert basket["total"] == "191.91"
    cart = pushed.wait(basket["basket"], "191.91")
    items = cart.pop("items")
    del cart["updated_at"]
    assert cart == {
        "cart_id": basket["basket"],
        "completed": False,
        "warnings": cart["warnings"],
        "currency": "EUR",
        "total": "191.91",
        "subtotal": "213.23",
        "discount": "21.32",
        "tax": "0.00",
        "coupons": ["SAVE10"],
        "checkout_url": "https://shop-demo.io/basket/",
    }
    assert [item["row_total"] for item in items] == ["80.97", "89.96", "20.98"]
    assert items[0] == {
        "product_id": items[0]["product_id"],
        "sku": "TEE",
        "name": "Tee",
        "quantity": "3",
        "unit_price": "29.99",
        "row_total": "80.97",
        "product_url": items[0]["product_url"],
        "categories": ["Shirts & more"],
    }
    assert items[0]["product_url"].startswith("https://shop-demo.io/catalogue/tee_")


def test_a_voucher_that_is_removed_is_no_longer_in_the_total(oscar: Oscar, pushed: Pushed) -> None:
    three_lines(oscar)
    pushed.wait(oscar.do("add_voucher", "SAVE10")["basket"], "191.91")

    basket = oscar.do("remove_voucher")

    assert "21.32" not in str(pushed.wait(basket["basket"], "213.23"))


def test_a_quantity_that_is_changed_arrives(oscar: Oscar, pushed: Pushed) -> None:
    three_lines(oscar)

    basket = oscar.do("set_quantities", 1, 2, 0)

    assert basket["total"] == "229.89"
    cart = pushed.wait(basket["basket"], "229.89")
    assert [item["quantity"] for item in cart["items"]] == ["1", "2"]


def test_an_emptied_basket_is_taken_away(oscar: Oscar, pushed: Pushed) -> None:
    basket = oscar.do("add", "tee", 1)
    pushed.wait(basket["basket"], "29.99")

    oscar.do("set_quantities", 0)

    pushed.wait_for_none(basket["basket"])


def test_the_basket_of_a_guest_who_logs_in_moves(oscar: Oscar, pushed: Pushed) -> None:
    guests = three_lines(oscar)
    pushed.wait(guests["basket"], "213.23")

    customers = oscar.do("log_in")

    assert customers["basket"] != guests["basket"]
    pushed.wait(customers["basket"], customers["total"])
    pushed.wait_for_none(guests["basket"])


def test_an_order_forgets_the_basket(oscar: Oscar, pushed: Pushed) -> None:
    basket = three_lines(oscar)
    pushed.wait(basket["basket"], "213.23")
    Page(pushed.url, Shop(pushed.url).token(basket["basket"])).say()

    assert oscar.do("order")["basket"] == basket["basket"]

    pushed.wait_for_none(basket["basket"])
    until(lambda: "order placed" in pushed.story(basket["basket"]))


def test_each_change_is_told_once(oscar: Oscar, pushed: Pushed) -> None:
    three_lines(oscar)
    basket = oscar.do("add_voucher", "SAVE10")

    pushed.wait(basket["basket"], "191.91")

    assert pushed.story(basket["basket"]).count("cart pushed") == 4


def test_a_proxy_that_is_down_is_not_in_the_way(oscar: Oscar, pushed: Pushed) -> None:
    oscar.do("look_for_the_proxy_at", "http://127.0.0.1:1")
    try:
        basket = oscar.do("add", "tee", 1)
    finally:
        oscar.do("look_for_the_proxy_at", pushed.url)

    assert basket["total"] == "29.99"
    # The whole basket goes each time, and so the next change makes up for it.
    basket = oscar.do("add", "jeans", 1)
    assert len(pushed.wait(basket["basket"], "129.94")["items"]) == 2
