"""Asking: one request to the shop's API, and its answer, whatever the network does."""

import re
import threading
from collections.abc import Collection, Mapping
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from proxy.deadline import DeadlineAdapter
from proxy.errors import CartGone, CartInvalid, SourceDown, SourceRefused

# Of these, what is made for one cart has equal parts.
_CONNECT_SECONDS = 2.0
_EXCHANGE_SECONDS = 3.0
_MOST_BYTES = 1024 * 1024
# At a time: a backlog must not become a flood in the shop.
_REQUESTS = 4
_MOST_PATIENCE = 900

_HEADERS = {
    "User-Agent": "checkout-proxy",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
# 405 and the like say that this is no such API; none is about one cart.
_REFUSALS = frozenset({401, 402, 403, 405, 406, 407, 415})


class Asking:
    """Ask the shop's own servers, a few requests at a time, *share* of them for one cart.

    To connect takes two seconds at most and the exchange three, both divided by *share*; of an
    answer 1 MiB is read. No redirect is followed: it could carry the credential elsewhere. Neither
    a proxy nor a netrc of the environment's has a say. *ca_file* names who else may have signed
    the shop's certificate.
    """

    def __init__(self, *, share: int = 1, ca_file: Path | None = None) -> None:
        self._connect = _CONNECT_SECONDS / share
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file) if ca_file else True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(_HEADERS)
        for scheme in ("http://", "https://"):
            adapter = DeadlineAdapter(_EXCHANGE_SECONDS / share, connections=_REQUESTS)
            self._session.mount(scheme, adapter)
        self._free = threading.BoundedSemaphore(_REQUESTS)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def ask(
        self,
        request: requests.Request,
        refusals: Collection[int] = (),
        harmless: Collection[int] = (),
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the headers of a 200, or raise :exc:`CartError`.

        A status among *refusals* is a refusal too, one among *harmless* is about this cart alone.
        """
        prepared = self._prepared(request)
        try:
            with (
                self._free,
                self._session.send(
                    prepared,
                    timeout=self._connect,  # The rest is the adapter's.
                    allow_redirects=False,
                    stream=True,
                    verify=self._session.verify,
                ) as response,
            ):
                _judge(response, refusals, harmless)
                return _read(response), response.headers
        except (requests.RequestException, HTTPError, OSError) as error:
            raise SourceDown(f"the shop does not answer: {type(error).__name__}") from None
        except ValueError as error:
            raise _unwritable(error) from None

    def _prepared(self, request: requests.Request) -> requests.PreparedRequest:
        try:
            return self._session.prepare_request(request)
        except (requests.RequestException, ValueError) as error:
            raise _unwritable(error) from None


def _unwritable(error: Exception) -> CartInvalid:
    """Return what to raise; the error's own words have what could not be written in them."""
    words = "the request cannot be written, perhaps for the token's ref"
    return CartInvalid(f"{words}: {type(error).__name__}")


def _judge(
    response: requests.Response, refusals: Collection[int], harmless: Collection[int]
) -> None:
    """Raise unless *response* can be a cart."""
    status, said = response.status_code, f"the shop answered {response.status_code}"
    if status in harmless:
        raise CartInvalid(f"{said} to the token's ref")
    if status in refusals or status in _REFUSALS or 300 <= status < 400:
        raise SourceRefused(said)
    if status in (404, 410):
        raise CartGone(said)
    if status == 429:
        raise SourceDown(said, retry_after=_patience(response))
    if status != 200:
        raise CartInvalid(said) if 400 <= status < 500 else SourceDown(said)


def _patience(response: requests.Response) -> timedelta:
    text = response.headers.get("Retry-After", "")
    seconds = int(text) if re.fullmatch("[0-9]{1,9}", text) else 1
    return timedelta(seconds=min(seconds, _MOST_PATIENCE))


def _read(response: requests.Response) -> bytes:
    read = bytearray()
    raw: Any = response.raw
    # As it came over the wire, not unpacked: nobody asked for it to be packed.
    while piece := raw.read(64 * 1024, decode_content=False):
        read += piece
        if len(read) > _MOST_BYTES:
            raise SourceDown(f"the shop's answer is larger than {_MOST_BYTES} bytes")
    return bytes(read)
