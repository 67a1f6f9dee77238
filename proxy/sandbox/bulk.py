"""Bulk Create Events: what ``POST /api/event-bulk-create-jobs`` takes, and what it refuses.

From Klaviyo's OpenAPI description (github.com/klaviyo/openapi, revision 2026-07-15).
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from proxy.sandbox import create_event
from proxy.sandbox.create_event import EventAttributes
from proxy.sandbox.refusals import Refused

MAX_EVENTS = 1_000
_POINTER = "/data/attributes/events-bulk-create/data"


class _Object(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object with these members and no others."""


class _Event(_Object, frozen=True):
    type: Literal["event"]
    attributes: Raw


class _Events(_Object, frozen=True):
    data: Annotated[list[_Event], Meta(min_length=1)]


class _EntryAttributes(_Object, frozen=True):
    profile: Raw
    events: _Events
    backfill: bool | UnsetType | None = UNSET


class _Entry(_Object, frozen=True):
    type: Literal["event-bulk-create"]
    attributes: _EntryAttributes


class _Entries(_Object, frozen=True):
    data: Annotated[list[_Entry], Meta(min_length=1)]


class _JobAttributes(_Object, frozen=True, rename={"entries": "events-bulk-create"}):
    entries: _Entries


class _Job(_Object, frozen=True):
    type: Literal["event-bulk-create-job"]
    attributes: _JobAttributes


class _Envelope(_Object, frozen=True):
    data: _Job


# Made once, as that of a single event.
_DECODER = msgspec.json.Decoder(_Envelope)


def read(body: bytes, *, revision: date, now: datetime) -> list[tuple[bytes, EventAttributes]]:
    """Return the events in *body*, each as the body of Create Event too, or raise :exc:`Refused`.

    One that would be refused by itself has all of them refused.
    """
    if len(body) > create_event.MAX_BYTES:
        raise Refused(413, f"The payload has {len(body)} bytes: too many.")
    singles = list(_singles(body))
    if len(singles) > MAX_EVENTS:
        raise Refused(400, f"There are {len(singles)} events and may be {MAX_EVENTS}.")
    return [(single, _read(single, place, revision, now)) for place, single in enumerate(singles)]


def _singles(body: bytes) -> Iterator[bytes]:
    """Return each event as it would be written to be sent by itself, byte for byte."""
    try:
        job = _DECODER.decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"The payload is invalid: {error}.", pointer="/data") from error
    for entry in job.attributes.entries.data:
        for event in entry.attributes.events.data:
            yield _single(entry.attributes, bytes(event.attributes))


def _single(entry: _EntryAttributes, attributes: bytes) -> bytes:
    more = b',"profile":' + bytes(entry.profile)
    if entry.backfill is not UNSET:
        more += b',"backfill":' + msgspec.json.encode(entry.backfill)
    members = attributes.rstrip()[:-1] + more
    return b'{"data":{"type":"event","attributes":' + members + b"}}}"


def _read(single: bytes, place: int, revision: date, now: datetime) -> EventAttributes:
    try:
        return create_event.read(single, revision=revision, now=now)
    except Refused as refusal:
        pointer = f"{_POINTER}/{place}{refusal.pointer.removeprefix('/data')}"
        raise Refused(refusal.status, refusal.detail, pointer=pointer) from refusal
