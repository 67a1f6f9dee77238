"""Problems: what a request is told that is refused (RFC 9457), the same way wherever it fails."""

import logging
import traceback
from collections.abc import Callable
from math import ceil

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from proxy.errors import Refused, TooMany, Unavailable

logger = logging.getLogger(__name__)


def explain(app: Flask, count: Callable[[str], None]) -> None:
    """Let *app* answer with problems, and *count* each under its code."""

    def counted(code: str, response: Response) -> Response:
        count(code)
        return response

    app.register_error_handler(Refused, lambda error: counted(error.code, _refused(error)))
    app.register_error_handler(
        HTTPException, lambda error: counted(_code(error), _http_error(error))
    )
    app.register_error_handler(Exception, lambda error: counted("internal", _unexpected(error)))


def _refused(error: Refused) -> Response:
    pointer = {} if error.pointer is None else {"pointer": error.pointer}
    response = _problem(error.status, error.code, error.title, error.detail, **pointer)
    if isinstance(error, TooMany | Unavailable):
        response.headers["Retry-After"] = f"{ceil(error.retry_after.total_seconds())}"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    response = _problem(status, _code(error), error.name, error.description)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


CODES = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "request-entity-too-large",
}
"""What Werkzeug and Flask refuse, by the status: they may come to call it otherwise."""


def _code(error: HTTPException) -> str:
    status = error.code or 500
    return CODES.get(status, f"status-{status}")


def _unexpected(error: Exception) -> Response:
    # The page gets no traceback, and the log no message: either could carry a person's data.
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request failed with %s, at\n%s", type(error).__name__, where)
    return _problem(500, "internal", "Something is wrong with the proxy", "Its log says what.")


def _problem(status: int, code: str, title: str, detail: str | None, **more: str) -> Response:
    members = {"type": f"urn:checkout-proxy:{code}", "title": title, "status": status}
    body = msgspec.json.encode(members | {"detail": detail} | more)
    return Response(body, status, mimetype="application/problem+json")
