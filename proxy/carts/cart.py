"""Cart: the shop's own figures for a basket, copied and never computed."""

import re
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated

from msgspec import Meta

from proxy.money import check_amount, check_currency
from proxy.wire import Strict

Text = Annotated[str, Meta(max_length=100_000)]
Url = Annotated[str, Meta(max_length=4_000, pattern=r"^https?://[^\s\x00-\x1f]+\Z")]
_Id = Annotated[str, Meta(min_length=1, max_length=255)] | int


class LineItem(Strict, frozen=True, kw_only=True):
    """One line of a cart. A gift's ``unit_price`` is zero, a discount line's is negative."""

    product_id: _Id
    name: Text
    quantity: Decimal
    unit_price: Decimal
    row_total: Decimal | None = None
    sku: Text | None = None
    variant: Text | None = None
    product_url: Url | None = None
    image_url: Url | None = None
    categories: tuple[Text, ...] | None = None

    def __post_init__(self) -> None:
        _check_amounts(self, "quantity", "unit_price", "row_total")
        if self.quantity <= 0:
            raise ValueError(f"quantity must be above zero, got {self.quantity}")


class Cart(Strict, frozen=True, kw_only=True):
    """A cart as the shop shows it; ``None`` is unknown, zero is zero.

    Amounts are in the currency's major unit (dollars, not cents). ``total`` is what the shopper
    would pay now. ``version``, or else ``updated_at``, tells which of two carts is newer.
    """

    currency: str
    total: Decimal
    items: Annotated[tuple[LineItem, ...], Meta(max_length=10_000)]
    version: int | None = None
    updated_at: Annotated[datetime, Meta(tz=True)] | None = None
    subtotal: Decimal | None = None
    discount: Decimal | None = None
    tax: Decimal | None = None
    shipping: Decimal | None = None
    coupons: tuple[Text, ...] | None = None
    checkout_url: Url | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None

    def __post_init__(self) -> None:
        check_currency(self.currency)
        _check_amounts(self, "total", "subtotal", "discount", "tax", "shipping")
        if self.updated_at is not None and not is_sane(self.updated_at):
            raise ValueError("updated_at is not of our time")
        if self.total < 0:
            raise ValueError(f"total must not be negative, got {self.total}")


def replaces(new: Cart, old: Cart, *, came_later: bool) -> bool:
    """Tell whether *new* takes the place of *old*; where neither says, the one that came later."""
    if new.version is not None and old.version is not None:
        return new.version >= old.version
    if new.updated_at is not None and old.updated_at is not None:
        return new.updated_at >= old.updated_at
    return came_later


def public_id(cart_id: str) -> str:
    """Return *cart_id* as logs and Klaviyo may see it: a hash, where it is a secret or an address.

    Shopify's cart ids carry the secret that opens the cart after ``?key=`` (shopify.dev, changelog
    "Storefront API cart ID now includes key param").
    """
    if _SECRET.search(cart_id) or "@" in cart_id or len(cart_id) > 200:
        return sha256(cart_id.encode()).hexdigest()[:32]
    return cart_id


_SECRET = re.compile(r"([?&]|%3f|%26)key(=|%3d)", re.IGNORECASE)


def is_sane(time: datetime) -> bool:
    """Tell whether *time* is one that can be reckoned with: the year 1 overflows in UTC."""
    return 2000 <= time.year < 2200


def _check_amounts(holder: Cart | LineItem, *names: str) -> None:
    for name in names:
        amount = getattr(holder, name)
        if amount is not None:
            check_amount(name, amount)
