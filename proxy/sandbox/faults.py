"""Faults: the ways in which a request to Klaviyo can go wrong, each to be asked for."""

import gzip
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Annotated, Literal

import msgspec
from flask import Response
from msgspec import Meta

from proxy.sandbox.refusals import MEDIA_TYPE, Refused


class Gate:
    """Where requests hang until it is opened, for all of them at once."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()

    def open(self) -> None:
        """Let go whoever waits, and whoever comes later."""
        self._outside.shutdown(socket.SHUT_WR)

    def wait(self, client: socket.socket, seconds: float | None) -> bool:
        """Wait until opened, at most *seconds*; return whether *client* is still there."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._inside, selectors.EVENT_READ)
            # The whole request has been read: what is left to read is that the client hung up.
            selector.register(client, selectors.EVENT_READ)
            woken = selector.select(seconds)
        return all(key.fileobj is not client for key, _ in woken)

    def __del__(self) -> None:
        self._inside.close()
        self._outside.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that meets a fault: ``process`` answers it as if there were none."""

    process: Callable[[], Response]
    client: socket.socket
    gate: Gate


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """One way to go wrong; ``counted`` says that the request is processed all the same."""


class Answer(_Fault, frozen=True, tag="answer"):
    """An error of Klaviyo's own, or of the gateway before it (502, 504, 524).

    ``pointer`` is the place in the request's body that the error blames (RFC 6901).
    """

    status: Annotated[int, Meta(ge=400, le=599)]
    pointer: str = "/data"
    retry_after: Annotated[int, Meta(ge=0)] | str | None = None
    counted: bool = False


class Hang(_Fault, frozen=True, tag="hang"):
    """No answer for so many seconds, or else until the sandbox releases the request.

    Where the client leaves meanwhile, the request is not processed, unless ``counted``.
    """

    seconds: Annotated[float, Meta(ge=0)] | None = None
    counted: bool = False


class Cut(_Fault, frozen=True, tag="cut"):
    """The connection is closed, or ``reset``, without an answer or ``midway`` through one."""

    midway: bool = False
    reset: bool = False
    counted: bool = False


class Trickle(_Fault, frozen=True, tag="trickle"):
    """An answer that comes byte by byte, with so many seconds between, and has no end."""

    seconds: Annotated[float, Meta(gt=0)] = 1
    counted: bool = False


class Strange(_Fault, frozen=True, tag="strange"):
    """An answer such as Klaviyo never gives, under *status*.

    It is a page in HTML, JSON that breaks off, 100 MB, as many packed into 100 KB, an address to
    ask instead, or an error with odd characters in it and a name that is far too long.
    """

    what: Literal["html", "half-json", "flood", "bomb", "redirect", "odd-error"]
    status: Annotated[int, Meta(ge=200, le=599)] = 500
    location: str = "http://169.254.169.254/latest/meta-data"
    counted: bool = False


class Lose(_Fault, frozen=True, tag="lose"):
    """Klaviyo says yes, and has no such event ever after."""


class Challenge(_Fault, frozen=True, tag="challenge"):
    """Cloudflare takes the sender for a robot (klaviyo-api-python#84)."""


Met = Answer | Hang | Cut | Challenge | Trickle | Strange
Fault = Met | Lose


def meet(fault: Met, call: Call) -> Response | None:
    """Return the answer to *call* after *fault*; ``None`` says to hang up without one."""
    match fault:
        case Answer():
            return _answer(fault, call)
        case Hang():
            return _hang(fault, call)
        case Cut():
            _cut(fault, call)
            return None
        case Challenge():
            return _page("Just a moment...", 403, {"cf-mitigated": "challenge"})
        case Trickle():
            _trickle(fault, call)
            return None
        case Strange():
            return _strange(fault, call)


def throttled(retry_after: int) -> Response:
    """Return the answer to one request too many."""
    return _answered(Answer(429, retry_after=retry_after))


def _answer(fault: Answer, call: Call) -> Response:
    if fault.counted:
        call.process()
    return _answered(fault)


def _answered(fault: Answer) -> Response:
    if fault.status in (502, 504, 524):
        response = _page(f"a.klaviyo.com | {fault.status}", fault.status)
    else:
        response = _refusal(fault).response()
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


def _hang(fault: Hang, call: Call) -> Response | None:
    response = call.process() if fault.counted else None
    if not call.gate.wait(call.client, fault.seconds):
        return None
    return call.process() if response is None else response


def _cut(fault: Cut, call: Call) -> None:
    if fault.counted:
        call.process()
    if fault.midway:
        with suppress(OSError):  # The client left first.
            call.client.sendall(_HALF_A_YES if fault.counted else _HALF_A_NO)
    if fault.reset:
        linger = struct.pack("ii", 1, 0)
        call.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        call.client.close()


def _trickle(fault: Trickle, call: Call) -> None:
    if fault.counted:
        call.process()
    with suppress(OSError):  # The client left first.
        for byte in chain(_ENDLESS, repeat(0x78)):
            call.client.sendall(bytes([byte]))
            if not call.gate.wait(call.client, fault.seconds):
                return


_ENDLESS = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000000\r\n\r\n"


def _strange(fault: Strange, call: Call) -> Response:
    if fault.counted:
        call.process()
    match fault.what:
        case "redirect":
            return Response(status=fault.status, headers={"Location": fault.location})
        case "flood":
            flood = (b"x" * 1_000_000 for _ in range(100))
            return Response(flood, fault.status, content_type=MEDIA_TYPE)
        case "bomb":
            headers = {"Content-Encoding": "gzip"}
            bomb = gzip.compress(bytes(100_000_000))
            return Response(bomb, fault.status, headers, content_type=MEDIA_TYPE)
        case "half-json":
            return Response(b'{"errors":[{"id', fault.status, content_type=MEDIA_TYPE)
        case "odd-error":
            odd = {"id": "\0" + 300 * "x", "detail": "No\0\x1b[2J", "source": {"pointer": "/\0"}}
            body = msgspec.json.encode({"errors": [odd]})
            return Response(body, fault.status, content_type=MEDIA_TYPE)
    return _page("Something went wrong", fault.status)


_HALF_A_YES = b"HTTP/1.1 202 Accepted\r\nContent-Length: 64\r\n\r\n{"
_HALF_A_NO = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 64\r\n\r\n{"


def _page(title: str, status: int, headers: dict[str, str] | None = None) -> Response:
    body = f"<!DOCTYPE html><title>{title}</title>"
    return Response(body, status, headers, content_type="text/html; charset=UTF-8")


def _refusal(fault: Answer) -> Refused:
    match fault.status:
        case 401:
            # As seen in community.klaviyo.com, topic 19236.
            return Refused(401, "Missing or invalid authorization", pointer="/data/")
        case 403:
            return Refused(403, "Your API key is missing required scopes: events:write")
        case 429:
            wait = 1 if fault.retry_after is None else fault.retry_after
            plural = "" if wait == 1 else "s"
            return Refused(
                429, f"Request was throttled. Expected available in {wait} second{plural}."
            )
    words = f"The sandbox was asked to answer {fault.status}."
    return Refused(fault.status, words, pointer=fault.pointer)
