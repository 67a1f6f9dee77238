"""The door: a request's body becomes a value of ours, or a refusal that says what is wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from proxy.errors import BadRequest, Unprocessable, UnsupportedMediaType

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

T = TypeVar("T")


def body(decoder: msgspec.json.Decoder[T], *media_types: str, most_bytes: int) -> T:
    """Return the request's body as *decoder* reads it, or raise :exc:`Refused`."""
    check_type(request.mimetype, media_types)
    return parsed(decoder, read(request.environ, most_bytes))


def check_type(media_type: str, known: Sequence[str]) -> None:
    """Raise :exc:`UnsupportedMediaType` unless a body of *media_type* is read here."""
    # A body without a type is let in: it says less than a wrong one.
    if media_type and media_type not in known:
        raise UnsupportedMediaType(f"The body is {media_type}; send it as {' or '.join(known)}.")


def parsed(decoder: msgspec.json.Decoder[T], content: bytes) -> T:
    """Return *content* as *decoder* reads it, or raise :exc:`Refused`."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise _unprocessable(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON: {error}", code="not-json") from error


def read(environ: "WSGIEnvironment", most_bytes: int) -> bytes:
    """Return the request's body, or raise :exc:`RequestEntityTooLarge`."""
    # One byte more: a body in chunks does not say how long it is, and is cut off at the limit.
    content = get_input_stream(environ, max_content_length=most_bytes + 1).read()
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
