"""What an operator is told to do fits what happened, whatever a checkout died of."""

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import proxy.carts
from proxy import advice, outcomes
from proxy.checkouts import Checkout, Status, Trouble
from tests.said import NOON

REFUSED_BY_KLAVIYO = "Klaviyo refuses the event itself"
BAD_TOKEN = "The session token does not say what this source of carts needs."
NO_CART_IN_TOKEN = "Carts are read from tokens (CHECKOUT_PROXY_CARTS=signed), and this one had none"
REFUSED_BY_SHOP = "The shop's API refuses to be asked for this cart."
NO_CART = "What the source of carts answered is no cart as it is described."
SHOP_AWAY = "The shop's API did not give this cart for 6 hours."
DATABASE_AWAY = "The shop's database did not give this cart for 6 hours."
NEVER_PUT = "Your server never put this cart."

# What the sources of carts raise about one cart, as it is written there; an example; the advice.
OF_CARTS = {
    "f'{name} is neither true nor false'": ("completed is neither true nor false", NO_CART),
    "'items is no list'": ("items is no list", NO_CART),
    'f"the shop\'s cart cannot be read: {error}"': (
        "the shop's cart cannot be read: Object missing required field `total`",
        NO_CART,
    ),
    'f"the shop\'s answer has something else where {path} is looked for"': (
        "the shop's answer has something else where cart.total is looked for",
        NO_CART,
    ),
    "'the shop does not say how many digits of an amount are decimals'": (
        "the shop does not say how many digits of an amount are decimals",
        NO_CART,
    ),
    "f'{name} is a float, which has lost digits: give a decimal or a text'": (
        "total is a float, which has lost digits: give a decimal or a text",
        NO_CART,
    ),
    "f'{name} is no number'": ("total is no number", NO_CART),
    "f'{name} is no number of at most 15 digits before its point'": (
        "total is no number of at most 15 digits before its point",
        NO_CART,
    ),
    "f'{name} is no whole number of minor units'": (
        "total is no whole number of minor units",
        NO_CART,
    ),
    '"the shop\'s first answer is no object"': ("the shop's first answer is no object", NO_CART),
    "'the token carries no cart (carts are read from it: signed)'": (
        "the token carries no cart (carts are read from it: signed)",
        NO_CART_IN_TOKEN,
    ),
    "\"the token's cart id is not of the form that this platform's have\"": (
        "the token's cart id is not of the form that this platform's have",
        BAD_TOKEN,
    ),
    "'the token carries no ref, and without it this cart cannot be read'": (
        "the token carries no ref, and without it this cart cannot be read",
        BAD_TOKEN,
    ),
    '"the token\'s cart id, or its ref, would lead elsewhere"': (
        "the token's cart id, or its ref, would lead elsewhere",
        BAD_TOKEN,
    ),
    "\"the token's cart id is not of the form that this shop's have\"": (
        "the token's cart id is not of the form that this shop's have",
        BAD_TOKEN,
    ),
    'f"the database cannot take the cart\'s id: {_name(error)}"': (
        "the database cannot take the cart's id: DataError",
        BAD_TOKEN,
    ),
    "f'{words}: {type(error).__name__}'": (
        "the request cannot be written, perhaps for the token's ref: InvalidHeader",
        BAD_TOKEN,
    ),
    'f"{said} to the token\'s ref"': ("the shop answered 401 to the token's ref", BAD_TOKEN),
    "said": ("the shop answered 422", REFUSED_BY_SHOP),
    # Asked again, and given up.
    "'no cart was pushed, or none since its order (PUT /v1/carts/{cart_id})'": (
        "no cart was pushed, or none since its order (PUT /v1/carts/{cart_id})",
        NEVER_PUT,
    ),
    '"the shop\'s answer is no JSON"': ("the shop's answer is no JSON", SHOP_AWAY),
    "'the shop answered with errors and no cart'": (
        "the shop answered with errors and no cart",
        SHOP_AWAY,
    ),
    "f'{error}, to an access token that was good before'": (
        "the shop answered 401, to an access token that was good before",
        SHOP_AWAY,
    ),
    '"the shop\'s answer has no access token"': (
        "the shop's answer has no access token",
        SHOP_AWAY,
    ),
    "f'the database does not answer: {_name(error)}'": (
        "the database does not answer: OperationalError",
        DATABASE_AWAY,
    ),
    "f'the shop does not answer: {type(error).__name__}'": (
        "the shop does not answer: ConnectTimeout",
        SHOP_AWAY,
    ),
    'f"the shop\'s answer is larger than {_MOST_BYTES} bytes"': (
        "the shop's answer is larger than 1048576 bytes",
        SHOP_AWAY,
    ),
}
AT_ONCE = ("CartInvalid",)
ASKED_AGAIN = ("CartNotReady", "SourceDown")


def raised(*kinds: str) -> Iterator[str]:
    """Yield with what words errors of these *kinds* are made where carts are read."""
    for path in Path(proxy.carts.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in kinds:
                yield from (words for words in [ast.unparse(node.args[0])] if words != "''")


def died_at_once(reason: str) -> str:
    return outcomes.refused(CHECKOUT, reason).reason


def given_up(reason: str, trouble: Trouble) -> str:
    tried = outcomes.postponed(CHECKOUT, trouble, reason, now=NOON, wait=timedelta(0))
    later = NOON + timedelta(days=4)
    last = outcomes.postponed(tried, trouble, reason, now=later, wait=timedelta(0))
    assert last.status is Status.DEAD
    return last.reason


CHECKOUT = Checkout(
    shop="shop", cart_id="c-1", epoch=NOON, unique_id="c-1_1", acted_at=NOON, settled_at=NOON
)


def test_the_table_has_all_that_is_raised_about_a_cart() -> None:
    assert set(OF_CARTS) == set(raised(*AT_ONCE, *ASKED_AGAIN))


@pytest.mark.parametrize("words", sorted(set(raised(*AT_ONCE))))
def test_what_a_cart_died_of_at_once_is_mended_where_it_is_wrong(words: str) -> None:
    reason, advised = OF_CARTS[words]

    assert advice.about(died_at_once(reason)).startswith(advised)


@pytest.mark.parametrize("words", sorted(set(raised(*ASKED_AGAIN)) - {"said"}))
def test_what_could_not_be_had_for_hours_is_told_as_that(words: str) -> None:
    reason, advised = OF_CARTS[words]

    assert advice.about(given_up(reason, Trouble.NO_CART)).startswith(advised)


@pytest.mark.parametrize("status", [429, 503])
def test_a_shop_that_was_busy_for_hours_is_told_from_one_that_refuses(status: int) -> None:
    reason = given_up(f"the shop answered {status}", Trouble.NO_CART)

    assert advice.about(reason).startswith(SHOP_AWAY)


@pytest.mark.parametrize("status", [400, 402, 409, 411, 413, 422])
def test_what_klaviyo_refuses_is_mended_at_its_source(status: int) -> None:
    reason = died_at_once(f"Klaviyo answered {status}: no (/data)")

    assert advice.about(reason).startswith(REFUSED_BY_KLAVIYO)


@pytest.mark.parametrize(
    ("reason", "advised"),
    [
        ("Klaviyo answered 429", "Klaviyo did not take it for 72 hours."),
        ("Klaviyo answered 503", "Klaviyo did not take it for 72 hours."),
        ("no answer from Klaviyo: TLS failed", "Klaviyo could not be reached for 72 hours."),
    ],
)
def test_a_klaviyo_that_was_away_is_waited_for(reason: str, advised: str) -> None:
    said = advice.about(given_up(reason, Trouble.KLAVIYO))

    assert said.startswith(advised)
    assert "CHECKOUT_PROXY_LATE" in said


def test_a_bug_is_to_be_reported() -> None:
    reason = died_at_once("a bug in the proxy (KeyError); the log has it")

    assert advice.about(reason).startswith("This is ours")
