"""Telling: notices of alarms on their way to the webhook, each until it is taken, for a day."""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import SimpleQueue

from proxy.alarms import Notice
from proxy.backoff import backoff
from proxy.lanes import Lanes, gathered
from proxy.store.book import Book
from proxy.webhook import Webhook

logger = logging.getLogger(__name__)

_TOLD_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Told:
    notice: Notice
    trouble: str


@dataclass(frozen=True, slots=True)
class _Wait:
    tries: int
    until: datetime


class Telling:
    """Tell *webhook* what *book* has to tell of *shop*, in a thread of its own.

    What one alarm has to say goes in its order. Only what was not told yet is remembered in the
    book; how often it was tried is not, and a new sender tries at once.
    """

    def __init__(self, webhook: Webhook, book: Book, shop: str) -> None:
        self._webhook = webhook
        self._book = book
        self._shop = shop
        self._results: SimpleQueue[_Told] = SimpleQueue()
        self._lane: Lanes[_Told] = Lanes(1, self._results)
        self._in_hand: set[str] = set()
        self._taken: set[str] = set()
        self._waits: dict[str, _Wait] = {}
        self._trouble = ""

    def go_on(self, now: datetime) -> None:
        """Note what was taken, and tell what is to be told by *now*; this waits for nobody."""
        self.note(now)
        for notice in self._due(now):
            self._in_hand.add(notice.id)
            self._lane.do(partial(_told, self._webhook, notice))

    def note(self, now: datetime) -> None:
        """Write down what was taken."""
        for told in gathered(self._results, timedelta(0)):
            self._hear(told, now)
        if self._taken:
            self._book.told(self._shop, self._taken, now)
            # Not before: what could not be written down was taken all the same.
            self._in_hand -= self._taken
            self._taken = set()

    def close(self) -> None:
        """Let go of the thread, whatever it is at."""
        self._lane.close()

    def _due(self, now: datetime) -> Iterator[Notice]:
        """Yield the first of each alarm's notices, where it may be told by *now*."""
        names = set()
        for notice in self._book.untold(self._shop, now - _TOLD_FOR):
            is_first = notice.name not in names
            names.add(notice.name)
            wait = self._waits.get(notice.id)
            may_go = wait is None or wait.until <= now
            if is_first and may_go and notice.id not in self._in_hand:
                yield notice

    def _hear(self, told: _Told, now: datetime) -> None:
        if not told.trouble:
            self._taken.add(told.notice.id)
            self._waits.pop(told.notice.id, None)
        else:
            self._in_hand.discard(told.notice.id)
            self._postpone(told.notice.id, now)
        if told.trouble and told.trouble != self._trouble:  # once, and not every time
            logger.warning("%s: alarms cannot be told: %s", self._shop, told.trouble)
        self._trouble = told.trouble

    def _postpone(self, id: str, now: datetime) -> None:
        tries = self._waits[id].tries + 1 if id in self._waits else 1
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        self._waits[id] = _Wait(tries, now + backoff(tries, jitter))


def _told(webhook: Webhook, notice: Notice) -> _Told:
    return _Told(notice, webhook.tell(notice))
