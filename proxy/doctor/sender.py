"""Sender: whether one is at work on the account, and whether Klaviyo lets it send."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from proxy.doctor import book
from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.store import Store


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield whether somebody holds the account, and how it stands with Klaviyo."""
    if why := book.closed(setup):
        yield skipped("sender", why)
        return
    yield _at_work(setup.store, setup.settings.shop)
    yield from _standing(setup.store, setup.settings.shop)


def _at_work(store: Store, shop: str) -> Finding:
    if store.has_sender(shop):
        return well("sender", f"a sender is at work on the account of {shop}")
    return warning(
        "sender",
        "no sender is at work: nothing is sent, and nothing is lost",
        "`systemctl status checkout-proxy`; `serve --web-only` wants a `work` beside it.",
    )


def _standing(store: Store, shop: str) -> Iterator[Finding]:
    with closing(store.book()) as opened:
        standing, due_at = opened.standing(shop), opened.oldest_due(shop)
    now = datetime.now(UTC)
    if standing.waits(now) and standing.stopped:
        remedy = "`--only klaviyo` tells a key that is refused from a scope that is missing."
        yield wrong("sending", f"sending is stopped: {standing.reason}", remedy)
    elif standing.waits(now):
        yield warning("sending", f"sending waits: {standing.reason}", "It goes on by itself.")
    elif due_at is not None and due_at < now - _LATE:
        minutes = (now - due_at).total_seconds() / 60
        words = f"the oldest checkout has been due for {minutes:.0f} minutes"
        yield warning("sending", words, "See the log of the sender, and `checkout-proxy status`.")


# A bulk takes seconds, and a shop that does not answer is asked again within a quarter of an hour.
_LATE = timedelta(minutes=20)
