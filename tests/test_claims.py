"""What a page says that it shows is compared and counted; what is sent is the shop's."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.carts.cart import Cart, LineItem
from proxy.checkouts import Status
from proxy.claims import Compared, compared
from proxy.facts import Claim
from tests.actors import CART, Ledger, Page, Shop, environment, judged_klaviyo
from tests.commands import run
from tests.running import Proxy


def cart(total: str, currency: str, lines: int) -> Cart:
    item = LineItem(product_id="1", name="Tea", quantity=Decimal(1), unit_price=Decimal(1))
    return Cart(currency=currency, total=Decimal(total), items=(item,) * lines)


@pytest.mark.parametrize(
    ("value", "currency", "lines", "outcome"),
    [
        ("49.90", "EUR", 1, Compared.MATCH),
        ("49.90", None, 1, Compared.MATCH),
        ("49.91", "EUR", 1, Compared.MATCH),
        ("49.92", "EUR", 1, Compared.MISMATCH),
        ("49.92", "EUR", 2, Compared.MATCH),
        ("0.01", "EUR", 3, Compared.MISMATCH),
        ("49.90", "USD", 1, Compared.OTHER_CURRENCY),
    ],
)
def test_a_page_may_round_each_line_by_itself(
    value: str, currency: str | None, lines: int, outcome: Compared
) -> None:
    claim = Claim(value=Decimal(value), currency=currency)

    assert compared(claim, cart("49.90", "EUR", lines)) is outcome


def test_the_smallest_unit_is_that_of_the_currency() -> None:
    claim = Claim(value=Decimal(501))

    assert compared(claim, cart("500", "JPY", 1)) is Compared.MATCH
    assert compared(claim, cart("500", "KWD", 1)) is Compared.MISMATCH


def test_a_page_that_says_nothing_is_counted_too() -> None:
    assert compared(None, cart("1", "EUR", 1)) is Compared.ABSENT


@given(total=st.decimals(0, 10**9, places=2), lines=st.integers(1, 50), cents=st.integers(0, 99))
def test_one_unit_a_line_is_forgiven_and_no_more(total: Decimal, lines: int, cents: int) -> None:
    claim = Claim(value=total + Decimal(cents) / 100)

    is_match = compared(claim, cart(str(total), "EUR", lines)) is Compared.MATCH

    assert is_match == (cents <= lines)


# -- in the whole ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claims") / "store"


@pytest.fixture(scope="module")
def counted(folder: Path) -> Iterator[tuple[dict[str, str], Ledger]]:
    """Yield the settings of a proxy by which four pages' checkouts were sent, and the ledger."""
    claims: dict[str, Any] = {
        "honest": {"value": CART["total"], "currency": CART["currency"]},
        "lying": {"value": "0.01", "currency": CART["currency"]},
        "abroad": {"value": CART["total"], "currency": "JPY"},
        "silent": None,
    }
    with judged_klaviyo() as klaviyo:
        env, ledger = environment(folder, klaviyo.url, SETTLE="0.3"), Ledger(folder, klaviyo)
        with Proxy(env) as proxy:
            for cart_id, claim in claims.items():
                Shop(proxy.url).push(cart_id)
                said = {} if claim is None else {"claimed": claim}
                token = Shop(proxy.url).token(cart_id)
                Page(proxy.url, token).say(email=f"{cart_id}@shop-demo.io", **said)
            for cart_id in claims:
                ledger.wait(cart_id, Status.DELIVERED)
            yield env, ledger


def test_whatever_the_page_says_the_total_is_the_shops(
    counted: tuple[dict[str, str], Ledger],
) -> None:
    _, ledger = counted

    for cart_id in ("honest", "lying", "abroad", "silent"):
        (event,) = ledger.events(cart_id)
        assert event["properties"]["value"] == Decimal(str(CART["total"]))
        assert event["properties"]["currency"] == CART["currency"]


def test_the_status_says_how_pages_compare(counted: tuple[dict[str, str], Ledger]) -> None:
    env, _ = counted

    said = run("status", **env).stdout

    assert "match 1, mismatch 1, other currency 1, absent 1" in said
