"""Get Events: what ``GET /api/events`` tells of the events that count, and what it refuses.

From Klaviyo's OpenAPI description (github.com/klaviyo/openapi, revision 2026-07-15). Of what that
knows, ``include`` and the filters ``has`` are refused here.
"""

import hashlib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from proxy.sandbox.refusals import Refused

Json = dict[str, Any]

_DEFAULT_SIZE, _MOST = 200, 1_000
_FIELDS = ("datetime", "event_properties", "timestamp", "uuid")
_KNOWN = {"filter", "sort", "page[size]", "page[cursor]", "fields[event]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event as it can be asked for; ``properties`` have ``$value`` and ``$event_id`` too."""

    time: datetime
    metric: str
    profile: str = field(repr=False)
    properties: Json = field(repr=False)

    @property
    def metric_id(self) -> str:
        """What Klaviyo would call the metric."""
        return _id(self.metric)

    @property
    def profile_id(self) -> str:
        """What Klaviyo would call the profile."""
        return _id(self.profile)


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8].upper()


def page(rows: Sequence[Row], asked: Mapping[str, str], url: str) -> Json:
    """Return the page of *rows* that the query *asked* of *url* means, or raise :exc:`Refused`."""
    for name in asked.keys() - _KNOWN:
        raise _wrong(f"'{name}' is not a valid parameter for the resource 'event'.", name)
    conditions = _conditions(asked.get("filter", ""))
    chosen = [row for row in rows if all(holds(row) for holds in conditions)]
    chosen = _sorted(chosen, asked.get("sort", "-datetime"))
    start, size = _number(asked, "page[cursor]", 0), _number(asked, "page[size]", _DEFAULT_SIZE)
    if not 1 <= size <= _MOST:
        raise _wrong(f"The page size is 1 to {_MOST}.", "page[size]")
    named = _fields(asked.get("fields[event]", ",".join(_FIELDS)))
    links = {"self": _link(url, asked), "next": None, "prev": None}
    if start + size < len(chosen):
        links["next"] = _link(url, {**asked, "page[cursor]": f"{start + size}"})
    return {"data": [_resource(row, named) for row in chosen[start : start + size]], "links": links}


def _wrong(detail: str, parameter: str) -> Refused:
    return Refused(400, detail, parameter=parameter)


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, f"{default}")
    if not re.fullmatch("[0-9]{1,6}", text):
        raise _wrong(f"'{text}' is no number.", name)
    return int(text)


def _link(url: str, asked: Mapping[str, str]) -> str:
    return f"{url}?{urlencode(asked)}" if asked else url


def _fields(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in (*_FIELDS, "id"):
            raise _wrong(f"'{name}' is not a valid field for the resource 'event'.", "fields")
    return names


def _sorted(rows: Sequence[Row], order: str) -> list[Row]:
    if order.removeprefix("-") not in ("datetime", "timestamp"):
        raise _wrong(f"'{order}' is not a valid sort for the resource 'event'.", "sort")
    return sorted(rows, key=lambda row: row.time, reverse=order.startswith("-"))


def _resource(row: Row, named: Sequence[str]) -> Json:
    unique = hashlib.sha256(f"{row}{row.profile}{row.properties}".encode()).hexdigest()[:32]
    attributes = {
        "datetime": row.time.isoformat(),
        "timestamp": int(row.time.timestamp()),
        "event_properties": row.properties,
        "uuid": unique,
    }
    return {
        "type": "event",
        "id": unique[:12],
        "attributes": {name: attributes[name] for name in named if name in attributes},
        "relationships": {
            "metric": {"data": {"type": "metric", "id": row.metric_id}},
            "profile": {"data": {"type": "profile", "id": row.profile_id}},
        },
        "links": {"self": f"https://a.klaviyo.com/api/events/{unique[:12]}/"},
    }


# -- filters -----------------------------------------------------------------------------

# One condition, such as equals(metric_id,"AB12CD") or greater-than(datetime,2026-11-22T00:00:00Z);
# a comma between two of them means "and" ("Filtering", API overview).
_CONDITION = r"""([a-z-]+)\((\w+),("[^"()]*"|'[^'()]*'|[^"'(),]+)\)"""

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "greater-or-equal": operator.ge,
    "greater-than": operator.gt,
    "less-or-equal": operator.le,
    "less-than": operator.lt,
}


def _conditions(text: str) -> "list[_Condition]":
    if text and not re.fullmatch(f"{_CONDITION}(,{_CONDITION})*", text):
        raise _wrong("The filter cannot be read.", "filter")
    return [_condition(*parts) for parts in re.findall(_CONDITION, text)]


_Condition = Callable[[Row], bool]


def _condition(relation: str, name: str, value: str) -> _Condition:
    holds = _ORDERS.get(relation)
    match relation, name:
        case "equals", "metric_id" | "profile_id" if value[0] in "\"'":
            return lambda row: bool(getattr(row, name) == value[1:-1])
        case _, "datetime" if holds:
            moment = _moment(value)
            return lambda row: holds(row.time, moment)
        case _, "timestamp" if holds and value.isdecimal():
            return lambda row: holds(row.time.timestamp(), int(value))
    raise _wrong(f"'{relation}' of '{name}' is not a filter of the resource 'event'.", "filter")


def _moment(text: str) -> datetime:
    try:
        # In a query a plus may have become a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise _wrong(f"'{text}' is no date and time.", "filter") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
