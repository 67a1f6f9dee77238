"""Group commit: each thread's own entry is written before it goes on, whoever wrote it."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from proxy.errors import Unavailable
from proxy.store.group_commit import GroupCommit

FOLLOWERS = range(1, 10)


class Disk:
    """A disk that takes a batch at a time, and waits with the first until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fault_after_first: Exception | None = None
        self.is_writing = Event()
        self.go_on = Event()

    def write(self, batch: Sequence[int]) -> None:
        self.is_writing.set()
        assert self.go_on.wait(10)
        if self.batches and self.fault_after_first is not None:
            fault, self.fault_after_first = self.fault_after_first, None
            raise fault
        self.batches.append(list(batch))


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def group(disk: Disk) -> GroupCommit[int]:
    return GroupCommit(disk.write)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as threads:
        yield threads


def test_what_gathers_while_the_disk_is_busy_is_written_at_once(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> None:
    leader, followers = _gather(disk, group, threads)

    disk.go_on.set()
    for commit in (leader, *followers):
        commit.result()

    assert disk.batches[0] == [0]
    assert sorted(disk.batches[1]) == list(FOLLOWERS)
    assert len(disk.batches) == 2


def test_nobody_goes_on_before_its_own_entry_is_written(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> None:
    disk.go_on.set()

    def commit(entry: int) -> bool:
        group.commit(entry)
        return any(entry in batch for batch in disk.batches)

    assert all(threads.map(commit, range(500)))
    assert sorted(entry for batch in disk.batches for entry in batch) == list(range(500))


@pytest.mark.parametrize("fault", [Unavailable("The disk is full."), MemoryError()], ids=repr)
def test_an_error_reaches_everyone_in_the_batch(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor, fault: Exception
) -> None:
    leader, followers = _gather(disk, group, threads)

    disk.fault_after_first = fault
    disk.go_on.set()

    assert leader.exception() is None
    assert None not in [commit.exception() for commit in followers]


def test_after_an_error_the_next_batch_is_written_without_the_one_that_failed(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> None:
    leader, followers = _gather(disk, group, threads)
    disk.fault_after_first = Unavailable("The disk is full.")
    disk.go_on.set()
    for commit in (leader, *followers):
        commit.exception()

    group.commit(10)

    assert disk.batches == [[0], [10]]


def test_who_waits_too_long_is_told_that_nothing_is_known(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> None:
    leader, followers = _gather(disk, group, threads)

    errors = [commit.exception() for commit in followers]

    assert {str(error) for error in errors} == {
        "The disk is too slow just now: the fact is not known to be kept."
    }
    disk.go_on.set()
    assert leader.exception() is None


def test_who_was_told_so_while_it_waited_is_not_written_behind_its_back(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> None:
    leader, followers = _gather(disk, group, threads)
    for commit in followers:
        assert isinstance(commit.exception(), Unavailable)

    disk.go_on.set()
    leader.result()
    group.commit(10)

    assert disk.batches == [[0], [10]]


def test_while_somebody_else_holds_the_pen_nothing_is_written_and_nothing_lost(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> None:
    disk.go_on.set()

    with group.pen():
        waiting = [threads.submit(group.commit, entry) for entry in FOLLOWERS]
        _until(lambda: len(group._gathered) == len(FOLLOWERS))
        assert disk.batches == []
    for commit in waiting:
        commit.result()

    assert [sorted(batch) for batch in disk.batches] == [list(FOLLOWERS)]


def _gather(
    disk: Disk, group: GroupCommit[int], threads: ThreadPoolExecutor
) -> tuple[Future[None], list[Future[None]]]:
    """Return one commit under way, and nine that wait behind it."""
    leader = threads.submit(group.commit, 0)
    assert disk.is_writing.wait(10)
    followers = [threads.submit(group.commit, entry) for entry in FOLLOWERS]
    _until(lambda: len(group._gathered) == len(FOLLOWERS))
    return leader, followers


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0)
