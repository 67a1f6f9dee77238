"""Received: facts as they lie in the inboxes, and the order in which they can be taken in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, takewhile
from operator import itemgetter

from proxy.store.seal import Seal, mark_of, missing

SELECT = (
    "SELECT seq, id, shop, kind, cart_id, received_at, body FROM inbox "
    "WHERE seq > ? ORDER BY seq LIMIT ?"
)
"""The query, after a number and a limit, for the rows that :func:`from_row` reads."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Received:
    """A fact as it lies in an inbox, not yet read, and perhaps sealed.

    ``delayed`` says that it lay elsewhere before, so that younger ones may have come first.
    """

    inbox: str
    seq: int
    id: str
    shop: str
    kind: str
    cart_id: str
    received_at: datetime
    body: bytes
    delayed: bool = False


def from_row(
    inbox: str, row: tuple[int, str, str, str, str, str, bytes], *, delayed: bool = False
) -> Received:
    """Return what *row* of the file named *inbox* holds."""
    seq, fact_id, shop, kind, cart_id, at, body = row
    return Received(
        inbox=inbox,
        seq=seq,
        id=fact_id,
        shop=shop,
        kind=kind,
        cart_id=cart_id,
        received_at=datetime.fromisoformat(at).replace(tzinfo=UTC),
        body=body,
        delayed=delayed,
    )


def unsealed(received: Sequence[Received], seal: Seal) -> Sequence[Received]:
    """Return *received* as they were before they were sealed; a damaged one as it is.

    Raise :exc:`StoreSealed` where *seal* lacks the key of one.
    """
    if lacking := seal.lacks(mark_of(item.body) for item in received):
        raise missing(lacking)
    if not seal.has_keys:
        return received
    return [_opened(item, seal) for item in received]


def _opened(item: Received, seal: Seal) -> Received:
    try:
        return replace(item, body=seal.opened(item.body))
    except ValueError:
        return item  # It cannot be taken in, which is said, and stops no other.


def in_order(each: Sequence[Sequence[Received]], limit: int) -> list[Received]:
    """Return what can be taken in by now of inboxes that were read up to *limit*, oldest first."""
    # Where one has more to come, the others wait: carts and orders count in their order.
    # (The latest time and not the last fact's: a clock may have been set back.)
    backlogs = [max(f.received_at for f in facts) for facts in each if len(facts) == limit]
    until = min(backlogs, default=datetime.max.replace(tzinfo=UTC))
    # A beginning of each inbox, never a selection: its mark moves past all that is before.
    taken = [takewhile(lambda fact: fact.received_at <= until, facts) for facts in each]
    return [fact for _, fact in sorted(chain(*map(_onwards, taken)), key=itemgetter(0))]


def _onwards(facts: Iterable[Received]) -> Iterator[tuple[datetime, Received]]:
    """Yield each of one inbox's *facts* with a time that never goes back, as a clock may."""
    latest = datetime.min.replace(tzinfo=UTC)
    for fact in facts:
        latest = max(latest, fact.received_at)
        yield latest, fact
