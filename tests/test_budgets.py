"""Budgets: who posts more than a shopper does is told to come back later."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from proxy.budgets import Budget, Budgets, parsed
from proxy.errors import TooMany
from tests.web import Answer, Web, token

NOBODY = {"token": "", "cart": "", "address": "", "client": ""}


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
            budgets.spend(**NOBODY | of)
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
        budgets.spend(**NOBODY | {"client": "c"})

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
