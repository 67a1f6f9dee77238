"""Audit: a sample of what Klaviyo took is looked for there, an hour after its yes."""

import logging
import random
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import SimpleQueue

from proxy import arrival
from proxy.arrival import Look
from proxy.enrich import Ready
from proxy.klaviyo import Answer, Klaviyo, Told, Verdict
from proxy.lanes import Lanes, gathered
from proxy.post import Posted
from proxy.store.book import Book
from proxy.tallies import Sight

logger = logging.getLogger(__name__)

# To process an event takes Klaviyo minutes at times. What is not there by then was dropped.
_AFTER = timedelta(hours=1)
_EVERY = timedelta(minutes=1)
# More are there only under a clock that was set back: until it has caught up nothing is looked for.
_MOST_KEPT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """An event that Klaviyo took at *at*: nothing about a person."""

    at: datetime
    cart_id: str
    unique_id: str
    time: datetime


@dataclass(frozen=True, slots=True)
class _Looked:
    taken: _Taken
    look: Look


class Audit:
    """Look for one event a minute of those that *klaviyo* took of *shop*; *book* has what came.

    A thread of its own asks, and what it is told has no bearing on the sending. What is still to
    be looked for is only remembered: after a restart it begins with what is taken from then on.
    """

    def __init__(self, klaviyo: Klaviyo, book: Book, shop: str) -> None:
        self._klaviyo = klaviyo
        self._book = book
        self._shop = shop
        self._taken: deque[_Taken] = deque(maxlen=_MOST_KEPT)
        self._results: SimpleQueue[_Looked] = SimpleQueue()
        self._lane: Lanes[_Looked] = Lanes(1, self._results)
        self._is_looking = False
        self._said: set[int | None] = set()
        self.last_missing = ""
        """The unique_id of the last one that was not there, of this sender's time."""

    def hear(self, posted: Posted, now: datetime) -> None:
        """Hear what Klaviyo said at *now*, and remember one of those that it took, once a minute.

        Under a clock that was set back it is a minute too.
        """
        if posted.answer.verdict is not Verdict.DELIVERED:
            return
        if self._taken and abs(now - self._taken[-1].at) < _EVERY:
            return
        ready = random.choice(posted.batch)  # noqa: S311 - a sample guards nothing
        if _is_certain(ready):
            self._taken.append(_taken(ready, now))

    def go_on(self, now: datetime) -> None:
        """Write down what was seen, and look for the next; this waits for nobody."""
        for looked in gathered(self._results, timedelta(0)):
            self._is_looking = False
            self._hear(looked, now)
        due = None if self._is_looking else self._due(now)
        if due is not None:
            self._is_looking = True
            self._lane.do(partial(_looked, self._klaviyo, due))

    def close(self) -> None:
        """Let go of the thread, whatever it is at."""
        self._lane.close()

    def _due(self, now: datetime) -> _Taken | None:
        """Take out what is to be looked for by *now*.

        Of several, after a clock's jump or a Klaviyo that hung, the last: it stays one a minute.
        """
        due = None
        while self._taken and now - self._taken[0].at >= _AFTER:
            due = self._taken.popleft()
        return due

    def _hear(self, looked: _Looked, now: datetime) -> None:
        taken, look = looked.taken, looked.look
        if look.sight is Sight.UNKNOWN:
            self._say_once(look)
        elif look.sight is Sight.MISSING:
            self.last_missing = taken.unique_id
            logger.warning("%s: %s: %s", self._shop, taken.unique_id, _WORDS[look.sight])
        words = _WORDS.get(look.sight, "")
        self._book.looked_for(self._shop, taken.cart_id, look.sight, words, now)

    def _say_once(self, look: Look) -> None:
        status = look.told.answer.status
        if status not in self._said:
            self._said.add(status)
            remedy = "; give the key the scope events:read" if look.is_forbidden else ""
            words = "%s: what Klaviyo took cannot be looked for there: %s%s"
            logger.warning(words, self._shop, look.reason, remedy)


_WORDS = {
    Sight.ARRIVED: "it is in Klaviyo",
    Sight.MISSING: "Klaviyo took it, and has no such event",
}


def _is_certain(ready: Ready) -> bool:
    """Tell whether Klaviyo must have the event as of the time that was sent.

    Where an attempt before this one may have arrived, it has that one, perhaps as of another time.
    """
    return not (ready.was_bound or ready.checkout.maybe_sent)


def _taken(ready: Ready, now: datetime) -> _Taken:
    event = ready.event
    return _Taken(
        at=now, cart_id=ready.checkout.cart_id, unique_id=event.unique_id, time=event.time
    )


def _looked(klaviyo: Klaviyo, taken: _Taken) -> _Looked:
    """Return what is seen of *taken*; a bug of ours must not end the lane."""
    try:
        return _Looked(taken, arrival.look(klaviyo, taken.unique_id, taken.time))
    except Exception as error:
        logger.exception("%s cannot be looked for", taken.unique_id)
        reason = f"a bug in the proxy ({type(error).__name__}); the log has it"
        answer = Answer(verdict=Verdict.LATER, reason=reason)
        told = Told(answer=answer, headers={}, body=b"", is_document=False)
        return _Looked(taken, Look(sight=Sight.UNKNOWN, told=told))
