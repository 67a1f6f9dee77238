"""Sessions of operators end on the server: a cookie that was copied is of no use afterwards."""

import resource
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from proxy.admin.eras import Eras, ErasFile
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.errors import Unavailable
from proxy.facts import SignedOut
from proxy.store import Store
from proxy.store.book import Book
from tests import postgres
from tests.actors import environment, until
from tests.operator import PASSWORD, Operator
from tests.running import TWO, Proxy
from tests.said import NOON, after, received
from tests.web import served

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


# -- while no sender takes anything in ---------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a proxy keeps its store, on each engine."""
    if request.param == "postgresql":
        return postgres.emptied(request.getfixturevalue("server"))
    return f"sqlite:///{tmp_path}/store"


@pytest.fixture
def shared(place: str, tmp_path: Path) -> Store:
    """Return the store at :func:`place`."""
    return Store.of("shop", place, tmp_path / "spool")


@pytest.fixture
def workers(place: str, shared: Store, tmp_path: Path) -> Iterator[list[Operator]]:
    """Return somebody who signed in at each of two web halves on one store, without a sender."""
    shared.prepare()
    shared.migrate()
    said = {"STORE": place, "SPOOL": f"{tmp_path}/spool", "ADMIN_PASSWORD": PASSWORD}
    with served(tmp_path, **said) as one, served(tmp_path, **said) as other:
        operators = [Operator(web.url) for web in (one, other)]
        assert [each.sign_in().status_code for each in operators] == [303, 303]
        yield operators


def pages(operators: list[Operator]) -> list[int]:
    return [each.get("shop/dead").status_code for each in operators]


def test_who_signs_out_everywhere_need_not_wait_for_the_sender(workers: list[Operator]) -> None:
    one, other = workers
    assert pages([one, other, moved(other, one), moved(one, other)]) == [200] * 4

    one.post("sign-out", wish="everywhere")

    assert pages([one, other, moved(other, one), moved(one, other)]) == [303] * 4


def test_who_signs_in_after_that_is_in_everywhere_until_it_is_done_again(
    workers: list[Operator],
) -> None:
    one, other = workers
    gone = moved(other, one)
    for _ in range(3):
        one.post("sign-out", wish="everywhere")
        assert pages([gone]) == [303]
        assert one.sign_in().status_code == 303
        assert pages([one, moved(one, other)]) == [200, 200]
        gone = moved(one, other)


def test_what_the_book_says_of_another_machine_goes_before_what_was_known_here(
    workers: list[Operator], shared: Store
) -> None:
    one, other = workers
    one.post("sign-out", wish="everywhere")
    one.sign_in()

    with shared.account("shop", Event()) as book:
        assert book is not None
        book.take_in([received(ended(0, None, "from-elsewhere"))], RULES)

    assert pages([one, other]) == [303, 303]
    one.sign_in()
    assert pages([one]) == [200]


def moved(operator: Operator, to: Operator) -> Operator:
    """Return *operator*, whose next requests meet the web half of another."""
    return Operator(to.url, cookie=operator.cookie, csrf=operator.csrf)


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


def test_a_disk_that_takes_nothing_is_said_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    file = ErasFile(tmp_path)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        with pytest.raises(Unavailable, match="cannot be written"):
            file.write(Eras(ended=("",), next="two"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    left = list(tmp_path.iterdir())

    file.write(Eras(ended=("",), next="three"))

    assert left == []
    assert file.read().next == "three"
