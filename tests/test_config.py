"""The settings file: a shop describes its own source of totals, and all mistakes are said."""

import json
import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy import shops
from proxy.carts.described import mistakes as judge
from proxy.errors import Misconfigured
from proxy.settings import SENDER, Settings
from tests.commands import run
from tests.platform import KEY, Platform, recorded

ERP = """
[shops.shop.carts]
source = "http"
url = "{url}"
key_file = "{key}"
id_pattern = "[0-9]{{1,9}}"

[shops.shop.carts.request]
path = "/api/baskets/{{cart_id}}.json"
headers.Authorization = "Bearer {{key}}"

[shops.shop.carts.money]
unit = "minor"
exponent = "digits"

[shops.shop.carts.cart]
root = "basket"
id = "number"
currency = "currency"
total = "sum"
items = "lines"

[shops.shop.carts.item]
product_id = "sku"
name = "title"
quantity = "count"
unit_price = "price"
"""

BASKET = {
    "basket": {
        "number": 4711,
        "currency": "EUR",
        "digits": 2,
        "sum": 1999,
        "lines": [{"sku": "t-1", "title": "Tea", "count": 1, "price": 1999}],
    }
}


@pytest.fixture
def erp() -> Iterator[Platform]:
    with Platform(answer=json.dumps(BASKET).encode()).serve() as erp:
        yield erp


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "carts-key"
    path.write_text(KEY)
    return path


def write(folder: Path, text: str) -> str:
    path = folder / "shops.toml"
    path.write_text(text)
    return str(path)


def read(config: str, **environ: str) -> Settings:
    said = {"CONFIG": config, "KLAVIYO_KEY": "pk_x", **environ}
    variables = {f"CHECKOUT_PROXY_{name}": text for name, text in said.items()}
    (settings,) = shops.read(variables, need=SENDER, judge=judge)
    return settings


def mistakes(config: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(Misconfigured) as error:
        read(config, **environ)
    return error.value.mistakes


def test_a_shops_own_endpoint_is_described_in_the_file(
    erp: Platform, key: Path, tmp_path: Path
) -> None:
    config = write(tmp_path, ERP.format(url=erp.url, key=key))

    printed = run("cart", "4711", "--json", CHECKOUT_PROXY_CONFIG=config)

    cart = json.loads(printed.stdout)
    assert (cart["total"], cart["currency"], cart["cart_id"]) == ("19.99", "EUR", "4711")
    (asked,) = erp.asked
    assert asked.path == "/api/baskets/4711.json"
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_a_platform_is_changed_in_what_the_file_says(key: Path, tmp_path: Path) -> None:
    with Platform(answer=recorded("vendure")).serve() as platform:
        changed = f"""
            [shops.shop.carts]
            source = "vendure"
            url = "{platform.url}"
            key_file = "{key}"
            money.exponent = 3
            item.name = "productVariant.name"
        """
        config = write(tmp_path, changed)
        printed = run("cart", "8AF964MUHARPMM4W", "--json", CHECKOUT_PROXY_CONFIG=config)

    cart = json.loads(printed.stdout)
    assert cart["total"] == "152.483"
    assert cart["coupons"] == ["SAVE10"]


def test_a_file_that_says_nothing_of_the_shop_is_a_mistake(tmp_path: Path) -> None:
    config = write(tmp_path, ERP.format(url="https://erp.example.com", key="/nowhere"))

    (mistake,) = mistakes(config, SHOP="coffee")

    assert mistake.endswith("shops.toml has no [shops.coffee]: it has [shops.shop]")


def test_an_empty_variable_is_none_beside_the_file(key: Path, tmp_path: Path) -> None:
    config = write(tmp_path, ERP.format(url="https://erp.example.com", key=key))

    assert read(config, CARTS_URL=" ").carts_url == "https://erp.example.com"


def test_what_the_file_says_is_in_no_repr(key: Path, tmp_path: Path) -> None:
    said = ERP.format(url="https://erp.example.com", key=key).replace("{key}", "a-secret")

    assert "a-secret" not in repr(read(write(tmp_path, said)))


def test_what_the_file_says_goes_before_the_environment(key: Path, tmp_path: Path) -> None:
    config = write(tmp_path, ERP.format(url="https://erp.example.com", key=key))

    settings = read(config, CARTS_URL="https://other.example.com", CARTS="vendure", CARTS_KEY="x")

    assert (settings.carts, settings.carts_url) == ("http", "https://erp.example.com")
    assert settings.carts_key == KEY


def test_every_mistake_of_the_file_is_said_with_its_key(tmp_path: Path) -> None:
    config = write(
        tmp_path,
        """
        [shops.shop.carts]
        source = "http"
        url = "erp"
        id_pattern = "("
        request.path = "/{key}"
        money.unit = "cents"
        cart = { root = "@", id = "id", currency = "c[", totals = "t", items = "items" }
        item = { product_id = "id", name = "name", quantity = "q", unit_price = "p" }
        """,
    )

    said = "\n".join(mistakes(config))

    for words in (
        "shops.toml:4: shops.shop.carts.url is an address",
        "shops.toml:8: shops.shop.carts: [cart] lacks total",
        "cart.totals is none of ours",
        "cart.currency is no JMESPath",
        "money.unit is major or minor, not 'cents'",
        "id_pattern is no regular expression",
        "CHECKOUT_PROXY_CARTS_KEY is not set",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no [shops.NAME]: it has no shop at all"),
        ("[shops.shop", "is no TOML"),
        ("[shop.carts]\nsource='push'", ":1: shop is nothing here: there is [shops.NAME]"),
        (
            "[shops.shop.cart]\nsource='push'",
            ":1: shops.shop.cart is no setting: did you mean carts?",
        ),
        ("shops = 7", "shops is a table"),
        ('[shops.""]', ':1: shops."" has no name'),
        ("shops.shop = 7", "shops.shop is a table"),
        ("shops.shop.carts = 7", ":1: shops.shop.carts is one of push, signed"),
        ("[shops.shop.carts]\nurl = 7", "shops.shop.carts.url is a text"),
        ("[shops.shop.carts]\nsource='http'", "is http: describe it"),
        ("[shops.shop.carts]\nmoney.unit='major'", "shops.shop.carts has money: nobody is asked"),
        ("[shops.shop.carts]\nsource='sql'\nid_pattern=7", "`$.id_pattern`"),
    ],
)
def test_a_file_of_another_form_is_a_mistake(text: str, words: str, tmp_path: Path) -> None:
    assert any(words in mistake for mistake in mistakes(write(tmp_path, text)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('exponent = "digits"', 'exponent = "digits["', "money.exponent is no JMESPath"),
        ('exponent = "digits"', "exponent = -2", "money.exponent is 0 to 6 digits, not -2"),
        (
            'total = "sum"',
            'total = "totl(lines)"',
            "cart.total is no JMESPath: there is no function",
        ),
        ('total = "sum"', 'total = "before(sum)"', "before() takes 2 arguments"),
        ('total = "sum"', 'total = "lines[].total(prices)"', ""),
        ("/{cart_id}.json", "/{cartid}.json", "{cartid} is nothing that is filled in"),
        ('path = "/', 'path = "', "does not begin with a slash"),
        ("headers.Authorization", 'headers."X Y"', "'X Y' is no header's name"),
        (
            'id_pattern = "[0-9]{1,9}"',
            'id_pattern = "a{99999999999999}"',
            "id_pattern is no regular",
        ),
        ('id_pattern = "[0-9]{1,9}"', 'id_pattern = "."\nguest_pattern="("', "guest_pattern is no"),
        ('source = "http"', 'source = "http"\nca = "/nowhere.pem"', "there is no such file"),
        ('url = "https://', 'url = "https://user:secret@', "carts.url is an address"),
        ('.com"\n', '.com/#here"\n', "carts.url is an address"),
    ],
)
def test_what_would_fail_at_each_cart_is_said_at_the_start(
    old: str, new: str, words: str, key: Path, tmp_path: Path
) -> None:
    said = ERP.format(url="https://erp.example.com", key=key)
    assert old in said
    config = write(tmp_path, said.replace(old, new, 1))

    if words:
        assert any(words in mistake for mistake in mistakes(config))
    else:
        read(config)


@pytest.mark.parametrize(
    ("carts", "key", "words"),
    [
        ("sql", "not-a-url", "the key is no database's address"),
        ("sql", "sqlite://", "the key is no database's address"),
        ("commercetools", "only-a-secret", "a client's id and secret with a colon between"),
    ],
)
def test_a_key_of_another_form_is_said_without_it(carts: str, key: str, words: str) -> None:
    (mistake,) = judge(carts, _sql() if carts == "sql" else {}, key)

    assert words in mistake
    assert key not in mistake


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert "cannot be read" in mistakes(str(tmp_path / "none.toml"))[0]


def test_serve_says_them_before_it_starts(tmp_path: Path) -> None:
    config = write(tmp_path, "[shops.shop.carts]\nsource='vendure'\nmoney.unit='cents'")

    failed = run("serve", CHECKOUT_PROXY_CONFIG=config)

    assert failed.returncode == 1
    assert "money.unit is major or minor, not 'cents'" in failed.stderr


DOCS = Path(__file__).parents[1] / "docs" / "own-carts.md"


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.S))
def test_the_examples_of_the_documentation_are_understood(example: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sqlite:///a-key.db")
    example = re.sub(r'key_file = ".*"', f'key_file = "{key}"', example)

    assert read(write(tmp_path, example), SHOP="tea").carts in ("http", "sql")


# -- sql ---------------------------------------------------------------------------------

SQL = """
[shops.shop.carts]
source = "sql"
id_pattern = "[0-9]{1,18}"
money.unit = "minor"
money.exponent = 2
cart_query = \"\"\"
SELECT id, currency, total, coupons, ordered_at IS NOT NULL AS completed FROM cart
WHERE id = :cart_id
\"\"\"
items_query = \"\"\"
SELECT sku AS product_id, name, quantity, price AS unit_price FROM line
WHERE cart_id = :cart_id ORDER BY sku
\"\"\"
"""


def test_the_command_reads_a_cart_from_the_shops_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.executescript("""
            CREATE TABLE cart (id INT, currency, total INT, coupons, ordered_at);
            CREATE TABLE line (cart_id INT, sku, name, quantity INT, price INT);
            INSERT INTO cart VALUES (4711, 'EUR', 5997, 'TEN, TWENTY', NULL);
            INSERT INTO line VALUES (4711, 't-1', 'Tea', 3, 1999);
        """)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    said = {"CHECKOUT_PROXY_CONFIG": write(tmp_path, SQL), "CHECKOUT_PROXY_CARTS_KEY": url}

    cart: dict[str, Any] = json.loads(run("cart", "4711", "--json", **said).stdout)

    assert (cart["total"], cart["coupons"], cart["completed"]) == (
        "59.97",
        ["TEN", "TWENTY"],
        False,
    )


def _sql() -> dict[str, Any]:
    carts: dict[str, Any] = tomllib.loads(SQL)["shops"]["shop"]["carts"]
    return {name: value for name, value in carts.items() if name != "source"}
