"""Kx: the id that Klaviyo gave a browser, from a link in one of its mails or from its cookie.

Anybody may write either, so what is no such id says nothing: the rest of a state still counts.
"""

import re
from base64 import urlsafe_b64decode
from urllib.parse import unquote

import msgspec

_ID = re.compile(r"[!-~]{1,512}")


def valid(text: str | None) -> str | None:
    """Return *text* where it can be an id, or ``None``."""
    return text if text and _ID.fullmatch(text) else None


def in_address(url: str | None) -> str | None:
    """Return the id in *url*, which Klaviyo appends to the links in its mails as ``_kx``."""
    found = (value for name, _, value in map(_parted, _query(url or "")) if name == "_kx")
    return valid(unquote(next(found, "")))


def without(url: str) -> str:
    """Return *url* without the id: whoever followed it would be taken for this shopper."""
    page, hash_mark, place = url.partition("#")
    path, mark, _ = page.partition("?")
    others = [part for part in _query(url) if _parted(part)[0] != "_kx"]
    return path + (mark if others else "") + "&".join(others) + hash_mark + place


def in_cookie(kla_id: str | None) -> str | None:
    """Return the id in Klaviyo's cookie ``__kla_id``, of which the page posts the whole value.

    It is base64 of JSON, which Klaviyo's script escapes for an URL in some of its versions.
    """
    if not kla_id:
        return None
    try:
        text = unquote(kla_id).rstrip("=")
        json = urlsafe_b64decode((text + "=" * (-len(text) % 4)).translate(_URL_SAFE))
        if json.startswith(b"%"):
            json = unquote(json.decode()).encode()
        return valid(_COOKIE.decode(json).exchange_id)
    except (ValueError, RecursionError):
        return None


class _Cookie(msgspec.Struct):
    exchange_id: str | None = msgspec.field(name="$exchange_id", default=None)


_COOKIE = msgspec.json.Decoder(_Cookie)
_URL_SAFE = str.maketrans("+/", "-_")


def _query(url: str) -> list[str]:
    return url.partition("#")[0].partition("?")[2].split("&")


def _parted(part: str) -> tuple[str, str, str]:
    name, mark, value = part.partition("=")
    return unquote(name), mark, value
