"""Create Event: what ``POST /api/events`` takes, and what it refuses.

Members and limits are those of Klaviyo's OpenAPI description (github.com/klaviyo/openapi, revision
2026-07-15) and of "Events API overview", developers.klaviyo.com. Where these leave a choice, the
stricter reading holds. Of the profile, ``meta`` is refused: it moved in revision 2026-10-15.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.sandbox.refusals import Refused

MAX_BYTES = 5_000_000
MAX_PROFILE_BYTES = 95_000
MAX_STRING_BYTES = 100_000
MAX_ARRAY_ITEMS = 4_000
MAX_PROPERTIES = 400
MAX_NESTING = 10

# Klaviyo answers 202 to these and drops the event ("Create Event" and "Events API overview").
_RESERVED = re.compile(r"@(.+\.)?(example\.(com|net|org)|test\.com)\Z")

_BACKFILL_SINCE = date(2026, 4, 15)


class _Object(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object with these members and no others.

    The OpenAPI description would allow others; Klaviyo itself refuses them (verbb/formie#1986).
    """


class _MetricAttributes(_Object, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=127)]
    service: str | None = None


class _MetricData(_Object, frozen=True):
    type: Literal["metric"]
    attributes: _MetricAttributes


class _Metric(_Object, frozen=True):
    data: _MetricData


class _Location(_Object, frozen=True):
    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    country: str | None = None
    latitude: str | float | None = None
    longitude: str | float | None = None
    region: str | None = None
    zip: str | None = None
    timezone: str | None = None
    ip: str | None = None


class _ProfileAttributes(_Object, frozen=True):
    email: Annotated[str, Meta(max_length=99, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+\Z")] | None = None
    phone_number: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}\Z")] | None = None
    external_id: str | None = None
    anonymous_id: str | None = None
    kx: str | None = msgspec.field(default=None, name="_kx")
    first_name: str | None = None
    last_name: str | None = None
    organization: str | None = None
    locale: str | None = None
    title: str | None = None
    image: str | None = None
    location: _Location | None = None
    properties: dict[str, Any] | None = None


class ProfileData(_Object, frozen=True):
    """Who the event is about."""

    type: Literal["profile"]
    attributes: _ProfileAttributes
    id: str | None = None

    @property
    def key(self) -> str:
        """The first identifier there is, with its name; empty where there is none."""
        attributes = self.attributes
        identifiers = {
            "id": self.id,
            "email": attributes.email and attributes.email.casefold(),
            "phone_number": attributes.phone_number,
            "external_id": attributes.external_id,
            "_kx": attributes.kx,
            "anonymous_id": attributes.anonymous_id,
        }
        return next((f"{name}:{value}" for name, value in identifiers.items() if value), "")


class _Profile(_Object, frozen=True):
    data: ProfileData


class EventAttributes(_Object, frozen=True):
    """What happened, to whom, and when."""

    properties: dict[str, Any]
    metric: _Metric
    profile: _Profile
    time: Annotated[datetime, Meta(tz=True)] | None = None
    value: float | None = None
    value_currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None = None
    unique_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    backfill: bool | UnsetType | None = UNSET

    @property
    def is_reserved(self) -> bool:
        """Whether the address is of a domain kept for examples and tests."""
        email = self.profile.data.attributes.email
        return email is not None and _RESERVED.search(email.casefold()) is not None

    def key(self, received_at: datetime) -> tuple[str, str, str]:
        """Return what an event is recorded under, once: profile, metric, and ``unique_id``.

        Without ``unique_id`` the time does, to the second ("Create Event").
        """
        second = (self.time or received_at).astimezone(UTC).replace(microsecond=0)
        unique_id = self.unique_id or second.isoformat()
        return self.profile.data.key, self.metric.data.attributes.name, unique_id


class _EventData(_Object, frozen=True):
    type: Literal["event"]
    attributes: EventAttributes


class _Envelope(_Object, frozen=True):
    data: _EventData


# Made once: of a type that several threads ask for first, msgspec was seen to crash the process.
_DECODER = msgspec.json.Decoder(_Envelope)


def read(body: bytes, *, revision: date, now: datetime) -> EventAttributes:
    """Return the event written in *body*, or raise :exc:`Refused` as Klaviyo would."""
    if len(body) > MAX_BYTES:
        raise Refused(413, f"The payload has {len(body)} bytes and may have {MAX_BYTES}.")
    attributes = _envelope(body).data.attributes
    _check_backfill(attributes, revision)
    _check_time(attributes.time, now)
    _check_profile(attributes.profile.data)
    _check_properties(attributes.properties)
    return attributes


def _envelope(body: bytes) -> _Envelope:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"The payload is no JSON: {error}.", pointer="/") from error


def _refusal(said: str) -> Refused:
    """Return msgspec's words as Klaviyo's."""
    what, _, path = said.partition(" - at `$")
    pointer = path.rstrip("`").replace(".", "/").replace("[...]", "")
    if not pointer:
        return Refused(400, "The payload provided in the request is invalid.")
    resource = re.findall("metric|profile|event", f"event{pointer}")[-1]
    if unknown := re.search("unknown field `(.*)`", what):
        detail = f"'{unknown[1]}' is not a valid field for the resource '{resource}'."
        return Refused(400, detail, pointer=f"{pointer}/{unknown[1]}")
    if missing := re.search("missing required field `(.*)`", what):
        detail = f"'{missing[1]}' is a required field for the resource '{resource}'."
        return Refused(400, detail, pointer=f"{pointer}/{missing[1]}")
    return Refused(400, f"{what}.", pointer=pointer)


def _check_backfill(attributes: EventAttributes, revision: date) -> None:
    if attributes.backfill is not UNSET and revision < _BACKFILL_SINCE:
        raise Refused(
            400,
            "'backfill' is not a valid field for the resource 'event'.",
            pointer="/data/attributes/backfill",
        )


def _check_time(time: datetime | None, now: datetime) -> None:
    """Refuse what is not "after the year 1990 and … up to 1 year in the future"."""
    if time is not None and (time.year <= 1990 or time > now + timedelta(days=365)):
        raise Refused(
            400,
            "The time must be after the year 1990 and at most 1 year in the future.",
            pointer="/data/attributes/time",
        )


def _check_profile(profile: ProfileData) -> None:
    pointer = "/data/attributes/profile/data"
    if not profile.key:
        raise Refused(400, "The profile has no identifier.", pointer=f"{pointer}/attributes")
    size = len(msgspec.json.encode(profile))
    if size > MAX_PROFILE_BYTES:
        detail = f"The profile has {size} bytes and may have {MAX_PROFILE_BYTES}."
        raise Refused(400, detail, pointer=pointer)


def _check_properties(properties: dict[str, Any]) -> None:
    pointer = "/data/attributes/properties"
    if len(properties) > MAX_PROPERTIES:
        detail = f"There are {len(properties)} properties and may be {MAX_PROPERTIES}."
        raise Refused(400, detail, pointer=pointer)
    _check_value(properties, pointer, level=1)


def _check_value(value: Any, pointer: str, *, level: int) -> None:
    if excess := _excess(value, level):
        raise Refused(400, excess, pointer=pointer)
    match value:
        case list():
            for index, element in enumerate(value):
                _check_value(element, f"{pointer}/{index}", level=level + 1)
        case dict():
            for name, element in value.items():
                _check_value(element, f"{pointer}/{name}", level=level + 1)


def _excess(value: Any, level: int) -> str | None:
    match value:
        case str() if len(value.encode()) > MAX_STRING_BYTES:
            return f"A string exceeds {MAX_STRING_BYTES} bytes."
        case int() if not -(2**63) <= value < 2**63:
            return "An integer exceeds 64 bits."
        case list() if len(value) > MAX_ARRAY_ITEMS:
            return f"An array exceeds {MAX_ARRAY_ITEMS} items."
        # Klaviyo speaks of objects; here arrays are levels too.
        case list() | dict() if level > MAX_NESTING:
            return f"The nesting exceeds {MAX_NESTING} levels."
    return None
