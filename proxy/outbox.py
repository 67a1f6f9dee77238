"""Outbox: events that are ready to be sent, and how many of them may go now."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from proxy import pace, payload
from proxy.enrich import Ready
from proxy.klaviyo import Budget
from proxy.lanes import Lanes
from proxy.pace import Pace
from proxy.post import Posted, Poster


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that go in one request: one of them alone, or a bulk."""

    events: Sequence[Ready]
    in_bulk: bool


class Outbox:
    """Keep events until Klaviyo's limits let them go, then post them; answers go to *results*."""

    def __init__(self, poster: Poster, results: SimpleQueue[Any]) -> None:
        self._poster = poster
        self._singles: deque[Ready] = deque()
        self._bulk: deque[Ready] = deque()
        self._parts: deque[Sequence[Ready]] = deque()
        self._single_lanes = _Counter(_SINGLE_LANES, pace.single_events(), results, again=1)
        self._bulk_lanes = _Counter(_BULK_LANES, pace.bulk_jobs(), results)

    def put(self, ready: Ready) -> None:
        """Keep *ready* until it may go."""
        (self._bulk if ready.entry else self._singles).append(ready)

    def part(self, batch: Sequence[Ready]) -> None:
        """Keep the halves of a bulk that was refused, until the bad event stands alone."""
        if len(batch) == 1:
            self._singles.append(batch[0])
        else:
            middle = len(batch) // 2
            self._parts.extend([batch[:middle], batch[middle:]])

    def leaving(self, *, more_to_come: bool) -> list[Batch]:
        """Take out what may go now; where there is *more_to_come*, no bulk that is not full."""
        now = time.monotonic()
        singles = min(self._single_lanes.allowance(now), len(self._singles))
        bulks = range(self._bulk_lanes.allowance(now))
        alone = [Batch([self._singles.popleft()], False) for _ in range(singles)]
        together = [Batch(self._next_bulk(more_to_come=more_to_come), True) for _ in bulks]
        return alone + [batch for batch in together if batch.events]

    def post(self, batch: Batch) -> None:
        """Send *batch* on its way."""
        now = time.monotonic()
        if batch.in_bulk:
            self._bulk_lanes.do(lambda: self._poster.post_bulk(batch.events), now)
        else:
            self._single_lanes.do(lambda: self._poster.post(batch.events[0]), now)

    def answered(self, posted: Posted) -> None:
        """Note that an answer came, and heed what it says of Klaviyo's limits."""
        lanes = self._bulk_lanes if posted.in_bulk else self._single_lanes
        lanes.done(len(posted.answers), posted.answer.budget, time.monotonic())

    def clear(self) -> list[Ready]:
        """Take out everything that is not on its way."""
        waiting = [*self._singles, *self._bulk, *(ready for part in self._parts for ready in part)]
        self._singles.clear()
        self._bulk.clear()
        self._parts.clear()
        return waiting

    @property
    def waiting(self) -> int:
        """How many events wait to be sent one by one."""
        return len(self._singles)

    def close(self) -> None:
        """Let go of the lanes, whatever they are at."""
        self._single_lanes.close()
        self._bulk_lanes.close()

    def _next_bulk(self, *, more_to_come: bool) -> Sequence[Ready]:
        if self._parts:
            return self._parts.popleft()
        sizes = [len(ready.entry) for ready in self._bulk]
        first = next(payload.bulks(sizes), slice(0, 0))
        is_full = first.stop < len(sizes) or first.stop == payload.MAX_BULK_EVENTS
        if more_to_come and not is_full:
            return ()
        return [self._bulk.popleft() for _ in range(first.stop)]


_SINGLE_LANES = 16
# A crash may send again what is on its way, and then one by one: not too much of it.
_BULK_LANES = 2


class _Counter:
    """Lanes of one kind of request, at its pace."""

    def __init__(self, count: int, pace: Pace, results: SimpleQueue[Any], again: int = 0) -> None:
        self._lanes: Lanes[Posted] = Lanes(count, results)
        self._free = count
        self._pace = pace
        self._count = count
        self._again = again

    def allowance(self, now: float) -> int:
        return min(self._free, self._allowed(now))

    def do(self, work: Callable[[], Posted], now: float) -> None:
        self._free -= 1
        self._pace.sent(now)
        self._lanes.do(work)

    def close(self) -> None:
        self._lanes.close()

    def done(self, requests: int, budget: Budget | None, now: float) -> None:
        self._free += 1
        # Where its telephone number was to blame, the event went again without it.
        for _ in range(requests - 1):
            self._pace.sent(now)
        if budget is not None:
            self._pace.told(
                remaining=budget.remaining, reset=budget.reset, now=now, in_flight=self._in_flight
            )

    def _allowed(self, now: float) -> int:
        return self._pace.allowance(now, in_flight=self._in_flight, again=self._again)

    @property
    def _in_flight(self) -> int:
        return self._count - self._free
