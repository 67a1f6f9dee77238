"""Crowds: who tries out cards or addresses makes no profile, and a shopper beside them does."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
import requests

from proxy import outcomes
from proxy.checkouts import Rules, Status
from proxy.consents import ConsentMode, Modes
from proxy.crowds import Crowd, parsed
from proxy.facts import Customer, Fact
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from proxy.store.book import Book, Change
from tests.actors import Ledger, environment, judged_klaviyo, until
from tests.conftest import Figure
from tests.crowd import token
from tests.running import Proxy
from tests.said import after, received, release, state

RULES = Rules(
    settle=timedelta(0),
    epoch=timedelta(hours=24),
    modes=Modes(ConsentMode.OPT_OUT),
    address_key=b"a key",
)
CROWD = Crowd(client=3, address=2)


# -- which are kept back -----------------------------------------------------------------


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", threading.Event()) as book:
        assert book is not None
        yield book


def take_in(book: Book, *said: Fact) -> None:
    book.take_in([received(fact, seq) for seq, fact in enumerate(said, 1)], RULES)


def crowded(book: Book, *, minute: float = 0) -> dict[str, str]:
    """Return the carts that are due at *minute* and came in a crowd, and why."""
    due = book.due("shop", after(minute), 1000)
    return {cart_id: why for (cart_id, _), why in book.crowded("shop", due, CROWD).items()}


def begun(count: int, *, apart: float = 0, client: str | None = "a client") -> list[Fact]:
    """Return as many states, each of another cart and address, so many minutes *apart*."""
    names = [f"{(client or 'nobody').replace(' ', '-')}-{n}" for n in range(count)]
    return [
        state(n * apart, name, email=f"{name}@x.io", client=client) for n, name in enumerate(names)
    ]


def test_as_many_as_are_believed_are_no_crowd(book: Book) -> None:
    take_in(book, *begun(3), *begun(3, client="another"), *begun(50, client=None))

    assert crowded(book) == {}


def test_of_one_more_none_is_sent(book: Book) -> None:
    take_in(book, *begun(4), *begun(1, client="another"))

    reason = "more than 3 checkouts of one client within an hour"
    assert crowded(book) == {f"a-client-{n}": reason for n in range(4)}


def test_what_was_sent_or_ordered_counts_as_well(book: Book) -> None:
    take_in(book, *begun(4))
    for checkout in book.due("shop", after(0), 3):
        sent = Change(checkout=checkout, apply=partial(outcomes.delivered, at=after(0)))
        book.change("shop", [sent], after(0))

    assert len(crowded(book)) == 1


def test_to_post_again_from_elsewhere_takes_nothing_off_what_was_sent(book: Book) -> None:
    take_in(book, *begun(3))
    sent = [
        Change(checkout=checkout, apply=partial(outcomes.delivered, at=after(0)))
        for checkout in book.due("shop", after(0), 3)
    ]
    book.change("shop", sent, after(0))

    take_in(book, *(state(1, f"a-client-{n}", client="another", email="b@x.io") for n in range(3)))
    take_in(book, state(1, "c-4", email="c@x.io", client="a client"))

    reason = "more than 3 checkouts of one client within an hour"
    assert crowded(book, minute=1) == {"c-4": reason}


def test_an_hour_is_looked_at_however_long_a_backlog_is(book: Book) -> None:
    take_in(book, *begun(30, apart=40))

    assert crowded(book, minute=1200) == {}


def test_a_page_that_says_it_was_long_ago_is_counted_all_the_same(book: Book) -> None:
    late = [state(-100 * n, f"c-{n}", late=100 * n, client="a client") for n in range(5)]
    take_in(book, *late)

    assert len(crowded(book)) == 5


def test_of_one_address_a_day_is_looked_at(book: Book) -> None:
    same = [state(300 * n, f"c-{n}", email="jane@x.io") for n in range(3)]
    take_in(book, *same, *(state(0, f"d-{n}", email=f"{n}@x.io") for n in range(9)))

    reason = "more than 2 checkouts of one address within a day"
    assert crowded(book, minute=900) == {f"c-{n}": reason for n in range(3)}


@pytest.mark.parametrize("typed", [None, "JANE@x.io"])
def test_whom_the_shop_vouches_for_no_stranger_keeps_back(book: Book, typed: str | None) -> None:
    strangers = [state(0, f"c-{n}", email="jane@x.io") for n in range(4)]
    janes = state(0, "c-jane", email=typed, customer=Customer(email="jane@x.io"))
    johns = state(0, "c-john", email="jane@x.io", customer=Customer(email="john@x.io"))

    take_in(book, *strangers, janes, johns)

    assert set(crowded(book)) == {"c-0", "c-1", "c-2", "c-3", "c-john"}


def test_what_was_released_is_not_counted_against_anybody_again(book: Book) -> None:
    take_in(book, *begun(4))
    (checkout,) = book.due("shop", after(0), 1)
    keep_back = Change(checkout=checkout, apply=partial(outcomes.quarantined, reason="crowd"))
    book.change("shop", [keep_back], after(0))

    book.take_in([received(release(0, checkout.cart_id), 9)], RULES)

    assert book.checkouts("shop", checkout.cart_id)[0].status is Status.PENDING
    assert len(crowded(book)) == 3


def test_the_setting_names_what_it_changes() -> None:
    assert parsed("client=100") == Crowd(client=100, address=10)
    assert list(parsed("client=0 address=0").limits()) == []


# -- card testing ------------------------------------------------------------------------


@dataclass
class Scene:
    proxy: Proxy
    klaviyo: Klaviyo
    ledger: Ledger

    def post(self, session: requests.Session, cart_id: str, email: str, client: str) -> int:
        body = {"id": uuid4().hex, "token": token(cart_id), "email": email}
        headers = {"X-Real-IP": client}
        url = f"{self.proxy.url}/co/state"
        return session.post(url, json=body, headers=headers, timeout=30).status_code

    def attack(self, posts: int) -> float:
        """Post for as many carts and addresses, all of one client; return how long that took."""
        ours = threading.local()

        def post(number: int) -> None:
            if not hasattr(ours, "session"):
                ours.session = requests.Session()
            email = f"{uuid4().hex}@shop-demo.io"
            assert self.post(ours.session, f"card-{number}", email, "203.0.113.66") == 202

        began = monotonic()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(post, range(posts)))
        return monotonic() - began

    def emails(self) -> set[str]:
        events = [event.attributes["profile"]["data"] for event in self.klaviyo.events]
        return {profile["attributes"]["email"] for profile in events}

    def count(self, status: Status) -> int:
        store = Store.of("shop", f"sqlite:///{self.ledger.store}")
        if not store.exists:
            return 0
        with closing(store.book()) as book:
            return book.counts("shop")[status]


@contextmanager
def attacked(folder: Path, **settings: str) -> Iterator[Scene]:
    with ExitStack() as stack:
        klaviyo = stack.enter_context(judged_klaviyo())
        environ = environment(folder / "store", klaviyo.url, CARTS="signed", SETTLE="2", **settings)
        proxy = stack.enter_context(Proxy(environ))
        yield Scene(proxy, klaviyo, Ledger(folder / "store", klaviyo))


def assert_a_shopper_alone_is_known(scene: Scene, posts: int, figure: Figure) -> None:
    with requests.Session() as session:
        assert scene.post(session, "c-1", "jane@shop-demo.io", "198.51.100.1") == 202
        seconds = scene.attack(posts)
        assert scene.post(session, "c-2", "john@shop-demo.io", "198.51.100.2") == 202

    until(lambda: scene.count(Status.QUARANTINED) == posts, timeout=120)
    until(lambda: scene.count(Status.DELIVERED) == 2, timeout=60)

    assert scene.emails() == {"jane@shop-demo.io", "john@shop-demo.io"}
    assert scene.count(Status.PENDING) == 0
    figure(f"{posts:,} card-testing posts, in {seconds:.1f} s", "0 profiles", "0")


def test_who_tries_out_cards_makes_no_profile(tmp_path: Path, figure: Figure) -> None:
    with attacked(tmp_path, MOST_CHECKOUTS="") as scene:
        assert_a_shopper_alone_is_known(scene, 500, figure)


@pytest.mark.slow
def test_ten_thousand_tries_make_no_profile(tmp_path: Path, figure: Figure) -> None:
    with attacked(tmp_path, MOST_CHECKOUTS="") as scene:
        assert_a_shopper_alone_is_known(scene, 10_000, figure)


def test_without_the_limit_each_try_makes_a_profile(tmp_path: Path) -> None:
    with attacked(tmp_path, MOST_CHECKOUTS="client=0") as scene:
        scene.attack(100)

        until(lambda: len(scene.emails()) == 100, timeout=60)


def refused(send: Callable[[], int], times: int) -> int:
    return sum(send() == 429 for _ in range(times))


def test_of_one_client_few_of_many_tries_are_even_taken(tmp_path: Path) -> None:
    with (
        attacked(tmp_path, MOST_CHECKOUTS="", BUDGETS="client=30") as scene,
        requests.Session() as session,
    ):

        def send() -> int:
            name = uuid4().hex
            return scene.post(session, name, f"{name}@shop-demo.io", "203.0.113.66")

        assert refused(send, 100) >= 50
        until(lambda: scene.count(Status.QUARANTINED) > 20)
        assert scene.emails() == set()
