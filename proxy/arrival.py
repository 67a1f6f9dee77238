"""Arrival: whether an event that Klaviyo took can be read back there."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from proxy.klaviyo import Klaviyo, Told
from proxy.tallies import Sight

# A page of events with all of their properties.
_MOST_READ = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of an event, and what Klaviyo *told* whoever looked."""

    sight: Sight
    told: Told

    @property
    def reason(self) -> str:
        """Why it is not known whether the event is there."""
        if self.told.answer.status != 200:
            return self.told.answer.reason
        return "there is more from that second than can be read"

    @property
    def is_forbidden(self) -> bool:
        """Whether the key lacks the scope events:read."""
        return self.told.answer.status == 403 and self.told.is_document


def look(klaviyo: Klaviyo, unique_id: str, time: datetime) -> Look:
    """Look once whether *klaviyo* has the event that it took under *unique_id* as of *time*."""
    told = klaviyo.ask("GET", _query(time), most=_MOST_READ)
    return Look(sight=_sight(told, unique_id), told=told)


def _query(time: datetime) -> str:
    """Return what asks for the events of that very second: none can be found by its unique_id.

    "Allowed field(s)/operator(s)" are those of the metric, the profile and the time (Get Events,
    revision 2026-07-15).
    """
    since, until = (_moment(time + timedelta(seconds=seconds)) for seconds in (0, 1))
    condition = f"greater-or-equal(datetime,{since}),less-than(datetime,{until})"
    return f"/api/events?filter={quote(condition)}&page[size]=1000&sort=-datetime"


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _sight(told: Told, unique_id: str) -> Sight:
    if told.answer.status != 200:
        return Sight.UNKNOWN
    try:
        page = _DECODER.decode(told.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Sight.UNKNOWN  # A page that is longer than what is read has no end.
    properties = (event.attributes.event_properties or {} for event in page.data)
    # As "$event_id", and whole: an id may be the end of another's.
    if any(unique_id in each.values() for each in properties):
        return Sight.ARRIVED
    return Sight.UNKNOWN if page.links.next else Sight.MISSING


# What others have sent may be odd, and hides nothing.
class _Attributes(msgspec.Struct, frozen=True):
    event_properties: dict[str, Any] | None = None


class _Event(msgspec.Struct, frozen=True):
    attributes: _Attributes


class _Links(msgspec.Struct, frozen=True):
    next: str | None = None


class _Page(msgspec.Struct, frozen=True):
    data: list[_Event]
    links: _Links = _Links()


_DECODER = msgspec.json.Decoder(_Page)
