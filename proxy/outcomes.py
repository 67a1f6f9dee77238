"""Outcomes: what becomes of a checkout after an attempt to send it, as pure functions too.

Facts go on coming in while an attempt is under way, so each of these takes the checkout as it
stands when the attempt has ended.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from proxy import consents
from proxy.checkouts import Checkout, Rules, Status, Trouble, erased_if_closed, untroubled, when_due
from proxy.claims import Compared
from proxy.consents import Decided, Permission
from proxy.identity import Profile
from proxy.money import Amount

_PATIENCE = {Trouble.NO_CART: timedelta(hours=6), Trouble.KLAVIYO: timedelta(hours=72)}
_GONE_TRIES = 3


def tries(checkout: Checkout, trouble: Trouble) -> int:
    """Return how often in a row *checkout* met *trouble*."""
    return checkout.attempts if checkout.trouble is trouble else 0


def bound(
    checkout: Checkout,
    *,
    seen: Checkout,
    profile: Profile,
    address_hash: str | None = None,
    phone_hash: str | None = None,
    total: Amount | None = None,
    claim: Compared | None = None,
    consent: Decided | None = None,
) -> Checkout:
    """Return *checkout* bound to *profile*, or as it is if it changed since *seen*.

    *address_hash* stands for the profile's address, where that is known, and *phone_hash* for its
    number: one that it is not sent with is nothing to find it by.
    """
    if checkout != seen:
        return checkout
    consent = consent or checkout.consent
    known = checkout.address_hash
    return replace(
        checkout,
        addressee=profile,
        # What is the same stays the same object: it need not be written again.
        address_hash=known if address_hash in (None, known) else address_hash,
        phone_hash=checkout.phone_hash if phone_hash == checkout.phone_hash else phone_hash,
        total=total,
        claim=claim,
        consent=consent,
    )


def delivered(checkout: Checkout, at: datetime) -> Checkout:
    """Return *checkout* after Klaviyo took the event: done, whatever else came in."""
    return erased_if_closed(
        replace(
            checkout,
            status=Status.DELIVERED,
            reason="Klaviyo took it",
            delivered_at=at,
            due_at=None,
            trouble=None,
            retry_at=None,
        )
    )


def unless_changed(
    checkout: Checkout, *, seen: Checkout, apply: Callable[[Checkout], Checkout]
) -> Checkout:
    """Return what *apply* makes of *checkout*, or as it is if something came in since *seen*.

    What was found out about older words says nothing about newer ones: those get an attempt of
    their own.
    """
    same = checkout.latest == seen.latest and checkout.settled_at == seen.settled_at
    return apply(checkout) if same else checkout


def refused(checkout: Checkout, reason: str) -> Checkout:
    """Return *checkout* as a dead letter: it will not be sent unless somebody asks again."""
    return _closed(checkout, Status.DEAD, reason)


def quarantined(checkout: Checkout, reason: str) -> Checkout:
    """Return *checkout* kept back as suspicious, unless an operator has released it."""
    return checkout if checkout.released else _closed(checkout, Status.QUARANTINED, reason)


def cancelled(checkout: Checkout, reason: str) -> Checkout:
    """Return *checkout* cancelled: there is nothing to be reminded of any more."""
    return _closed(checkout, Status.CANCELLED, reason)


def held_back(checkout: Checkout, reason: str, until: datetime) -> Checkout:
    """Return *checkout* due at *until* and no patience burnt: what holds it up is not about it."""
    if checkout.status is not Status.PENDING:
        return checkout
    waits = replace(untroubled(checkout), retry_at=until, reason=reason)
    return replace(waits, due_at=when_due(waits))


def waiting(checkout: Checkout, reason: str) -> Checkout:
    """Return *checkout* without a due time: it waits until somebody says more."""
    if checkout.status is not Status.PENDING:
        return checkout
    return replace(checkout, due_at=None, reason=reason)


def given_up_waiting(checkout: Checkout, now: datetime, rules: Rules) -> Checkout:
    """Return *checkout* cancelled, where it waits for somebody who said nothing for an epoch."""
    is_waiting = checkout.status is Status.PENDING and checkout.due_at is None
    if not is_waiting or now - checkout.acted_at <= rules.epoch:
        return checkout
    permission, _ = consents.judged(checkout.latest, rules.modes)
    who = "nobody was named" if permission is Permission.GIVEN else "nobody consented"
    return cancelled(checkout, f"{who} within {rules.epoch / timedelta(hours=1):g} h")


def unbound(checkout: Checkout) -> Checkout:
    """Return *checkout* free to be sent to somebody else: surely no attempt has reached anybody."""
    if not (checkout.is_bound or checkout.maybe_sent):
        return checkout
    return replace(checkout, addressee=None, maybe_sent=False)


def postponed(
    checkout: Checkout,
    trouble: Trouble,
    reason: str,
    *,
    now: datetime,
    wait: timedelta,
) -> Checkout:
    """Return *checkout* due again after *wait*, or closed where patience is at its end."""
    if checkout.status is not Status.PENDING:
        return checkout
    same = tries(checkout, trouble) > 0
    tried = replace(
        checkout,
        trouble=trouble,
        troubled_at=checkout.troubled_at if same else now,
        attempts=tries(checkout, trouble) + 1,
        retry_at=now + wait,
        reason=reason,
    )
    return _given_up(tried, now) or replace(tried, due_at=when_due(tried))


def _given_up(checkout: Checkout, now: datetime) -> Checkout | None:
    if checkout.trouble is Trouble.CART_GONE:
        gone = checkout.attempts >= _GONE_TRIES
        return _closed(checkout, Status.CANCELLED, checkout.reason) if gone else None
    patience = _PATIENCE[checkout.trouble or Trouble.KLAVIYO]
    if now - (checkout.troubled_at or now) < patience:
        return None
    hours = patience // timedelta(hours=1)
    return refused(checkout, f"{checkout.reason}{_GIVEN_UP.format(hours)}")


_GIVEN_UP = " (given up after {} h)"


def given_up_after(reason: str) -> int | None:
    """Return for how many hours a dead letter was tried; ``None``: of its *reason* it died at once.

    It is written behind the reason alone, since dead letters are told and counted by that.
    """
    found = re.search(re.escape(_GIVEN_UP).replace(r"\{\}", "([0-9]+)") + r"\Z", reason)
    return None if found is None else int(found[1])


def _closed(checkout: Checkout, status: Status, reason: str) -> Checkout:
    if checkout.status is not Status.PENDING:
        return checkout
    closed = replace(checkout, status=status, reason=reason, due_at=None, retry_at=None)
    return erased_if_closed(closed)


# Three tries for a cart that is gone take half a minute: a replica lags, a shop builds a cart anew.
_CART_WAITS = {Trouble.NO_CART: (1, 2, 5, 15, 60), Trouble.CART_GONE: (5, 25)}


def cart_wait(trouble: Trouble, attempts: int) -> timedelta:
    """Return how long to wait for a cart after *attempts* tries met *trouble* before this one."""
    waits = _CART_WAITS[trouble]
    return timedelta(seconds=waits[min(attempts, len(waits) - 1)])
