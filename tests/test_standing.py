"""The standing of an account: when it is paused, for how long, and how it comes back."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from proxy.standing import Standing
from tests.said import NOON, after


def failed(times: int, *, jitter: float = 0.5) -> Standing:
    standing = Standing()
    for _ in range(times):
        standing = standing.after_failure("Klaviyo answered 503", now=NOON, jitter=jitter)
    return standing


def pause(standing: Standing) -> timedelta:
    assert standing.paused_until is not None
    return standing.paused_until - NOON


def test_a_few_failures_are_about_events_and_many_in_a_row_about_klaviyo() -> None:
    assert not failed(4).waits(NOON)
    assert not failed(4).is_probing
    assert failed(5).waits(NOON)
    assert failed(5).is_probing


@given(times=st.integers(5, 400), jitter=st.floats(0, 1, exclude_max=True))
def test_an_outage_is_looked_at_after_five_seconds_to_fifteen_minutes(
    times: int, jitter: float
) -> None:
    assert timedelta(seconds=5) <= pause(failed(times, jitter=jitter)) <= timedelta(minutes=15)


def test_the_longer_an_outage_the_longer_the_pause() -> None:
    pauses = [pause(failed(times)) for times in range(5, 16)]

    assert pauses == sorted(pauses)
    assert pauses[-1] > timedelta(minutes=7)


def test_klaviyo_is_given_the_time_it_asks_for() -> None:
    standing = Standing().after_throttling("429", now=NOON, wait=timedelta(seconds=59))

    assert pause(standing) == timedelta(seconds=59)
    assert not standing.is_probing


def test_a_refused_account_is_asked_again_with_one_event() -> None:
    standing = Standing().after_refusal("Klaviyo answered 401", now=NOON)

    assert standing.waits(after(4))
    assert not standing.waits(after(6))
    assert standing.is_probing


def test_a_pause_that_begins_in_the_future_was_written_under_another_clock() -> None:
    assert not failed(5).waits(after(-60))
