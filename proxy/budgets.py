"""Budgets: how much may be posted in a minute, under one token, for one cart, by one client."""

import time
from array import array
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

from proxy.errors import TooMany

_SECONDS = 60.0
_PLACES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many states may be posted in a minute, of one token, cart, address or client; 0: any.

    That of an address is each client's own: else a stranger who names it could use it up.
    """

    token: int = 120
    cart: int = 120
    address: int = 60
    client: int = 600


class Budgets:
    """What is left of *budget*, in this process and from any number of threads.

    A budget may be spent at once, and comes back evenly over a minute.
    """

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        most_of = asdict(budget)
        self._tables = [(name, _Table(most_of[name])) for name in _ORDER if most_of[name]]

    def spend(self, shop: str, **of: Hashable) -> None:
        """Count one state of each of these in *shop*, if there is one; or raise :exc:`TooMany`."""
        # Python's hashes have a secret of this process in them: nobody learns whose place is whose.
        now, ours = self._clock(), hash(shop)
        for name, table in self._tables:
            if (one := of[name]) and (wait := table.take(hash(one) ^ ours, now)) > 0:
                raise TooMany(name, retry_after=timedelta(seconds=wait))


# Who is refused as a client has used up nothing that others have a part in.
_ORDER = ("client", "token", "cart", "address")


class _Table:
    """When the budget of each will be back, which is all that is kept, in a table of fixed size.

    Two that share a place would share a budget, so each has two, and one that is free is enough.
    """

    __slots__ = ("_back_at", "_pause")

    def __init__(self, most: int) -> None:
        self._pause = _SECONDS / most
        # Before the first moment of any clock.
        self._back_at = array("d", [-_SECONDS]) * _PLACES

    def take(self, number: int, now: float) -> float:
        """Take one of what *number* has left; return how many seconds it is until there is any."""
        table = self._back_at
        first, second = number % _PLACES, number // _PLACES % _PLACES
        one_at, other_at = table[first], table[second]
        # Written out: each call of min() or max() would take as long as all the rest.
        back_at = one_at if one_at < other_at else other_at
        back_at = (back_at if back_at > now else now) + self._pause
        if back_at > now + _SECONDS + _ROUNDING:
            return back_at - now - _SECONDS
        # What another has in the same place is not given back.
        if one_at < back_at:
            table[first] = back_at
        if other_at < back_at:
            table[second] = back_at
        return 0.0


# So that the last of a budget is not lost to it.
_ROUNDING = 1e-6


def parsed(text: str) -> Budget:
    """Return the budget that *text* says, ``token=120 client=600``, or raise :exc:`ValueError`."""
    return Budget(**numbers(text, asdict(Budget())))


def numbers(text: str, usual: Mapping[str, int]) -> dict[str, int]:
    """Return *usual* with what *text* says of it, or raise :exc:`ValueError`."""
    said = dict(usual)
    for word in text.replace(",", " ").split():
        name, _, number = word.partition("=")
        if name not in usual or not (number.isascii() and number.isdecimal()) or len(number) > 9:
            example = " ".join(f"{name}={most}" for name, most in usual.items())
            raise ValueError(f"is a list such as {example}, where 0 is any number, and not {word}")
        said[name] = int(number)
    return said
