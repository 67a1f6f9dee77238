"""Recipe: how a cart is asked for, and where in the answer what stands: data, not code."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import msgspec

from proxy.carts import presets
from proxy.carts.fields import Fields
from proxy.errors import Misconfigured
from proxy.wire import Strict


class Request(Strict, frozen=True, kw_only=True):
    """One request. ``{cart_id}``, ``{key}`` and ``{credential}`` in its texts are filled in.

    With *graphql* it is a query, posted with *variables*; else a ``GET`` of *path*. Answers with a
    status among *refusals* say that we may not ask, whatever the cart. *token_header* names a
    header of the answer's with a JSON Web Token: its claims are in the answer as ``token``.
    """

    path: str
    query: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    graphql: str | None = None
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    token_header: str = ""

    def has_place(self, name: str) -> bool:
        """Tell whether something called *name* is filled in."""
        places = self.query, self.headers, self.variables
        texts = (self.path, *(text for place in places for text in place.values()))
        return any(f"{{{name}}}" in text for text in texts)


class OAuth(Strict, frozen=True, kw_only=True):
    """That the key is a client's id and secret, ``id:secret``, and buys a token (RFC 6749, 4.4)."""

    scope: str = ""


class Recipe(Fields, frozen=True, kw_only=True):
    """All that is particular about a platform whose API is asked.

    A token's cart id is of the form *id_pattern*; that of a guest, who can be anybody, is of the
    form *guest_pattern*, which nobody guesses. The cart's ``id`` is to be *id_form*, filled in
    as a request's texts are. The answers to the requests of *also* are in the answer under their
    names.
    """

    id_pattern: str
    guest_pattern: str = ""
    id_form: str = "{cart_id}"
    request: Request
    also: dict[str, Request] = msgspec.field(default_factory=dict)
    oauth: OAuth | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that are made for one cart."""
        return self.request, *self.also.values()

    def needs(self, name: str) -> bool:
        """Tell whether a cart can only be read with the ``key``, or with the ``credential``."""
        return any(request.has_place(name) for request in self.requests)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return the one that comes with the proxy for the platform *name*."""
        return cls.parse(presets.read(name))

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Self:
        """Return the recipe that *said* describes, or raise :exc:`Misconfigured`."""
        recipe = converted(said, cls)
        if mistakes := [
            *recipe.mistakes(),
            *of_pattern(recipe.id_pattern),
            *of_pattern(recipe.guest_pattern),
        ]:
            raise Misconfigured(*mistakes)
        return recipe


T = TypeVar("T")


def converted(said: Mapping[str, Any], kind: type[T]) -> T:
    """Return *said* as a *kind*, or raise :exc:`Misconfigured`."""
    try:
        return msgspec.convert(dict(said), kind)
    except msgspec.ValidationError as error:
        raise Misconfigured(str(error)) from error


def of_pattern(pattern: str) -> Iterator[str]:
    """Yield what is wrong with the form of cart ids."""
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"id_pattern is no regular expression: {error}"


def filled(text: str, known: Mapping[str, str]) -> str:
    """Return *text* with what is *known* in its places; what is put in is not looked at again."""
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), text)
