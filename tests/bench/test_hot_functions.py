"""The hot functions alone: what each event passes through. `make bench` tells their times."""

import json
from datetime import timedelta

from pytest_benchmark.fixture import BenchmarkFixture

from proxy import door, facts, payload, states
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.identity import Profile
from proxy.payload import Event
from proxy.store.seal import Seal
from proxy.tokens import Tokens
from proxy.visits import fold
from tests.bench.load import body
from tests.said import CART, JANE, JOHN, NOON, after, pushed, state
from tests.web import TOKEN_KEY

RULES = Rules(
    settle=timedelta(seconds=30), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT)
)
KEY = "bm90IGEgc2VjcmV0OiBhIGtleSBmb3IgdGhlIGJlbmM="
STATE = body().replace("@ID@", "0" * 16).encode()


def test_the_token_is_checked(benchmark: BenchmarkFixture) -> None:
    tokens = Tokens(["an-older-key", TOKEN_KEY], shop="shop", max_age=timedelta(hours=24))
    token = json.loads(STATE)["token"]
    now = tokens._serializer.loads(token, return_timestamp=True)[1]

    session = benchmark(tokens.read, token, now)

    assert session.cart_id == "c-1001"


def test_the_body_is_parsed(benchmark: BenchmarkFixture) -> None:
    posted = benchmark(door.parsed, states._DECODER, STATE)

    assert posted.id == "0" * 16


def test_the_address_is_judged(benchmark: BenchmarkFixture) -> None:
    assert benchmark(states.email, "jane.doe@shop-demo.io") == "jane.doe@shop-demo.io"


def test_a_fact_is_written(benchmark: BenchmarkFixture) -> None:
    fact = state(0, email=JANE, first_name="Jane", checkout_url="https://shop.example/checkout")

    assert facts.decode("state", benchmark(facts.encode, fact)) == fact


def test_a_fact_is_sealed(benchmark: BenchmarkFixture) -> None:
    seal, written = Seal([KEY]), facts.encode(state(0, email=JANE, first_name="Jane"))

    assert seal.opened(benchmark(seal.sealed, written)) == written


def test_a_sealed_fact_is_opened(benchmark: BenchmarkFixture) -> None:
    seal, written = Seal([KEY]), facts.encode(state(0, email=JANE, first_name="Jane"))

    assert benchmark(seal.opened, seal.sealed(written)) == written


def test_a_correction_is_folded_in(benchmark: BenchmarkFixture) -> None:
    known = fold(fold([], pushed(0), RULES), state(0, email=JOHN), RULES)

    [checkout] = benchmark(fold, known, state(0.2, email=JANE), RULES)

    assert checkout.due_at == after(0.7)


def test_an_event_is_written_for_klaviyo(benchmark: BenchmarkFixture) -> None:
    event = Event(
        metric="Started Checkout",
        profile=Profile(email=JANE, phone_number="+4930123456", first_name="Jane"),
        cart=CART,
        cart_id="c-1001",
        checkout_url="https://shop.example/checkout",
        unique_id="c-1001_1795348800",
        time=NOON,
    )

    assert JANE.encode() in benchmark(payload.encode, event)
