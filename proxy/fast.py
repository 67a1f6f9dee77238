"""Fast: a way to ``POST /co/state`` that spares the usual request Flask's dispatch.

What the snippet usually posts goes this way, everything else through Flask. Both ways lead through
:func:`proxy.collect.keep`, and every answer is Flask's own: what is refused here goes on to Flask
with the error, and how Flask answers what is accepted is asked once and remembered.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.test import create_environ, run_wsgi_app

from proxy import collect, door
from proxy.collect import ACCEPTED, Surface
from proxy.states import MAX_BYTES, MEDIA_TYPES, Head

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# What the types are without their parameters, as the snippet and its like write them.
_MEDIA_TYPES = {
    f"{media_type}{charset}": media_type
    for media_type in MEDIA_TYPES
    for charset in ("", ";charset=UTF-8", ";charset=utf-8", "; charset=utf-8")
}

# A host that every Werkzeug takes as it is: some versions refuse others, some read them as empty.
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?")

# Headers that change how the body is read, or how the answer looks.
_UNUSUAL = frozenset(
    {"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK"}
)

# No header can set it: theirs begin with HTTP_.
_OUTCOME = "checkout_proxy.outcome"


class Fast:
    """WSGI in front of *app*: takes the usual ``POST`` to *path* itself."""

    def __init__(self, app: Flask, surface: Surface, path: str) -> None:
        self._flask = app.wsgi_app
        self._surface = surface
        self._path = path
        self._origins = frozenset((None, *surface.origins))
        name = (surface.region_header or "").upper().replace("-", "_")
        self._region_header = f"HTTP_{name}"
        self._answers: dict[str | None, _Answer] = {}
        app.before_request(_told)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        if not self._is_usual(environ):
            return self._flask(environ, start_response)
        head = _head(environ, environ.get(self._region_header))
        try:
            collect.keep(self._surface, head, lambda: door.read(environ, MAX_BYTES))
        except Exception as error:
            # Whatever it is, the app has its words for it, also for what nobody foresaw.
            return self._flask(environ | {_OUTCOME: error}, start_response)
        status, headers, body = self._accepted(head.origin)
        start_response(status, list(headers))
        return [body]

    def _is_usual(self, environ: "WSGIEnvironment") -> bool:
        return (
            environ["PATH_INFO"] == self._path
            and environ["REQUEST_METHOD"] == "POST"
            and not environ.get("SCRIPT_NAME")
            and not environ.get("QUERY_STRING")
            and environ.get("CONTENT_TYPE") in _MEDIA_TYPES
            and environ.get("CONTENT_LENGTH", "").isdecimal()
            and environ.get("HTTP_ORIGIN") in self._origins
            and _HOST.fullmatch(environ.get("HTTP_HOST", "")) is not None
            and environ.keys().isdisjoint(_UNUSUAL)
        )

    def _accepted(self, origin: str | None) -> "_Answer":
        """Return how the app answers a page of *origin* whose state was kept."""
        if origin not in self._answers:
            headers = {} if origin is None else {"Origin": origin}
            environ = create_environ(self._path, method="POST", headers=headers)
            body, status, answered = run_wsgi_app(self._flask, environ | {_OUTCOME: ACCEPTED})
            self._answers[origin] = status, answered.to_wsgi_list(), b"".join(body)
        return self._answers[origin]


_Answer = tuple[str, list[tuple[str, str]], bytes]


def _head(environ: "WSGIEnvironment", region: str | None) -> Head:
    return Head(
        host=environ["HTTP_HOST"],
        origin=environ.get("HTTP_ORIGIN"),
        media_type=_MEDIA_TYPES[environ["CONTENT_TYPE"]],
        gpc=environ.get("HTTP_SEC_GPC") == "1",
        languages=environ.get("HTTP_ACCEPT_LANGUAGE", ""),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        peer=environ.get("REMOTE_ADDR", ""),
        real_ip=environ.get("HTTP_X_REAL_IP", ""),
        region=region,
    )


def _told() -> ResponseReturnValue | None:
    """Stand in for the view where the outcome is known already."""
    outcome: ResponseReturnValue | Exception | None = request.environ.get(_OUTCOME)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
