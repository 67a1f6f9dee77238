"""Setbacks: a clock that was set back, and what was written before it was."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from proxy.checkouts import Checkout

# The inboxes of several web workers are read within a moment of each other.
INBOXES_APART = timedelta(minutes=1)


def is_ahead(at: datetime, now: datetime) -> bool:
    """Tell whether *at* is so far after *now* that it was told by a clock set back meanwhile."""
    return at - now > INBOXES_APART


def was_before(at: datetime, received_at: datetime, *, delayed: bool) -> bool:
    """Tell whether what was at *at* was before a fact that was received at *received_at*.

    What seems to have been far later was under a clock that has been set back meanwhile, unless
    the fact was *delayed* on its way to us.
    """
    return at <= received_at or (is_ahead(at, received_at) and not delayed)


def found_at(checkouts: Sequence[Checkout], received_at: datetime) -> Sequence[Checkout]:
    """Return *checkouts* as a fact finds them that was received at *received_at*.

    Facts come in the order in which they were received. What seems to be far later than this one
    was written under a clock that has been set back meanwhile: it came before.
    """
    ahead = (n for n, each in enumerate(checkouts, 1) if is_ahead(_last_heard(each), received_at))
    # What is older than one that came before came before as well.
    before = max(ahead, default=0)
    back = [brought_back(each, received_at - INBOXES_APART) for each in checkouts[:before]]
    return [*back, *checkouts[before:]]


def _last_heard(checkout: Checkout) -> datetime:
    times = (checkout.acted_at, checkout.heard_at, checkout.ordered_at)
    return max(at for at in times if at is not None)


def brought_back(checkout: Checkout, now: datetime) -> Checkout:
    """Return *checkout* with no time after *now*, under a clock that was set back.

    Its epoch and its ``unique_id`` stay: they say which event it is, and not when.
    """
    return replace(
        checkout,
        acted_at=min(checkout.acted_at, now),
        settled_at=min(checkout.settled_at, now),
        heard_at=_earlier(checkout.heard_at, now),
        due_at=_earlier(checkout.due_at, now),
        ordered_at=_earlier(checkout.ordered_at, now),
        erased_at=_earlier(checkout.erased_at, now),
        troubled_at=_earlier(checkout.troubled_at, now),
        retry_at=_earlier(checkout.retry_at, now),
        latest=checkout.latest.not_after(now),
        consent=checkout.consent and replace(checkout.consent, at=min(checkout.consent.at, now)),
    )


def _earlier(at: datetime | None, now: datetime) -> datetime | None:
    return None if at is None else min(at, now)
