"""Klaviyo: send events, and learn whether it is yes, later or never."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum, auto
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import msgspec
import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError

from proxy import revision as revisions
from proxy.deadline import DeadlineAdapter

# Thirty seconds in all: to connect, to agree on keys, and then to send and to read.
_CONNECT_SECONDS = 5
_EXCHANGE = timedelta(seconds=20)
_CONNECTIONS = 20
_MAX_READ = 64 * 1024

_MEDIA_TYPE = "application/vnd.api+json"
_PHONE_POINTER = "/data/attributes/profile/data/attributes/phone_number"


class Verdict(Enum):
    """What an answer means for the event, or for the whole account."""

    DELIVERED = auto()
    LATER = auto()
    NEVER = auto()
    ACCOUNT_WAITS = auto()
    ACCOUNT_STOPPED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Klaviyo, or the way to it, said.

    ``request_id`` is what Klaviyo's support finds a refused request by; one it took has none.
    ``maybe_received`` tells that Klaviyo may have taken the event although it did not say so,
    ``retires_on`` when the revision that we speak is retired, where Klaviyo has said that.
    """

    verdict: Verdict
    reason: str
    status: int | None = None
    request_id: str | None = None
    wait: timedelta | None = None
    maybe_received: bool = False
    blames_phone_number: bool = False
    budget: "Budget | None" = None
    retires_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer with all that came with it, for those who examine more than an event's fate."""

    answer: Answer
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_document: bool
    """Whether Klaviyo itself speaks: its front, and what stands between, answers in HTML."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests an account has left in the steady window, and when that begins anew."""

    remaining: int
    reset: timedelta


class Klaviyo:
    """A client of the Events API at *url*, under *revision*, with one account's private key.

    To connect takes ten seconds at most, with TLS, and then *exchange* to send and to read. Of an
    answer no more than 64 KiB are read.
    """

    def __init__(
        self, *, url: str, key: str, revision: str, exchange: timedelta = _EXCHANGE
    ) -> None:
        self._url = url
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            adapter = DeadlineAdapter(exchange.total_seconds(), connections=_CONNECTIONS)
            self._session.mount(scheme, adapter)
        self._session.auth = _KeyAuth(key)
        # Klaviyo's front sets cookies for browsers, and a jar is nothing for several threads.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(
            {
                "User-Agent": "checkout-proxy",
                "Accept": _MEDIA_TYPE,
                "Accept-Encoding": "identity",
                "Content-Type": _MEDIA_TYPE,
                "revision": revision,
            }
        )

    def create_event(self, body: bytes) -> Answer:
        """Post one event and return what came back; this never raises for what Klaviyo does."""
        return self._post("/api/events", body)

    def create_events(self, body: bytes) -> Answer:
        """Post a bulk of events, likewise. Klaviyo takes all of them or refuses all."""
        return self._post("/api/event-bulk-create-jobs", body)

    def ask(
        self, method: str, path: str, body: bytes = b"", *, most: int = _MAX_READ, **headers: str
    ) -> Told:
        """Send any request, with *headers* by their names with ``_``; of the answer read *most*.

        Of its verdict only refusals mean something: it is that on an event.
        """
        try:
            with self._session.request(
                method,
                self._url + path,
                data=body,
                headers={name.replace("_", "-"): text for name, text in headers.items()},
                timeout=_CONNECT_SECONDS,  # The rest is the adapter's.
                allow_redirects=False,
                stream=True,
            ) as response:
                read = _read(response, most)
                return Told(
                    answer=_judged(response, read),
                    headers=response.headers,
                    body=read,
                    is_document=_is_json(response),
                )
        except (requests.RequestException, HTTPError) as error:
            return Told(answer=_unanswered(error), headers={}, body=b"", is_document=False)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _post(self, path: str, body: bytes) -> Answer:
        return self.ask("POST", path, body).answer


@dataclass(frozen=True, slots=True)
class _KeyAuth(AuthBase):
    """Klaviyo's own scheme. As an auth object it also keeps a netrc from replacing the header."""

    key: str = field(repr=False)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Klaviyo-API-Key {self.key}"
        return request


def _read(response: requests.Response, most: int) -> bytes:
    """Return the answer, or its beginning: one that is larger is no answer of Klaviyo's.

    As it came over the wire, not unpacked: nobody asked for it to be packed.
    """
    read = bytearray()
    while len(read) < most:
        piece = response.raw.read(8 * 1024, decode_content=False)
        if not piece:
            break
        read += piece
    return bytes(read)


# -- judging -----------------------------------------------------------------------------


def _judged(response: requests.Response, body: bytes) -> Answer:
    """Return what an answer means.

    Statuses are those of Klaviyo's page "Rate limits, status codes, and errors". Its front, and
    whatever stands between, answer in HTML: that is never Klaviyo's word on an event.
    """
    status = response.status_code
    errors = _errors(response, body)
    told: dict[str, Any] = {
        "status": status,
        "request_id": _request_id(errors),
        "reason": f"Klaviyo answered {status}{_words(errors)}",
        "budget": _budget(response),
        "retires_on": revisions.told(response.headers.get("X-Klaviyo-Api-Retirement-Date")),
    }
    if status == 202:
        return Answer(verdict=Verdict.DELIVERED, **told)
    if status == 429:
        return Answer(verdict=Verdict.ACCOUNT_WAITS, wait=_retry_after(response), **told)
    if status == 401 or (status in _SETUP and errors):
        return Answer(verdict=Verdict.ACCOUNT_STOPPED, **told)
    if 400 <= status < 500 and errors:
        blames = any(error.pointer == _PHONE_POINTER for error in errors)
        return Answer(verdict=Verdict.NEVER, blames_phone_number=blames, **told)
    return Answer(verdict=Verdict.LATER, maybe_received=status >= 500 or status < 300, **told)


# A missing scope, a wrong address, method, revision or media type: none is about one event.
_SETUP = frozenset({403, 404, 405, 410, 415})


def _unanswered(error: Exception) -> Answer:
    return Answer(
        verdict=Verdict.LATER,
        reason=f"no answer from Klaviyo: {_kind(error)}",
        maybe_received=not _never_connected(error),
    )


def _never_connected(error: Exception) -> bool:
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        _cause(error), NewConnectionError
    )


def _cause(error: Exception) -> object:
    """Return what urllib3 met, where *error* is about a connection."""
    return getattr(error.args[0] if error.args else None, "reason", None)


def _kind(error: Exception) -> str:
    """Return the error's kind in words, without the address and without what was sent."""
    match _cause(error):
        case NameResolutionError():
            return "the name cannot be resolved"
        case SSLError():
            return "TLS failed"
        case NewConnectionError():
            return "no connection"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _retry_after(response: requests.Response) -> timedelta | None:
    text = response.headers.get("Retry-After", "")
    return (
        timedelta(seconds=min(int(text), _LONGEST_WAIT))
        if re.fullmatch("[0-9]{1,9}", text)
        else None
    )


# Klaviyo's windows are a second and a minute. What asks for far more than that is not Klaviyo's.
_LONGEST_WAIT = 900


def _budget(response: requests.Response) -> Budget | None:
    """Return what the headers say of the steady window (Klaviyo's page on rate limits)."""
    told = [response.headers.get(f"RateLimit-{name}", "") for name in ("Remaining", "Reset")]
    if not all(re.fullmatch(r"\d{1,6}", text) for text in told):
        return None
    remaining, reset = map(int, told)
    return Budget(remaining, timedelta(seconds=min(reset, _LONGEST_WINDOW)))


_LONGEST_WINDOW = 60


# -- Klaviyo's words ---------------------------------------------------------------------


# Klaviyo promises id and detail; a null must not hide that it refused.
class _Source(msgspec.Struct):
    pointer: str | None = None


class _Error(msgspec.Struct):
    id: str | None = None
    detail: str | None = None
    source: _Source | None = None

    @property
    def pointer(self) -> str:
        return (self.source and self.source.pointer) or ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = msgspec.field(default_factory=list)


_DECODER = msgspec.json.Decoder(_Errors)


def _is_json(response: requests.Response) -> bool:
    return "json" in response.headers.get("Content-Type", "")


def _errors(response: requests.Response, body: bytes) -> list[_Error]:
    # Look at the type first: Cloudflare's page is HTML under Klaviyo's status.
    if not _is_json(response):
        return []
    try:
        return _DECODER.decode(body).errors
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _request_id(errors: list[_Error]) -> str | None:
    said = errors[0].id if errors else None
    return said and _plain(said[:_LONGEST_ID])


def _words(errors: list[_Error]) -> str:
    told = "; ".join(_redacted(f"{error.detail} ({error.pointer})") for error in errors)
    return _plain(f": {told}"[:500]) if told else ""


def _plain(words: str) -> str:
    """Return *words* without what no database keeps, and what a terminal takes for a command."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", words)


# That of Klaviyo's is a UUID.
_LONGEST_ID = 128


def _redacted(words: str) -> str:
    """Return *words* without addresses and numbers: reasons are shown and grouped."""
    words = re.sub(r"[^\s'\"<>(),;:]+@[^\s'\"<>(),;:]+", "[address]", words)
    return re.sub(r"\+?\d[\d ()/-]{5,}\d", "[number]", words)
