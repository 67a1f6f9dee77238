"""Budgets: who posts more than a shopper does is told to come back later."""

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from proxy.budgets import Budget, Budgets, parsed
from proxy.errors import TooMany
from proxy.tokens import Session, Tokens
from tests.web import Answer, Web, served, token

NOBODY: dict[str, Hashable] = dict.fromkeys(("token", "cart", "address", "client"))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spent(budgets: Budgets, tries: int, **of: str) -> int:
    """Return how many of so many *tries* there was a budget for."""
    many = 0
    for _ in range(tries):
        try:
            budgets.spend("shop", **NOBODY | of)
        except TooMany:
            continue
        many += 1
    return many


@pytest.mark.parametrize("most", [1, 7, 60, 120, 600])
def test_a_minutes_budget_may_be_spent_at_once(clock: Clock, most: int) -> None:
    budgets = Budgets(Budget(token=most), clock)

    assert spent(budgets, 2 * most, token="t") == most


def test_it_comes_back_evenly(clock: Clock) -> None:
    budgets = Budgets(Budget(token=60), clock)
    spent(budgets, 60, token="t")

    clock.now += 10.01
    assert spent(budgets, 60, token="t") == 10

    clock.now += 3600
    assert spent(budgets, 100, token="t") == 60


def test_who_is_refused_is_told_when_to_come_back(clock: Clock) -> None:
    budgets = Budgets(Budget(client=6), clock)
    spent(budgets, 6, client="c")

    with pytest.raises(TooMany) as refused:
        budgets.spend("shop", **NOBODY | {"client": "c"})

    assert refused.value.retry_after.total_seconds() == pytest.approx(10)
    clock.now += 10
    assert spent(budgets, 2, client="c") == 1


def test_each_has_a_budget_of_its_own(clock: Clock) -> None:
    budgets = Budgets(Budget(token=2, cart=3), clock)

    assert spent(budgets, 5, token="t") == 2
    assert spent(budgets, 5, token="u") == 2
    assert spent(budgets, 5, cart="t") == 3


def test_zero_is_no_limit_and_nobody_has_none(clock: Clock) -> None:
    budgets = Budgets(Budget(token=0, client=1), clock)

    assert spent(budgets, 5000, token="t") == 5000


def test_a_flood_of_names_costs_a_shopper_nothing(clock: Clock) -> None:
    budgets = Budgets(Budget(cart=2), clock)
    for number in range(1_000):
        spent(budgets, 3, cart=f"flood-{number}")

    honest = [spent(budgets, 1, cart=f"shopper-{number}") for number in range(1_000)]

    # A shopper is refused who shares both places with a flooded one: one of 4,000.
    assert sum(honest) >= 995


def test_the_setting_names_what_it_changes() -> None:
    assert parsed("token=0 client=1200") == Budget(token=0, client=1200)
    assert parsed("") == Budget()
    for wrong in ("token", "tokens=1", "token=-1", "token=1.5", "token=²"):
        with pytest.raises(ValueError, match="token=120 cart=120 address=60 client=600"):
            parsed(wrong)


# -- through the front door --------------------------------------------------------------


def posted(web: Web, *, cart: str = "c-1", email: str | None = None, client: str = "") -> Answer:
    body = json.dumps({"token": token(cart), "email": email})
    return web.post_state(body, X_Real_IP=client)


@pytest.mark.parametrize("fast", ["on", "off"])
@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("cart", {"cart": "c-1"}),
        ("address", {"email": "jane@shop-demo.io"}),
        ("address", {"email": "jane@shop-demo.io", "client": "203.0.113.7"}),
        ("client", {"client": "203.0.113.7"}),
    ],
)
def test_beyond_a_budget_a_state_is_refused_and_not_kept(
    serve: Callable[..., Web], fast: str, name: str, same: dict[str, str]
) -> None:
    web = serve(FAST=fast, BUDGETS=f"token=0 cart=0 address=0 client=0 {name}=2")

    answers = [posted(web, **{"cart": f"c-{number}"} | same) for number in range(3)]
    other = posted(web, cart="another")

    assert [answer.status for answer in answers] == [202, 202, 429]
    assert other.status == 202
    assert answers[2].code == f"too-many-of-one-{name}"
    assert 29 <= int(answers[2].headers["Retry-After"]) <= 30
    assert len(web.facts()) == 3


def test_a_token_has_a_budget_whatever_is_posted_under_it(serve: Callable[..., Web]) -> None:
    web = serve(BUDGETS="token=2 cart=0 address=0 client=0")
    body = json.dumps({"token": token()})

    assert [web.post_state(body).status for _ in range(3)] == [202, 202, 429]


def test_nobody_uses_up_the_address_of_another(serve: Callable[..., Web]) -> None:
    web = serve(BUDGETS="token=0 cart=0 address=2 client=0")
    jane = "jane@shop-demo.io"
    attacks = [posted(web, cart="theirs", email=jane, client="203.0.113.66") for _ in range(5)]

    hers = posted(web, cart="hers", email=jane, client="198.51.100.1")

    assert [answer.status for answer in attacks] == [202, 202, 429, 429, 429]
    assert hers.status == 202


def test_who_posts_too_much_uses_up_nothing_but_their_own(serve: Callable[..., Web]) -> None:
    web = serve(BUDGETS="token=0 cart=3 address=0 client=2")
    attacks = [posted(web, client="203.0.113.66") for _ in range(5)]

    hers = posted(web, client="198.51.100.1")

    assert [answer.status for answer in attacks] == [202, 202, 429, 429, 429]
    assert hers.status == 202


def test_an_address_in_another_spelling_is_the_same(serve: Callable[..., Web]) -> None:
    web = serve(BUDGETS="token=0 cart=0 address=2 client=0")
    typed = ("jane@bücher.io", "Jane@bücher.io", "jane@xn--bcher-kva.io")

    answers = [posted(web, cart=email, email=email) for email in typed]

    assert [answer.status for answer in answers] == [202, 202, 429]


NAMES = ("tea", "coffee")


def test_one_shop_uses_up_nothing_of_another(tmp_path: Path) -> None:
    (tmp_path / "shops.toml").write_text("".join(table(name, tmp_path) for name in NAMES))
    most = "token=0 cart=2 address=2 client=2"

    with served(tmp_path / "store", CONFIG=f"{tmp_path}/shops.toml", BUDGETS=most) as web:
        answers = {name: [posted_to(web, name).status for _ in range(3)] for name in NAMES}

    assert answers == {name: [202, 202, 429] for name in NAMES}


def table(shop: str, folder: Path) -> str:
    """Return the table of *shop*, whose keys are written into *folder*."""
    (folder / shop).write_text(key_of(shop))
    return f"""
[shops.{shop}]
origins = ["https://{shop}.example"]
shop_key_file = "{folder}/{shop}"
token_keys_file = "{folder}/{shop}"
"""


def key_of(shop: str) -> str:
    return f"a-key-of-the-shop-{shop}"


def posted_to(web: Web, shop: str) -> Answer:
    """Post one state for *shop*, which is but for that the same for each."""
    tokens = Tokens([key_of(shop)], shop=shop, max_age=timedelta(hours=1))
    signed = tokens.sign(Session(shop=shop, cart_id="c-1"))
    body = json.dumps({"token": signed, "email": "jane@shop-demo.io"})
    return web.post_state(body, X_Real_IP="203.0.113.7")
