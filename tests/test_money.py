"""Amounts come in exact, and are rounded once, on the way out."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.money import check_amount, check_currency, rounded

_CURRENCIES = {"JPY": 0, "USD": 2, "EUR": 2, "HUF": 2, "RSD": 2, "KWD": 3, "IQD": 3, "CLF": 4}

_amounts = st.decimals(
    Decimal(-(10**15)), Decimal(10**15), allow_nan=False, allow_infinity=False
).filter(lambda amount: abs(amount) < 10**15)


@pytest.mark.parametrize(("currency", "decimals"), _CURRENCIES.items())
def test_an_amount_has_as_many_decimals_as_iso_4217_gives_its_currency(
    currency: str, decimals: int
) -> None:
    amount = rounded(Decimal("7"), currency)

    assert amount == 7
    assert amount.as_tuple().exponent == -decimals


@pytest.mark.parametrize(
    ("amount", "currency", "out"),
    [
        ("0.005", "USD", "0.01"),
        ("-0.005", "USD", "-0.01"),
        ("2.675", "USD", "2.68"),
        ("2.665", "USD", "2.67"),
        ("2.6649999999999999999999999999999999", "USD", "2.66"),
        ("0.5", "JPY", "1"),
        ("1.5", "JPY", "2"),
        ("2.5", "JPY", "3"),
        ("-2.5", "JPY", "-3"),
        ("1.0005", "KWD", "1.001"),
        ("1.00005", "CLF", "1.0001"),
        ("999999999999999.99", "USD", "999999999999999.99"),
        ("1E-999999999", "USD", "0.00"),
        ("0E+999999999", "USD", "0.00"),
    ],
)
def test_half_a_unit_goes_away_from_zero(amount: str, currency: str, out: str) -> None:
    assert str(rounded(Decimal(amount), currency)) == out


@given(_amounts, st.sampled_from(list(_CURRENCIES)))
def test_rounding_moves_an_amount_by_half_a_unit_at_most(amount: Decimal, currency: str) -> None:
    unit = Decimal(1).scaleb(-_CURRENCIES[currency])

    assert abs(rounded(amount, currency) - amount) <= unit / 2


@given(_amounts, st.sampled_from(list(_CURRENCIES)))
def test_what_was_rounded_once_stays_as_it_is(amount: Decimal, currency: str) -> None:
    once = rounded(amount, currency)

    assert str(rounded(once, currency)) == str(once)


@given(st.integers(-(10**14), 10**14), st.sampled_from(list(_CURRENCIES)))
def test_what_has_the_right_decimals_comes_out_as_it_went_in(units: int, currency: str) -> None:
    amount = Decimal(units).scaleb(-_CURRENCIES[currency])

    assert rounded(amount, currency) == amount


@pytest.mark.parametrize(
    "code", ["eur", "Eur", "EU", "EURO", "", " EUR", "€", "XAU", "XXX", "XTS", "BTC", "DEM"]
)
def test_what_no_shop_sells_in_is_no_currency(code: str) -> None:
    with pytest.raises(ValueError, match="currency must be an ISO 4217 code in capitals"):
        check_currency(code)


@pytest.mark.parametrize("code", _CURRENCIES)
def test_what_shops_sell_in_is_a_currency(code: str) -> None:
    check_currency(code)


@pytest.mark.parametrize("amount", ["0", "-0", "0.01", "-999999999999999.99", "1E-999999999"])
def test_an_amount_below_ten_to_the_fifteenth_is_let_in(amount: str) -> None:
    check_amount("total", Decimal(amount))


@pytest.mark.parametrize(
    "amount",
    [
        "1E+15",
        "-1E+15",
        "1000000000000000",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "1E+999999",
        "1E+999999999999",
    ],
)
def test_what_no_basket_costs_is_refused_with_its_name(amount: str) -> None:
    with pytest.raises(ValueError, match="total must be an amount below 10\\^15"):
        check_amount("total", Decimal(amount))
