"""The stand-in Klaviyo takes bulks as Klaviyo does, and counts requests as Klaviyo does."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from openapi_client.models.events_bulk_create_job import EventsBulkCreateJob

from proxy.sandbox import throttle
from proxy.sandbox.klaviyo import Klaviyo

KEY = "pk_0123456789abcdef"

Json = dict[str, Any]


@pytest.fixture
def sandbox() -> Iterator[Klaviyo]:
    with Klaviyo(key=KEY).serve() as sandbox:
        yield sandbox


def event(**more: Any) -> Json:
    metric = {"data": {"type": "metric", "attributes": {"name": "Started Checkout"}}}
    attributes = {"properties": {"cart_id": "c-1"}, "metric": metric, "value": 49.9, **more}
    return {"type": "event", "attributes": attributes}


def entry(number: int, *events: Json, **more: Any) -> Json:
    email = {"email": f"jane.{number}@klaviyo-demo.com"}
    profile = {"data": {"type": "profile", "attributes": email}}
    named = list(events) or [event(unique_id=f"c-{number}")]
    attributes = {"profile": profile, "events": {"data": named}, **more}
    return {"type": "event-bulk-create", "attributes": attributes}


def job(*entries: Json) -> Json:
    attributes = {"events-bulk-create": {"data": list(entries)}}
    return {"data": {"type": "event-bulk-create-job", "attributes": attributes}}


def post(sandbox: Klaviyo, body: Json | bytes) -> requests.Response:
    headers = {
        "Authorization": f"Klaviyo-API-Key {KEY}",
        "revision": "2026-07-15",
        "Content-Type": "application/vnd.api+json",
    }
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{sandbox.url}/api/event-bulk-create-jobs"
    return requests.post(url, data=data, headers=headers, timeout=10)


def refusal(response: requests.Response) -> tuple[int, str]:
    (error,) = response.json()["errors"]
    return response.status_code, error["source"]["pointer"]


def test_a_bulk_is_accepted_without_a_word(sandbox: Klaviyo) -> None:
    body = job(entry(1), entry(2, backfill=True))
    EventsBulkCreateJob.model_validate(body)

    response = post(sandbox, body)

    assert (response.status_code, response.content) == (202, b"")
    one, two = sandbox.events
    assert (one.profile, two.profile) == (
        "email:jane.1@klaviyo-demo.com",
        "email:jane.2@klaviyo-demo.com",
    )
    assert "backfill" not in one.attributes
    assert two.attributes["backfill"] is True
    assert str(one.attributes["value"]) == "49.9"


def test_one_bad_event_has_the_whole_bulk_refused(sandbox: Klaviyo) -> None:
    response = post(sandbox, job(entry(1), entry(2, event(value="49.90")), entry(3)))

    assert refusal(response) == (
        400,
        "/data/attributes/events-bulk-create/data/1/attributes/value",
    )
    assert sandbox.accepted == ()


def test_an_event_that_is_known_has_the_whole_bulk_refused(sandbox: Klaviyo) -> None:
    assert post(sandbox, job(entry(1))).status_code == 202

    assert post(sandbox, job(entry(2), entry(1))).status_code == 400
    assert post(sandbox, job(entry(2), entry(2))).status_code == 400
    assert len(sandbox.events) == 1


@pytest.mark.parametrize(
    ("count", "status"), [(1_000, 202), (1_001, 400)], ids=["a thousand", "one more"]
)
def test_a_bulk_has_a_thousand_events_at_most(sandbox: Klaviyo, count: int, status: int) -> None:
    assert post(sandbox, job(*map(entry, range(count)))).status_code == status


def test_a_bulk_has_five_megabytes_at_most(sandbox: Klaviyo) -> None:
    body = json.dumps(job(entry(1))).encode()

    assert post(sandbox, body + b" " * (5_000_000 - len(body))).status_code == 202
    assert post(sandbox, body + b" " * (5_000_001 - len(body))).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        job(),
        {"data": {"type": "event", "attributes": {}}},
        job(entry(1) | {"id": "1"}),
        job(entry(1, event(profile={}))),
        job(entry(1, sent=True)),
    ],
    ids=["no JSON", "empty", "not a job", "a member more", "profile inside", "unknown"],
)
def test_what_is_no_bulk_is_refused(sandbox: Klaviyo, body: Json | bytes) -> None:
    assert post(sandbox, body).status_code == 400


def test_the_eleventh_bulk_of_a_second_is_throttled(sandbox: Klaviyo) -> None:
    answers = [post(sandbox, job(entry(number))) for number in range(30)]

    throttled = [answer for answer in answers if answer.status_code == 429]
    assert throttled
    assert {answer.headers["Retry-After"] for answer in throttled} == {"1"}
    assert all("RateLimit-Remaining" not in answer.headers for answer in throttled)
    assert len(sandbox.events) == len(answers) - len(throttled)


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=400))
def test_no_second_and_no_minute_has_more_than_its_share(waits: list[float]) -> None:
    bulks, now, let_through = throttle.bulk_jobs(), 1_000.0, []
    for wait in waits:
        now += wait
        if bulks.retry_after(now) is None:
            let_through.append(now)

    for length, most in ((1, 10), (60, 150)):
        windows = [int(at // length) for at in let_through]
        assert max((windows.count(window) for window in set(windows)), default=0) <= most
