"""Lanes do what waits for others side by side, and go when they are let go."""

import threading
from datetime import timedelta
from queue import SimpleQueue

from proxy.lanes import Lanes, gathered
from tests.actors import until


def test_work_is_done_side_by_side() -> None:
    results: SimpleQueue[int] = SimpleQueue()
    lanes: Lanes[int] = Lanes(3, results)
    # Each waits for the others: one after the other they would wait for ever.
    barrier = threading.Barrier(3)

    for _ in range(3):
        lanes.do(lambda: barrier.wait(10))

    assert sorted(results.get(timeout=10) for _ in range(3)) == [0, 1, 2]
    lanes.close()


def test_lanes_that_are_closed_leave_no_thread_behind() -> None:
    before = threading.active_count()
    results: SimpleQueue[int] = SimpleQueue()
    lanes: Lanes[int] = Lanes(5, results)
    lanes.do(lambda: 7)

    lanes.close()

    until(lambda: threading.active_count() <= before)
    assert gathered(results, timedelta(0)) == [7]


def test_lanes_that_have_nothing_to_do_are_no_threads() -> None:
    before = threading.active_count()
    results: SimpleQueue[int] = SimpleQueue()

    lanes: Lanes[int] = Lanes(5, results)

    assert threading.active_count() <= before
    lanes.close()
