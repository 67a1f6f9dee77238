"""Canaries through every path: no secret, and nothing about anybody, where it does not belong."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import requests

from proxy.checkouts import Status
from proxy.snippet import Snippet
from proxy.store import Store
from tests.actors import Shop, until
from tests.attack.canaries import PERSON, REF, SECRETS, found
from tests.commands import run
from tests.operator import Operator
from tests.platform import Platform, recorded
from tests.running import ROOT, Proxy

# The kept cart is the platform's, under this id.
CART_ID = "cart_01M82D2SFH33B1SN426B380WC9"
OTHERS, FAILING, INVALID = (f"cart_0{number}M82D2SFH33B1SN426B380WC9" for number in (2, 3, 4))
ABOUT_JANE = PERSON | {"ref": REF}
WORDS = ABOUT_JANE | SECRETS
QUOTES = " ".join(PERSON.values())


@dataclass(frozen=True)
class Told:
    """What was said at the end of a day on which all went wrong, by who said it."""

    everywhere: dict[str, str | bytes]
    klaviyo: bytes
    shop: bytes
    headers: str


def quoting(status: int) -> dict[str, object]:
    """Return how Klaviyo refuses with *status*, in words with the person in them."""
    error = {"id": "1", "detail": f"{PERSON['email']} and {PERSON['phone_number']}"}
    body = {"errors": [error | {"source": {"pointer": "/data"}}]}
    headers = {"Content-Type": "application/vnd.api+json"}
    return {"status": status, "answer": json.dumps(body).encode(), "headers": headers}


def cart(**members: str) -> bytes:
    """Return the platform's answer, with *members* in it."""
    said = json.loads(recorded("medusa_eur"))
    said["cart"] |= members
    return json.dumps(said).encode()


def become(platform: Platform, **said: object) -> None:
    for name, value in said.items():
        setattr(platform, name, value)


class _Day:
    """A proxy, and what happens to it from morning to evening."""

    def __init__(self, proxy: Proxy, folder: Path, klaviyo: Platform, medusa: Platform) -> None:
        self.proxy, self.klaviyo, self.medusa = proxy, klaviyo, medusa
        self.folder = folder
        self.shop = Shop(proxy.url, SECRETS["SHOP_KEY"])
        self.said: list[str] = []

    def post(self, cart_id: str = CART_ID, body: bytes | None = None, **state: object) -> int:
        token = self.shop.token(cart_id, customer=PERSON, ref=REF)
        whole = json.dumps({"id": uuid4().hex, "token": token, **PERSON, **state}).encode()
        url = f"{self.proxy.url}/co/state"
        answer = requests.post(url, whole if body is None else body, timeout=15)
        return answer.status_code

    def stands(self, cart_id: str, status: Status, words: str = "") -> None:
        def is_so() -> bool:
            with closing(Store.of("shop", f"sqlite:///{self.folder}").book()) as book:
                rows = book.checkouts("shop", cart_id)
            return [row.status for row in rows] == [status] and words in rows[0].reason

        until(is_so, timeout=60)

    def refusals(self) -> None:
        """Post what is refused, with her in every place of a request."""
        mail = PERSON["email"]
        assert self.post(email=f"{mail} {mail}") == 422
        assert self.post(claimed={"value": mail}) == 422
        assert self.post(phone_number=mail * 20) == 422
        assert self.post(body=f'{{"email": "{mail}", '.encode()) == 400
        assert self.post(body=json.dumps({"token": f"{mail}.{mail}.{mail}"}).encode()) == 401
        assert self.post(email=mail * 1_000) == 413
        for path in (f"/co/{mail}.js", f"/{mail}", f"/v1/carts/{mail}?{mail}", f"/co/state?{mail}"):
            for method in ("GET", "PUT", "POST"):
                headers = {"Authorization": f"Bearer {SECRETS['KLAVIYO_KEY']}", "Cookie": mail}
                url = self.proxy.url + path
                answer = requests.request(
                    method, url, headers=headers | {"Origin": f"https://{mail}"}, timeout=15
                )
                assert answer.status_code >= 400

    def troubles(self) -> None:
        """Let the shop and Klaviyo fail, each with her name on its lips."""
        become(self.medusa, answer=cart(id=INVALID, currency_code=QUOTES))
        self.post(INVALID)
        self.stands(INVALID, Status.DEAD)
        become(self.klaviyo, **quoting(400))
        become(self.medusa, answer=cart(email=PERSON["email"]))
        self.post()
        self.stands(CART_ID, Status.DEAD)

    def others(self) -> None:
        """Have somebody else's checkout delivered."""
        become(self.klaviyo, status=202, answer=b"{}")
        become(self.medusa, answer=cart(id=OTHERS))
        token = self.shop.token(OTHERS)
        body = {"id": uuid4().hex, "token": token, "email": "john@shop-demo.io"}
        requests.post(f"{self.proxy.url}/co/state", json=body, timeout=15)
        self.stands(OTHERS, Status.DELIVERED)

    def evening(self) -> None:
        """Let the shop be down, with her name on its lips."""
        become(self.medusa, status=500, answer=QUOTES.encode())
        self.post(FAILING)
        self.stands(FAILING, Status.PENDING, "500")


def pages(url: str) -> dict[str, str]:
    """Return every page of the operator's that is not hers alone, and hers without what is sent."""
    operator = Operator(url)
    operator.sign_in("not-" + SECRETS["ADMIN_PASSWORD"])
    assert operator.sign_in(SECRETS["ADMIN_PASSWORD"]).status_code == 303
    left, seen = ["shop/"], dict[str, str]()
    while left:
        path = left.pop()
        if path not in seen and len(seen) < 60:
            seen[path] = operator.get(path).text
            left += re.findall(r'href="/admin/([^"#]+)"', seen[path])
    assert len(seen) > 5
    return {f"page {path}": text for path, text in seen.items()}


COMMANDS = (
    *(("settings",), ("status",), ("dead",), ("trace", CART_ID), ("trace", OTHERS)),
    *(("cart", OTHERS), ("doctor", "--json")),
)


def commanded(env: dict[str, str]) -> dict[str, str]:
    said = {}
    for command in COMMANDS:
        done = run(*command, **env)
        said[" ".join(command)] = done.stdout + done.stderr
    return said


def processes(proxy: Proxy) -> dict[str, str]:
    main = psutil.Process(proxy.pid)
    family = [main, *main.children(recursive=True)]
    assert len(family) >= 3
    return {f"/proc/{each.pid}/cmdline": " ".join(each.cmdline()) for each in family}


@pytest.fixture(scope="module", params=["json", "console"])
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("day")
    with (
        Platform().serve() as klaviyo,
        Platform().serve() as medusa,
        Platform(status=204, answer=b"x").serve() as receiver,
    ):
        places = {
            "KLAVIYO_URL": klaviyo.url,
            "CARTS": "medusa",
            "CARTS_URL": medusa.url,
            "ALARM_URL": f"{receiver.url}/alarms",
            "STORE": f"sqlite:///{folder}",
            "SETTLE": "0",
            "LOG": request.param,
            "DNS": "off",
        }
        env = {f"CHECKOUT_PROXY_{name}": text for name, text in (SECRETS | places).items()}
        # So that one can look before the sender does.
        Store.of("shop", places["STORE"]).migrate()
        with Proxy(env) as proxy:
            day = _Day(proxy, folder, klaviyo, medusa)
            day.refusals()
            day.troubles()
            day.others()
            day.evening()
            said = pages(proxy.url) | commanded(env) | processes(proxy)
            said["metrics"] = requests.get(f"{proxy.url}/metrics", timeout=15).text
            said["snippet"] = requests.get(f"{proxy.url}/co/checkout.js", timeout=15).text
            said["openapi"] = requests.get(f"{proxy.url}/v1/openapi.json", timeout=15).text
        posted = b"".join(asked.body for asked in receiver.asked)
        yield Told(
            everywhere={**said, "log": proxy.log, "webhook": posted},
            klaviyo=b"".join(asked.body for asked in klaviyo.asked),
            shop=" ".join(asked.path for asked in medusa.asked).encode(),
            headers=str([asked.headers for asked in (*klaviyo.asked, *medusa.asked)]),
        )


@pytest.mark.slow
def test_no_secret_and_nothing_about_her_is_told(told: Told) -> None:
    assert found(told.everywhere, WORDS) == set()


@pytest.mark.slow
def test_control_what_must_be_told_is_found(told: Told) -> None:
    everything: dict[str, str | bytes] = {"klaviyo": told.klaviyo, "headers": told.headers}

    assert found(everything, WORDS) >= {
        ("klaviyo", "email"),
        ("klaviyo", "phone_number"),
        ("klaviyo", "first_name"),
        ("headers", "KLAVIYO_KEY"),
        ("headers", "CARTS_KEY"),
    }


@pytest.mark.slow
def test_all_of_it_was_said(told: Told) -> None:
    assert "dead" in str(told.everywhere["log"])
    assert "john" not in str(told.everywhere["log"])
    assert len(str(told.everywhere["metrics"])) > 1_000
    assert "[address]" in str(told.everywhere["dead"])


@pytest.mark.parametrize("name", WORDS)
def test_control_each_canary_is_found_however_it_is_written(name: str) -> None:
    word = WORDS[name]
    written = {
        "plain": f"<p>{word}</p>",
        "in JSON": json.dumps({"x": word}),
        "hex": word.encode().hex(),
    }

    assert found(written, {name: word}) == {(place, name) for place in written}


# -- where the operating system could tell ------------------------------------------------


def test_no_core_file_is_written_of_what_systemd_runs() -> None:
    units = list((ROOT / "docs" / "running").glob("*.service"))

    assert len(units) == 3
    for unit in units:
        assert "LimitCORE=0" in unit.read_text().splitlines()


def test_no_core_file_is_written_of_what_compose_runs() -> None:
    compose = (ROOT / "docs" / "running" / "compose.yaml").read_text()

    assert re.search(r"ulimits:\n\s+core: 0", compose)


def test_the_snippet_is_the_same_for_everybody() -> None:
    assert (
        found({name: each.content for name, each in Snippet.all_shipped().items()}, WORDS) == set()
    )
