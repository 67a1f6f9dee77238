"""The stand-in Klaviyo refuses what Klaviyo refuses, and fails when asked to."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_client.models.event_create_query_v2 import EventCreateQueryV2
from openapi_client.models.get_event_response_collection_compound_document import (
    GetEventResponseCollectionCompoundDocument,
)

from proxy.sandbox.faults import Answer, Challenge, Cut, Hang, Lose
from proxy.sandbox.klaviyo import SCOPES, Klaviyo

KEY = "pk_0123456789abcdef"

PROFILE = "/data/attributes/profile/data/attributes"
METRIC = "/data/attributes/metric/data/attributes"

Json = dict[str, Any]


@pytest.fixture
def sandbox() -> Iterator[Klaviyo]:
    with Klaviyo(key=KEY).serve() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def one_sandbox() -> Iterator[Klaviyo]:
    """Serve many requests that have nothing to do with each other."""
    with Klaviyo(key=KEY).serve() as sandbox:
        yield sandbox


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as clients:
        yield clients


def envelope() -> Json:
    """Return a body with every member that the sandbox knows."""
    return {
        "data": {
            "type": "event",
            "attributes": {
                "properties": {"CheckoutURL": "https://shop.com/checkout", "Items": [{"SKU": "A"}]},
                "metric": {
                    "data": {
                        "type": "metric",
                        "attributes": {"name": "Started Checkout", "service": None},
                    }
                },
                "profile": {
                    "data": {
                        "type": "profile",
                        "id": None,
                        "attributes": {
                            "email": "sarah.mason@klaviyo-demo.com",
                            "phone_number": "+15005550006",
                            "external_id": "c-17",
                            "anonymous_id": "a-17",
                            "_kx": "abc.SITEID",
                            "first_name": "Sarah",
                            "last_name": "Mason",
                            "organization": "Klaviyo",
                            "locale": "en-US",
                            "title": "Ms",
                            "image": "https://shop.com/sarah.png",
                            "location": {"city": "Boston", "latitude": 42.3601, "zip": "02111"},
                            "properties": {"vip": True},
                        },
                    }
                },
                "time": "2026-11-22T12:00:00Z",
                "value": 129.98,
                "value_currency": "USD",
                "unique_id": "cart-17_1763812800",
                "backfill": False,
            },
        }
    }


def with_member(pointer: str, value: Any) -> Json:
    """Return a good body but for the member at *pointer*."""
    body = envelope()
    *path, name = pointer.removeprefix("/").split("/")
    parent = body
    for step in path:
        parent = parent[step]
    parent[name] = value
    return body


def without_member(pointer: str) -> Json:
    body = envelope()
    *path, name = pointer.removeprefix("/").split("/")
    parent = body
    for step in path:
        parent = parent[step]
    del parent[name]
    return body


def with_identifiers(**identifiers: str | None) -> Json:
    return with_member(PROFILE, identifiers)


def post(sandbox: Klaviyo, body: Json | bytes, **headers: str | None) -> requests.Response:
    """Post *body* as it should be, but for *headers*; ``None`` leaves one out."""
    usual: dict[str, str | None] = {
        "Authorization": f"Klaviyo-API-Key {KEY}",
        "revision": "2026-07-15",
        "Content-Type": "application/vnd.api+json",
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{sandbox.url}/api/events", data=data, headers=usual | named, timeout=10)


def error(response: requests.Response) -> Json:
    (error,) = response.json()["errors"]
    assert error["status"] == response.status_code
    return dict(error)


def pointer(response: requests.Response) -> str:
    return str(error(response)["source"]["pointer"])


# -- yes ---------------------------------------------------------------------------------


def test_a_good_event_is_accepted_without_a_word(sandbox: Klaviyo) -> None:
    response = post(sandbox, envelope())

    assert response.status_code == 202
    assert response.content == b""
    assert "Content-Type" not in response.headers
    (event,) = sandbox.events
    assert event.profile == "email:sarah.mason@klaviyo-demo.com"
    assert event.attributes["unique_id"] == "cart-17_1763812800"


def test_every_answer_tells_what_is_left_of_the_minute(sandbox: Klaviyo) -> None:
    headers = post(sandbox, envelope()).headers

    assert headers["RateLimit-Limit"] == "3500"
    assert headers["RateLimit-Remaining"] == "3499"
    assert 1 <= int(headers["RateLimit-Reset"]) <= 60


def test_bodies_are_kept_byte_for_byte_and_figures_to_the_last_digit(sandbox: Klaviyo) -> None:
    body = json.dumps(envelope()).replace("129.98", "129.90").encode() + b" \n"

    post(sandbox, body)

    (event,) = sandbox.events
    assert event.body == sandbox.requests[0].body == body
    assert str(event.attributes["value"]) == "129.90"
    assert b'"value":129.90,' in requests.get(f"{sandbox.url}/sandbox/events", timeout=5).content


def test_the_slash_and_the_media_type_of_older_plugins_are_tolerated(sandbox: Klaviyo) -> None:
    response = requests.post(
        f"{sandbox.url}/api/events/",
        json=envelope(),
        headers={"Authorization": f"Klaviyo-API-Key {KEY}", "revision": "2026-04-15"},
        timeout=5,
    )

    assert response.status_code == 202


@pytest.mark.parametrize("revision", ["2026-07-15", "2026-07-15.pre", "2019-01-01"])
def test_a_past_revision_is_served(one_sandbox: Klaviyo, revision: str) -> None:
    body = envelope()
    del body["data"]["attributes"]["backfill"]

    assert post(one_sandbox, body, revision=revision).status_code == 202


@pytest.mark.parametrize("name", ["email", "phone_number", "external_id", "anonymous_id", "_kx"])
def test_one_identifier_is_enough(sandbox: Klaviyo, name: str) -> None:
    identifier = envelope()["data"]["attributes"]["profile"]["data"]["attributes"][name]

    response = post(sandbox, with_identifiers(**{name: identifier}))

    assert response.status_code == 202
    assert sandbox.events[0].profile == f"{name}:{identifier}"


def test_klaviyo_s_own_id_identifies_too(sandbox: Klaviyo) -> None:
    body = with_identifiers()
    body["data"]["attributes"]["profile"]["data"]["id"] = "01GDDKASAP8TKDDA2GRZDSVP4H"

    post(sandbox, body)

    assert sandbox.events[0].profile == "id:01GDDKASAP8TKDDA2GRZDSVP4H"


# -- counted, duplicate, dropped ---------------------------------------------------------


def test_a_repeat_is_accepted_and_not_counted(sandbox: Klaviyo) -> None:
    post(sandbox, envelope())

    response = post(sandbox, with_member("/data/attributes/value", 1))

    assert response.status_code == 202
    assert [str(event.attributes["value"]) for event in sandbox.events] == ["129.98"]
    assert [event.status for event in sandbox.accepted] == ["counted", "duplicate"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("/data/attributes/unique_id", "cart-18_1763812800"),
        (f"{METRIC}/name", "Viewed Product"),
        (f"{PROFILE}/email", "john.mason@klaviyo-demo.com"),
    ],
)
def test_another_person_metric_or_id_is_another_event(
    sandbox: Klaviyo, member: str, value: str
) -> None:
    post(sandbox, envelope())

    post(sandbox, with_member(member, value))

    assert len(sandbox.events) == 2


def test_an_address_in_capitals_is_the_same_person(sandbox: Klaviyo) -> None:
    post(sandbox, envelope())

    post(sandbox, with_member(f"{PROFILE}/email", "Sarah.Mason@Klaviyo-Demo.com"))

    assert len(sandbox.events) == 1


def test_without_a_unique_id_a_second_holds_one_event(sandbox: Klaviyo) -> None:
    for time in ("12:00:00.1Z", "12:00:00.9Z", "13:00:00+01:00", "12:00:01Z"):
        body = with_member("/data/attributes/time", f"2026-11-22T{time}")
        del body["data"]["attributes"]["unique_id"]

        post(sandbox, body)

    statuses = " ".join(event.status for event in sandbox.accepted)
    assert statuses == "counted duplicate duplicate counted"


@pytest.mark.parametrize("domain", ["example.com", "Example.NET", "shop.example.org", "test.com"])
def test_an_event_for_a_reserved_domain_is_accepted_and_dropped(
    sandbox: Klaviyo, domain: str
) -> None:
    response = post(sandbox, with_identifiers(email=f"sarah@{domain}"))

    assert response.status_code == 202
    assert sandbox.events == ()
    assert sandbox.accepted[0].status == "dropped: reserved domain"


def test_a_domain_that_only_ends_like_a_reserved_one_counts(sandbox: Klaviyo) -> None:
    post(sandbox, with_identifiers(email="sarah@latest.com"))

    assert len(sandbox.events) == 1


# -- no: the headers ---------------------------------------------------------------------


def test_a_refusal_is_an_error_document_with_an_id_of_its_own(one_sandbox: Klaviyo) -> None:
    one, other = (post(one_sandbox, envelope(), Authorization=None) for _ in range(2))

    assert one.headers["Content-Type"] == "application/vnd.api+json"
    names = "id status code title detail source links meta"
    assert set(error(one)) == set(names.split())
    assert error(one)["id"] != error(other)["id"]


@pytest.mark.parametrize(
    "authorization", [None, "", KEY, f"Bearer {KEY}", "Klaviyo-API-Key pk_other"]
)
def test_without_the_account_s_key_there_is_no_entry(
    one_sandbox: Klaviyo, authorization: str | None
) -> None:
    response = post(one_sandbox, b"{}", Authorization=authorization, revision=None)

    assert response.status_code == 401
    assert error(response)["code"] == "authentication_failed"


@pytest.mark.parametrize("revision", [None, "", "latest", "2026-13-01", "2026-7-5", "20260715"])
def test_without_a_revision_nothing_is_read(one_sandbox: Klaviyo, revision: str | None) -> None:
    assert post(one_sandbox, envelope(), revision=revision).status_code == 400


def test_a_revision_of_the_future_is_not_found(one_sandbox: Klaviyo) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)

    response = post(one_sandbox, envelope(), revision=tomorrow.isoformat())

    assert response.status_code == 404
    assert error(response)["detail"] == "Unable to specify a future revision date"


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_media_type_is_not_read(one_sandbox: Klaviyo, media_type: str | None) -> None:
    assert post(one_sandbox, envelope(), Content_Type=media_type).status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/api/events", 405), ("POST", "/api/accounts", 405), ("POST", "/api/track", 404)],
)
def test_other_methods_and_paths_are_refused(
    one_sandbox: Klaviyo, method: str, path: str, status: int
) -> None:
    headers = {"Authorization": f"Klaviyo-API-Key {KEY}", "revision": "2026-07-15"}

    response = requests.request(method, one_sandbox.url + path, headers=headers, timeout=5)

    assert error(response)["status"] == status


# -- no: the body ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"data=1", b'{"data": NaN}', b'{"data": "\xff"}', b"\xef\xbb\xbf{}", b"{} {}"],
)
def test_what_is_no_json_is_refused(one_sandbox: Klaviyo, body: bytes) -> None:
    assert post(one_sandbox, body).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"token": "AbC123", "event": "Started Checkout"},
        {
            "metric": {"name": "Started Checkout"},
            "profile": {"email": "sarah.mason@klaviyo-demo.com"},
            "properties": {"value": 129.98},
        },
        {},
        [],
        "data",
    ],
)
def test_the_flat_envelope_of_old_articles_is_refused(one_sandbox: Klaviyo, body: Any) -> None:
    response = post(one_sandbox, body)

    assert response.status_code == 400
    assert pointer(response) == "/data"


@pytest.mark.parametrize(
    "member",
    [
        "/data/type",
        "/data/attributes",
        "/data/attributes/properties",
        "/data/attributes/metric",
        "/data/attributes/metric/data",
        "/data/attributes/metric/data/type",
        "/data/attributes/metric/data/attributes",
        f"{METRIC}/name",
        "/data/attributes/profile",
        "/data/attributes/profile/data",
        "/data/attributes/profile/data/type",
        "/data/attributes/profile/data/attributes",
    ],
)
def test_a_member_left_out_is_missed(one_sandbox: Klaviyo, member: str) -> None:
    body = without_member(member)

    response = post(one_sandbox, body)

    assert response.status_code == 400
    assert pointer(response) == member
    assert "is a required field" in error(response)["detail"]


@pytest.mark.parametrize(
    ("member", "resource"),
    [
        ("/data/relationships", "event"),
        ("/data/attributes/valu", "event"),
        ("/data/attributes/metric/data/id", "metric"),
        (f"{METRIC}/integration", "metric"),
        ("/data/attributes/profile/data/meta", "profile"),
        (f"{PROFILE}/last_nam", "profile"),
        (f"{PROFILE}/location/street", "profile"),
        (f"{PROFILE}/$email", "profile"),
    ],
)
def test_a_member_klaviyo_does_not_know_is_refused(
    one_sandbox: Klaviyo, member: str, resource: str
) -> None:
    response = post(one_sandbox, with_member(member, "Mason"))

    name = member.rpartition("/")[2]
    assert response.status_code == 400
    assert pointer(response) == member
    assert error(response)["detail"] == (
        f"'{name}' is not a valid field for the resource '{resource}'."
    )


def test_a_member_beside_data_is_refused(one_sandbox: Klaviyo) -> None:
    assert post(one_sandbox, with_member("/token", "AbC123")).status_code == 400


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("/data/type", "events"),
        ("/data/attributes/metric/data/type", "event"),
        ("/data/attributes/profile/data/type", "person"),
        ("/data/attributes/properties", []),
        ("/data/attributes/properties", None),
        (f"{METRIC}/name", ""),
        (f"{METRIC}/name", "x" * 128),
        (f"{METRIC}/name", None),
        ("/data/attributes/value", "129.98"),
        ("/data/attributes/value", True),
        ("/data/attributes/value_currency", "usd"),
        ("/data/attributes/value_currency", "US$"),
        ("/data/attributes/value_currency", "USD\n"),
        ("/data/attributes/value_currency", "EURO"),
        ("/data/attributes/time", "2026-11-22T12:00:00"),
        ("/data/attributes/time", "2026-11-22"),
        ("/data/attributes/time", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("/data/attributes/time", 1795348800),
        ("/data/attributes/time", "1990-12-31T23:59:59Z"),
        ("/data/attributes/time", "9999-12-31T23:59:59-23:59"),
        ("/data/attributes/unique_id", ""),
        ("/data/attributes/unique_id", "x" * 256),
        ("/data/attributes/unique_id", 17),
        ("/data/attributes/backfill", "true"),
        ("/data/attributes/backfill", 1),
        (f"{PROFILE}/email", ""),
        (f"{PROFILE}/email", "sarah"),
        (f"{PROFILE}/email", "sarah@localhost"),
        (f"{PROFILE}/email", "sarah mason@klaviyo-demo.com"),
        (f"{PROFILE}/email", "s" * 83 + "@klaviyo-demo.com"),
        (f"{PROFILE}/phone_number", "+0301234567"),
        (f"{PROFILE}/phone_number", "030 1234567"),
        (f"{PROFILE}/phone_number", "+123456"),
        (f"{PROFILE}/phone_number", "+1234567890123456"),
        (f"{PROFILE}/first_name", 17),
        (f"{PROFILE}/properties", []),
    ],
)
def test_a_member_of_the_wrong_form_is_refused_and_pointed_at(
    one_sandbox: Klaviyo, member: str, value: Any
) -> None:
    response = post(one_sandbox, with_member(member, value))

    assert response.status_code == 400
    assert error(response)["code"] == "invalid"
    assert pointer(response) == member


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("/data/attributes/value", 0),
        ("/data/attributes/value", 130),
        ("/data/attributes/value", None),
        (f"{METRIC}/name", "x" * 127),
        ("/data/attributes/time", "1991-01-01T00:00:00Z"),
        ("/data/attributes/time", "2026-11-22T13:00:00.123+01:00"),
        ("/data/attributes/unique_id", "x" * 255),
        ("/data/attributes/backfill", True),
        (f"{PROFILE}/email", "s" * 82 + "@klaviyo-demo.com"),
        (f"{PROFILE}/phone_number", "+1234567"),
        ("/data/attributes/properties", {}),
        ("/data/attributes/properties/", "free"),
        ("/data/attributes/properties/$extra", {"whatever": [None, {"is": True}]}),
    ],
)
def test_a_member_at_the_edge_is_accepted(one_sandbox: Klaviyo, member: str, value: Any) -> None:
    assert post(one_sandbox, with_member(member, value)).status_code == 202


def test_a_time_over_a_year_ahead_is_refused(one_sandbox: Klaviyo) -> None:
    later = datetime.now(UTC) + timedelta(days=366)

    response = post(one_sandbox, with_member("/data/attributes/time", later.isoformat()))

    assert pointer(response) == "/data/attributes/time"


def test_backfill_is_unknown_before_the_revision_that_brought_it(one_sandbox: Klaviyo) -> None:
    assert post(one_sandbox, envelope(), revision="2026-04-15").status_code == 202

    response = post(one_sandbox, envelope(), revision="2026-04-14")

    assert response.status_code == 400
    assert pointer(response) == "/data/attributes/backfill"


@pytest.mark.parametrize("identifiers", [{}, {"email": None}, {"external_id": ""}])
def test_an_event_about_nobody_is_refused(
    one_sandbox: Klaviyo, identifiers: dict[str, str | None]
) -> None:
    response = post(one_sandbox, with_identifiers(**identifiers))

    assert response.status_code == 400
    assert pointer(response) == PROFILE


# -- no: the limits ----------------------------------------------------------------------


def nested(levels: int) -> Json:
    """Return an object that is *levels* deep."""
    return {} if levels == 1 else {"in": nested(levels - 1)}


@pytest.mark.parametrize(
    ("properties", "place"),
    [
        ({str(number): number for number in range(401)}, ""),
        ({"note": "ä" * 50_001}, "/note"),
        ({"Items": [{"note": "x" * 100_001}]}, "/Items/0/note"),
        ({"Items": [0] * 4_001}, "/Items"),
        ({"big": 2**63}, "/big"),
        (nested(11), "/in" * 10),
    ],
    ids=["properties", "string", "string within", "array", "integer", "nesting"],
)
def test_properties_over_a_limit_are_refused(
    one_sandbox: Klaviyo, properties: Json, place: str
) -> None:
    response = post(one_sandbox, with_member("/data/attributes/properties", properties))

    assert response.status_code == 400
    assert pointer(response) == f"/data/attributes/properties{place}"


@pytest.mark.parametrize(
    "properties",
    [
        {str(number): number for number in range(400)},
        {"note": "ä" * 50_000},
        {"Items": [0] * 4_000},
        {"big": 2**63 - 1, "small": -(2**63)},
        nested(10),
    ],
    ids=["properties", "string", "array", "integer", "nesting"],
)
def test_properties_at_a_limit_are_accepted(one_sandbox: Klaviyo, properties: Json) -> None:
    body = with_member("/data/attributes/properties", properties)

    assert post(one_sandbox, body).status_code == 202


@pytest.mark.parametrize("brackets", [b"[", b'{"in":'])
def test_a_bottomless_body_is_refused(one_sandbox: Klaviyo, brackets: bytes) -> None:
    body = b'{"data":{"type":"event","attributes":{"properties":{"in":' + brackets * 100_000

    assert post(one_sandbox, body).status_code == 400


def test_a_profile_over_95_kb_is_refused(one_sandbox: Klaviyo) -> None:
    body = with_member(f"{PROFILE}/properties", {"note": "x" * 95_000})

    assert pointer(post(one_sandbox, body)) == "/data/attributes/profile/data"


def test_a_body_over_5_mb_is_too_large(one_sandbox: Klaviyo) -> None:
    body = json.dumps(envelope()).encode().ljust(5_000_000)

    assert post(one_sandbox, body).status_code == 202
    assert post(one_sandbox, body + b" ").status_code == 413


# -- Klaviyo's own SDK -------------------------------------------------------------------


def is_known_to_the_sdk(body: Json) -> bool:
    try:
        EventCreateQueryV2.model_validate(body)
    except ValueError:
        return False
    return True


def members(value: Any, path: str = "") -> Iterator[str]:
    """Yield a pointer to every member of the envelope, however deep."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield f"{path}/{name}"
            yield from members(member, f"{path}/{name}")


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["event", "metric", "profile", "2026-11-22T12:00:00Z", "12:00", "129.98"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
POINTERS = st.sampled_from(sorted(members(envelope())))
SPOILT = st.builds(without_member, POINTERS) | st.builds(with_member, POINTERS, JUNK)


def test_what_the_sandbox_accepts_klaviyo_s_sdk_accepts(sandbox: Klaviyo) -> None:
    post(sandbox, envelope())

    (event,) = sandbox.events
    query = EventCreateQueryV2.model_validate_json(event.body)
    assert query.data.attributes.profile.data.attributes.kx == "abc.SITEID"


@settings(deadline=None)
@given(body=SPOILT)
def test_what_klaviyo_s_sdk_refuses_the_sandbox_refuses(one_sandbox: Klaviyo, body: Json) -> None:
    status = post(one_sandbox, body).status_code

    assert status in (202, 400)
    assert status == 400 or is_known_to_the_sdk(body)


def test_whatever_member_is_left_out_the_sdk_is_never_stricter(one_sandbox: Klaviyo) -> None:
    for member in members(envelope()):
        body = without_member(member)

        assert is_known_to_the_sdk(body) or post(one_sandbox, body).status_code == 400


# -- faults: answers ---------------------------------------------------------------------


def test_a_fault_is_met_as_often_as_asked_and_then_no_more(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Answer(429, retry_after=7), times=2)
    sandbox.misbehave(Answer(503))

    answers = [post(sandbox, envelope()) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [429, 429, 503, 202]
    assert [request.status for request in sandbox.requests] == [429, 429, 503, 202]
    assert len(sandbox.events) == 1


def test_a_throttled_request_is_told_how_long_to_wait_and_nothing_else(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Answer(429, retry_after=7))

    response = post(sandbox, envelope())

    assert response.headers["Retry-After"] == "7"
    assert "RateLimit-Remaining" not in response.headers
    assert error(response)["code"] == "throttled"
    assert error(response)["detail"] == "Request was throttled. Expected available in 7 seconds."


def test_retry_after_may_be_zero_or_missing(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Answer(429, retry_after=0))
    sandbox.misbehave(Answer(429))

    zero, missing = post(sandbox, envelope()), post(sandbox, envelope())

    assert zero.headers["Retry-After"] == "0"
    assert "Retry-After" not in missing.headers


@pytest.mark.parametrize("status", [400, 401, 403, 410, 500, 503])
def test_klaviyo_s_own_errors_are_documents(sandbox: Klaviyo, status: int) -> None:
    sandbox.misbehave(Answer(status))

    response = post(sandbox, envelope())

    assert error(response)["status"] == status
    assert response.headers["Content-Type"] == "application/vnd.api+json"


@pytest.mark.parametrize("status", [502, 504, 524])
def test_a_gateway_s_errors_are_pages(sandbox: Klaviyo, status: int) -> None:
    sandbox.misbehave(Answer(status))

    response = post(sandbox, envelope())

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_missing_scope_is_named(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Answer(403))

    assert "events:write" in error(post(sandbox, envelope()))["detail"]


def test_cloudflare_s_challenge_is_a_page_and_says_so(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Challenge())

    response = post(sandbox, envelope())

    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["cf-mitigated"] == "challenge"


def test_an_event_may_be_lost_without_a_word(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Lose(), times=2)

    assert post(sandbox, envelope()).status_code == 202
    assert post(sandbox, b"{}").status_code == 400
    assert post(sandbox, envelope()).status_code == 202

    assert [event.status for event in sandbox.accepted] == ["lost", "counted"]


def test_an_error_may_hide_that_the_event_counts(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Answer(500, counted=True))

    assert post(sandbox, envelope()).status_code == 500
    assert post(sandbox, envelope()).status_code == 202

    assert [event.status for event in sandbox.accepted] == ["counted", "duplicate"]


# -- faults: no answer -------------------------------------------------------------------


def test_a_connection_may_be_cut_before_the_event_counts(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Cut())

    with pytest.raises(requests.ConnectionError):
        post(sandbox, envelope())

    assert sandbox.accepted == ()
    assert sandbox.requests[0].status is None


def test_a_202_may_be_lost_on_the_wire(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Cut(counted=True))
    with pytest.raises(requests.ConnectionError):
        post(sandbox, envelope())

    assert post(sandbox, envelope()).status_code == 202

    assert [event.status for event in sandbox.accepted] == ["counted", "duplicate"]


@pytest.mark.parametrize(("counted", "events"), [(True, 1), (False, 0)])
def test_an_answer_may_be_cut_midway(sandbox: Klaviyo, *, counted: bool, events: int) -> None:
    sandbox.misbehave(Cut(midway=True, counted=counted))

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        post(sandbox, envelope())

    assert len(sandbox.events) == events


def test_a_hanging_request_is_processed_once_released(
    sandbox: Klaviyo, clients: ThreadPoolExecutor
) -> None:
    sandbox.misbehave(Hang())
    answer = clients.submit(post, sandbox, envelope())
    sandbox.wait_for_requests(1)
    assert sandbox.accepted == ()

    sandbox.release()

    assert answer.result(5).status_code == 202
    assert len(sandbox.events) == 1


def test_all_hanging_requests_are_released_together(
    sandbox: Klaviyo, clients: ThreadPoolExecutor
) -> None:
    sandbox.misbehave(Hang(), times=3)
    answers = [clients.submit(post, sandbox, envelope()) for _ in range(3)]
    sandbox.wait_for_requests(3)

    sandbox.release()

    assert [answer.result(5).status_code for answer in answers] == [202] * 3


def test_a_request_may_count_and_hang_all_the_same(
    sandbox: Klaviyo, clients: ThreadPoolExecutor
) -> None:
    sandbox.misbehave(Hang(counted=True))
    answer: Future[requests.Response] = clients.submit(post, sandbox, envelope())

    (event,) = sandbox.wait_for_events(1)

    assert event.status == "counted"
    assert sandbox.requests[0].status is None
    sandbox.release()
    assert answer.result(5).status_code == 202


def test_a_client_that_leaves_while_hanging_is_not_processed(
    sandbox: Klaviyo, clients: ThreadPoolExecutor
) -> None:
    body = json.dumps(envelope()).encode()
    head = (
        f"POST /api/events HTTP/1.1\r\nHost: klaviyo\r\nAuthorization: Klaviyo-API-Key {KEY}\r\n"
        "revision: 2026-07-15\r\nContent-Type: application/vnd.api+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    host, port = sandbox.url.removeprefix("http://").split(":")
    sandbox.misbehave(Hang())
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(head.encode() + body)
        sandbox.wait_for_requests(1)

        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""

    assert sandbox.accepted == ()
    assert sandbox.requests[0].status is None


def test_a_slow_answer_is_an_answer(sandbox: Klaviyo) -> None:
    sandbox.misbehave(Hang(seconds=0.02))

    response = post(sandbox, envelope())

    assert response.status_code == 202
    assert response.elapsed >= timedelta(seconds=0.02)


def test_a_sandbox_that_stops_releases_who_hangs(clients: ThreadPoolExecutor) -> None:
    with Klaviyo(key=KEY).serve() as sandbox:
        sandbox.misbehave(Hang())
        answer = clients.submit(post, sandbox, envelope())
        sandbox.wait_for_requests(1)

    assert answer.result(5).status_code == 202


# -- what was received -------------------------------------------------------------------


def test_an_account_may_be_away_and_come_back_where_it_was() -> None:
    account = Klaviyo(key=KEY)
    with account.serve() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        post(sandbox, envelope())

    with pytest.raises(requests.ConnectionError):
        post(account, envelope())

    with account.serve(port=port) as sandbox:
        post(sandbox, envelope())
    assert [event.status for event in account.accepted] == ["counted", "duplicate"]


def test_whoever_waits_for_events_is_told_what_came_instead(sandbox: Klaviyo) -> None:
    post(sandbox, envelope(), Authorization=None)

    with pytest.raises(TimeoutError, match=r"0 of 1 came within 0 s; the answers were \[401\]"):
        sandbox.wait_for_events(1, timeout=0)


def test_many_senders_at_once_are_counted_once_each(
    sandbox: Klaviyo, clients: ThreadPoolExecutor
) -> None:
    ids = [f"cart-{number % 20}" for number in range(60)]

    bodies = [with_member("/data/attributes/unique_id", unique_id) for unique_id in ids]
    for answer in [clients.submit(post, sandbox, body) for body in bodies]:
        assert answer.result(5).status_code == 202

    assert sorted(event.attributes["unique_id"] for event in sandbox.events) == sorted(set(ids))
    assert len(sandbox.accepted) == len(sandbox.requests) == 60


def test_a_key_is_tried_out_with_get_accounts(one_sandbox: Klaviyo) -> None:
    headers = {"Authorization": f"Klaviyo-API-Key {KEY}", "revision": "2026-07-15"}

    good = requests.get(f"{one_sandbox.url}/api/accounts", headers=headers, timeout=5)
    bad = requests.get(f"{one_sandbox.url}/api/accounts", timeout=5)

    assert good.json()["data"][0]["attributes"]["test_account"] is True
    assert bad.status_code == 401


def get(sandbox: Klaviyo, path: str, **more: str) -> requests.Response:
    headers = {"Authorization": f"Klaviyo-API-Key {KEY}", "revision": "2026-07-15", **more}
    return requests.get(f"{sandbox.url}/api/{path}", headers=headers, timeout=5)


@pytest.mark.parametrize(
    ("scope", "ask"),
    [
        ("events:write", lambda sandbox: post(sandbox, envelope())),
        ("events:write", lambda sandbox: post(sandbox, b"{}")),
        ("events:read", lambda sandbox: get(sandbox, "events")),
        ("accounts:read", lambda sandbox: get(sandbox, "accounts")),
    ],
)
def test_what_the_key_is_not_allowed_to_do_is_refused(
    scope: str, ask: Callable[[Klaviyo], requests.Response]
) -> None:
    with Klaviyo(key=KEY, scopes=SCOPES - {scope}).serve() as sandbox:
        refused = ask(sandbox)

    assert refused.status_code == 403
    assert error(refused)["code"] == "permission_denied"
    assert error(refused)["detail"].endswith(f"missing required scopes: {scope}")
    assert not sandbox.accepted


def test_every_answer_has_the_time_and_the_end_of_the_revision() -> None:
    ahead = timedelta(minutes=5)
    with Klaviyo(key=KEY, ahead=ahead, retires=date(2028, 7, 15)).serve() as sandbox:
        headers = post(sandbox, envelope()).headers

    told = parsedate_to_datetime(headers["Date"]) - datetime.now(UTC)
    assert ahead - timedelta(seconds=10) < told <= ahead
    assert headers["X-Klaviyo-Api-Retirement-Date"] == "2028-07-15"


def test_a_retired_revision_is_gone_for_those_who_want_no_other(one_sandbox: Klaviyo) -> None:
    refused = post(
        one_sandbox, envelope(), revision="2023-07-15", X_Klaviyo_Revision_Fall_Forward_Opt_Out="1"
    )

    assert refused.status_code == 410
    assert error(refused)["code"] == "gone"


# -- reading events ----------------------------------------------------------------------


def test_an_event_is_read_back_as_klaviyo_s_sdk_reads_it(sandbox: Klaviyo) -> None:
    post(sandbox, envelope())

    read = get(sandbox, "events")

    assert GetEventResponseCollectionCompoundDocument.from_dict(read.json()) is not None
    (event,) = read.json()["data"]
    assert event["attributes"]["datetime"] == "2026-11-22T12:00:00+00:00"
    assert event["attributes"]["event_properties"]["$event_id"] == "cart-17_1763812800"
    assert event["attributes"]["event_properties"]["$value"] == 129.98


def test_an_event_is_not_read_before_it_was_processed() -> None:
    with Klaviyo(key=KEY, lag=timedelta(hours=1)).serve() as sandbox:
        post(sandbox, envelope())

        assert get(sandbox, "events").json()["data"] == []


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("filter=greater-or-equal(datetime,2026-11-22T12:00:00Z)", 1),
        ("filter=less-than(datetime,2026-11-22T12:00:00Z)", 1),
        ("filter=greater-than(datetime,2026-11-22T11:00:00Z),less-than(datetime,2026-11-23)", 1),
        ("filter=less-or-equal(timestamp,1)", 0),
        ("filter=equals(metric_id,'nothing')", 0),
        ("sort=datetime&page[size]=1", 1),
        ("fields[event]=datetime", 2),
    ],
)
def test_events_are_read_by_their_time(sandbox: Klaviyo, query: str, count: int) -> None:
    earlier = with_member("/data/attributes/time", "2026-11-22T11:00:00Z")
    del earlier["data"]["attributes"]["unique_id"]
    post(sandbox, envelope())
    post(sandbox, earlier)

    assert len(get(sandbox, f"events?{query}").json()["data"]) == count


def test_events_of_one_profile_or_metric_are_read_by_its_id_page_by_page(
    sandbox: Klaviyo,
) -> None:
    for unique_id in ("one", "two"):
        post(sandbox, with_member("/data/attributes/unique_id", unique_id))
    post(sandbox, with_identifiers(email="john@klaviyo-demo.com"))
    event = get(sandbox, "events?sort=datetime").json()["data"][0]
    profile = event["relationships"]["profile"]["data"]["id"]

    first = get(sandbox, f'events?filter=equals(profile_id,"{profile}")&page[size]=1').json()
    second = get(sandbox, first["links"]["next"].partition("/api/")[2]).json()

    found = [page["data"][0]["attributes"]["event_properties"] for page in (first, second)]
    assert {properties["$event_id"] for properties in found} == {"one", "two"}
    assert second["links"]["next"] is None


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("filter=equals(unique_id,'cart-17')", "filter"),
        ("filter=equals(metric_id,AB12CD)", "filter"),
        ("filter=greater-than(datetime,yesterday)", "filter"),
        ("filter=nonsense", "filter"),
        ("sort=value", "sort"),
        ("page[size]=1001", "page[size]"),
        ("page[size]=all", "page[size]"),
        ("fields[event]=email", "fields"),
        ("unique_id=cart-17", "unique_id"),
    ],
)
def test_a_question_klaviyo_does_not_know_is_refused(
    one_sandbox: Klaviyo, query: str, parameter: str
) -> None:
    refused = get(one_sandbox, f"events?{query}")

    assert refused.status_code == 400
    assert error(refused)["source"] == {"parameter": parameter}


# -- for people --------------------------------------------------------------------------


def test_the_ledgers_are_read_over_http(sandbox: Klaviyo) -> None:
    post(sandbox, envelope())
    post(sandbox, envelope())
    post(sandbox, b"{")

    events = requests.get(f"{sandbox.url}/sandbox/events", timeout=5).json()
    entries = requests.get(f"{sandbox.url}/sandbox/requests", timeout=5)

    assert [event["status"] for event in events] == ["counted", "duplicate"]
    assert events[0]["attributes"] == envelope()["data"]["attributes"]
    assert datetime.fromisoformat(events[0]["received_at"]).date() >= date(2026, 1, 1)
    assert [entry["status"] for entry in entries.json()] == [202, 202, 400]
    assert KEY not in entries.text


def test_the_front_page_names_the_ledgers(one_sandbox: Klaviyo) -> None:
    links = requests.get(one_sandbox.url, timeout=5).json()["links"]

    assert all(requests.get(one_sandbox.url + link, timeout=5).ok for link in links)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"kind": "answer", "status": 429, "retry_after": 3}, Answer(429, retry_after=3)),
        ({"kind": "hang", "seconds": 0.01}, Hang(seconds=0.01)),
        ({"kind": "cut", "midway": True, "counted": True}, Cut(midway=True, counted=True)),
        ({"kind": "challenge"}, Challenge()),
        ({"kind": "lose"}, Lose()),
    ],
)
def test_faults_are_asked_for_over_http(sandbox: Klaviyo, asked: Json, fault: object) -> None:
    url = f"{sandbox.url}/sandbox/faults"
    response = requests.post(url, json={"fault": asked, "times": 2}, timeout=5)
    assert response.status_code == 204

    for _ in range(3):
        try_to_post(sandbox)

    assert [request.fault for request in sandbox.requests] == [fault, fault, None]


def try_to_post(sandbox: Klaviyo) -> None:
    with suppress(requests.RequestException):
        post(sandbox, envelope())


@pytest.mark.parametrize(
    "asked",
    [
        b"{",
        b"{}",
        b'{"fault": {"kind": "fire"}}',
        b'{"fault": {"kind": "answer", "status": 202}}',
        b'{"fault": {"kind": "cut", "often": true}}',
        b'{"fault": {"kind": "cut"}, "times": 0}',
    ],
)
def test_a_fault_that_is_none_is_refused(sandbox: Klaviyo, asked: bytes) -> None:
    response = requests.post(f"{sandbox.url}/sandbox/faults", data=asked, timeout=5)

    assert response.status_code == 400
    assert response.json()["error"]
    assert post(sandbox, envelope()).status_code == 202


def test_faults_are_taken_back_over_http(sandbox: Klaviyo, clients: ThreadPoolExecutor) -> None:
    sandbox.misbehave(Hang())
    sandbox.misbehave(Answer(503), times=5)
    hanging = clients.submit(post, sandbox, envelope())
    sandbox.wait_for_requests(1)

    requests.delete(f"{sandbox.url}/sandbox/faults", timeout=5)

    assert hanging.result(5).status_code == 202
    assert post(sandbox, envelope()).status_code == 202


def test_a_sandbox_run_by_a_person_runs_until_interrupted() -> None:
    script = (
        "import signal; from proxy.sandbox import klaviyo;"
        "signal.signal(signal.SIGALRM, signal.default_int_handler);"
        "signal.setitimer(signal.ITIMER_REAL, 0.1);"
        "klaviyo.run('127.0.0.1', 0, 'pk_1');"
        "print('stopped')"
    )

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)

    assert run.stdout == b"stopped\n"
    assert run.stderr == b""
