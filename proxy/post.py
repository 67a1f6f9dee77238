"""Post: events on their way to Klaviyo, alone or in bulk, and what became of them."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from proxy import outcomes, payload
from proxy.backoff import backoff
from proxy.checkouts import Checkout, Trouble, untroubled
from proxy.enrich import Apply, Ready
from proxy.klaviyo import Answer, Klaviyo, Verdict
from proxy.payload import PropertyNames
from proxy.store.book import Change
from proxy.store.reader import Attempt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What Klaviyo answered to one event, or to a bulk of them: the last answer counts."""

    batch: Sequence[Ready]
    answers: Sequence[Answer]
    in_bulk: bool
    took: timedelta

    @property
    def answer(self) -> Answer:
        """What Klaviyo said in the end."""
        return self.answers[-1]

    @property
    def must_be_parted(self) -> bool:
        """Whether one bad event may have had all of a bulk refused."""
        return self.in_bulk and self.answer.verdict is Verdict.NEVER

    def changes(self, now: datetime) -> list[Change]:
        """Return what follows from the answer, heard at *now*, for each checkout."""
        attempts = tuple(_attempt(answer, now, in_bulk=self.in_bulk) for answer in self.answers)
        was_taken = self.answer.verdict is Verdict.DELIVERED
        return [
            Change(
                checkout=ready.checkout,
                apply=self._apply(ready, now),
                attempts=attempts,
                event=ready.record if was_taken else None,
            )
            for ready in self.batch
        ]

    def lines(self) -> list[str]:
        """Return what the log is told of answers that decided nothing yet: no address, no key."""
        about = f"{len(self.batch)} events in bulk" if self.in_bulk else self._unique_id
        told = (answer for answer in self.answers if answer.verdict is not Verdict.DELIVERED)
        return [f"{about}: {answer.reason}" for answer in told]

    @property
    def _unique_id(self) -> str:
        return self.batch[0].checkout.unique_id

    def _apply(self, ready: Ready, now: datetime) -> Apply:
        apply = _consequence(ready.checkout, self.answer, now)
        refused = self.answer.verdict is Verdict.NEVER
        # A lost answer may have been a yes; but what Klaviyo refuses now it has never taken.
        if refused or not (self.answer.maybe_received or ready.was_bound):
            return partial(_unbound_after, apply)
        return apply


class Poster:
    """Post events to *klaviyo*."""

    def __init__(self, klaviyo: Klaviyo, names: PropertyNames) -> None:
        self._klaviyo = klaviyo
        self._names = names

    def post(self, ready: Ready) -> Posted:
        """Post one event by itself; where its telephone number is to blame, again without it."""
        return _timed([ready], partial(self._post, ready), in_bulk=False)

    def post_bulk(self, batch: Sequence[Ready]) -> Posted:
        """Post *batch* in one request, within Klaviyo's limits for one."""
        return _timed(batch, partial(self._post_bulk, batch), in_bulk=True)

    def _post(self, ready: Ready) -> list[Answer]:
        answer = self._klaviyo.create_event(payload.encode(ready.event, self._names))
        spared = payload.without_phone_number(ready.event)
        if not answer.blames_phone_number or spared.profile.is_nobody:
            return [answer]
        return [answer, self._klaviyo.create_event(payload.encode(spared, self._names))]

    def _post_bulk(self, batch: Sequence[Ready]) -> list[Answer]:
        return [self._klaviyo.create_events(payload.bulk([ready.entry for ready in batch]))]


def _timed(batch: Sequence[Ready], post: Callable[[], list[Answer]], *, in_bulk: bool) -> Posted:
    began = time.monotonic()
    answers = _told(post)
    took = timedelta(seconds=time.monotonic() - began)
    return Posted(batch=batch, answers=answers, in_bulk=in_bulk, took=took)


def _told(post: Callable[[], list[Answer]]) -> list[Answer]:
    """Return what *post* was answered; a bug of ours burns the one event that it is about."""
    try:
        return post()
    except Exception as error:
        logger.exception("an event cannot be sent")
        reason = f"a bug in the proxy ({type(error).__name__}); the log has it"
        return [Answer(verdict=Verdict.NEVER, reason=reason)]


def _attempt(answer: Answer, at: datetime, *, in_bulk: bool) -> Attempt:
    reason = f"{answer.reason} (in bulk)" if in_bulk else answer.reason
    return Attempt(at=at, status=answer.status, request_id=answer.request_id, reason=reason)


def _consequence(checkout: Checkout, answer: Answer, now: datetime) -> Apply:
    match answer.verdict:
        case Verdict.DELIVERED:
            return partial(outcomes.delivered, at=now)
        case Verdict.NEVER:
            refuse = partial(outcomes.refused, reason=answer.reason)
            return partial(outcomes.unless_changed, seen=checkout, apply=refuse)
        case Verdict.ACCOUNT_STOPPED:
            return untroubled  # It says nothing about the event: no patience is burnt.
    tries = outcomes.tries(checkout, Trouble.KLAVIYO)
    jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
    wait = answer.wait if answer.wait is not None else backoff(tries + 1, jitter)
    return partial(
        outcomes.postponed, trouble=Trouble.KLAVIYO, reason=answer.reason, now=now, wait=wait
    )


def _unbound_after(apply: Apply, checkout: Checkout) -> Checkout:
    return outcomes.unbound(apply(checkout))
