"""Delivery: the one sender of an account takes facts in, and sends what is due.

The stations of a checkout, and who stands at each:

    folded    facts are taken in from the inboxes           Book.take_in
    due       it has settled, and is taken up               Book.due
    ready     its cart is read, it has become an event      Enricher, in a lane; then the Outbox
    bound     whom the event goes to is written down        Sender._bound
    posted    Klaviyo answers, or does not                  Poster, in a lane
    changed   what follows from that is written down        Book.change_what_goes

Facts go on being folded all the while. So what is found out in a lane comes back as a function of
the checkout, and is applied to it as it stands by then.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from queue import SimpleQueue

from proxy import outcomes, payload, tallies
from proxy.carts.source import CartSource
from proxy.checkouts import Checkout
from proxy.enrich import Account, Enricher, NotReady, Ready
from proxy.errors import AccountLost, StoreAway
from proxy.klaviyo import Answer, Klaviyo, Verdict
from proxy.lanes import Lanes, gathered
from proxy.outbox import Batch, Outbox
from proxy.post import Posted, Poster
from proxy.questions import Desk
from proxy.standing import Standing
from proxy.store import Inboxes
from proxy.store.book import Book, Change, CheckoutKey, checkout_key
from proxy.sweep import Sweep
from proxy.tallies import Count, What
from proxy.watch import Watch

logger = logging.getLogger(__name__)

_TICK = timedelta(milliseconds=100)
_QUIET_TICK = timedelta(milliseconds=500)
_QUIET_SECONDS = 10.0
_BATCH = 500
# A long backlog must hold up neither what is due nor the end.
_MAX_BATCHES = 10
_RESEAL_SECONDS = 1.0
_RESEALED_AT_ONCE = 500
_FINISH_SECONDS = 5.0
_UNREAD_AT_MOST = timedelta(minutes=1)

# By themselves, more than so many due at once would take seconds; but an error of a bulk's is told
# for all of it.
_MANY = 100
_IN_HAND = 3 * payload.MAX_BULK_EVENTS
_CART_LANES = 8

_Result = list[Ready | NotReady] | Posted


class Sender:
    """Fold *inboxes* into *book*, and send what is due to *klaviyo* with carts of *source*.

    One thread decides and writes; lanes wait for carts and for Klaviyo. Nothing here is remembered
    that a new sender would not find in the book: what is in hand is still due there.
    """

    def __init__(
        self,
        account: Account,
        *,
        inboxes: Inboxes,
        book: Book,
        source: CartSource,
        klaviyo: Klaviyo,
        watch: Watch,
        now: Callable[[], datetime],
    ) -> None:
        self._account = account
        self._inboxes = inboxes
        self._book = book
        self._watch = watch
        self._now = now
        self._results: SimpleQueue[_Result] = SimpleQueue()
        self._enricher = Enricher(account, source, now)
        self._cart_lanes: Lanes[_Result] = Lanes(_CART_LANES, self._results)
        self._outbox = Outbox(Poster(klaviyo, account.property_names), self._results)
        self._desk = Desk(account, source, book, now)
        self._sweep = Sweep(account, inboxes, book)
        self._fold = partial(book.take_in, rules=account.rules, person_keys=account.person_keys)
        self._in_hand: set[CheckoutKey] = set()
        self._enriching = 0
        self._unwritten: list[Change] = []
        self._took: list[Count] = []
        self._marks = book.marks()
        self._resealing = book.resealing(account.shop)
        self._resealed_at = -_RESEAL_SECONDS
        self._standing = self._written = book.standing(account.shop)
        self._stirred_at = time.monotonic()
        self._unread_since: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until *stop* is set, then wait a few seconds for what is on its way."""
        if self._standing.stopped:
            # Somebody who starts the sender may have given it another key.
            self._standing = Standing()
        while not stop.is_set():
            try:
                self.step()
            except (AccountLost, StoreAway):
                raise
            except Exception:
                # A full disk or a bug must not end the sender: everything is in the store, and
                # the next round begins from there.
                logger.exception("a round of the sender failed; it goes on with the next")
                stop.wait(1)
        self._finish()

    def close(self) -> None:
        """Let go of the threads, whatever they are at."""
        self._cart_lanes.close()
        self._outbox.close()
        self._desk.close()
        self._watch.close()

    def step(self) -> None:
        """Do one round: take facts in, send what is due, write down what became of it.

        At its end questions are answered, and somebody looks whether all is well.
        """
        until = self._take_in()
        self._book.bring_back(self._account.shop, self._now())
        self._take_up(until)
        self._hear(self._tick())
        self._send()
        self._reseal()
        self._desk.look(self._standing)
        self._sweep.look(self._now(), self._marks)
        unread = self._unread_since is not None
        self._watch.look(self._now(), self._standing, unread=unread)

    def _tick(self) -> timedelta:
        """Return how long to wait for news: where nothing happens, nobody looks that often."""
        is_quiet = not self._in_hand and time.monotonic() - self._stirred_at > _QUIET_SECONDS
        return _QUIET_TICK if is_quiet else _TICK

    def _finish(self) -> None:
        until = time.monotonic() + _FINISH_SECONDS
        while self._in_hand and time.monotonic() < until:
            self._put_back(ready.checkout for ready in self._outbox.clear())
            self._hear(_TICK)
        self._watch.finish(self._now())

    # -- facts --

    def _take_in(self) -> datetime | None:
        """Take in what was received, and return the moment up to which nothing is unread.

        ``None`` says that an inbox cannot be read at all just now.
        """
        until = self._read_inboxes(self._now())
        # Afterwards: what was set aside while the others were read counts as well.
        self._inboxes.salvage(self._marks, self._fold)
        return until if self._may_go_on() else None

    def _read_inboxes(self, now: datetime) -> datetime:
        for _ in range(_MAX_BATCHES):
            received = self._inboxes.after(self._marks, _BATCH)
            if received:
                self._stirred_at = time.monotonic()
                self._fold(received)
                self._marks = self._book.marks()
                self._desk.hear(received)
                self._sweep.hear(received)
            if len(received) < _BATCH:
                return now
        return min(now, received[-1].received_at)

    def _may_go_on(self) -> bool:
        """Tell whether all inboxes could be read, or one could not for long.

        An order may lie in it. A damaged one is salvaged within seconds; one that nobody mends
        must not end all sending.
        """
        if self._inboxes.is_complete:
            self._unread_since = None
            return True
        now = self._now()
        self._unread_since = min(self._unread_since or now, now)
        return now - self._unread_since >= _UNREAD_AT_MOST

    def _reseal(self) -> None:
        """Bring a part of the book under the newest key, until all of it is."""
        if not self._resealing.is_done and time.monotonic() - self._resealed_at > _RESEAL_SECONDS:
            self._resealed_at = time.monotonic()
            self._resealing.go_on(_RESEALED_AT_ONCE)

    # -- from due to ready --

    def _take_up(self, until: datetime | None) -> None:
        """Take up what is due by *until*: for what comes after, an order may lie unread."""
        room = self._room()
        if until is None or room == 0:
            return
        due = self._book.due(self._account.shop, until, room, without=self._in_hand)
        if due:
            self._in_hand.update(map(checkout_key, due))
            due = self._without_crowds(due)
            pushed = self._book.carts(self._account.shop, {each.cart_id for each in due})
            in_bulk = len(due) + self._outbox.waiting > _MANY
            for few in _dealt(due, _CART_LANES):
                work = partial(self._enricher.enrich, few, pushed, in_bulk=in_bulk)
                self._cart_lanes.do(work)
            self._enriching += len(due)

    def _without_crowds(self, due: Sequence[Checkout]) -> list[Checkout]:
        """Return those of *due* that did not come in a crowd; the others go to quarantine."""
        crowded = self._book.crowded(self._account.shop, due, self._account.crowd)
        self._unwritten += [
            Change(checkout=each, apply=_kept_back(each, crowded[checkout_key(each)]))
            for each in due
            if checkout_key(each) in crowded
        ]
        return [each for each in due if checkout_key(each) not in crowded]

    def _room(self) -> int:
        """Return how many checkouts can be taken up now."""
        if self._standing.waits(self._now()):
            return 0
        if self._standing.is_probing:
            return 0 if self._in_hand else 1
        free = _IN_HAND - len(self._in_hand)
        return payload.MAX_BULK_EVENTS if free >= payload.MAX_BULK_EVENTS else 0

    # -- what became of it --

    def _hear(self, patience: timedelta) -> None:
        """Write down in one commit what the lanes found out."""
        for result in gathered(self._results, patience):
            if isinstance(result, Posted):
                self._hear_answer(result)
            else:
                self._hear_enriched(result)
        # What cannot be written now stays to be written in the next round.
        if self._unwritten:
            self._book.change_what_goes(
                self._account.shop, self._unwritten, self._now(), self._took
            )
            self._took = []
            self._put_back(change.checkout for change in self._unwritten)
            self._unwritten = []
        if self._standing != self._written:
            self._book.set_standing(self._account.shop, self._standing)
            self._written = self._standing

    def _hear_enriched(self, enriched: Sequence[Ready | NotReady]) -> None:
        self._enriching -= len(enriched)
        self._watch.hear_source(enriched, self._now())
        for each in enriched:
            if isinstance(each, Ready):
                self._outbox.put(each)
            else:
                self._unwritten.append(Change(checkout=each.checkout, apply=each.apply))

    def _hear_answer(self, posted: Posted) -> None:
        now = self._now()
        self._outbox.answered(posted)
        self._watch.hear_answer(posted, now)
        self._took += tallies.of_time(What.SEND_TIME, posted.took)
        if posted.must_be_parted:
            self._outbox.part(posted.batch)
        else:
            self._unwritten += posted.changes(now)
        for line in posted.lines():
            logger.info("%s: %s", self._account.shop, line)
        self._standing = _standing_after(self._standing, posted.answer, now)
        if self._standing.waits(now) and self._standing != self._written:
            logger.error("%s: sending waits: %s", self._account.shop, self._standing.reason)

    # -- sending --

    def _send(self) -> None:
        """Send what may go now and is still as it was; what changed meanwhile is taken up anew."""
        if self._standing.waits(self._now()):
            self._put_back(ready.checkout for ready in self._outbox.clear())
            return
        batches = self._outbox.leaving(more_to_come=self._enriching > 0)
        unchanged: set[CheckoutKey] = set()
        try:
            # Perhaps the order was told while the cart was read, or lies where nobody can read it.
            if batches and self._take_in() is not None:
                unchanged = self._bound(ready for batch in batches for ready in batch.events)
        finally:
            for batch in batches:
                self._post(batch, unchanged)

    def _bound(self, events: Iterable[Ready]) -> set[CheckoutKey]:
        """Write down to whom *events* are about to go; return those that nothing has changed."""
        leaving = list(events)
        after = self._book.change(
            self._account.shop,
            [Change(checkout=ready.checkout, apply=ready.bind) for ready in leaving],
            self._now(),
        )
        same = zip(leaving, after, strict=True)
        return {ready.key for ready, checkout in same if checkout == ready.expected}

    def _post(self, batch: Batch, unchanged: set[CheckoutKey]) -> None:
        going = [ready for ready in batch.events if ready.key in unchanged]
        self._put_back(ready.checkout for ready in batch.events if ready.key not in unchanged)
        if going:
            self._outbox.post(Batch(going, batch.in_bulk))

    def _put_back(self, checkouts: Iterable[Checkout]) -> None:
        self._in_hand.difference_update(map(checkout_key, checkouts))


def _kept_back(checkout: Checkout, reason: str) -> Callable[[Checkout], Checkout]:
    keep_back = partial(outcomes.quarantined, reason=reason)
    return partial(outcomes.unless_changed, seen=checkout, apply=keep_back)


def _dealt(due: Sequence[Checkout], lanes: int) -> Iterator[Sequence[Checkout]]:
    """Return *due* in parts of a size that keeps all *lanes* busy and none for long."""
    size = max(1, len(due) // (4 * lanes))
    return (due[start : start + size] for start in range(0, len(due), size))


def _standing_after(standing: Standing, answer: Answer, now: datetime) -> Standing:
    match answer.verdict:
        case Verdict.ACCOUNT_WAITS:
            wait = answer.wait if answer.wait is not None else timedelta(seconds=1)
            return standing.after_throttling(answer.reason, now=now, wait=wait)
        case Verdict.ACCOUNT_STOPPED:
            return standing.after_refusal(answer.reason, now=now)
    if standing.waits(now):
        return standing  # It was on its way before the pause, and says nothing about it.
    if answer.verdict is Verdict.LATER:
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        return standing.after_failure(answer.reason, now=now, jitter=jitter)
    return Standing()
