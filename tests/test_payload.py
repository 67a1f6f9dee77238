"""The event's body says what the shop's cart says, to the last digit, and Klaviyo can take it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_client.models.event_create_query_v2 import EventCreateQueryV2

from proxy import payload
from proxy.carts.cart import Cart, LineItem
from proxy.identity import Profile
from proxy.payload import Event, PropertyNames
from proxy.sandbox import create_event
from proxy.sandbox.refusals import Refused

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
REVISION = date(2026, 7, 15)

Json = dict[str, Any]

JANE = Profile(
    email="jane@shop-demo.io",
    phone_number="+4930123456",
    external_id="17",
    first_name="Jane",
    last_name="Doe",
    locale="de-AT",
)
TEA = LineItem(
    product_id="tea-1",
    name="Green tea",
    quantity=Decimal(2),
    unit_price=Decimal("24.95"),
    row_total=Decimal("49.90"),
    sku="TEA-1",
    variant="100 g",
    product_url="https://shop-demo.io/tea",
    image_url="https://shop-demo.io/tea.jpg",
    categories=("Tea", "Green"),
)
CUP = LineItem(
    product_id=42, name="Cup", quantity=Decimal("0.5"), unit_price=Decimal(0), categories=("Cups",)
)
CART = Cart(
    currency="EUR",
    total=Decimal("44.9"),
    items=(TEA, CUP),
    subtotal=Decimal("49.90"),
    discount=Decimal(5),
    tax=Decimal("7.17"),
    shipping=Decimal(0),
    coupons=("TEA10",),
)
EVENT = Event(
    metric="Started Checkout",
    profile=JANE,
    cart=CART,
    cart_id="c-1",
    checkout_url="https://shop-demo.io/pay",
    unique_id="c-1_1795348800",
    time=NOON,
)


def cart(**changes: Any) -> Cart:
    return msgspec.structs.replace(CART, **changes)


def tea(**changes: Any) -> LineItem:
    return msgspec.structs.replace(TEA, **changes)


def with_cart(**changes: Any) -> Event:
    return replace(EVENT, cart=cart(**changes))


def text(event: Event, names: PropertyNames = PropertyNames.BOTH) -> str:
    return payload.encode(event, names).decode()


def attributes(event: Event, names: PropertyNames = PropertyNames.BOTH) -> Json:
    """Return the event's attributes, with every figure as it is written."""
    body = json.loads(payload.encode(event, names), parse_float=str, parse_int=str)
    return dict(body["data"]["attributes"])


def properties(event: Event, names: PropertyNames = PropertyNames.BOTH) -> Json:
    return dict(attributes(event, names)["properties"])


def judged(body: bytes) -> create_event.EventAttributes:
    """Return the event as Klaviyo's SDK and the sandbox both accept it."""
    EventCreateQueryV2.model_validate_json(body)
    return create_event.read(body, revision=REVISION, now=NOON)


# -- the envelope ------------------------------------------------------------------------

ITEMS: list[Json] = [
    {
        "ProductID": "tea-1",
        "SKU": "TEA-1",
        "ProductName": "Green tea",
        "Variant": "100 g",
        "Quantity": "2",
        "ItemPrice": "24.95",
        "RowTotal": "49.90",
        "ProductURL": "https://shop-demo.io/tea",
        "ImageURL": "https://shop-demo.io/tea.jpg",
        "ProductCategories": ["Tea", "Green"],
    },
    {
        "ProductID": "42",
        "ProductName": "Cup",
        "Quantity": "0.5",
        "ItemPrice": "0.00",
        "ProductCategories": ["Cups"],
    },
]
KLAVIYO_NAMES: Json = {
    "CheckoutURL": "https://shop-demo.io/pay",
    "ItemNames": ["Green tea", "Cup"],
    "Categories": ["Tea", "Green", "Cups"],
    "DiscountCode": "TEA10",
    "Items": ITEMS,
}
FLAT_NAMES: Json = {
    "value": "44.90",
    "subtotal": "49.90",
    "discount": "5.00",
    "tax": "7.17",
    "currency": "EUR",
    "checkout_url": "https://shop-demo.io/pay",
    "coupon": "TEA10",
    "cart_id": "c-1",
    "item_names": ["Green tea", "Cup"],
    "items": ITEMS,
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [("both", KLAVIYO_NAMES | FLAT_NAMES), ("klaviyo", KLAVIYO_NAMES), ("flat", FLAT_NAMES)],
)
def test_the_body_is_klaviyo_s_envelope_member_by_member(names: str, expected: Json) -> None:
    body = json.loads(payload.encode(EVENT, PropertyNames(names)), parse_float=str, parse_int=str)

    assert body == {
        "data": {
            "type": "event",
            "attributes": {
                "properties": expected,
                "metric": {"data": {"type": "metric", "attributes": {"name": "Started Checkout"}}},
                "profile": {
                    "data": {
                        "type": "profile",
                        "attributes": {
                            "email": "jane@shop-demo.io",
                            "phone_number": "+4930123456",
                            "external_id": "17",
                            "first_name": "Jane",
                            "last_name": "Doe",
                            "locale": "de-AT",
                        },
                    }
                },
                "time": "2026-11-22T12:00:00Z",
                "value": "44.90",
                "value_currency": "EUR",
                "unique_id": "c-1_1795348800",
            },
        }
    }


@pytest.mark.parametrize("names", PropertyNames)
def test_klaviyo_takes_it_under_any_names(names: PropertyNames) -> None:
    event = judged(payload.encode(EVENT, names))

    assert event.unique_id == "c-1_1795348800"
    assert event.value == 44.9


def test_whoever_is_known_by_kx_alone_is_told_under_klaviyo_s_name() -> None:
    event = replace(EVENT, profile=Profile(kx="abc.SITEID"))

    assert attributes(event)["profile"]["data"]["attributes"] == {"_kx": "abc.SITEID"}


def test_a_profile_without_its_telephone_number_is_the_same_event() -> None:
    spared = payload.without_phone_number(EVENT)

    assert spared == replace(EVENT, profile=replace(JANE, phone_number=None))
    assert "phone_number" not in text(spared)


def test_backfill_is_said_only_where_it_is_true() -> None:
    assert "backfill" not in text(EVENT)
    assert '"backfill":true' in text(replace(EVENT, backfill=True))
    assert judged(payload.encode(replace(EVENT, backfill=True))).backfill is True


@pytest.mark.parametrize(
    "time",
    [
        NOON.replace(microsecond=999_999),
        NOON.astimezone(timezone(timedelta(hours=14))),
        NOON.astimezone(timezone(timedelta(hours=-3, minutes=-30))),
    ],
)
def test_the_time_is_utc_to_the_second(time: datetime) -> None:
    assert attributes(replace(EVENT, time=time))["time"] == "2026-11-22T12:00:00Z"


FLAT_ENVELOPES: list[Json] = [
    {
        "token": "SITEID",
        "event": "Started Checkout",
        "customer_properties": {"$email": "jane@shop-demo.io"},
        "properties": {"$event_id": "c-1_1795348800", "$value": 44.9, "ItemNames": ["Green tea"]},
        "time": 1795348800,
    },
    {
        "metric": {"name": "Started Checkout"},
        "profile": {"email": "jane@shop-demo.io"},
        "properties": {"cart_id": "c-1", "value": 44.9, "currency": "EUR"},
        "time": "2026-11-22T12:00:00Z",
        "unique_id": "c-1",
    },
    {
        "data": {
            "type": "event",
            "attributes": {
                "metric": {"name": "Started Checkout"},
                "profile": {"$email": "jane@shop-demo.io"},
                "properties": {"cart_id": "c-1", "value": 44.9},
            },
        }
    },
]


@pytest.mark.parametrize("flat", FLAT_ENVELOPES, ids=["track", "flat", "flat in data"])
def test_the_flat_envelopes_of_old_articles_are_refused(flat: Json) -> None:
    body = json.dumps(flat).encode()

    with pytest.raises(ValueError, match="Field required"):
        EventCreateQueryV2.model_validate_json(body)
    with pytest.raises(Refused):
        create_event.read(body, revision=REVISION, now=NOON)


# -- what is left out, and what stays ----------------------------------------------------

BARE = Cart(
    currency="EUR",
    total=Decimal(0),
    items=(LineItem(product_id="t", name="", quantity=Decimal(1), unit_price=Decimal(0)),),
)


def test_what_is_unknown_zero_or_empty_is_left_out_of_the_properties() -> None:
    zeros = {"subtotal": Decimal(0), "discount": Decimal("0.00"), "tax": Decimal("0.004")}
    event = replace(EVENT, cart=msgspec.structs.replace(BARE, **zeros), checkout_url=None)

    assert set(properties(event)) == {"Items", "items", "currency", "cart_id"}


def test_a_free_cart_is_worth_zero_and_not_unknown() -> None:
    event = replace(EVENT, cart=BARE)

    assert attributes(event)["value"] == "0.00"
    assert judged(payload.encode(event)).value == 0


def test_a_gift_costs_zero_and_says_so() -> None:
    (item,) = properties(replace(EVENT, cart=BARE))["Items"]

    assert item == {"ProductID": "t", "Quantity": "1", "ItemPrice": "0.00"}


def test_several_coupons_are_told_in_one_property() -> None:
    named = properties(with_cart(coupons=("TEA10", "WELCOME")))

    assert named["DiscountCode"] == named["coupon"] == "TEA10, WELCOME"


def test_a_category_of_many_lines_is_told_once_in_the_order_of_the_cart() -> None:
    items = (tea(categories=("Tea", "Sale")), tea(categories=("Cups", "Tea")))

    assert properties(with_cart(items=items))["Categories"] == ["Tea", "Sale", "Cups"]


# -- money -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "total", "written"),
    [
        ("EUR", "44.9", "44.90"),
        ("EUR", "0", "0.00"),
        ("EUR", "0.005", "0.01"),
        ("EUR", "1E+3", "1000.00"),
        ("EUR", "0.30000000000000004", "0.30"),
        ("EUR", "999999999999999.99", "999999999999999.99"),
        ("EUR", "1E-30", "0.00"),
        ("JPY", "1234", "1234"),
        ("JPY", "1234.5", "1235"),
        ("KWD", "1.2345", "1.235"),
        ("CLF", "1.5", "1.5000"),
    ],
)
def test_the_total_is_written_with_the_currency_s_own_decimals(
    currency: str, total: str, written: str
) -> None:
    event = with_cart(currency=currency, total=Decimal(total))

    assert f'"value":{written},"value_currency":"{currency}"' in text(event)
    judged(payload.encode(event))


def test_amounts_never_pass_through_a_float() -> None:
    sum_of_dimes = Decimal("0.1") + Decimal("0.2")
    large = Decimal("900719925474099.31")  # More digits than a float has.
    event = with_cart(total=sum_of_dimes, items=(tea(unit_price=large),))

    assert '"value":0.30,' in text(event)
    assert '"ItemPrice":900719925474099.31,' in text(event)


def test_a_discount_line_costs_less_than_nothing() -> None:
    event = with_cart(items=(TEA, tea(unit_price=Decimal(-5), row_total=Decimal("-5"))))

    assert '"ItemPrice":-5.00,"RowTotal":-5.00,' in text(event)
    judged(payload.encode(event))


@pytest.mark.parametrize(
    ("quantity", "written"), [("2", "2"), ("2.0", "2"), ("1E+2", "100"), ("0.750", "0.750")]
)
def test_a_quantity_is_whole_where_it_can_be(quantity: str, written: str) -> None:
    event = with_cart(items=(tea(quantity=Decimal(quantity)),))

    assert f'"Quantity":{written},' in text(event)


@settings(max_examples=100)
@given(st.decimals(0, 10**12, places=2), st.sampled_from(["EUR", "USD"]))
def test_an_amount_in_cents_comes_out_as_it_went_in(total: Decimal, currency: str) -> None:
    assert attributes(with_cart(total=total, currency=currency))["value"] == f"{total:.2f}"


# -- limits ------------------------------------------------------------------------------


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for element in value:
                yield from strings(element)
        case dict():
            for element in value.values():
                yield from strings(element)


@pytest.mark.parametrize("letter", ["x", "ä", "€", "🍵", "\x01"])
def test_a_string_is_cut_at_100_kb_and_named(letter: str) -> None:
    event = with_cart(items=(tea(name=letter * 100_000, sku=letter * 100_001),))

    named = judged(payload.encode(event, PropertyNames.KLAVIYO)).properties

    longest = max(strings(named["Items"]), key=lambda text: len(text.encode()))
    assert 100_000 - 4 < len(longest.encode()) <= 100_000
    assert set(longest) == {letter}
    assert "Items" in named["trimmed"]


def test_coupons_that_are_too_long_together_are_cut() -> None:
    event = with_cart(coupons=("x" * 60_000, "y" * 60_000))

    named = judged(payload.encode(event)).properties

    assert len(named["coupon"]) == len(named["DiscountCode"]) == 100_000
    assert named["trimmed"] == ["DiscountCode", "coupon"]


def test_a_cart_of_thousands_of_lines_keeps_its_first_4000() -> None:
    items = tuple(
        LineItem(product_id=n, name=f"{n}", quantity=Decimal(1), unit_price=Decimal(1))
        for n in range(10_000)
    )

    named = judged(payload.encode(with_cart(items=items))).properties

    assert named["item_names"] == named["ItemNames"] == [f"{n}" for n in range(4_000)]
    assert [item["ProductID"] for item in named["Items"]] == named["ItemNames"]
    assert named["trimmed"] == ["ItemNames", "Items", "item_names", "items"]


def test_a_line_of_thousands_of_categories_keeps_its_first_4000() -> None:
    categories = tuple(f"{n}" for n in range(4_001))

    named = judged(payload.encode(with_cart(items=(tea(categories=categories),)))).properties

    assert named["Categories"] == named["Items"][0]["ProductCategories"] == list(categories[:-1])


def test_what_is_at_a_limit_is_not_touched() -> None:
    event = with_cart(items=tuple(tea(name="n") for _ in range(4_000)), coupons=("x" * 100_000,))

    named = judged(payload.encode(event, PropertyNames.KLAVIYO)).properties

    assert "trimmed" not in named


def crowded(lines: int, filler: str) -> Event:
    """Return an event of so many lines, each with *filler* in everything that may be dropped."""
    items = (
        tea(
            product_id=n,
            name=f"{n}",
            sku=None,
            variant=filler,
            image_url=f"https://shop-demo.io/{filler}",
            product_url=f"https://shop-demo.io/{filler}",
            categories=(f"{n} {filler}",),
        )
        for n in range(lines)
    )
    return with_cart(items=tuple(items))


@pytest.mark.parametrize(
    ("size", "trimmed"),
    [
        (100, ""),
        (200, "items"),
        (320, "items ProductCategories"),
        (500, "items ProductCategories ImageURL Variant"),
        (760, "items ProductCategories ImageURL Variant item_names"),
        (1_000, "items ProductCategories ImageURL Variant item_names ProductURL"),
        (1_600, "items ProductCategories ImageURL Variant item_names ProductURL Categories"),
    ],
)
def test_a_body_of_5_mb_loses_the_least_important_first(size: int, trimmed: str) -> None:
    named = judged(payload.encode(crowded(3_000, "x" * size))).properties

    assert named.get("trimmed", []) == sorted(trimmed.split())
    assert not set(trimmed.split()) & (set(named) | set(named["Items"][0]))
    assert len(named["Items"]) == len(named["ItemNames"]) == 3_000
    assert set(named["Items"][0]) >= {"ProductID", "ProductName", "Quantity", "ItemPrice"}


@pytest.mark.parametrize("letter", ["\x01", "🍵"])
def test_at_last_the_last_lines_are_left_out_and_the_event_is_not(letter: str) -> None:
    items = tuple(tea(name=f"{n} " + letter * 20_000) for n in range(100))

    event = judged(payload.encode(with_cart(items=items)))

    assert event.value == 44.9
    assert 1 < len(event.properties["Items"]) < 100
    assert event.properties["Items"][0]["ProductName"].startswith("0 ")
    assert "Items" in event.properties["trimmed"]


@pytest.mark.parametrize(("over", "trimmed"), [(0, None), (1, ["items"])])
def test_a_body_of_5_mb_to_the_byte_is_not_touched(over: int, trimmed: list[str] | None) -> None:
    bulk = tuple(tea(variant="x" * 92_000) for _ in range(27))
    missing = payload.MAX_BYTES - len(payload.encode(with_cart(items=bulk)))
    assert 0 < missing < 100_000
    rest = "c" * (len(EVENT.cart_id) + missing + over)

    named = judged(payload.encode(replace(with_cart(items=bulk), cart_id=rest))).properties

    assert named.get("trimmed") == trimmed


@pytest.mark.parametrize("names", PropertyNames)
def test_the_largest_of_everything_is_still_an_event(names: PropertyNames) -> None:
    heavy = "\x01" * 100_000  # Six bytes each in JSON.
    items = tuple(
        tea(product_id=n, name=f"{n}{heavy}", categories=(heavy,), sku=heavy) for n in range(6)
    )

    body = payload.encode(with_cart(items=items, coupons=(heavy, heavy)), names)

    assert len(body) <= 5_000_000
    assert judged(body).unique_id == "c-1_1795348800"


# -- whatever the cart -------------------------------------------------------------------

AMOUNTS = st.decimals(-(10**15) + 1, 10**15 - 1, allow_nan=False, allow_infinity=False)
POSITIVE = AMOUNTS.map(abs)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
URLS = st.from_regex(r"\Ahttps?://[a-z]{1,9}\.io/[!-~]{0,9}\Z")


@st.composite
def line_items(draw: st.DrawFn) -> LineItem:
    return LineItem(
        product_id=draw(st.integers(-(2**63), 2**64) | TEXTS.filter(bool)),
        name=draw(TEXTS),
        quantity=draw(POSITIVE.filter(bool)),
        unit_price=draw(AMOUNTS),
        row_total=draw(st.none() | AMOUNTS),
        sku=draw(st.none() | TEXTS),
        variant=draw(st.none() | TEXTS),
        product_url=draw(st.none() | URLS),
        image_url=draw(st.none() | URLS),
        categories=tuple(draw(st.lists(TEXTS, max_size=3))),
    )


@st.composite
def carts(draw: st.DrawFn) -> Cart:
    maybe = st.none() | AMOUNTS
    return Cart(
        currency=draw(st.sampled_from(["EUR", "USD", "JPY", "KWD", "CLF", "RSD", "ISK"])),
        total=draw(POSITIVE),
        items=tuple(draw(st.lists(line_items(), max_size=4))),
        subtotal=draw(maybe),
        discount=draw(maybe),
        tax=draw(maybe),
        shipping=draw(maybe),
        coupons=tuple(draw(st.lists(TEXTS, max_size=3))),
    )


def profiles() -> st.SearchStrategy[Profile]:
    return st.builds(
        Profile,
        email=st.none() | st.from_regex(r"\A[a-z0-9.+-]{1,20}@[a-z]{1,20}\.[a-z]{2,5}\Z"),
        phone_number=st.none() | st.sampled_from(["+4930123456", "+12125550100"]),
        external_id=st.none() | TEXTS,
        kx=st.none() | st.from_regex(r"\A[!-~]{1,50}\Z"),
        first_name=st.none() | TEXTS,
        last_name=st.none() | TEXTS,
        locale=st.none() | st.sampled_from(["de", "de-AT", "en_US"]),
    ).filter(lambda profile: not profile.is_nobody)


@settings(max_examples=50)
@given(
    cart=carts(),
    profile=profiles(),
    names=st.sampled_from(PropertyNames),
    late=st.booleans(),
    checkout_url=st.none() | URLS,
    cart_id=TEXTS.filter(bool),
)
def test_klaviyo_takes_whatever_a_shop_can_say(
    cart: Cart, names: PropertyNames, *, late: bool, **more: Any
) -> None:
    event = replace(EVENT, cart=cart, backfill=late, **more)

    taken = judged(payload.encode(event, names))

    assert taken.profile.data.attributes.email == (event.profile.email or None)
    assert taken.value is not None
    assert abs(Decimal(taken.value) - cart.total) <= 1
    assert len(taken.properties.get("Items", taken.properties.get("items", []))) == len(cart.items)


@settings(max_examples=40)
@given(
    lines=st.integers(1, 60),
    letter=st.sampled_from(["x", "ä", "🍵", '"', "\x00"]),
    length=st.integers(0, 40_000),
    names=st.sampled_from(PropertyNames),
)
def test_whatever_the_size_klaviyo_takes_it(
    lines: int, letter: str, length: int, names: PropertyNames
) -> None:
    items = tuple(tea(product_id=n, name=letter * length, sku=letter) for n in range(lines))

    body = payload.encode(with_cart(items=items), names)

    assert len(body) <= payload.MAX_BYTES
    assert judged(body).value_currency == "EUR"


# -- in bulk -----------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(1, 3_000_000) | st.integers(1, 2_000), max_size=1_500))
def test_bulks_keep_within_klaviyos_limits_and_leave_nobody_out(sizes: list[int]) -> None:
    parts = list(payload.bulks(sizes))

    assert [size for part in parts for size in sizes[part]] == sizes
    for part in parts:
        assert 1 <= len(sizes[part]) <= 1_000
        assert len(payload.bulk([b"1" * size for size in sizes[part]])) <= 5_000_000


def test_no_bulk_could_have_taken_one_more() -> None:
    assert len(list(payload.bulks([1_200] * 2_000))) == 2
    assert len(list(payload.bulks([10_000] * 2_000))) == 5


def test_the_largest_event_goes_into_a_bulk_by_itself() -> None:
    item = LineItem(
        product_id=1, name="T" * 90_000, quantity=Decimal(1), unit_price=Decimal(1), sku="x" * 9_000
    )
    huge = cart(items=(item,) * 99)

    entry, _ = payload.bulk_entry(replace(EVENT, cart=huge))

    assert len(entry) > 1_000_000
    assert len(payload.bulk([entry])) <= 5_000_000
