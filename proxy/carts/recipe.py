"""Recipe: how a cart is asked for, and where in the answer what stands: data, not code."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import msgspec

from proxy.carts.fields import Fields
from proxy.errors import Misconfigured
from proxy.wire import Strict

_PLACE = re.compile(r"\{(\w+)\}")


class Request(Strict, frozen=True, kw_only=True):
    """One request. ``{cart_id}``, ``{key}`` and ``{credential}`` in its texts are filled in.

    With *graphql* it is a query, posted with *variables*; else a ``GET`` of *path*. Answers with a
    status among *refusals* say that we may not ask, whatever the cart; where the shopper's own
    credential is in the headers, 401 and 403 are about that one unless they are among them.
    *token_header* names a header of the answer's with a JSON Web Token: its claims are in the
    answer as ``token``.
    """

    path: str
    query: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    graphql: str | None = None
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    token_header: str = ""

    @property
    def places(self) -> set[str]:
        """The names of what is filled in."""
        tables = self.query, self.headers, self.variables
        texts = (self.path, *(text for table in tables for text in table.values()))
        return {name for text in texts for name in _PLACE.findall(text)}

    @property
    def admits_by_credential(self) -> bool:
        """Whether the shopper's own credential goes where the key goes, into the headers."""
        return any("{credential}" in text for text in self.headers.values())


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
        return any(name in request.places for request in self.requests)

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Self:
        """Return the recipe that *said* describes, or raise :exc:`Misconfigured`."""
        recipe = converted(said, cls)
        mistakes = [*recipe.mistakes(), *of_patterns(recipe.id_pattern, recipe.guest_pattern)]
        mistakes += [wrong for each in recipe.requests for wrong in _of_request(each)]
        if mistakes:
            raise Misconfigured(*mistakes)
        return recipe


T = TypeVar("T")


def converted(said: Mapping[str, Any], kind: type[T]) -> T:
    """Return *said* as a *kind*, or raise :exc:`Misconfigured`."""
    try:
        return msgspec.convert(dict(said), kind)
    except msgspec.ValidationError as error:
        raise Misconfigured(str(error)) from error


def of_patterns(id_pattern: str, guest_pattern: str) -> Iterator[str]:
    """Yield what is wrong with the forms of cart ids."""
    for name, pattern in (("id_pattern", id_pattern), ("guest_pattern", guest_pattern)):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            yield f"{name} is no regular expression: {error}"


def _of_request(request: Request) -> Iterator[str]:
    if not request.path.startswith("/"):
        # What follows a host's name without one is part of the name.
        yield f"the path {request.path!r} does not begin with a slash"
    for name in request.headers:
        if not _HEADER.fullmatch(name):
            yield f"{name!r} is no header's name"
    for name in sorted(request.places - _PLACES):
        yield f"{{{name}}} is nothing that is filled in: there is {', '.join(sorted(_PLACES))}"


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLACES = frozenset({"cart_id", "key", "credential"})


def filled(text: str, known: Mapping[str, str]) -> str:
    """Return *text* with what is *known* in its places; what is put in is not looked at again."""
    return _PLACE.sub(lambda found: known.get(found[1], found[0]), text)
