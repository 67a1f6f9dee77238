"""Money: exact amounts in, one rounding out."""

import re
from decimal import ROUND_HALF_UP, Decimal

from iso4217 import Currency
from msgspec import Struct

_MAX_DIGITS = 15


class Amount(Struct, frozen=True):
    """So much of a currency, in its major unit."""

    value: Decimal
    currency: str


def check_amount(name: str, amount: Decimal) -> None:
    """Raise :exc:`ValueError` unless *amount* is finite and below 10^15 either way."""
    # Not abs(): a number such as 1e999999999 would overflow in it.
    if not amount.is_finite() or (amount and amount.adjusted() >= _MAX_DIGITS):
        raise ValueError(f"{name} must be an amount below 10^{_MAX_DIGITS}, got {amount!s:.30}")


def check_currency(code: str) -> None:
    """Raise :exc:`ValueError` unless *code* is an ISO 4217 code in capitals."""
    if code not in _EXPONENTS:
        got = f", got {code!r}" if len(code) <= 4 else ""
        raise ValueError(f"currency must be an ISO 4217 code in capitals{got}")


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Return *amount* with as many decimals as ISO 4217 gives *currency*, half away from zero."""
    exact = amount.quantize(Decimal(1).scaleb(-_EXPONENTS[currency]), ROUND_HALF_UP)
    return exact + 0  # takes the sign off a zero


# ISO 4217 gives no exponent for gold, test codes and the like: no shop sells in them.
# CLDR (babel) is not the source here: it rounds RSD, IQD and eleven others as people do in
# cash, not as the standard says.
_EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}


def exponent_of(currency: str) -> int | None:
    """Return how many decimals ISO 4217 gives *currency*, ``None`` where it knows no such one."""
    return _EXPONENTS.get(currency)


def in_minor_units(amount: Decimal, currency: str) -> int:
    """Return *amount*, rounded, as a whole number of the smallest unit of *currency*."""
    return int(rounded(amount, currency).scaleb(_EXPONENTS[currency]))


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of *currency* by ISO 4217, in its major unit."""
    return Decimal(1).scaleb(-_EXPONENTS[currency])


def as_amount(said: int | str | Decimal) -> Decimal | None:
    """Return *said* as a number, or ``None`` where it is none, or has more digits than amounts do.

    A text is plain: without an exponent, which a number may be written with.
    """
    if isinstance(said, Decimal):
        is_amount = said.is_finite() and said.adjusted() < _MAX_DIGITS and _places(said) <= 30
        return said if is_amount else None
    return Decimal(said) if _AMOUNT.fullmatch(str(said)) else None


def _places(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


_AMOUNT = re.compile(r"-?\d{1,15}(\.\d{1,30})?", re.ASCII)
