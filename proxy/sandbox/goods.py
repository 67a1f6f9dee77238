"""Goods: what the demo shop sells, and what a cart of them costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from proxy.money import rounded

CURRENCY = "EUR"


_TAX = Decimal("0.19")
_TAX_ON_FOOD = Decimal("0.07")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One thing on the shelf; the price includes tax."""

    slug: str
    name: str
    variant: str
    category: str
    price: Decimal
    tax_rate: Decimal = _TAX


GOODS = {
    product.slug: product
    for product in (
        Product(
            slug="sencha",
            name="Morning sencha",
            variant="Green tea, tin of 100 g",
            category="Tea",
            price=Decimal("14.90"),
            tax_rate=_TAX_ON_FOOD,
        ),
        Product(
            slug="teapot",
            name="Harbour teapot",
            variant="Stoneware, 0.8 l",
            category="Pots",
            price=Decimal("44.80"),
        ),
        Product(
            slug="cups",
            name="Two Dune cups",
            variant="Sand and sea",
            category="Cups",
            price=Decimal("18.10"),
        ),
        Product(
            slug="kettle",
            name="Heron kettle",
            variant="Brushed steel, 1 l",
            category="Pots",
            price=Decimal("68.00"),
        ),
        Product(
            slug="strainer",
            name="Fine strainer",
            variant="Steel, oak handle",
            category="Brewing",
            price=Decimal("9.20"),
        ),
        Product(
            slug="filter",
            name="One paper filter",
            variant="Unbleached",
            category="Brewing",
            # Three of these are 0.30000000000000004 wherever money is a float.
            price=Decimal("0.10"),
        ),
    )
}

COUPONS = {"TEA10": Decimal("0.10")}

_MAX_OF_ONE = 99
_SHIPPING = Decimal("4.90")
_FREE_SHIPPING_FROM = Decimal("60.00")


@dataclass(frozen=True, slots=True)
class Line:
    """So many of one product."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        """What the line costs."""
        return self.product.price * self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopCart:
    """A cart at one moment; every change makes the next version of it."""

    id: str
    version: int = 0
    quantities: Mapping[str, int] = field(default_factory=dict)
    coupon: str = ""

    def with_one_more(self, slug: str) -> "ShopCart":
        """Return the cart with one more of the product *slug*."""
        return self.with_quantities({slug: self.quantities.get(slug, 0) + 1})

    def with_quantities(self, quantities: Mapping[str, int]) -> "ShopCart":
        """Return the cart with so many of each product named; zero takes it out."""
        wanted = {**self.quantities, **quantities}
        kept = {slug: min(count, _MAX_OF_ONE) for slug, count in wanted.items() if count > 0}
        return replace(self, version=self.version + 1, quantities=kept)

    def with_coupon(self, code: str) -> "ShopCart":
        """Return the cart with the coupon as typed; one we never gave out takes nothing off."""
        return replace(self, version=self.version + 1, coupon=code.strip().upper()[:20])

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is in the cart, in the shelf's order."""
        return tuple(
            Line(product, self.quantities[slug])
            for slug, product in GOODS.items()
            if slug in self.quantities
        )

    @property
    def count(self) -> int:
        """How many things are in the cart."""
        return sum(self.quantities.values())

    @property
    def has_a_valid_coupon(self) -> bool:
        """Whether the coupon is one of ours."""
        return self.coupon in COUPONS

    @property
    def subtotal(self) -> Decimal:
        """What the goods cost before the discount."""
        return sum((line.total for line in self.lines), Decimal("0.00"))

    @property
    def discount(self) -> Decimal:
        """What the coupon takes off the goods."""
        return rounded(self.subtotal * self._taken_off, CURRENCY)

    @property
    def shipping(self) -> Decimal:
        """What it costs to send the goods."""
        goods = self.subtotal - self.discount
        return _SHIPPING if 0 < goods < _FREE_SHIPPING_FROM else Decimal("0.00")

    @property
    def total(self) -> Decimal:
        """What the shopper pays."""
        return self.subtotal - self.discount + self.shipping

    @property
    def tax(self) -> Decimal:
        """The part of the total that is tax, each rate's rounded by itself."""
        payable = {_TAX: self.shipping}
        for line in self.lines:
            rate, price = line.product.tax_rate, line.total * (1 - self._taken_off)
            payable[rate] = payable.get(rate, Decimal(0)) + price
        parts = (rounded(sum_ * rate / (1 + rate), CURRENCY) for rate, sum_ in payable.items())
        return sum(parts, Decimal("0.00"))

    @property
    def _taken_off(self) -> Decimal:
        return COUPONS.get(self.coupon, Decimal(0))
