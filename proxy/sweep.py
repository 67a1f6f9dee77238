"""Sweep: what must go by itself, a little in each round: old rows, and what erased rows leave."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime

from proxy.enrich import Account
from proxy.store import Inboxes
from proxy.store.book import Book
from proxy.store.received import Received

logger = logging.getLogger(__name__)

_TIDY_SECONDS = 5.0
_PRUNE_SECONDS = 60.0


class Sweep:
    """Keep *book* and *inboxes* of *account* free of what is not to be kept any longer.

    Where there is much to remove, each round removes some, so that sending is never held up.
    """

    def __init__(self, account: Account, inboxes: Inboxes, book: Book) -> None:
        self._account = account
        self._inboxes = inboxes
        self._book = book
        self._tidied_at = self._pruned_at = float("-inf")
        self._was_erased = self._is_pruning = True

    def hear(self, received: Sequence[Received]) -> None:
        """Hear what was taken in: there may be an erasure in it, or a wish to prune."""
        kinds = {item.kind for item in received}
        if "erasure" in kinds:
            self._was_erased = True
            # A command that asked for it has gone by then, and whom it named lies in its inbox.
            self._pruned_at = min(
                self._pruned_at, time.monotonic() - _PRUNE_SECONDS + _TIDY_SECONDS
            )
        self._is_pruning = self._is_pruning or "prune" in kinds

    def look(self, now: datetime, marks: dict[str, int]) -> None:
        """Remove some of what is old at *now*, and what lies where rows were erased.

        Up to *marks* the inboxes were taken in.
        """
        if time.monotonic() - self._pruned_at > _PRUNE_SECONDS:
            self._pruned_at = time.monotonic()
            self._is_pruning = True
            self._inboxes.prune_orphans(marks)
            self._close_waiting(now)
        self._prune(now)
        if self._was_erased or time.monotonic() - self._tidied_at > _TIDY_SECONDS:
            self._tidied_at = time.monotonic()
            self._tidy()

    def _close_waiting(self, now: datetime) -> None:
        while self._book.give_up_waiting(self._account.shop, now, self._account.rules):
            pass

    def _prune(self, now: datetime) -> None:
        if self._is_pruning:
            kept_since = now - self._account.keep
            self._is_pruning = self._book.prune(self._account.shop, kept_since, now)

    def _tidy(self) -> None:
        self._inboxes.tidy()
        if self._was_erased:
            self._was_erased = False
            if self._book.was_erased(self._account.shop):
                self._inboxes.forget_salvaged()
                self._book.vacuum()
        self._book.empty_log()
