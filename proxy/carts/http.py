"""Http: carts that the shop's own API is asked for, one request each, described by a recipe."""

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from proxy.carts import answer
from proxy.carts.recipe import Recipe
from proxy.carts.source import CartRef, Reading
from proxy.deadline import DeadlineAdapter
from proxy.errors import CartError, CartGone, CartInvalid, SourceDown, SourceRefused

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 2
_EXCHANGE = timedelta(seconds=3)
_MOST_BYTES = 1024 * 1024
# At a time: a backlog must not become a flood in the shop.
_REQUESTS = 4
# A shop that refuses us, or asks for patience, is let alone for so long.
_REFUSED_FOR = 60.0
_MOST_PATIENCE = 900


class HttpCarts:
    """Read carts at *url*, the shop's own address, as *recipe* says, with the credential *key*.

    To connect takes two seconds at most and the exchange three; of an answer 1 MiB is read. No
    redirect is followed: it could carry the credential elsewhere. Neither a proxy nor a netrc of
    the environment's has a say. *ca_file* names who else may have signed the shop's certificate.
    """

    def __init__(
        self, recipe: Recipe, *, url: str, key: str = "", ca_file: Path | None = None
    ) -> None:
        self._recipe = recipe
        self._url = url
        self._key = key
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file) if ca_file else True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(_HEADERS)
        for scheme in ("http://", "https://"):
            adapter = DeadlineAdapter(_EXCHANGE.total_seconds(), connections=_REQUESTS)
            self._session.mount(scheme, adapter)
        self._free = threading.BoundedSemaphore(_REQUESTS)
        self._flights = _Flights()
        self._rest = _Rest()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def fetch(self, ref: CartRef) -> Reading:
        """Return the cart as the shop shows it now, or raise :exc:`CartError`."""
        self._rest.check()
        with self._rest.heeded():
            return self._flights.shared((ref.cart_id, ref.credential), lambda: self._read(ref))

    def _read(self, ref: CartRef) -> Reading:
        if not re.fullmatch(self._recipe.id_pattern, ref.cart_id):
            raise CartInvalid("the token's cart id is not of the form that this platform's have")
        request = self._request(ref)
        with self._free:
            body = self._body(request)
        return answer.read(body, self._recipe, ref.cart_id)

    def _request(self, ref: CartRef) -> requests.PreparedRequest:
        asked = self._recipe.request
        known = {"cart_id": ref.cart_id, "key": self._key, "credential": ref.credential or ""}
        if ref.credential is None and asked.needs_credential:
            raise CartInvalid("the token carries no ref, and without it this cart cannot be read")

        def filled(texts: dict[str, str]) -> dict[str, str]:
            return {name: _filled(text, known) for name, text in texts.items()}

        path = _filled(asked.path, {name: quote(text, safe="") for name, text in known.items()})
        body = {"query": asked.graphql, "variables": filled(asked.variables)}
        return self._session.prepare_request(
            requests.Request(
                "GET" if asked.graphql is None else "POST",
                self._url + path,
                params=filled(asked.query),
                headers=filled(asked.headers),
                json=None if asked.graphql is None else body,
            )
        )

    def _body(self, request: requests.PreparedRequest) -> bytes:
        try:
            with self._session.send(
                request,
                timeout=_CONNECT_SECONDS,  # The rest is the adapter's.
                allow_redirects=False,
                stream=True,
                verify=self._session.verify,
            ) as response:
                self._judge(response)
                return _read(response)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise SourceDown(f"the shop does not answer: {type(error).__name__}") from None

    def _judge(self, response: requests.Response) -> None:
        """Raise unless *response* can be a cart."""
        status, said = response.status_code, f"the shop answered {response.status_code}"
        if status in self._recipe.request.refusals or status in _REFUSALS or 300 <= status < 400:
            raise SourceRefused(said)
        if status in (404, 410):
            raise CartGone(said)
        if status == 429:
            raise SourceDown(said, retry_after=_patience(response))
        if status != 200:
            raise CartInvalid(said) if 400 <= status < 500 else SourceDown(said)


_HEADERS = {
    "User-Agent": "checkout-proxy",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
# 405 and the like say that this is no such API; none is about one cart.
_REFUSALS = frozenset({401, 402, 403, 405, 406, 407, 415})


def _filled(text: str, known: dict[str, str]) -> str:
    """Return *text* with what is *known* in its places; what is put in is not looked at again."""
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), text)


def _read(response: requests.Response) -> bytes:
    read = bytearray()
    # As it came over the wire, not unpacked: nobody asked for it to be packed.
    while piece := response.raw.read(64 * 1024, decode_content=False):
        read += piece
        if len(read) > _MOST_BYTES:
            raise SourceDown(f"the shop's answer is larger than {_MOST_BYTES} bytes")
    return bytes(read)


def _patience(response: requests.Response) -> timedelta:
    text = response.headers.get("Retry-After", "")
    seconds = int(text) if re.fullmatch("[0-9]{1,9}", text) else 1
    return timedelta(seconds=min(seconds, _MOST_PATIENCE))


class _Rest:
    """How long the shop is let alone, and what is said meanwhile to who asks."""

    def __init__(self) -> None:
        self._until = 0.0
        self._why: CartError = SourceDown("")

    def check(self) -> None:
        if time.monotonic() < self._until:
            raise self._why

    @contextmanager
    def heeded(self) -> Any:
        """Let the shop alone where it says so meanwhile."""
        try:
            yield
        except SourceRefused as error:
            # Here and not for each checkout: there may be thousands that wait for it.
            logger.error("carts cannot be read: %s", error)
            self._begin(error, _REFUSED_FOR)
            raise
        except SourceDown as error:
            if error.retry_after is not None:
                self._begin(error, error.retry_after.total_seconds())
            raise

    def _begin(self, why: CartError, seconds: float) -> None:
        self._until, self._why = time.monotonic() + seconds, why


class _Flights:
    """Requests that are under way, so that who asks the same meanwhile shares the answer."""

    def __init__(self) -> None:
        self._under_way: dict[object, Future[Reading]] = {}
        self._lock = threading.Lock()

    def shared(self, key: object, read: Callable[[], Reading]) -> Reading:
        with self._lock:
            flight = self._under_way.get(key)
            mine = self._under_way.setdefault(key, Future()) if flight is None else None
        if flight is not None:
            return flight.result()
        assert mine is not None
        try:
            mine.set_result(read())
        except BaseException as error:
            mine.set_exception(error)
        finally:
            with self._lock:
                del self._under_way[key]
        return mine.result()
