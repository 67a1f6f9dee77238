"""Counts: what a web worker counts until it hands it in, as a fact like any other."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from uuid import uuid4

from proxy import tallies
from proxy.errors import Unavailable
from proxy.facts import Counted, Fact
from proxy.tallies import Count, What

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0


class Counts:
    """Counts of *shop*, from many threads, until :meth:`hand_in` has *append* keep them."""

    def __init__(
        self, shop: str, append: Callable[[Fact], None], now: Callable[[], datetime]
    ) -> None:
        self._shop = shop
        self._append = append
        self._now = now
        self._lock = threading.Lock()
        self._counted: Counter[tuple[What, str]] = Counter()
        # Judged when they are handed in: here a request waits.
        self._times: deque[float] = deque()

    def add(self, what: What, detail: str = "") -> None:
        """Count one more."""
        self._add([Count(what, detail)])

    def took(self, seconds: float) -> None:
        """Count a state that it took so long to keep."""
        self._times.append(seconds)

    def hand_in(self) -> None:
        """Hand in what was counted since the last time; where the store takes nothing, later."""
        self._add(self._of_times())
        with self._lock:
            counted, self._counted = self._counted, Counter()
        if counted:
            try:
                self._append(self._fact(counted))
            except Unavailable:
                with self._lock:
                    self._counted.update(counted)

    def hand_in_every(self, seconds: float = _EVERY_SECONDS) -> Callable[[], None]:
        """Go on handing in; return what ends that, after the last time."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(seconds):
                self._hand_in_logged()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            self._hand_in_logged()

        return end

    def _hand_in_logged(self) -> None:
        try:
            self.hand_in()
        except Exception:
            logger.exception("what was counted cannot be handed in")

    def _add(self, counts: Iterable[Count]) -> None:
        with self._lock:
            for what, detail, many in counts:
                self._counted[what, detail] += many

    def _of_times(self) -> Iterator[Count]:
        for _ in range(len(self._times)):
            took = timedelta(seconds=self._times.popleft())
            yield from tallies.of_time(What.ACCEPT_TIME, took)

    def _fact(self, counted: Counter[tuple[What, str]]) -> Counted:
        counts: dict[str, dict[str, int]] = {}
        for (what, detail), many in counted.items():
            counts.setdefault(what, {})[detail] = many
        name, at = uuid4().hex, self._now()
        return Counted(id=name, shop=self._shop, cart_id="", received_at=at, counts=counts)
