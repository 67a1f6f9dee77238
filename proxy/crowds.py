"""Crowds: how many checkouts of one client, or of one address, are too many to be a shopper's."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta

from proxy import budgets

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many checkouts have the same *column* at *most* within a time, before and after each.

    Where it *spares_vouched*, it keeps none back whose address the shop's token vouches for.
    """

    column: str
    most: int
    within: timedelta
    reason: str
    spares_vouched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """How many checkouts are believed of one client in an hour, of one address in a day; 0: any."""

    client: int = 20
    address: int = 10

    def limits(self) -> Iterator[Limit]:
        """Yield what is to be looked at."""
        client, address = self.client, self.address
        if client:
            reason = f"more than {client} checkouts of one client within an hour"
            yield Limit(column="client", most=client, within=_HOUR, reason=reason)
        if address:
            reason = f"more than {address} checkouts of one address within a day"
            # Else whoever types Jane's address in many carts would keep Jane's own cart back.
            yield Limit(
                column="address_hash",
                most=address,
                within=24 * _HOUR,
                reason=reason,
                spares_vouched=True,
            )


ANY = Crowd(client=0, address=0)


def parsed(text: str) -> Crowd:
    """Return what *text* says, ``client=20 address=10``, or raise :exc:`ValueError`."""
    return Crowd(**budgets.numbers(text, asdict(Crowd())))
