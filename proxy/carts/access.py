"""Access: the token that our credentials buy where a platform wants one (OAuth 2.0)."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from proxy.carts import answer
from proxy.carts.asking import Asking
from proxy.errors import CartGone, CartInvalid, SourceDown, SourceRefused

# Bought anew so long before it is too old, in seconds.
_AHEAD = 60.0
_USUAL_AGE = 300
_MOST_AGE = 7 * 86400


class Access:
    """Buy access tokens at *url* with *key*, ``id:secret`` of a client, and keep the last one.

    Raises :exc:`SourceRefused` where none is sold to us. RFC 6749, section 4.4, with the client's
    credentials in ``Authorization`` (section 2.3.1).
    """

    def __init__(self, asking: Asking, *, url: str, key: str, scope: str) -> None:
        self._asking = asking
        self._url = url
        self._client, _, self._secret = key.partition(":")
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._token = ""
        self._until = 0.0
        self._was_good = False
        self._lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Give a token, bought where there is none. A good one that is refused is forgotten."""
        token = self._current()
        try:
            yield token
        except SourceRefused as error:
            if self._was_never_good(token):
                raise
            self._forget(token)
            raise SourceDown(f"{error}, to an access token that was good before") from None
        with self._lock:
            self._was_good |= token == self._token

    def _was_never_good(self, token: str) -> bool:
        with self._lock:
            # Another may have been bought meanwhile, and whether that one is good is not known.
            return token == self._token and not self._was_good

    def _forget(self, token: str) -> None:
        with self._lock:
            if token == self._token:
                self._until = 0.0

    def _current(self) -> str:
        with self._lock:
            if time.monotonic() >= self._until:
                self._buy()
            return self._token

    def _buy(self) -> None:
        request = requests.Request(
            "POST", self._url, data=self._form, auth=(self._client, self._secret)
        )
        try:
            # 400 is what RFC 6749 has for a client that is unknown or may not (section 5.2).
            body, _ = self._asking.ask(request, refusals=(400,))
        except (CartGone, CartInvalid, SourceRefused) as error:
            raise SourceRefused(f"no access token is to be had: {error}") from None
        parsed: Any = answer.parsed(body)
        said = parsed if isinstance(parsed, dict) else {}
        token, age = said.get("access_token"), said.get("expires_in")
        # It goes into a header.
        if not isinstance(token, str) or not re.fullmatch("[!-~]+", token):
            raise SourceDown("the shop's answer has no access token")
        self._token, self._was_good = token, False
        self._until = time.monotonic() + max(
            0, (min(age, _MOST_AGE) if type(age) is int else _USUAL_AGE) - _AHEAD
        )
