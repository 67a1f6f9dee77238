"""Recipe: how a shop's platform is asked for a cart, and where in its answer what stands: data."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from proxy.carts import presets
from proxy.errors import Misconfigured
from proxy.wire import Strict


class Request(Strict, frozen=True, kw_only=True):
    """One request. ``{cart_id}``, ``{key}`` and ``{credential}`` in its texts are filled in.

    With *graphql* it is a query, posted with *variables*; else a ``GET`` of *path*. Answers with a
    status among *refusals* say that we may not ask, whatever the cart.
    """

    path: str
    query: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    graphql: str | None = None
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    refusals: tuple[int, ...] = ()

    @property
    def needs_credential(self) -> bool:
        """Whether a cart can only be read with what the token carries as ``ref``."""
        places = self.query, self.headers, self.variables
        texts = (self.path, *(text for place in places for text in place.values()))
        return any("{credential}" in text for text in texts)


class Money(Strict, frozen=True, kw_only=True):
    """What an amount is: ``major`` units with decimals, or a whole number of ``minor`` ones.

    *exponent* is how many digits of a minor amount are decimals: a number, or a JMESPath to one
    in the cart. ISO 4217's would be wrong where the shop has a setting of its own, so there is no
    default.
    """

    unit: str
    exponent: int | str | None = None


class Recipe(Strict, frozen=True, kw_only=True):
    """All that is particular about a platform. The values of *cart* and *item* are JMESPath.

    *cart* has, by our names, what stands in the answer; ``root`` leads to the cart, and every other
    one begins there, ``items`` at its lines, from each of which those of *item* begin.
    """

    id_pattern: str
    request: Request
    money: Money
    cart: dict[str, str]
    item: dict[str, str]

    @classmethod
    def preset(cls, name: str) -> "Recipe":
        """Return the one that comes with the proxy for the platform *name*."""
        return cls.parse(tomllib.loads(presets.text(name)))

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that *said* describes, or raise :exc:`Misconfigured`."""
        try:
            recipe = msgspec.convert(dict(said), cls)
        except msgspec.ValidationError as error:
            raise Misconfigured(f"a cart source {error}") from error
        if mistakes := [*_of_paths(recipe), *_of_forms(recipe)]:
            raise Misconfigured(*mistakes)
        return recipe


def _of_paths(recipe: Recipe) -> Iterator[str]:
    for table, named, needed in (("cart", recipe.cart, _CART), ("item", recipe.item, _ITEM)):
        for name in sorted(needed - named.keys()):
            yield f"a cart source's [{table}] lacks {name}"
        for name, path in named.items():
            try:
                jmespath.compile(path)
            except JMESPathError as error:
                yield f"a cart source's {table}.{name} is no JMESPath: {error}"


def _of_forms(recipe: Recipe) -> Iterator[str]:
    try:
        re.compile(recipe.id_pattern)
    except re.error as error:
        yield f"a cart source's id_pattern is no regular expression: {error}"
    money = recipe.money
    if money.unit not in ("major", "minor"):
        yield f"a cart source's money.unit is major or minor, not {money.unit!r}"
    if (money.unit == "minor") != (money.exponent is not None):
        yield "a cart source's money.exponent goes with the unit minor, and only with it"


_CART = frozenset({"root", "id", "currency", "total", "items"})
_ITEM = frozenset({"product_id", "name", "quantity", "unit_price"})


def compiled(path: str) -> ParsedResult:
    """Return *path* ready to be searched with; JMESPath keeps the last ones it has compiled."""
    return jmespath.compile(path)
