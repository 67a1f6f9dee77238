"""Klaviyo: a stand-in that listens on loopback, judges as strictly, and fails when asked to."""

import re
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

import msgspec
from flask import Flask, Response, g, request
from msgspec import Meta
from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler, make_server

from proxy.sandbox import bulk, create_event, faults, get_events, throttle
from proxy.sandbox.faults import Call, Fault, Gate, Lose
from proxy.sandbox.refusals import MEDIA_TYPE, Refused

Json = dict[str, Any]


class Outcome(StrEnum):
    """What became of an event that was answered with 202."""

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    DROPPED = "dropped: reserved domain"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event answered with 202; ``body`` is the request's, byte for byte."""

    received_at: datetime
    status: Outcome
    profile: str
    body: bytes = field(repr=False)

    @property
    def attributes(self) -> Json:
        """The event's members as received, with every decimal figure as a :class:`Decimal`."""
        attributes: Json = _EXACT.decode(self.body)["data"]["attributes"]
        return attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the API; ``status`` is ``None`` as long as it has had no answer."""

    received_at: datetime
    method: str
    path: str
    status: int | None = None
    fault: Fault | None = None
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


# What a key may be allowed to do, of what is asked for here ("API scopes", developers.klaviyo.com).
SCOPES = frozenset({"accounts:read", "events:read", "events:write"})


class Klaviyo:
    """One account, reached with the private key *key*, at Klaviyo's limits if *throttled*.

    The key has *scopes*, Klaviyo's clock is *ahead* of the machine's, an event can be read *lag*
    after it came, and each answer says when the revision *retires*, where that is given. What it
    received is kept after :meth:`serve` has ended, and it may be served again.
    """

    def __init__(
        self,
        *,
        key: str,
        throttled: bool = True,
        scopes: Collection[str] = SCOPES,
        ahead: timedelta = timedelta(0),
        lag: timedelta = timedelta(0),
        retires: date | None = None,
    ) -> None:
        self.url = ""
        self.retires_on = "" if retires is None else retires.isoformat()
        """When the revision that is asked for is retired, in Klaviyo's header."""
        self._key = key
        self._throttled = throttled
        self.scopes = scopes
        """What the key may do."""
        self._ahead = ahead
        self._lag = lag
        self._singles, self._bulks = throttle.single_events(), throttle.bulk_jobs()
        self._changed = threading.Condition()
        self._accepted: list[Event] = []
        self._counted: list[Event] = []
        self._keys: set[tuple[str, str, str]] = set()
        self._requests: list[Request] = []
        self._faults: deque[Fault] = deque()
        self._gate = Gate()
        self.app = self._app()

    @contextmanager
    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Self]:
        """Listen on *host* and *port*, 0 for any that is free; ``url`` says where."""
        handler = _handler(self._ahead)
        server = make_server(host, port, self.app, threaded=True, request_handler=handler)
        self.url = f"http://{host}:{server.port}"
        self._gate = Gate()
        # The interval is how long it takes to notice that the server is to shut down.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            self._gate.open()  # For good: whoever comes now comes too late to hang.

    # -- what was received ---------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that count, in the order received."""
        with self._changed:
            return tuple(self._counted)

    @property
    def accepted(self) -> tuple[Event, ...]:
        """Every event answered with 202, duplicates and dropped ones too."""
        with self._changed:
            return tuple(self._accepted)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request to the API, whatever came of it."""
        with self._changed:
            return tuple(self._requests)

    def wait_for_events(self, count: int, timeout: float = 5) -> tuple[Event, ...]:
        """Return the events once *count* of them count, or raise :exc:`TimeoutError`."""
        self._wait_for(self._counted, count, timeout)
        return self.events

    def wait_for_requests(self, count: int, timeout: float = 5) -> tuple[Request, ...]:
        """Return the requests once *count* have come, answered or not."""
        self._wait_for(self._requests, count, timeout)
        return self.requests

    def _wait_for(self, ledger: list[Any], count: int, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: len(ledger) >= count, timeout):
                answers = [entry.status for entry in self._requests]
                raise TimeoutError(
                    f"{len(ledger)} of {count} came within {timeout} s; the answers were {answers}"
                )

    # -- misbehaviour --------------------------------------------------------------------

    def misbehave(self, fault: Fault, *, times: int = 1) -> None:
        """Let the next *times* requests to the API meet *fault*, after those already waiting."""
        with self._changed:
            self._faults.extend([fault] * times)

    def behave(self) -> None:
        """Forget the faults that nobody met yet, and release the requests that hang."""
        with self._changed:
            self._faults.clear()
        self.release()

    def release(self) -> None:
        """Answer the requests that hang."""
        with self._changed:
            self._gate.open()
            self._gate = Gate()

    # -- over HTTP -----------------------------------------------------------------------

    def _app(self) -> Flask:
        app = Flask(__name__, static_folder=None)
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        app.add_url_rule("/api/<path:path>", "api", self._api, methods=methods)
        app.add_url_rule("/", "index", self._index)
        app.add_url_rule("/sandbox/events", "events", self._events_as_json)
        app.add_url_rule("/sandbox/requests", "requests", self._requests_as_json)
        app.add_url_rule("/sandbox/faults", "misbehave", self._misbehave, methods=["POST"])
        app.add_url_rule("/sandbox/faults", "behave", self._behave, methods=["DELETE"])
        return app

    def _index(self) -> Response:
        return _json({"sandbox": "Klaviyo", "links": ["/sandbox/events", "/sandbox/requests"]})

    def _events_as_json(self) -> Response:
        return _json(
            [
                {
                    "received_at": event.received_at,
                    "status": event.status,
                    "profile": event.profile,
                    "attributes": event.attributes,
                }
                for event in self.accepted
            ]
        )

    def _requests_as_json(self) -> Response:
        shown = ("received_at", "method", "path", "status", "fault")
        return _json([{name: getattr(entry, name) for name in shown} for entry in self.requests])

    def _misbehave(self) -> Response:
        try:
            asked = msgspec.json.decode(request.get_data(), type=_Misbehaviour)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _json({"error": str(error)}, 400)
        self.misbehave(asked.fault, times=asked.times)
        return Response(status=204)

    def _behave(self) -> Response:
        self.behave()
        return Response(status=204)

    # -- the API -------------------------------------------------------------------------

    def _api(self, path: str) -> Response:
        number, call = self._begin(path)
        fault = self._requests[number].fault
        g.is_lost = isinstance(fault, Lose)
        if fault is None or isinstance(fault, Lose):
            response: Response | None = call.process()
        else:
            response = faults.meet(fault, call)
        if response is None:
            with suppress(OSError):  # The client left first.
                call.client.shutdown(socket.SHUT_RDWR)
            return Response()  # Flask wants one; the connection is no more.
        self._end(number, response.status_code)
        return response

    def _begin(self, path: str) -> tuple[int, Call]:
        body = request.get_data()
        with self._changed:
            entry = Request(
                received_at=_now(),
                method=request.method,
                path=request.path,
                fault=self._faults.popleft() if self._faults else None,
                headers=Headers(list(request.headers)),
                body=body,
            )
            self._requests.append(entry)
            self._changed.notify_all()
            # Who sees the request in the ledger can release it: the gate is taken here, too.
            return len(self._requests) - 1, Call(
                process=lambda: self._process(path.rstrip("/")),
                client=request.environ["werkzeug.socket"],
                gate=self._gate,
            )

    def _end(self, number: int, status: int) -> None:
        with self._changed:
            self._requests[number] = replace(self._requests[number], status=status)
            self._changed.notify_all()

    def _process(self, path: str) -> Response:
        limit, now = self._bulks if path == _BULK else self._singles, time.time()
        with self._changed:
            retry_after = limit.retry_after(now)
        if retry_after is not None and self._throttled:
            return faults.throttled(retry_after)
        try:
            response = self._answer(path)
        except Refused as refusal:
            response = refusal.response()
        response.headers.update(limit.headers(now))
        if self.retires_on:
            # No page of Klaviyo's documents it; clients had better not count on it.
            response.headers["X-Klaviyo-Api-Retirement-Date"] = self.retires_on
        return response

    def _answer(self, path: str) -> Response:
        if request.headers.get("Authorization") != f"Klaviyo-API-Key {self._key}":
            raise Refused(401, "Missing or invalid authorization", pointer="/data/")
        revision = _revision(request.headers.get("revision", ""))
        match request.method, path:
            case "POST", "events":
                self._check_scope("events:write")
                return self._create_event(revision)
            case "POST", "event-bulk-create-jobs":
                self._check_scope("events:write")
                return self._create_events(revision)
            case "GET", "events":
                self._check_scope("events:read")
                return self._get_events()
            case "GET", "accounts":
                self._check_scope("accounts:read")
                return _json(_ACCOUNTS, content_type=MEDIA_TYPE)
            case method, "events" | "accounts" | "event-bulk-create-jobs":
                raise Refused(405, f'Method "{method}" not allowed.')
        raise Refused(404, "The path provided does not exist.")

    def _check_scope(self, scope: str) -> None:
        """Refuse as Klaviyo does what the key is not allowed to do.

        That it does so before it reads a body is how Django REST framework goes about it, whose
        names its errors have; it is not documented.
        """
        if scope not in self.scopes:
            raise Refused(403, f"Your API key is missing required scopes: {scope}")

    def _get_events(self) -> Response:
        until = _now() - self._lag
        rows = [_row(event) for event in self.events if event.received_at <= until]
        asked = request.args.to_dict()
        content = get_events.page(rows, asked, request.base_url)
        return _json(content, content_type=MEDIA_TYPE)

    def _create_event(self, revision: date) -> Response:
        _check_media_type()
        body, now = request.get_data(), _now()
        event = create_event.read(body, revision=revision, now=now)
        with self._changed:
            self._record(body, event, now)
        return _accepted()

    def _create_events(self, revision: date) -> Response:
        _check_media_type()
        now = _now()
        events = bulk.read(request.get_data(), revision=revision, now=now)
        with self._changed:
            self._refuse_repeated([event.key(now) for _, event in events])
            for body, event in events:
                self._record(body, event, now)
        return _accepted()

    def _refuse_repeated(self, keys: Sequence[tuple[str, str, str]]) -> None:
        """Refuse a bulk in which an event is repeated, or is known already.

        "If a unique_id is repeated for the same profile and metric, the request will fail and no
        events will be processed" (Bulk Create Events).
        """
        if len(set(keys)) < len(keys) or not self._keys.isdisjoint(keys):
            raise Refused(400, "A unique_id is repeated for the same profile and metric.")

    def _record(self, body: bytes, event: create_event.EventAttributes, now: datetime) -> None:
        status = self._outcome(event, now)
        entry = Event(received_at=now, status=status, profile=event.profile.data.key, body=body)
        self._accepted.append(entry)
        if status is Outcome.COUNTED:
            self._counted.append(entry)
        self._changed.notify_all()

    def _outcome(self, event: create_event.EventAttributes, now: datetime) -> Outcome:
        if event.is_reserved:
            return Outcome.DROPPED
        if g.is_lost:
            return Outcome.LOST
        key = event.key(now)
        if key in self._keys:
            return Outcome.DUPLICATE
        self._keys.add(key)
        return Outcome.COUNTED


_BULK = "event-bulk-create-jobs"


def _row(event: Event) -> get_events.Row:
    """Return *event* as it can be asked for.

    What was sent as ``value`` and ``unique_id`` comes back among the properties, as ``$value`` and
    ``$event_id`` (Get Events).
    """
    said = event.attributes
    more = {"$value": said.get("value"), "$event_id": said.get("unique_id")}
    time = said.get("time")
    return get_events.Row(
        # "Truncated to the second" (Create Event).
        time=(datetime.fromisoformat(time) if time else event.received_at).replace(microsecond=0),
        metric=said["metric"]["data"]["attributes"]["name"],
        profile=event.profile,
        properties=said["properties"] | {name: each for name, each in more.items() if each},
    )


def _check_media_type() -> None:
    # Klaviyo's own plugin for Magento 2 still sends application/json.
    if request.mimetype not in (MEDIA_TYPE, "application/json"):
        raise Refused(415, f'Unsupported media type "{request.mimetype}" in request.')


def _accepted() -> Response:
    # "202 Accepted", without a body ("Create Event", developers.klaviyo.com).
    response = Response(status=202)
    del response.headers["Content-Type"]
    return response


def run(host: str, port: int, key: str) -> None:
    """Serve an account with the private key *key* until interrupted."""
    with suppress(KeyboardInterrupt), Klaviyo(key=key).serve(host, port):
        threading.Event().wait()


class _Misbehaviour(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /sandbox/faults``."""

    fault: Fault
    times: Annotated[int, Meta(ge=1, le=10_000)] = 1


def _handler(ahead: timedelta) -> type[WSGIRequestHandler]:
    """Return what writes no access log, and the header Date by a clock that is *ahead*."""

    class Handler(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + ahead.total_seconds())

    return Handler


_ACCOUNTS: Json = {
    "data": [
        {
            "type": "account",
            "id": "SANDBX",
            "attributes": {
                "test_account": True,
                "contact_information": {"organization_name": "Sandbox"},
                "timezone": "Europe/Berlin",
                "preferred_currency": "EUR",
                "public_api_key": "SANDBX",
                "locale": "en-US",
            },
        }
    ]
}

_EXACT = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _now() -> datetime:
    return datetime.now(UTC)


def _json(content: Any, status: int = 200, content_type: str = "application/json") -> Response:
    return Response(_ENCODER.encode(content), status, content_type=content_type)


def _revision(text: str) -> date:
    """Return the revision asked for; a past one is served, as Klaviyo's fall-forward does."""
    # The form is "YYYY-MM-DD[.suffix]" (github.com/klaviyo/openapi).
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?", text):
            raise ValueError(text)
        revision = date.fromisoformat(text[:10])
    except ValueError as error:
        raise Refused(400, f"The revision header is no revision: {text!r}.") from error
    now = _now()
    if revision > now.date():
        raise Refused(404, "Unable to specify a future revision date")
    is_retired = now.date() - revision >= _LIFE
    if is_retired and request.headers.get("X-Klaviyo-Revision-Fall-Forward-Opt-Out") == "1":
        raise Refused(410, f"The revision {text} has been retired.")
    return revision


# "API versioning and deprecation policy", developers.klaviyo.com: a year stable, a year deprecated.
_LIFE = timedelta(days=2 * 365)
