"""Refusals: how Klaviyo says no, one JSON:API error a request."""

import uuid
from typing import Any

import msgspec
from flask import Response

MEDIA_TYPE = "application/vnd.api+json"

# "invalid", "authentication_failed" and "throttled" are Klaviyo's ("Rate limits, status codes, and
# errors", developers.klaviyo.com; klaviyo-api-node#66); the others are Django REST framework's,
# which those three come from.
_NAMES = {
    400: ("invalid", "Invalid input."),
    401: ("authentication_failed", "Incorrect authentication credentials."),
    403: ("permission_denied", "You do not have permission to perform this action."),
    404: ("not_found", "Not found."),
    405: ("method_not_allowed", "Method not allowed."),
    410: ("gone", "Gone."),
    413: ("payload_too_large", "The payload is too large."),
    415: ("unsupported_media_type", "Unsupported media type."),
    429: ("throttled", "Request was throttled."),
}
_UNNAMED = ("error", "A server error occurred.")


class Refused(Exception):
    """A request is refused with *status*; *pointer* is the place in its body (RFC 6901).

    Where its query is to blame, *parameter* names what of it.
    """

    def __init__(
        self, status: int, detail: str, *, pointer: str = "/data", parameter: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.pointer = pointer
        self.source = {"parameter": parameter} if parameter else {"pointer": pointer}

    def response(self) -> Response:
        """Return the answer that says so."""
        body = msgspec.json.encode({"errors": [self._error()]})
        return Response(body, self.status, content_type=MEDIA_TYPE)

    def _error(self) -> dict[str, Any]:
        code, title = _NAMES.get(self.status, _UNNAMED)
        return {
            "id": str(uuid.uuid4()),
            "status": self.status,
            "code": code,
            "title": title,
            "detail": self.detail,
            "source": self.source,
            "links": {},
            "meta": {},
        }
