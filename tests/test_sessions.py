"""Sessions of operators end on the server: a cookie that was copied is of no use afterwards."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from threading import Event
from time import monotonic

import pytest

from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.facts import SignedOut
from proxy.store import Store
from proxy.store.book import Book
from tests.actors import environment, until
from tests.operator import PASSWORD, Operator
from tests.running import TWO, Proxy
from tests.said import NOON, after, received

RULES = Rules(settle=timedelta(0), epoch=timedelta(days=1), modes=Modes(ConsentMode.OPT_OUT))
# So many requests in a row meet both web workers.
MANY = 12


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


def ended(minute: float, session: str | None, name: str) -> SignedOut:
    return SignedOut(id=name, shop="shop", cart_id="", received_at=after(minute), session=session)


def test_what_ends_a_session_is_in_the_book_and_nowhere_else(store: Store, book: Book) -> None:
    book.take_in([received(ended(0, "s-1", "f-1")), received(ended(1, None, "f-2"), 2)], RULES)

    with closing(store.book()) as reader:
        assert reader.sign_outs("shop", "s-1") == ("f-2", True)
        assert reader.sign_outs("shop", "s-2") == ("f-2", False)
        assert reader.sign_outs("another", "s-1") == ("", False)
        assert reader.received("shop", "") == []


def test_an_ended_session_is_forgotten_once_it_would_be_over_and_the_era_is_not(
    book: Book,
) -> None:
    book.take_in([received(ended(0, "s-1", "f-1")), received(ended(0, None, "f-2"), 2)], RULES)

    book.tidy("shop", NOON + timedelta(hours=13))
    before = book.sign_outs("shop", "s-1")
    book.tidy("shop", NOON + timedelta(hours=25))

    assert (before, book.sign_outs("shop", "s-1")) == (("f-2", True), ("f-2", False))


def test_an_end_that_cannot_be_read_stops_nothing(book: Book) -> None:
    broken = replace(received(ended(0, "s-1", "f-1")), body=b"{")

    book.take_in([broken, received(ended(0, "s-2", "f-2"), 2)], RULES)

    assert book.sign_outs("shop", "s-2") == ("", True)


# -- through the front door, over two web workers and a restart ---------------------------


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    store = tmp_path_factory.mktemp("sessions") / "store"
    env = environment(store, "http://127.0.0.1:9", ADMIN_PASSWORD=PASSWORD)
    with Proxy(env, *TWO) as proxy:
        until(lambda: "the sender is at work" in proxy.log)
        yield proxy


def signed_in(proxy: Proxy) -> Operator:
    operator = Operator(proxy.url)
    assert operator.sign_in().status_code == 303
    return operator


def answers(operator: Operator) -> set[int]:
    """Return what a cookie is worth at both web workers."""
    return {operator.get("shop/dead").status_code for _ in range(MANY)}


def copied(operator: Operator) -> Operator:
    return Operator(operator.url, cookie=operator.cookie, csrf=operator.csrf)


def test_a_cookie_that_was_copied_is_worth_nothing_after_the_sign_out(proxy: Proxy) -> None:
    operator, other = signed_in(proxy), signed_in(proxy)
    thief = copied(operator)
    assert answers(thief) == {200}

    operator.post("sign-out")
    began = monotonic()
    until(lambda: answers(thief) == {303})

    assert monotonic() - began < 5  # A second, on a machine that has nothing else to do.
    assert answers(other) == {200}


@pytest.mark.slow  # It starts twice.
def test_who_signs_out_everywhere_ends_every_session_also_over_a_restart(proxy: Proxy) -> None:
    operators = [signed_in(proxy) for _ in range(3)]
    gone = copied(operators[2])
    operators[2].post("sign-out")

    operators[0].post("sign-out", wish="everywhere")
    until(lambda: all(answers(each) == {303} for each in operators[:2]))
    proxy.stop()
    proxy.start()

    assert [answers(each) for each in (*operators[:2], gone)] == [{303}] * 3
    assert answers(signed_in(proxy)) == {200}


def test_a_sign_out_without_the_form_of_a_page_ends_nothing(proxy: Proxy) -> None:
    operator = signed_in(proxy)

    answer = operator.post("sign-out", csrf="another")

    assert answer.status_code == 403
    assert answers(operator) == {200}
