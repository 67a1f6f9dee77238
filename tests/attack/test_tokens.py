"""Tokens under attack: none that nobody signed is read, and the time it takes tells nothing."""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter_ns

import pytest
from itsdangerous import BadData, URLSafeTimedSerializer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.signer import HMACAlgorithm

from proxy.errors import Unauthorized
from proxy.tokens import SALT, Session, Tokens, claimed_shop
from tests.attack.forgery import KEYS, OURS, TOKENS, forgeries
from tests.conftest import Figure

Read = Callable[[str], object]


def read_by_us(token: str) -> object:
    return TOKENS.read(token, datetime.now(UTC))


def accepted(read: Read, tokens: Iterable[str]) -> Counter[str]:
    """Return how many of *tokens* came through, and how each of the others was refused."""
    ends: Counter[str] = Counter()
    for token in tokens:
        try:
            read(token)
        except Unauthorized as error:
            ends[error.code] += 1
        except (BadData, ValueError) as error:
            ends[type(error).__name__] += 1
        else:
            ends["accepted"] += 1
    return ends


REFUSALS = {"token-forged", "token-malformed"}


def test_what_was_signed_is_read() -> None:
    assert accepted(read_by_us, OURS) == Counter(accepted=len(OURS))


def test_no_forgery_is_read() -> None:
    ends = accepted(read_by_us, forgeries(seed=1, count=20_000))

    assert ends.total() == 20_000
    assert ends.keys() <= REFUSALS


@pytest.mark.slow
def test_none_of_a_million_forgeries_is_read(figure: Figure) -> None:
    ends = accepted(read_by_us, forgeries(seed=random.getrandbits(64), count=1_000_000))

    figure("forged tokens accepted", f"{ends['accepted']:,} of {ends.total():,}", "0")
    assert ends.total() == 1_000_000
    assert ends.keys() <= REFUSALS


def test_whose_shop_a_forgery_claims_to_be_of_is_found_without_trouble() -> None:
    ends = accepted(claimed_shop, forgeries(seed=2, count=2_000))

    assert ends.keys() <= REFUSALS | {"accepted"}


def test_control_a_reader_that_only_checks_the_signature_reads_another_spelling() -> None:
    lax = URLSafeTimedSerializer(
        list(KEYS), salt=SALT, signer_kwargs={"digest_method": hashlib.sha256}
    )

    assert accepted(lax.loads, forgeries(seed=1, count=2_000))["accepted"] > 0


def test_control_a_reader_that_forgets_the_signature_is_noticed() -> None:
    def trusting(token: str) -> object:
        return base64_decode(token.split(".")[0])

    assert accepted(trusting, forgeries(seed=1, count=1_000))["accepted"] > 0


# -- what the time tells -----------------------------------------------------------------


class _Naive(HMACAlgorithm):
    """The same signatures, compared byte by byte up to the first that differs."""

    def verify_signature(self, key: bytes, value: bytes, sig: bytes) -> bool:
        right = self.get_signature(key, value)
        return len(right) == len(sig) and all(
            ours == theirs for ours, theirs in zip(right, sig, strict=True)
        )


def naive() -> Tokens:
    """Return what reads tokens as we do, but for how it compares."""
    tokens = Tokens(KEYS[:1], shop="shop", max_age=timedelta(days=1))
    tokens._serializer._signer.algorithm = _Naive(hashlib.sha256)
    return tokens


def careful() -> Tokens:
    return Tokens(KEYS[:1], shop="shop", max_age=timedelta(days=1))


def wrong_at(place: int, chance: random.Random) -> str:
    """Return a token whose signature is wrong in the byte at *place* alone."""
    said, time, signature = TOKEN.rsplit(".", 2)
    changed = bytearray(base64_decode(signature))
    changed[place] ^= chance.randrange(1, 256)
    return f"{said}.{time}.{base64_encode(bytes(changed)).decode()}"


TOKEN = careful().sign(Session(shop="shop", cart_id="c-1"))


def nanoseconds(tokens: Tokens, token: str, now: datetime) -> int:
    began = perf_counter_ns()
    try:
        tokens.read(token, now)
    except Unauthorized:
        return perf_counter_ns() - began
    raise AssertionError("a forged token was read")


def told_by_time(tokens: Tokens, rounds: int, first: int = 0, last: int = -1) -> tuple[float, int]:
    """Return how surely the time tells a wrong *first* byte from a wrong *last* one.

    In each round both are read, in an order that is tossed, and it is noted which took longer:
    a machine that is busy meanwhile makes many rounds void, and none of them one-sided. The first
    figure is the standard deviations from a fair coin, the second the middle difference in ns.
    """
    chance, now = random.Random(), datetime.now(UTC)
    differences = []
    for _ in range(rounds):
        pair = [(1, wrong_at(last, chance)), (-1, wrong_at(first, chance))]
        chance.shuffle(pair)
        differences.append(sum(sign * nanoseconds(tokens, token, now) for sign, token in pair))
    longer = sum(difference > 0 for difference in differences)
    shorter = sum(difference < 0 for difference in differences)
    return (longer - shorter) / math.sqrt(rounds), round(median(differences))


# Chance alone goes beyond this once in three million runs.
SURE = 5.0


@pytest.mark.parametrize("last", [-1, 1], ids=["the last", "the second"])
def test_the_time_does_not_tell_how_much_of_a_signature_is_right(last: int) -> None:
    sure, _ = told_by_time(careful(), rounds=2_500, last=last)

    assert abs(sure) < SURE


@pytest.mark.slow
def test_the_time_does_not_tell_it_in_a_hundred_thousand_rounds_either(figure: Figure) -> None:
    sure, difference = told_by_time(careful(), rounds=100_000)

    figure("first against last byte", f"{sure:+.1f} sd, {difference:+} ns", f"{SURE} sd")
    assert abs(sure) < SURE


def test_control_a_comparison_that_ends_early_is_told_by_the_time() -> None:
    sure, difference = told_by_time(naive(), rounds=2_500)

    assert sure > SURE
    assert difference > 0


def test_control_the_naive_comparison_reads_the_same_tokens() -> None:
    assert naive().read(TOKEN, datetime.now(UTC)) == careful().read(TOKEN, datetime.now(UTC))
