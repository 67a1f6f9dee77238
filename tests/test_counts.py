"""Counts: what a web worker counts reaches the book, in time and once."""

from concurrent.futures import ThreadPoolExecutor

from proxy.counts import Counts
from proxy.errors import Unavailable
from proxy.facts import Counted, Fact
from proxy.tallies import What
from tests.said import NOON


class _Store:
    """Where facts are kept, unless it is *away*."""

    def __init__(self) -> None:
        self.away = False
        self.kept: list[Fact] = []

    def append(self, fact: Fact) -> None:
        if self.away:
            raise Unavailable("away")
        self.kept.append(fact)

    @property
    def counts(self) -> list[dict[str, dict[str, int]]]:
        return [fact.counts for fact in self.kept if isinstance(fact, Counted)]


def counting() -> tuple[_Store, Counts]:
    store = _Store()
    return store, Counts("shop", store.append, lambda: NOON)


def test_what_was_counted_is_handed_in_once() -> None:
    store, counts = counting()
    counts.add(What.REFUSED, "token-forged")
    counts.add(What.REFUSED, "token-forged")
    counts.add(What.SESSIONS, "shop")

    counts.hand_in()
    counts.hand_in()

    assert store.counts == [{"refused": {"token-forged": 2}, "sessions": {"shop": 1}}]
    assert [(fact.shop, fact.received_at) for fact in store.kept] == [("shop", NOON)]


def test_times_are_counted_in_their_steps() -> None:
    store, counts = counting()
    for seconds in (0.0004, 0.002, 0.002):
        counts.took(seconds)

    counts.hand_in()

    assert store.counts == [{"accept time": {"0.001": 1, "0.0025": 2, "sum": 4}}]


def test_what_the_store_does_not_take_is_handed_in_when_it_does() -> None:
    store, counts = counting()
    counts.add(What.REFUSED, "unavailable")
    store.away = True
    counts.hand_in()
    counts.add(What.REFUSED, "unavailable")
    store.away = False

    counts.hand_in()

    assert store.counts == [{"refused": {"unavailable": 2}}]


def test_many_threads_lose_no_count() -> None:
    store, counts = counting()

    def count(_: int) -> None:
        counts.add(What.REFUSED, "x")
        counts.hand_in()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(500)))

    assert sum(each["refused"]["x"] for each in store.counts) == 500


def test_the_last_is_handed_in_at_the_end() -> None:
    store, counts = counting()
    end = counts.hand_in_every(3600)
    counts.add(What.REFUSED, "x")

    end()

    assert store.counts == [{"refused": {"x": 1}}]
