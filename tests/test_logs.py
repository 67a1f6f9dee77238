"""Logs: a line a decision, for people or for programs, and not a word about anybody."""

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy import personkey
from proxy.checkouts import Status
from proxy.identity import address_hash
from proxy.store import Store
from tests.actors import SHOP_KEY, TOKEN_KEYS, Ledger, Page, Shop, environment, judged_klaviyo
from tests.running import Proxy

WHO = "canary@shop-demo.io"


def hashed(folder: Path) -> str:
    """Return what stands for the address of whoever has been in the store in *folder*."""
    with closing(Store.of("shop", f"sqlite:///{folder}").book()) as book:
        found = personkey.found(book.locks("shop"), [personkey.lock_key(TOKEN_KEYS.split(",")[-1])])
    (key,) = found.values()
    return address_hash(WHO, key)


@dataclass(frozen=True)
class Logged:
    """A log, and what stands in it for the address of :data:`WHO`."""

    text: str
    address: str


def journey(folder: Path, **settings: str) -> Logged:
    """Return what is logged of a checkout that is sent, and of one that is ordered."""
    with judged_klaviyo() as klaviyo, Proxy(environment(folder, klaviyo.url, **settings)) as proxy:
        shop, ledger = Shop(proxy.url), Ledger(folder, klaviyo)
        for cart_id in ("c-1", "c-2?key=canary-of-a-key"):
            Page(proxy.url, shop.token(cart_id)).say(email=WHO, phone_number="+4930123456")
            ledger.wait(cart_id, Status.PENDING)
        shop.push("c-1")
        shop.order("c-2?key=canary-of-a-key")
        ledger.wait("c-1", Status.DELIVERED)
        ledger.wait("c-2?key=canary-of-a-key", Status.CANCELLED)
    return Logged(proxy.log, hashed(folder))


@pytest.fixture(scope="module")
def for_people(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    return journey(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def for_programs(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    return journey(tmp_path_factory.mktemp("programs"), LOG="json")


def test_every_line_is_json_where_a_program_reads_it(for_programs: Logged) -> None:
    lines = [json.loads(line) for line in for_programs.text.splitlines()]

    assert all({"at", "level", "logger", "message"} <= line.keys() for line in lines)
    decided = [line for line in lines if line["logger"] == "proxy.decisions"]
    delivered, cancelled = (
        [line for line in decided if line["status"] == status]
        for status in ("delivered", "cancelled")
    )
    (sent,), (ordered,) = delivered, cancelled
    assert (sent["shop"], sent["cart"], sent["address"]) == ("shop", "c-1", for_programs.address)
    assert sent["event"].startswith("c-1_")
    assert sent["reason"] == "Klaviyo took it"
    assert ordered["reason"] == "an order was placed for the cart"


def test_people_read_a_line_a_decision(for_people: Logged) -> None:
    (sent,) = (line for line in for_people.text.splitlines() if "delivered" in line)

    assert " INFO proxy.decisions: shop: c-1_" in sent
    assert sent.endswith(f" delivered: Klaviyo took it (address {for_people.address})")


def test_no_log_tells_who_or_a_secret(for_people: Logged, for_programs: Logged) -> None:
    logged = for_people.text + for_programs.text

    assert "canary" not in logged
    assert "4930123456" not in logged
    assert SHOP_KEY not in logged
