"""Http: carts that the shop's own API is asked for, in a few requests described by a recipe."""

import base64
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from proxy.carts import answer
from proxy.carts.access import Access
from proxy.carts.asking import Asking
from proxy.carts.recipe import Recipe, Request, filled
from proxy.carts.rest import Rest
from proxy.carts.source import CartRef, Reading
from proxy.errors import CartInvalid, SourceDown


class HttpCarts:
    """Read carts at *url*, the shop's own address, as *recipe* says, with the credential *key*.

    Where the recipe needs an access token, *token_url* sells it. *ca_file* names who else may have
    signed the shop's certificate.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        url: str,
        key: str = "",
        token_url: str = "",
        ca_file: Path | None = None,
    ) -> None:
        self._recipe = recipe
        self._url = url
        self._key = key
        share = len(recipe.requests) + (recipe.oauth is not None)
        self._asking = Asking(share=share, ca_file=ca_file)
        self._access: Access | None = None
        if recipe.oauth is not None:
            scope = recipe.oauth.scope
            self._access = Access(self._asking, url=token_url, key=key, scope=scope)
        self._flights = _Flights()
        self._rest = Rest()

    def close(self) -> None:
        """Close the connections."""
        self._asking.close()

    def fetch(self, ref: CartRef) -> Reading:
        """Return the cart as the shop shows it now, or raise :exc:`CartError`."""
        self._rest.check()
        with self._rest.heeded():
            return self._flights.shared((ref.cart_id, ref.credential), lambda: self._read(ref))

    def _read(self, ref: CartRef) -> Reading:
        if not re.fullmatch(self._recipe.id_pattern, ref.cart_id):
            raise CartInvalid("the token's cart id is not of the form that this platform's have")
        if ref.credential is None and self._recipe.needs("credential"):
            raise CartInvalid("the token carries no ref, and without it this cart cannot be read")
        known = {"cart_id": ref.cart_id, "credential": ref.credential or ""}
        with self._access.lent() if self._access else nullcontext(self._key) as key:
            said = self._answers(known | {"key": key})
        return answer.read(said, self._recipe, filled(self._recipe.id_form, known))

    def _answers(self, known: Mapping[str, str]) -> Any:
        said = self._ask(self._recipe.request, known)
        for name, also in self._recipe.also.items():
            if not isinstance(said, dict):
                raise CartInvalid("the shop's first answer is no object")
            said[name] = self._ask(also, known)
        return said

    def _ask(self, asked: Request, known: Mapping[str, str]) -> Any:
        # A shopper whose credential is no longer good is no reason to let the shop alone.
        harmless = {401, 403} - {*asked.refusals} if asked.admits_by_credential else set()
        body, headers = self._asking.ask(self._prepared(asked, known), asked.refusals, harmless)
        said = answer.parsed(body)
        if asked.token_header and isinstance(said, dict):
            said["token"] = _claims(headers.get(asked.token_header, ""))
        return said

    def _prepared(self, asked: Request, known: Mapping[str, str]) -> requests.Request:
        def all_filled(texts: dict[str, str]) -> dict[str, str]:
            return {name: filled(text, known) for name, text in texts.items()}

        path = filled(asked.path, {name: _quoted(text) for name, text in known.items()})
        body = {"query": asked.graphql, "variables": all_filled(asked.variables)}
        return requests.Request(
            "GET" if asked.graphql is None else "POST",
            self._url + path,
            params=all_filled(asked.query),
            headers=all_filled(asked.headers),
            json=None if asked.graphql is None else body,
        )


def _quoted(text: str) -> str:
    """Return *text* as one step of a path; the steps ``.`` and ``..`` cannot be quoted."""
    if text in (".", ".."):
        raise CartInvalid("the token's cart id, or its ref, would lead elsewhere")
    return quote(text, safe="")


def _claims(token: str) -> Any:
    """Return what a JSON Web Token says; whose it is, TLS and the shop's address vouch for."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return answer.parsed(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, SourceDown):
        return None


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
