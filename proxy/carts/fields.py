"""Fields: what stands where in a cart that somebody else has written down."""

from collections.abc import Iterator

from proxy.carts import paths
from proxy.carts.cart import Cart, LineItem
from proxy.wire import Strict


class Money(Strict, frozen=True, kw_only=True):
    """What an amount is: ``major`` units with decimals, or a whole number of ``minor`` ones.

    *exponent* is how many digits of a minor amount are decimals: a number, a JMESPath to one in the
    cart, or ``iso4217`` for as many as that gives the currency, which is wrong where the shop has a
    setting of its own: there is no default.
    """

    unit: str
    exponent: int | str | None = None


class Fields(Strict, frozen=True, kw_only=True):
    """Where in an answer what of ours stands. The values of *cart* and *item* are JMESPath.

    ``root`` leads to the cart, and every other one of *cart* begins there, ``items`` at its lines,
    from each of which those of *item* begin.
    """

    money: Money
    cart: dict[str, str]
    item: dict[str, str]

    def mistakes(self) -> Iterator[str]:
        """Yield what is wrong, each with its key."""
        yield from _of_names("cart", self.cart, _CART, _CART_TOO)
        yield from _of_names("item", self.item, _ITEM, _ITEM_TOO)
        if self.money.unit not in ("major", "minor"):
            yield f"money.unit is major or minor, not {self.money.unit!r}"
        if (self.money.unit == "minor") != (self.money.exponent is not None):
            yield "money.exponent goes with the unit minor, and only with it"
        yield from _of_exponent(self.money.exponent)


def _of_exponent(exponent: int | str | None) -> Iterator[str]:
    if isinstance(exponent, int) and not 0 <= exponent <= 6:
        yield f"money.exponent is 0 to 6 digits, not {exponent}"
    if isinstance(exponent, str):
        try:
            paths.check(exponent)
        except ValueError as error:
            yield f"money.exponent {error}"


def _of_names(
    table: str, named: dict[str, str], needed: frozenset[str], known: frozenset[str]
) -> Iterator[str]:
    for name in sorted(needed - named.keys()):
        yield f"[{table}] lacks {name}"
    for name in sorted(named.keys() - known):
        yield f"{table}.{name} is none of ours: there is {', '.join(sorted(known))}"
    for name, path in named.items():
        try:
            paths.check(path)
        except ValueError as error:
            yield f"{table}.{name} {error}"


_CART = frozenset({"root", "id", "currency", "total", "items"})
_CART_TOO = _CART | {"completed", *Cart.__struct_fields__}
_ITEM = frozenset({"product_id", "name", "quantity", "unit_price"})
_ITEM_TOO = frozenset(LineItem.__struct_fields__)
