"""Many shops in one proxy: each with its own keys, carts and account, and none in another's way."""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from proxy import shops
from proxy.carts.cart import Cart
from proxy.carts.described import mistakes as judge
from proxy.errors import Misconfigured
from proxy.sandbox.faults import Hang
from proxy.sandbox.klaviyo import Klaviyo
from proxy.settings import SENDER, WEB
from proxy.tokens import Session, Tokens, claimed_shop
from tests import postgres
from tests.actors import CART, Page, Shop, judged_klaviyo, until
from tests.commands import run
from tests.platform import KEY
from tests.running import Proxy
from tests.said import JANE
from tests.web import Web, served

NAMES = ("tea", "coffee")


@dataclass(frozen=True)
class Stall:
    """One of the shops, as an outsider knows it."""

    name: str
    klaviyo: Klaviyo
    table: str

    def shop(self, url: str) -> Shop:
        return Shop(url, key=f"the-shop-key-of-{self.name}")

    def page(self, url: str, cart_id: str) -> Page:
        return Page(url, self.shop(url).token(cart_id))

    def sign(self, shop: str, cart_id: str = "c-1", cart: Any = None) -> str:
        """Return a token of *shop* under the keys of this one."""
        tokens = Tokens([f"the-token-key-of-{self.name}"], shop=shop, max_age=timedelta(hours=1))
        known = None if cart is None else msgspec.convert(cart, Cart, strict=False)
        return tokens.sign(Session(shop=shop, cart_id=cart_id, cart=known))

    def totals(self, cart_id: str) -> list[Any]:
        """Return the totals that Klaviyo counted for *cart_id* in this shop's account."""
        events = [event.attributes["properties"] for event in self.klaviyo.events]
        return [event["value"] for event in events if event["cart_id"] == cart_id]


@contextmanager
def stall(name: str, folder: Path) -> Iterator[Stall]:
    """Serve the Klaviyo of a shop, and write its keys."""
    folder.mkdir(exist_ok=True)
    for what in ("shop", "token", "klaviyo"):
        (folder / f"{name}-{what}").write_text(f"the-{what}-key-of-{name}")
    with judged_klaviyo(f"the-klaviyo-key-of-{name}") as klaviyo:
        yield Stall(
            name,
            klaviyo,
            f"""
[shops.{name}]
origins = ["https://{name}.example"]
shop_key_file = "{folder}/{name}-shop"
token_keys_file = "{folder}/{name}-token"
klaviyo_key_file = "{folder}/{name}-klaviyo"
klaviyo_url = "{klaviyo.url}"
settle = 0.2
""",
        )


def environ(folder: Path, *stalls: Stall, store: str = "") -> dict[str, str]:
    """Return the environment of a proxy for *stalls*, whose file lies in *folder*."""
    config = folder / "shops.toml"
    config.write_text("".join(each.table for each in stalls))
    return {
        "CHECKOUT_PROXY_CONFIG": f"{config}",
        "CHECKOUT_PROXY_DNS": "off",
        "CHECKOUT_PROXY_STORE": store or f"sqlite:///{folder}/store",
        "CHECKOUT_PROXY_SPOOL": f"{folder}/spool",
    }


@dataclass(frozen=True)
class Market:
    """A proxy with two shops."""

    proxy: Proxy
    tea: Stall
    coffee: Stall
    env: dict[str, str]


@contextmanager
def market(folder: Path, store: str = "") -> Iterator[Market]:
    with ExitStack() as stack:
        tea, coffee = (stack.enter_context(stall(name, folder)) for name in NAMES)
        env = environ(folder, tea, coffee, store=store)
        yield Market(stack.enter_context(Proxy(env)), tea, coffee, env)


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str, pytest.FixtureRequest], Market]]:
    """Return what serves one market an engine to many tests, each with carts of its own."""
    with ExitStack() as stack:
        served: dict[str, Market] = {}

        def of(engine: str, request: pytest.FixtureRequest) -> Market:
            if engine not in served:
                folder = tmp_path_factory.mktemp(engine)
                url = ""
                if engine == "postgresql":
                    url = postgres.migrated(request.getfixturevalue("server"))
                served[engine] = stack.enter_context(market(folder, url))
            return served[engine]

        yield of


@pytest.fixture(params=["sqlite", "postgresql"])
def both(
    engines: Callable[[str, pytest.FixtureRequest], Market], request: pytest.FixtureRequest
) -> Market:
    """Return a proxy with two shops, on each engine."""
    return engines(request.param, request)


# -- whose is what -----------------------------------------------------------------------


def test_the_same_cart_id_in_two_shops_is_two_checkouts_each_in_its_own_account(
    both: Market,
) -> None:
    for each, total in ((both.tea, "20.00"), (both.coffee, "7.00")):
        item = CART["items"][0] | {"quantity": 1, "unit_price": total, "row_total": total}
        each.shop(both.proxy.url).push("same", CART | {"total": total, "items": [item]})
        each.page(both.proxy.url, "same").say(email=JANE)

    until(lambda: both.tea.totals("same") and both.coffee.totals("same"))

    assert [str(total) for total in both.tea.totals("same")] == ["20.00"]
    assert [str(total) for total in both.coffee.totals("same")] == ["7.00"]


def test_a_cart_is_put_into_the_shop_whose_key_is_sent(both: Market) -> None:
    both.coffee.shop(both.proxy.url).push("of-coffee")
    until(lambda: run("cart", "of-coffee", "--shop", "coffee", **both.env).returncode == 0)

    assert run("cart", "of-coffee", "--shop", "tea", **both.env).returncode == 1
    assert run("trace", "of-coffee", "--shop", "tea", **both.env).returncode == 1


def test_a_key_of_no_shop_is_refused(both: Market) -> None:
    answer = requests.put(
        f"{both.proxy.url}/v1/carts/c-1",
        json=CART,
        headers={"Authorization": "Bearer the-shop-key-of-"},
        timeout=15,
    )

    assert answer.status_code == 401


def test_the_keys_of_one_shop_vouch_for_no_other(both: Market) -> None:
    forged = Page(both.proxy.url, both.coffee.sign("tea")).post(email=JANE)
    honest = Page(both.proxy.url, both.tea.sign("tea")).post(email=JANE)

    assert (forged.status_code, forged.json()["type"]) == (401, "urn:checkout-proxy:token-forged")
    assert honest.status_code == 202


@pytest.mark.parametrize("shop", ["milk", "", "te", "../tea"])
def test_a_token_of_a_shop_that_is_not_there_is_refused(both: Market, shop: str) -> None:
    answer = Page(both.proxy.url, both.tea.sign(shop)).post(email=JANE)

    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:checkout-proxy:token-of-another-shop"


def packed(claim: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(claim, 9)).decode().rstrip("=")


@pytest.mark.parametrize(
    "payload",
    [
        "e30",
        "%",
        "W10",
        "eyJzaG9wIjo3fQ",
        ".AAAA",
        "." + packed(b'{"shop":"tea","cart_id":"' + b"a" * 4_000_000),
        base64.urlsafe_b64encode(b'{"a":' + b"[" * 3_000).decode(),
        packed(b"{}"),
    ],
    ids=["nothing", "no base64", "a list", "a number", "no zip", "a bomb", "deep", "not marked"],
)
def test_what_only_looks_like_a_token_is_forged(both: Market, payload: str) -> None:
    answer = Page(both.proxy.url, f"{payload}.aaaa.bbbb").post(email=JANE)

    assert (answer.status_code, answer.json()["type"]) == (401, "urn:checkout-proxy:token-forged")


def test_a_compressed_token_names_its_shop_as_well(both: Market) -> None:
    cart = CART | {"items": CART["items"] * 40}
    token = both.tea.shop(both.proxy.url).token("large", cart=cart)

    assert token.startswith(".")
    assert Page(both.proxy.url, token).post(email=JANE).status_code == 202


def posted(proxy: Proxy, token: str, origin: str) -> requests.Response:
    return requests.post(
        f"{proxy.url}/co/state",
        data=json.dumps({"token": token, "email": JANE}),
        headers={"Origin": origin, "Content-Type": "text/plain;charset=UTF-8"},
        timeout=15,
    )


def test_a_page_may_post_for_its_own_shop_alone(both: Market) -> None:
    token = both.tea.shop(both.proxy.url).token("c-1")

    ours = posted(both.proxy, token, "https://tea.example")
    theirs = posted(both.proxy, token, "https://coffee.example")

    assert (ours.status_code, theirs.status_code) == (202, 403)
    assert ours.headers["Access-Control-Allow-Origin"] == "https://tea.example"


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_of_every_shop_may_ask_first(both: Market, name: str) -> None:
    origin = f"https://{name}.example"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}

    answer = requests.options(f"{both.proxy.url}/co/state", headers=asked, timeout=15)

    assert answer.headers["Access-Control-Allow-Origin"] == origin


# -- trouble of one ----------------------------------------------------------------------


def test_a_klaviyo_that_hangs_does_not_hold_up_another_shop(tmp_path: Path) -> None:
    with market(tmp_path) as two:
        two.tea.klaviyo.misbehave(Hang(), times=10)
        for each in (two.tea, two.coffee):
            each.shop(two.proxy.url).push("c-1")
            each.page(two.proxy.url, "c-1").say(email=JANE)

        two.tea.klaviyo.wait_for_requests(1, timeout=15)
        until(lambda: two.coffee.totals("c-1"), timeout=5)

        assert two.tea.totals("c-1") == []
        two.tea.klaviyo.release()


def test_a_store_that_breaks_stops_its_own_shop_alone_until_it_is_whole(tmp_path: Path) -> None:
    book = tmp_path / "store" / "tea" / "checkouts.db"
    book.parent.mkdir(parents=True)
    book.write_bytes(b"no database at all" * 1_000)
    with market(tmp_path) as two:
        for each in (two.tea, two.coffee):
            each.shop(two.proxy.url).push("c-1")
            each.page(two.proxy.url, "c-1").say(email=JANE)
        until(lambda: two.coffee.totals("c-1"))
        until(lambda: "the sender of tea failed; it begins again" in two.proxy.log)

        book.unlink()

        until(lambda: two.tea.totals("c-1"))


# -- guests ------------------------------------------------------------------------------

_GUESTS = """
[shops.{name}]
origins = ["https://{name}.example"]
shop_key_file = "{folder}/{name}"
klaviyo_key_file = "{folder}/{name}"
guests = "{guests}"
carts = "medusa"
"""
MEDUSA = {"CARTS_URL": "https://shop.example.com", "CARTS_KEY": KEY}
CART_ID = "cart_01M82D2SFH33B1SN426B380WC9"


def tables(folder: Path, **guests: str) -> str:
    """Return the tables of shops on Medusa that have guests or not."""
    for name in guests:
        (folder / name).write_text(f"a-key-of-{name}")
    return "".join(
        _GUESTS.format(name=name, guests=on, folder=folder) for name, on in guests.items()
    )


@contextmanager
def themes(folder: Path, **guests: str) -> Iterator[Web]:
    config = folder / "shops.toml"
    config.write_text(tables(folder, **guests))
    with served(folder / "store", CONFIG=f"{config}", **MEDUSA) as web:
        yield web


def session(web: Web, origin: str) -> Any:
    body = json.dumps({"cart_id": CART_ID}).encode()
    return web.ask("POST", "/co/session", body, Content_Type="text/plain", Origin=origin)


def test_a_guest_is_of_the_shop_whose_page_asks(tmp_path: Path) -> None:
    with themes(tmp_path, tea="on", coffee="on", milk="off") as web:
        for name in NAMES:
            answer = session(web, f"https://{name}.example")
            assert claimed_shop(answer.json()["token"]) == name

        assert session(web, "https://milk.example").status == 403
        assert session(web, web.url).status == 403


# -- mistakes ----------------------------------------------------------------------------


def mistakes(folder: Path, text: str, **said: str) -> list[str]:
    (folder / "shops.toml").write_text(text)
    with pytest.raises(Misconfigured) as error:
        shops.read(
            {"CHECKOUT_PROXY_CONFIG": f"{folder}/shops.toml", **said},
            need=WEB + SENDER,
            judge=judge,
        )
    return [mistake.removeprefix(f"{folder}/") for mistake in error.value.mistakes]


def test_all_mistakes_of_all_shops_are_said_at_once_with_line_and_key(tmp_path: Path) -> None:
    said = mistakes(
        tmp_path,
        """\
[shops.tea]
origins = [
    "https://tea.example",
    "tea.example",
]
consent = "maybe"
klaviyo_key = "pk_0123456789"
shop_key_env = "TEA_SHOP_KEY"
token_keys_file = "/nowhere/token-keys"
concent = "off"
prefix = "/till"
carts_url = "https://erp.example.com"
settle = true

[shops.tea.carts]
source = "vendure"
key = "s3cret"
money.unit = "cents"

[shops."my shop"]
settle = -1

[shop]
""",
        CHECKOUT_PROXY_TOKEN_KEYS="a-token-key-0123456789",
    )

    assert said == [
        "shops.toml:23: shop is nothing here: there is [shops.NAME]",
        "shops.toml:7: shops.tea.klaviyo_key is a secret, which does not belong here: say "
        "klaviyo_key_file, where it lies, or klaviyo_key_env, the variable that has it",
        "shops.toml:10: shops.tea.concent is no setting: did you mean consent?",
        "shops.toml:11: shops.tea.prefix is the same for all shops: CHECKOUT_PROXY_PREFIX sets it",
        "shops.toml:12: shops.tea.carts_url is said as url in [shops.tea.carts]",
        "shops.toml:13: shops.tea.settle is a text",
        "shops.toml:17: shops.tea.carts.key is a secret, which does not belong here: say key_file, "
        "where it lies, or key_env, the variable that has it",
        "shops.toml:9: shops.tea.token_keys_file cannot be read: no file of that name (No such "
        "file or directory)",
        "shops.toml:8: shops.tea.shop_key_env cannot be read: TEA_SHOP_KEY is not set",
        "shops.toml:2: shops.tea.origins is a list of origins such as https://shop.com, and "
        "'tea.example' is none",
        "shops.toml:6: shops.tea.consent is one of opt-out, required, off",
        "shops.toml:18: shops.tea.carts: money.unit is major or minor, not 'cents'",
        "shops.toml:18: shops.tea.carts: money.exponent goes with the unit minor, and only with it",
        "shops.toml:1: shops.tea does not say it, and CHECKOUT_PROXY_KLAVIYO_KEY is not set: "
        "Klaviyo's private key, with the scope events:write",
        "shops.toml:15: shops.tea.carts does not say it, and CHECKOUT_PROXY_CARTS_URL is not set: "
        "where the platform's API is, such as https://shop.example.com",
        "shops.toml:15: shops.tea.carts does not say it, and CHECKOUT_PROXY_CARTS_KEY is not set: "
        "the credential that reads carts there; docs/carts.md says which",
        'shops.toml:20: shops."my shop" is 1 to 64 letters, digits, dots, dashes and underscores',
        'shops.toml:21: shops."my shop".settle is a number of seconds, such as 30',
        'shops.toml:20: shops."my shop" does not say it, and CHECKOUT_PROXY_SHOP_KEY is not set: '
        "the bearer key with which the shop's server calls /v1",
        'shops.toml:20: shops."my shop" does not say it, and CHECKOUT_PROXY_KLAVIYO_KEY is not '
        "set: Klaviyo's private key, with the scope events:write",
    ]


def test_a_secret_in_the_place_of_a_variables_name_is_not_told(tmp_path: Path) -> None:
    said = mistakes(tmp_path, "[shops.tea]\nklaviyo_key_env = 'pk_0123'\nshop_key_file = 'k3y'\n")

    assert not [mistake for mistake in said if "pk_0123" in mistake or "k3y" in mistake]


KEYS = {
    "CHECKOUT_PROXY_TOKEN_KEYS": "a-token-key-0123456789",
    "CHECKOUT_PROXY_SHOP_KEY": "a-shop-key",
    "CHECKOUT_PROXY_KLAVIYO_KEY": "pk_0",
}


def test_two_shops_have_no_key_in_common(tmp_path: Path) -> None:
    text = "[shops.tea]\n[shops.coffee]\nklaviyo_key_env = 'PK'\n"

    said = mistakes(tmp_path, text, **KEYS, PK="pk_0")

    assert said == [
        "CHECKOUT_PROXY_SHOP_KEY: coffee has the key of tea, and by its key it is known which shop "
        "calls /v1",
        "shops.toml:3: shops.coffee.klaviyo_key_env: coffee has the key of tea, and an account has "
        "one sender, and one budget",
    ]


def test_two_shops_with_guests_have_no_origin_in_common(tmp_path: Path) -> None:
    text = tables(tmp_path, tea="on", coffee="on").replace("coffee.example", "tea.example")
    medusa = {f"CHECKOUT_PROXY_{name}": said for name, said in MEDUSA.items()}

    (said,) = mistakes(tmp_path, text, **KEYS, **medusa)

    assert said == (
        "shops.toml:10: shops.coffee.origins has https://tea.example, as tea has: a guest's shop "
        "is known by the page's origin"
    )


def test_what_no_table_says_the_environment_does(tmp_path: Path) -> None:
    (tmp_path / "shops.toml").write_text(
        "[shops.tea]\nsettle = 5\norigins = []\n"
        "[shops.coffee]\nshop_key_env = 'C'\nklaviyo_key_env = 'K'\n"
    )
    said = {"CONFIG": f"{tmp_path}/shops.toml", "SETTLE": "7", "ORIGINS": "https://x.example"}
    variables = {f"CHECKOUT_PROXY_{name}": text for name, text in said.items()}

    tea, coffee = shops.read({**KEYS, **variables, "C": "c", "K": "k"}, need=WEB + SENDER)

    assert (tea.shop, coffee.shop) == ("tea", "coffee")
    assert (tea.settle, coffee.settle) == (timedelta(seconds=5), timedelta(seconds=7))
    assert (tea.origins, coffee.origins) == ((), ("https://x.example",))
    assert (coffee.shop_key, coffee.klaviyo_key) == ("c", "k")


def test_the_environment_may_name_the_one_shop_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "shops.toml").write_text("[shops.tea]\n[shops.coffee]\n")
    said = {"CHECKOUT_PROXY_CONFIG": f"{tmp_path}/shops.toml", "CHECKOUT_PROXY_SHOP": "coffee"}

    (only,) = shops.read(KEYS | said, need=WEB + SENDER)

    assert only.shop == "coffee"


DOCS = Path(__file__).parents[1] / "docs" / "many-shops.md"


def test_the_example_of_the_documentation_is_understood(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.S)
    for name in re.findall(r"/etc/checkout-proxy/(.*)\"", example):
        (tmp_path / name).write_text(name)
    (tmp_path / "shops.toml").write_text(example.replace("/etc/checkout-proxy", f"{tmp_path}"))
    secrets = {name: name for name in re.findall(r"_env = \"(.*)\"", example)}

    tea, coffee = shops.read(
        {"CHECKOUT_PROXY_CONFIG": f"{tmp_path}/shops.toml", **secrets},
        need=WEB + SENDER,
        judge=judge,
    )

    assert (tea.shop, tea.klaviyo_key, tea.consent) == ("tea", "tea-klaviyo-key", "required")
    assert (coffee.carts, coffee.carts_key) == ("vendure", "COFFEE_VENDURE_KEY")


# -- the command line --------------------------------------------------------------------


@pytest.mark.parametrize("command", ["token c-1", "cart c-1", "trace c-1", "dead", "replay --all"])
def test_a_command_about_one_of_several_shops_is_told_which(
    engines: Callable[[str, pytest.FixtureRequest], Market],
    request: pytest.FixtureRequest,
    command: str,
) -> None:
    env = engines("sqlite", request).env

    said = run(*command.split(), **env)
    typo = run(*command.split(), "--shop", "milk", **env)

    assert (said.returncode, typo.returncode) == (2, 2)
    assert "Which of the shops tea, coffee? Say it with --shop." in said.stderr
    assert "There is no shop milk: there is tea, coffee." in typo.stderr


def test_a_token_of_the_command_is_of_the_shop_it_was_told(both: Market) -> None:
    token = run("token", "c-1", "--shop", "coffee", **both.env).stdout.strip()

    assert Page(both.proxy.url, token).post(email=JANE).status_code == 202


def test_the_status_is_that_of_all_shops_or_of_one(both: Market) -> None:
    for name in NAMES:
        until(lambda name=name: run("status", "--shop", name, **both.env).returncode == 0)  # type: ignore[misc]

    everything = run("status", **both.env).stdout
    one = run("status", "--shop", "tea", **both.env).stdout

    assert [line for line in everything.splitlines() if line in NAMES] == [*NAMES]
    assert everything.count("delivered") == 2
    assert one.count("delivered") == 1


def test_the_settings_say_what_the_file_may_say() -> None:
    said = " ".join(run("settings").stdout.split())

    assert "klaviyo_key_env, klaviyo_key_file, klaviyo_url," in said
    assert "In the file, [shops.NAME] may have" in said
