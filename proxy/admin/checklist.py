"""Checklist: how a shop and its Klaviyo are set up, and what of it is seen to work."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from proxy.steps import Verdict
from proxy.tallies import What

if TYPE_CHECKING:
    from proxy.admin.surface import Shop
    from proxy.store.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to do: what it is, how, and whether it is seen to be done."""

    title: str
    how: str
    verdict: Verdict
    words: str


_DAY = timedelta(days=1)
_LOOK = "look yourself"


def items(shop: "Shop", reader: "Reader", now: datetime) -> Iterator[Item]:
    """Yield what there is to do, in its order."""
    state_at = _last(reader, shop.name, now, What.RECEIVED, "state")
    yield _look(
        "The snippet is on the checkout page",
        "`checkout-proxy tag` prints its tag; `checkout-proxy doctor --url "
        "https://shop.example.com` looks whether pages reach it.",
    )
    yield _seen(
        "A page posted a state",
        "Open the checkout in a browser and type an address. With `data-debug` on the tag the "
        "console says what happens.",
        state_at,
    )
    yield _seen(
        "A cart was read",
        "`checkout-proxy cart CART_ID` reads one, and says what is wrong with it.",
        _last(reader, shop.name, now, What.SETTLED, None),
    )
    yield _taken(reader, shop)
    yield from _in_klaviyo(shop.metric)


def _taken(reader: "Reader", shop: "Shop") -> Item:
    many = reader.ever(shop.name, What.DELIVERED)
    return Item(
        title="Klaviyo took an event",
        how="It goes by itself when the checkout has settled. The list of checkouts says what "
        "holds one up.",
        verdict=Verdict.PASSED if many else Verdict.WARNED,
        words=f"{many:,} so far" if many else "not yet",
    )


def _in_klaviyo(metric: str) -> Iterator[Item]:
    yield _look(
        f"Klaviyo shows the metric “{metric}”",
        "In Klaviyo: Analytics > Metrics. It is there from the first event on, after some minutes.",
    )
    yield _look(
        "The flow is made",
        f"In Klaviyo: Flows > Create flow, trigger: metric “{metric}”. Filter: `Placed Order` "
        "zero times since starting this flow; else it writes to those who bought. The button in "
        "the mail leads to `{{ event.CheckoutURL }}`.",
    )
    yield _look(
        "The mail looks right",
        "In the flow's message: Preview, with the profile of an address of your own that has "
        "such an event.",
    )
    yield _look(
        "One test event arrived",
        "`checkout-proxy doctor --send-test ADDRESS` sends one, marked as a test, and looks "
        "whether it arrives. It starts the flow as any other does.",
    )


def _look(title: str, how: str) -> Item:
    return Item(title=title, how=how, verdict=Verdict.UNKNOWN, words=_LOOK)


def _seen(title: str, how: str, at: datetime | None) -> Item:
    words = "not in the last day" if at is None else f"last at {at:%H:%M}"
    verdict = Verdict.WARNED if at is None else Verdict.PASSED
    return Item(title=title, how=how, verdict=verdict, words=words)


def _last(
    reader: "Reader", shop: str, now: datetime, what: What, detail: str | None
) -> datetime | None:
    found = reader.minutes(shop, now - _DAY, [(what, detail)], until=now, limit=1)
    return found[0] if found else None
