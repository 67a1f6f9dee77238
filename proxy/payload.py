"""Payload: checkouts and their carts as Klaviyo takes them, alone or in bulk, in its limits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from proxy.carts.cart import Cart, LineItem
from proxy.identity import Profile
from proxy.money import Amount, rounded

# Klaviyo's limits, from the description of Create Event (revision 2026-07-15) and the Help Center
# article "Events API overview".
MAX_BYTES = 5_000_000
MAX_STRING_BYTES = 100_000
MAX_ARRAY_ITEMS = 4_000
# Of one request of Bulk Create Events, the same source.
MAX_BULK_EVENTS = 1_000

Json = dict[str, Any]


class PropertyNames(StrEnum):
    """Which names the event's properties go under."""

    BOTH = "both"
    KLAVIYO = "klaviyo"
    FLAT = "flat"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Event:
    """A Started Checkout, ready to be written down for Klaviyo."""

    metric: str
    profile: Profile
    cart: Cart
    cart_id: str
    checkout_url: str | None
    unique_id: str
    time: datetime
    backfill: bool = False

    @property
    def total(self) -> Amount:
        """What the event is worth."""
        return Amount(rounded(self.cart.total, self.cart.currency), self.cart.currency)


def encode(event: Event, names: PropertyNames = PropertyNames.BOTH) -> bytes:
    """Return the body of ``POST /api/events`` for *event*, trimmed to what Klaviyo takes.

    Amounts are written as JSON numbers with the currency's own decimals, never through a float.
    What had to be trimmed is named in the property ``trimmed``.
    """
    return _trimmed(event, _properties(event, names), _envelope, MAX_BYTES)


def bulk_entry(event: Event, names: PropertyNames = PropertyNames.BOTH) -> tuple[bytes, bytes]:
    """Return *event* as an entry of :func:`bulk`, trimmed like :func:`encode`, and its record."""
    properties = _properties(event, names)
    entry = _trimmed(event, properties, _bulk_envelope, MAX_BYTES - _BULK_OVERHEAD)
    return entry, _record(event, properties)


def bulk(entries: Sequence[bytes]) -> bytes:
    """Return the body of ``POST /api/event-bulk-create-jobs`` with *entries* in it."""
    listed = [msgspec.Raw(entry) for entry in entries]
    attributes = {"events-bulk-create": {"data": listed}}
    return _ENCODER.encode({"data": {"type": "event-bulk-create-job", "attributes": attributes}})


# The bulk's own envelope, and a comma.
_BULK_OVERHEAD = 200


def record(event: Event, names: PropertyNames = PropertyNames.BOTH) -> bytes:
    """Return what may be kept of *event*: nothing about the person, no link that opens the cart."""
    return _record(event, _properties(event, names))


def _record(event: Event, properties: Json) -> bytes:
    kept = {name: value for name, value in properties.items() if name not in _LINKS}
    attributes = _attributes(event, kept) | ({"backfill": True} if event.backfill else {})
    body = _ENCODER.encode(attributes)
    return body if len(body) <= _LONGEST_RECORD else _ENCODER.encode(attributes | _TOO_LONG)


_LINKS = ("CheckoutURL", "checkout_url")
_LONGEST_RECORD = 64_000
_TOO_LONG = {"properties": "too long to be kept"}


def bulks(sizes: Sequence[int]) -> Iterator[slice]:
    """Return how entries of *sizes* bytes go into as few bulks as Klaviyo's limits allow."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place - start == MAX_BULK_EVENTS or total + size + 1 > MAX_BYTES - _BULK_OVERHEAD:
            yield slice(start, place)
            start, total = place, 0
        total += size + 1
    if start < len(sizes):
        yield slice(start, len(sizes))


def without_phone_number(event: Event) -> Event:
    """Return *event* with the one thing left out that Klaviyo refuses and we can spare."""
    return replace(event, profile=replace(event.profile, phone_number=None))


# -- the envelope ------------------------------------------------------------------------


def _trimmed(event: Event, properties: Json, envelope: "_Envelope", most_bytes: int) -> bytes:
    body = _ENCODER.encode(envelope(event, properties))
    if len(body) < _NOTHING_TOO_LONG:
        return body
    _shorten(properties)
    body = _ENCODER.encode(envelope(event, properties))
    for trim in _TRIMS:
        if len(body) <= most_bytes:
            break
        trim(properties)
        body = _ENCODER.encode(envelope(event, properties))
    return body


# In fewer bytes is no string of Klaviyo's limit, and no array: each item is two bytes at least.
_NOTHING_TOO_LONG = min(MAX_STRING_BYTES, 2 * MAX_ARRAY_ITEMS)

_Envelope = Callable[[Event, Json], Json]

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _envelope(event: Event, properties: Json) -> Json:
    attributes = _attributes(event, properties)
    attributes["profile"] = _profile(event.profile)
    if event.backfill:
        attributes["backfill"] = True
    return {"data": {"type": "event", "attributes": attributes}}


def _bulk_envelope(event: Event, properties: Json) -> Json:
    """Return the entry of a bulk, in which the profile and ``backfill`` stand beside the event."""
    events = [{"type": "event", "attributes": _attributes(event, properties)}]
    attributes: Json = {"profile": _profile(event.profile), "events": {"data": events}}
    if event.backfill:
        attributes["backfill"] = True
    return {"type": "event-bulk-create", "attributes": attributes}


def _attributes(event: Event, properties: Json) -> Json:
    return {
        "properties": properties,
        "metric": {"data": {"type": "metric", "attributes": {"name": event.metric}}},
        "time": event.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": rounded(event.cart.total, event.cart.currency),
        "value_currency": event.cart.currency,
        "unique_id": event.unique_id,
    }


def _profile(profile: Profile) -> Json:
    attributes = {
        "email": profile.email,
        "phone_number": profile.phone_number,
        "external_id": profile.external_id,
        "_kx": profile.kx,
        "first_name": profile.first_name,
        "last_name": profile.last_name,
        "locale": profile.locale,
    }
    named = {name: value for name, value in attributes.items() if value}
    return {"data": {"type": "profile", "attributes": named}}


# -- the properties ----------------------------------------------------------------------


def _properties(event: Event, names: PropertyNames) -> Json:
    items = [_item(item, event.cart.currency) for item in event.cart.items]
    named: Json = {}
    if names is not PropertyNames.FLAT:
        named |= _klaviyo_names(event, items)
    if names is not PropertyNames.KLAVIYO:
        named |= _flat_names(event, items)
    # Klaviyo treats zero, null and "" as never set ("Guide to properties", Help Center).
    return {name: value for name, value in named.items() if value}


def _klaviyo_names(event: Event, items: list[Json]) -> Json:
    """Return the names of Klaviyo's own integrations, which its flow templates read.

    They are those of the Help Center article "Integrate an ecommerce platform without a pre-built
    Klaviyo integration".
    """
    return {
        "CheckoutURL": event.checkout_url,
        "ItemNames": _item_names(event.cart),
        "Categories": _categories(event.cart.items),
        "DiscountCode": ", ".join(event.cart.coupons or ()),
        "Items": items,
    }


def _flat_names(event: Event, items: list[Json]) -> Json:
    cart = event.cart
    amounts = {
        "value": cart.total,
        "subtotal": cart.subtotal,
        "discount": cart.discount,
        "tax": cart.tax,
        "shipping": cart.shipping,
    }
    return {
        **{name: _money(amount, cart.currency) for name, amount in amounts.items()},
        "currency": cart.currency,
        "checkout_url": event.checkout_url,
        "coupon": ", ".join(cart.coupons or ()),
        "cart_id": event.cart_id,
        "item_names": _item_names(cart),
        "items": [dict(item) for item in items],
    }


def _item(item: LineItem, currency: str) -> Json:
    named = {
        "ProductID": str(item.product_id),
        "SKU": item.sku,
        "ProductName": item.name,
        "Variant": item.variant,
        "Quantity": _number(item.quantity),
        "ItemPrice": _money(item.unit_price, currency),
        "RowTotal": _money(item.row_total, currency),
        "ProductURL": item.product_url,
        "ImageURL": item.image_url,
        "ProductCategories": list(item.categories or ()),
    }
    # Here zero stays: a gift's price is read by templates, not by segments.
    return {name: value for name, value in named.items() if value not in (None, "", [])}


def _item_names(cart: Cart) -> list[str]:
    return [item.name for item in cart.items if item.name]


def _categories(items: tuple[LineItem, ...]) -> list[str]:
    return list(dict.fromkeys(category for item in items for category in item.categories or ()))


def _money(amount: Decimal | None, currency: str) -> Decimal | None:
    return None if amount is None else rounded(amount, currency)


def _number(quantity: Decimal) -> Decimal | int:
    return int(quantity) if quantity == quantity.to_integral_value() else quantity


# -- the limits --------------------------------------------------------------------------


def _shorten(properties: Json) -> None:
    """Cut strings and arrays that are longer than Klaviyo takes."""
    for name in [name for name, value in properties.items() if _is_too_long(value)]:
        properties[name] = _cut(properties[name])
        _mark(properties, name)


def _is_too_long(value: Any) -> bool:
    match value:
        case str():
            return len(value) * 4 > MAX_STRING_BYTES and len(value.encode()) > MAX_STRING_BYTES
        case list():
            return len(value) > MAX_ARRAY_ITEMS or any(map(_is_too_long, value))
        case dict():
            return any(map(_is_too_long, value.values()))
    return False


def _cut(value: Any) -> Any:
    match value:
        case str():
            return value.encode()[:MAX_STRING_BYTES].decode(errors="ignore")
        case list():
            return [_cut(element) for element in value[:MAX_ARRAY_ITEMS]]
        case dict():
            return {name: _cut(element) for name, element in value.items()}
    return value


def _mark(properties: Json, *names: str) -> None:
    if names:
        properties["trimmed"] = sorted({*properties.get("trimmed", ()), *names})


def _drop(*names: str) -> Callable[[Json], None]:
    def trim(properties: Json) -> None:
        _mark(properties, *(name for name in names if properties.pop(name, None) is not None))

    return trim


def _drop_from_items(*names: str) -> Callable[[Json], None]:
    def trim(properties: Json) -> None:
        dropped = {
            name
            for item in _items(properties)
            for name in names
            if item.pop(name, None) is not None
        }
        _mark(properties, *dropped)

    return trim


def _halve(name: str) -> Callable[[Json], None]:
    def trim(properties: Json) -> None:
        if name in properties:
            properties[name] = properties[name][: len(properties[name]) // 2]
            _mark(properties, name)

    return trim


def _items(properties: Json) -> Iterator[Json]:
    yield from properties.get("Items", ())
    yield from properties.get("items", ())


# The least important first: what stands twice, what only decorates, then the last lines.
_TRIMS: tuple[Callable[[Json], None], ...] = (
    lambda properties: _drop("items")(properties) if "Items" in properties else None,
    _drop_from_items("ProductCategories"),
    _drop_from_items("ImageURL", "Variant"),
    _drop("item_names"),
    _drop_from_items("ProductURL"),
    _drop("Categories"),
    *(_halve(name) for _ in range(12) for name in ("Items", "items", "ItemNames", "item_names")),
)
