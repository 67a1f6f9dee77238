"""The door: a request's body becomes a value of ours, or a refusal that says what is wrong."""

from typing import TypeVar

import msgspec
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from proxy.errors import BadRequest, Unprocessable, UnsupportedMediaType

T = TypeVar("T")


def body(decoder: msgspec.json.Decoder[T], *media_types: str, most_bytes: int) -> T:
    """Return the request's body as *decoder* reads it, or raise :exc:`Refused`."""
    # A body without a type is let in: it says less than a wrong one.
    if request.mimetype and request.mimetype not in media_types:
        raise UnsupportedMediaType(
            f"The body is {request.mimetype}; send it as {' or '.join(media_types)}."
        )
    try:
        return decoder.decode(_read(most_bytes))
    except msgspec.ValidationError as error:
        raise _unprocessable(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON: {error}", code="not-json") from error


def _read(most_bytes: int) -> bytes:
    # One byte more: a body in chunks does not say how long it is, and is cut off at the limit.
    request.max_content_length = most_bytes + 1
    content = request.get_data(cache=False)
    if len(content) > most_bytes:
        raise RequestEntityTooLarge
    return content


def _unprocessable(words: str) -> Unprocessable:
    """Return msgspec's *words*, which end in " - at `$.items[0].name`", with a JSON pointer."""
    detail, at, path = words.rpartition(" - at `")
    if not at:
        detail, path = words, ""
    pointer = path.rstrip("`").removeprefix("$").replace("[", ".").replace("]", "")
    return Unprocessable(f"{detail}.".replace("..", "."), pointer=pointer.replace(".", "/") or None)
