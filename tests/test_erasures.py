"""Erasures: who wants to be forgotten is, wherever they were named, and in whatever order."""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import process_time
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import erasures, facts, identity, outcomes, states
from proxy.carts.cart import Cart
from proxy.checkouts import ERASED, Checkout, Rules, Status, Trouble
from proxy.consents import ConsentMode, Modes, Permission
from proxy.erasures import Sieve
from proxy.facts import (
    CartPushed,
    Consent,
    ConsentState,
    Customer,
    Fact,
    QuestionAsked,
    StatePosted,
)
from proxy.identity import Profile, address_hash
from proxy.store import Store
from proxy.store.book import Book, Change
from proxy.store.received import Received
from tests.books import empty_book, written
from tests.conftest import Figure
from tests.said import (
    CART,
    DENIED,
    GRANTED,
    JANE,
    JOHN,
    after,
    cancel,
    erasure,
    order,
    pushed,
    received,
    release,
    replay,
    state,
)
from tests.tables import Tables

KEYS = tuple(map(identity.address_key, ("an-old-key", "a-new-key")))
RULES = Rules(
    settle=timedelta(seconds=30),
    epoch=timedelta(hours=24),
    modes=Modes(ConsentMode.OPT_OUT),
    address_key=KEYS[-1],
)
PHONE = "+4930123456"
JANES_CART = msgspec.structs.replace(CART, email="Jane@shop-demo.io", version=None)


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


def take_in(book: Book, *said: Fact, rules: Rules = RULES, delayed: bool = False) -> None:
    """Take in what was *said*, one batch each, as from an inbox of its own."""
    for fact in said:
        item = received(fact, inbox=uuid4().hex)
        book.take_in([replace(item, delayed=delayed)], rules, KEYS)


def only(book: Book, cart_id: str = "c-1") -> Checkout:
    (checkout,) = book.checkouts("shop", cart_id)
    return checkout


def dump(tables: Tables) -> bytes:
    """Return all that is written in all tables of the book, and in PostgreSQL's inbox."""
    names = ["accounts", "attempts", "carts", "checkouts", "erasures", "facts", "questions", "sent"]
    names += [] if tables.are_sqlite else ["inbox"]
    rows = [row for name in names for row in tables.ask(f"SELECT * FROM {name}")]
    columns = (column for row in rows for column in row)
    return b"\n".join(c if isinstance(c, bytes) else str(c).encode() for c in columns)


def traces(written: bytes, *of: str) -> list[str]:
    """Return which of these stand in what is *written*, however they are written."""
    text = written.decode(errors="replace")
    return [each for each in of if each.casefold() in text.casefold() or _encoded(each) in written]


def _encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())[: len(text) // 3 * 4]


# -- one person, wherever they are named -------------------------------------------------

TYPED: list[Fact] = [state(0, email=JANE, first_name="Canary")]
OF_TOKEN: list[Fact] = [
    state(0, email=JOHN, customer=Customer(email="JANE@shop-demo.io", first_name="Canary"))
]
CORRECTED: list[Fact] = [
    state(0, email=JANE, first_name="Canary"),
    state(1, email=JOHN, first_name="Canary"),
]
SIXTH_TYPED: list[Fact] = [
    *(state(n, email=f"a{n}@shop-demo.io") for n in range(5)),
    state(5, email=JANE, first_name="Canary"),
    state(6, email="zz@shop-demo.io"),
]
OF_CART: list[Fact] = [pushed(0, JANES_CART), state(1, kx="Canary")]
IN_TOKENS_CART: list[Fact] = [state(0, cart=JANES_CART, kx="Canary")]


@pytest.mark.parametrize(
    "said",
    [TYPED, OF_TOKEN, CORRECTED, SIXTH_TYPED, OF_CART, IN_TOKENS_CART],
    ids=["typed", "in-token", "corrected", "sixth-typed", "in-cart", "in-token's-cart"],
)
def test_whoever_is_named_by_an_address_leaves_no_trace(
    tables: Tables, book: Book, said: list[Fact]
) -> None:
    take_in(book, *said)
    assert traces(dump(tables), JANE, "Canary") == [JANE, "Canary"]

    take_in(book, erasure(10, email="jane@Shop-Demo.io"))

    assert only(book).status is Status.CANCELLED
    assert only(book).reason == ERASED
    assert only(book).address_hash is None
    assert traces(dump(tables), JANE, JOHN, "Canary") == []


@pytest.mark.parametrize(
    "said",
    [
        [state(0, phone_number="+49 (30) 123-456", first_name="Canary")],
        [state(0, phone_number="+49 030 123456", first_name="Canary")],
        [state(0, email=JOHN, customer=Customer(phone_number="+4930/123456", first_name="Canary"))],
    ],
)
def test_whoever_is_named_by_a_number_leaves_no_trace_however_it_is_spelt(
    tables: Tables, book: Book, said: list[Fact]
) -> None:
    take_in(book, *said)

    take_in(book, erasure(10, phone_number=PHONE))

    assert only(book).reason == ERASED
    assert traces(dump(tables), "123456", "123-456", JOHN, "Canary") == []


MUNICH = ["jane@münchen.de", "JANE@münchen.de", "jane@mu\u0308nchen.de", "jane@xn--mnchen-3ya.de"]


@pytest.mark.parametrize("typed", MUNICH)
@pytest.mark.parametrize("asked", MUNICH)
def test_an_address_is_found_however_its_letters_are_written(typed: str, asked: str) -> None:
    fact = state(0, customer=Customer(email=typed))
    (name,) = erasures.names(erasure(10, **erasures.whom(email=asked)))

    assert name in erasures.names_in(fact)
    assert Sieve([name]).catches(facts.encode(fact))


@pytest.mark.parametrize("typed", MUNICH)
def test_what_the_door_made_of_an_address_is_erased_by_what_was_typed(
    tables: Tables, book: Book, typed: str
) -> None:
    take_in(book, state(0, email=states.email(typed), first_name="Canary"))

    take_in(book, erasure(10, **erasures.whom(email=typed)))

    assert only(book).reason == ERASED
    assert traces(dump(tables), "Canary") == []


DIGITS = ("0123456789", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19")
BETWEEN = st.sampled_from(["", "", "", " ", "-", ".", "/", "\u00a0", "\u202f"])


@settings(max_examples=100)
@given(st.sampled_from(DIGITS), st.lists(BETWEEN, min_size=10, max_size=10))
def test_no_spelling_that_is_taken_for_a_number_is_missed(digits: str, between: list[str]) -> None:
    pairs = zip(PHONE.removeprefix("+"), between, strict=True)
    typed = "+" + "".join(digits[int(digit)] + gap for digit, gap in pairs)
    fact = state(0, phone_number=typed)

    assert Sieve([PHONE]).catches(facts.encode(fact)) or not erasures.names_in(fact)


def test_whoever_is_not_named_is_not_erased(tables: Tables, book: Book) -> None:
    take_in(book, state(0, email=JOHN), state(0, "c-2", email=JANE), pushed(0, JANES_CART, "c-3"))
    before = only(book)

    take_in(book, erasure(10, email=JANE), erasure(10, phone_number=PHONE))

    assert only(book) == before
    assert traces(dump(tables), JOHN, JANE) == [JOHN]


def test_an_erasure_of_a_cart_takes_the_cart_too(tables: Tables, book: Book) -> None:
    take_in(book, pushed(0), state(1, email=JANE), pushed(0, cart_id="c-2"))

    take_in(book, erasure(10, "c-1"))

    assert only(book).reason == ERASED
    assert book.cart("shop", "c-1") is None
    assert book.cart("shop", "c-2") == CART
    assert traces(dump(tables), JANE) == []


def test_a_cart_in_which_somebody_was_named_stays_without_the_name(book: Book) -> None:
    take_in(book, pushed(0, JANES_CART), state(1, kx="kx"), erasure(10, email=JANE))

    assert book.cart("shop", "c-1") == msgspec.structs.replace(JANES_CART, email=None)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_closed_is_found_by_every_key_that_hashes(book: Book, key: bytes) -> None:
    take_in(book, state(0, email=JANE), rules=replace(RULES, address_key=key))
    (delivered,) = book.change(
        "shop", [Change(checkout=only(book), apply=lambda c: outcomes.delivered(c, after(1)))],
        after(1),
    )  # fmt: skip
    assert delivered.address_hash == address_hash(JANE, key)

    take_in(book, erasure(10, email=JANE))

    assert only(book).status is Status.DELIVERED
    assert only(book).address_hash is None


RECORD = Consent(state=ConsentState.GRANTED, evidence="canary")


@pytest.mark.parametrize("end", ["delivered", "ordered"])
@pytest.mark.parametrize(
    "said",
    [
        {"phone_number": "+49 (30) 123-456"},
        {"email": JANE, "phone_number": "+49 030 123456"},
        {"email": JANE, "customer": Customer(email=JANE, phone_number="+4930/123456")},
        {"phone_number": "no number", "customer": Customer(phone_number=PHONE)},
    ],
    ids=["alone", "beside an address", "in-token", "beside no number"],
)
def test_what_is_closed_is_found_by_a_number_too(
    tables: Tables, book: Book, said: dict[str, Any], end: str
) -> None:
    take_in(book, state(0, consent=RECORD, client="canary", **said))
    # What is said of somebody else's afterwards takes nothing away.
    take_in(book, state(1, consent=RECORD, client="canary"))
    if end == "delivered":
        sent = Change(checkout=only(book), apply=lambda each: outcomes.delivered(each, after(2)))
        book.change("shop", [sent], after(2))
    else:
        take_in(book, order(2))
    take_in(book, erasure(9, phone_number="+12125550100"))
    assert traces(dump(tables), "canary") == ["canary"]

    take_in(book, erasure(10, phone_number=PHONE))

    assert (only(book).erased_at, only(book).phone_hash) == (after(10), None)
    assert traces(dump(tables), "canary") == []


@pytest.mark.parametrize("column", ["address_hash", "phone_hash"])
def test_what_is_closed_is_found_by_an_index(tmp_path: Path, column: str) -> None:
    """It is SQLite's plan: PostgreSQL has the same index, and plans by how many rows there are."""
    (tmp_path / "checkouts.db").write_bytes(empty_book())
    which = f"shop = 'shop' AND {column} IN ('one', 'another')"

    plan = Tables(f"sqlite:///{tmp_path}").ask(
        f"EXPLAIN QUERY PLAN SELECT cart_id FROM checkouts WHERE {which}"
    )

    ((*_, how),) = plan
    assert f"(shop=? AND {column}=?)" in how


@pytest.mark.parametrize(
    "apply",
    [
        lambda c: outcomes.refused(c, "Klaviyo answered 400"),
        lambda c: outcomes.quarantined(c, "suspicious"),
        lambda c: outcomes.bound(c, seen=c, profile=Profile(email=JANE, first_name="Canary")),
    ],
    ids=["dead", "quarantined", "under way"],
)
def test_what_is_still_open_is_cancelled(
    tables: Tables, book: Book, apply: Callable[[Checkout], Checkout]
) -> None:
    take_in(book, state(0, email=JANE))
    book.change("shop", [Change(checkout=only(book), apply=apply)], after(1))

    take_in(book, erasure(10, email=JANE))

    assert (only(book).status, only(book).reason) == (Status.CANCELLED, ERASED)
    assert book.due("shop", after(10_000), 10) == []
    assert traces(dump(tables), JANE, "Canary") == []


def test_whoever_an_attempt_may_have_reached_is_forgotten_though_the_cart_that_named_them_is_gone(
    tables: Tables, book: Book
) -> None:
    take_in(book, pushed(0, JANES_CART), state(11))
    bind = partial(lost, to=Profile(email=JANE), is_given_up=False)
    book.change("shop", [Change(checkout=only(book), apply=bind)], after(12))
    take_in(book, order(5), delayed=True)

    take_in(book, erasure(10, email=JANE), delayed=True)

    assert (only(book).status, only(book).reason) == (Status.CANCELLED, ERASED)
    assert traces(dump(tables), JANE) == []


def test_a_number_that_was_said_before_does_not_go_on_with_whom_an_attempt_may_have_reached(
    tables: Tables, book: Book
) -> None:
    take_in(book, state(0, phone_number=PHONE), state(11, email=JANE))
    bind = partial(lost, to=Profile(email=JANE, phone_number=PHONE), is_given_up=False)
    book.change("shop", [Change(checkout=only(book), apply=bind)], after(12))
    take_in(book, order(5), delayed=True)
    take_in(book, state(13, phone_number="+12125550100"))

    take_in(book, erasure(10, phone_number=PHONE), delayed=True)

    assert only(book).addressee == Profile(email=JANE)
    assert traces(dump(tables), PHONE) == []


def test_an_attempt_under_way_is_not_opened_again_by_its_answer(tables: Tables, book: Book) -> None:
    take_in(book, state(0, email=JANE))
    seen = only(book)
    take_in(book, erasure(10, email=JANE))

    failed = Change(
        checkout=seen,
        apply=lambda now: outcomes.unless_changed(
            now, seen=seen, apply=lambda c: outcomes.refused(c, "Klaviyo answered 400")
        ),
    )
    book.change("shop", [failed], after(11))

    assert only(book).reason == ERASED
    assert traces(dump(tables), JANE) == []


def test_questions_about_somebody_are_forgotten(tables: Tables, book: Book) -> None:
    about: dict[str, Any] = {
        "id": uuid4().hex,
        "shop": "shop",
        "cart_id": "c-1",
        "received_at": after(0),
    }
    take_in(book, QuestionAsked(state=state(0, email=JANE), **about))
    assert traces(dump(tables), JANE) == [JANE]

    take_in(book, erasure(10, email=JANE))

    assert traces(dump(tables), JANE) == []


def test_an_erasure_says_nothing_of_the_person_itself(tables: Tables, book: Book) -> None:
    take_in(book, state(0, email=JOHN), erasure(10, email=JANE), erasure(10, phone_number=PHONE))

    assert traces(dump(tables), JANE, PHONE) == []
    assert [row.decision for row in book.received("shop", "")] == ["taken in", "taken in"]


def test_an_erasure_stands_in_the_story_of_the_cart(book: Book) -> None:
    take_in(book, state(0, email=JANE), erasure(10, email=JANE))

    assert [(row.kind, row.decision) for row in book.received("shop", "c-1")] == [
        ("state", "pending: settling"),
        ("erasure", ERASED),
    ]


def test_an_erasure_that_is_asked_twice_is_one(tables: Tables, book: Book) -> None:
    asked = erasure(10, email=JANE)
    take_in(book, state(0, email=JANE), asked)
    once = dump(tables)

    take_in(book, erasure(11, email=JANE))
    take_in(book, asked)

    assert only(book).erased_at == after(10)
    assert traces(dump(tables), JANE) == traces(once, JANE) == []


def test_another_shop_s_customer_of_that_address_is_another(book: Book) -> None:
    theirs = replace(state(0, email=JANE), shop="other")
    take_in(book, theirs, state(0, email=JANE), erasure(10, email=JANE))

    (left,) = book.checkouts("other", "c-1")
    assert left.status is Status.PENDING


# -- what comes before, and after --------------------------------------------------------


def test_a_state_that_comes_later_is_a_new_act(book: Book) -> None:
    take_in(book, state(0, email=JANE), erasure(10, email=JANE), state(11, email=JANE))

    erased, new = book.checkouts("shop", "c-1")
    assert erased.reason == ERASED
    assert new.status is Status.PENDING
    assert new.unique_id != erased.unique_id
    assert [each.epoch for each in book.due("shop", after(12), 10)] == [new.epoch]


LATE: list[Fact] = [
    state(9, email=JANE, first_name="Canary"),
    state(9, first_name="Canary"),
    pushed(9, JANES_CART),
    # Said by a page that was offline meanwhile.
    state(9, late=5, first_name="Canary"),
]


@pytest.mark.parametrize("late", LATE, ids=["state", "unnamed", "cart", "offline"])
def test_what_was_said_before_and_is_read_after_it_leaves_no_trace(
    tables: Tables, book: Book, late: Fact
) -> None:
    take_in(book, state(0, email=JANE), erasure(10, email=JANE))

    take_in(book, late, delayed=True)

    assert only(book).reason == ERASED
    assert traces(dump(tables), JANE, "Canary") == []


def test_who_was_not_known_yet_is_erased_when_the_rest_comes(tables: Tables, book: Book) -> None:
    take_in(book, state(8, first_name="Canary"), erasure(10, email=JANE))
    assert only(book).status is Status.PENDING

    take_in(book, state(9, email=JANE), delayed=True)

    assert only(book).reason == ERASED
    assert traces(dump(tables), JANE, "Canary") == []


BARE_NO = Consent(state=ConsentState.DENIED)
NOS = [{"consent": replace(BARE_NO, source="canary", evidence="canary")}, {"gpc": True}]


@pytest.mark.parametrize("no", NOS, ids=["denied", "GPC"])
def test_a_no_of_a_visit_that_goes_on_is_not_forgotten_with_who_is_erased(
    tables: Tables, book: Book, no: dict[str, Any]
) -> None:
    take_in(book, state(0, email=JANE, phone_number=PHONE, **no), state(11, locale="de"))

    take_in(book, erasure(10, email=JANE), delayed=True)
    assert (only(book).address_hash, only(book).phone_hash) == (None, None)
    take_in(book, state(12, email=JOHN), delayed=True)

    assert only(book).status is Status.CANCELLED
    assert only(book).address_hash == address_hash(JOHN, KEYS[-1])
    assert traces(dump(tables), JANE, "canary") == []


def test_a_yes_of_a_visit_that_goes_on_is_forgotten_with_who_is_erased(book: Book) -> None:
    required = replace(RULES, modes=Modes(ConsentMode.REQUIRED))
    take_in(book, state(0, email=JANE, consent=GRANTED), state(11, email=JOHN), rules=required)

    take_in(book, erasure(10, email=JANE), state(12, email=JOHN), rules=required, delayed=True)

    assert only(book).reason == "waiting for consent"


@pytest.mark.parametrize("minute", [0, 11], ids=["said before", "said since"])
def test_no_record_of_consent_outlives_who_gave_it(
    tables: Tables, book: Book, minute: float
) -> None:
    record = Consent(state=ConsentState.GRANTED, source="Our banner", evidence="canary")
    take_in(book, state(minute, email=JANE, consent=record, client="canary"))
    take_in(book, state(0, email=JANE), state(12, first_name="J"), delayed=True)
    sent = Change(checkout=only(book), apply=lambda each: outcomes.delivered(each, after(13)))
    book.change("shop", [sent], after(13))

    take_in(book, erasure(10, email=JANE), delayed=True)

    decided = only(book).consent
    assert decided is not None
    assert decided.permission is Permission.GIVEN
    assert (decided.consent == record) is (minute > 10)
    assert (traces(dump(tables), "canary") == []) is (minute < 10)


def test_under_a_clock_that_was_set_back_all_that_was_known_is_erased(
    tables: Tables, book: Book
) -> None:
    take_in(book, state(600, email=JANE), erasure(10, email=JANE))

    assert only(book).reason == ERASED
    assert traces(dump(tables), JANE) == []


# -- whatever the order ------------------------------------------------------------------

ASKED_AT = 10
CART_IDS = ("c-1", "c-2")
CARTS = st.sampled_from(CART_IDS)
MINUTES = st.integers(0, 20).filter(lambda minute: minute != ASKED_AT)
WHO = st.sampled_from([JANE, "Jane@SHOP-demo.io", JOHN, None])


@st.composite
def facts_around(draw: st.DrawFn, carts: st.SearchStrategy[str] = CARTS) -> Fact:
    minute, cart_id, who = draw(MINUTES), draw(carts), draw(WHO)
    said = "before" if minute < ASKED_AT else "after"
    match draw(st.sampled_from(["state", "state", "state", "token", "cart", "order"])):
        case "cart":
            cart = msgspec.structs.replace(CART, email=who, version=None)
            return pushed(minute, cart, cart_id)
        case "order":
            return order(minute, cart_id)
        case "token":
            customer = Customer(email=who, last_name=f"{said}-canary")
            return state(minute, cart_id, customer=customer)
    return state(minute, cart_id, email=who, first_name=f"{said}-canary")


def names_jane(fact: Any) -> bool:
    cart: Cart | None = getattr(fact, "cart", None)
    customer: Customer | None = getattr(fact, "customer", None)
    emails = (getattr(fact, "email", None), cart and cart.email, customer and customer.email)
    return any(email and email.casefold() == JANE for email in emails)


Batches = Sequence[Sequence[Received]]


@st.composite
def read_in_any_order(
    draw: st.DrawFn, around: st.SearchStrategy[Fact], most: int = 10
) -> tuple[list[Fact], Batches]:
    said = draw(st.lists(around, min_size=1, max_size=most))
    asked = erasure(ASKED_AT, email=JANE)
    read = draw(st.permutations([*said, asked]))
    items = [replace(received(each, inbox=uuid4().hex), delayed=True) for each in read]
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(items) - 1)), max_size=3)))
    return said, [items[a:b] for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]


def taken_in(folder: Path, batches: Batches, keys: Sequence[bytes]) -> tuple[bytes, list[Checkout]]:
    """Return what is written down in the end, and how the checkouts stand."""
    with empty(folder) as book:
        for batch in batches:
            book.take_in(batch, RULES, keys)
        return written_down(folder), known(book)


@contextmanager
def empty(folder: Path) -> Iterator[Book]:
    """Yield a book of its own in *folder*."""
    (folder / "checkouts.db").write_bytes(empty_book())
    with closing(written(Store(f"sqlite:///{folder}"))) as book:
        yield book


def written_down(folder: Path) -> bytes:
    return dump(Tables(f"sqlite:///{folder}"))


def known(book: Book) -> list[Checkout]:
    """Return the checkouts of both carts."""
    return [each for cart_id in CART_IDS for each in book.checkouts("shop", cart_id)]


def judge(said: Sequence[Fact], written: bytes, known: Sequence[Checkout]) -> None:
    """Hold what is left against what was *said* before the erasure and after it."""
    judge_who_is_forgotten(said, written, known)
    for cart_id in set(CART_IDS) - named_by_push(said):
        judge_who_goes_on(cart_id, said, [each for each in known if each.cart_id == cart_id])


def judge_who_is_forgotten(said: Sequence[Fact], written: bytes, known: Sequence[Checkout]) -> None:
    """See to it that nothing is left of what was *said* before in a cart of hers."""
    before = [fact for fact in said if _early(fact)]
    later = [fact for fact in said if not _early(fact)]
    if not any(names_jane(fact) for fact in later):
        assert traces(written, JANE) == []
    of_jane = {fact.cart_id for fact in before if names_jane(fact)} - named_by_push(said)
    for checkout in known:
        if checkout.cart_id in of_jane:
            assert "before-canary" not in msgspec.json.encode(checkout).decode()
    if {fact.cart_id for fact in before} <= of_jane:
        assert traces(written, "before-canary") == []


def named_by_push(said: Sequence[Fact]) -> set[str]:
    """Return the carts that the shop pushed with her name: the last one alone is known."""
    pushes = [fact for fact in said if isinstance(fact, CartPushed) and names_jane(fact)]
    return {fact.cart_id for fact in pushes}


def judge_who_goes_on(cart_id: str, said: Sequence[Fact], known: Sequence[Checkout]) -> None:
    """See to it that a state is still to be sent that nobody has erased, or bought."""
    ours = [fact for fact in said if fact.cart_id == cart_id]
    acts = [fact.received_at for fact in ours if getattr(fact, "acted_at", None)]
    erased_until = after(ASKED_AT) if any(names_jane(f) for f in ours if _early(f)) else None
    orders = [fact.received_at for fact in ours if not hasattr(fact, "acted_at") and is_order(fact)]
    ends: list[datetime] = [*orders, *([] if erased_until is None else [erased_until])]
    is_open = any(each.status is Status.PENDING for each in known)
    assert is_open == bool(acts and max(acts) > max(ends, default=after(-1)))


def _early(fact: Fact) -> bool:
    return fact.received_at < after(ASKED_AT)


def is_order(fact: Fact) -> bool:
    return hasattr(fact, "order_id")


@settings(max_examples=60)
@given(read_in_any_order(facts_around()))
def test_whatever_the_order_what_was_said_before_leaves_no_trace_and_what_was_said_later_counts(
    story: tuple[list[Fact], Batches],
) -> None:
    said, batches = story

    with TemporaryDirectory() as folder:
        written, known = taken_in(Path(folder), batches, KEYS)

    judge(said, written, known)


def test_a_book_that_does_not_remember_who_was_erased_is_found_out() -> None:
    """The control: without keys nothing is known of who was erased before."""
    said = [state(0, email=JANE, first_name="before-canary")]
    items = [received(each, inbox=uuid4().hex) for each in (erasure(ASKED_AT, email=JANE), *said)]

    with TemporaryDirectory() as folder:
        written, known = taken_in(Path(folder), [items[:1], items[1:]], ())

    with pytest.raises(AssertionError):
        judge(said, written, known)


# -- whatever was lost -------------------------------------------------------------------

ANSWERS = ("not tried", "lost", "given up")
LAST_WORDS = ("denied", "ordered", "called off")


@dataclass
class Attempts:
    """Attempts to send what is due in *book*: each of them may have reached somebody."""

    book: Book
    reached: dict[str, list[str]] = field(default_factory=dict)

    def make(self, answer: str = "lost") -> None:
        """Try all that is due, and be told no answer."""
        for due in self.book.due("shop", after(10_000), 10) if answer != "not tried" else ():
            cart_email = getattr(self.book.cart("shop", due.cart_id), "email", None)
            to = due.addressee or identity.identify(due.latest, cart_email=cart_email)
            if to.email:
                self.reached.setdefault(due.unique_id, []).append(to.email.casefold())
                unanswered = partial(lost, to=to, is_given_up=answer == "given up")
                self.book.change("shop", [Change(checkout=due, apply=unanswered)], after(20))

    def count(self) -> int:
        return sum(map(len, self.reached.values()))


def lost(checkout: Checkout, *, to: Profile, is_given_up: bool) -> Checkout:
    bound = outcomes.bound(checkout, seen=checkout, profile=to)
    wait = timedelta(minutes=1)
    tried = outcomes.postponed(bound, Trouble.KLAVIYO, "no answer", now=after(20), wait=wait)
    return outcomes.refused(tried, "given up") if is_given_up else tried


def replayed(book: Book, minute: float) -> list[Fact]:
    """Return an operator's wish that all be sent that is dead or in quarantine."""
    again = (replay, release)
    return [
        ask(minute, epoch=each.epoch) for each in book.checkouts("shop", "c-1") for ask in again
    ]


def last_word(book: Book, word: str) -> list[Fact]:
    """Return what ends the cart for good."""
    match word:
        case "denied":
            # Whoever goes on without a word on consent has said no.
            return [state(40, consent=DENIED), state(41, email=JOHN)]
        case "ordered":
            return [order(40)]
    return [cancel(40, epoch=each.epoch) for each in book.checkouts("shop", "c-1")]


def take_in_late(book: Book, said: Sequence[Fact]) -> None:
    items = [received(fact, inbox=uuid4().hex) for fact in said]
    book.take_in([replace(item, delayed=True) for item in items], RULES, KEYS)


IN_ONE_CART = read_in_any_order(facts_around(st.just("c-1")), most=4)


@settings(max_examples=80)
@given(IN_ONE_CART, st.data(), st.sampled_from(LAST_WORDS))
def test_whatever_was_lost_an_event_reaches_one_person_and_nobody_after_a_no(
    story: tuple[list[Fact], Batches], data: st.DataObject, last: str
) -> None:
    said, batches = story

    with TemporaryDirectory() as folder, empty(Path(folder)) as book:
        attempts = Attempts(book)
        for item in chain.from_iterable(batches):
            book.take_in([item], RULES, KEYS)
            attempts.make(data.draw(st.sampled_from(ANSWERS)))
        judge_who_is_forgotten(said, written_down(Path(folder)), known(book))

        take_in_late(book, replayed(book, 30))
        attempts.make()
        assert all(len(set(people)) == 1 for people in attempts.reached.values())

        tried = attempts.count()
        take_in_late(book, [*last_word(book, last), state(5, late=40, email=JANE)])
        take_in_late(book, replayed(book, 50))
        attempts.make()
        assert attempts.count() == tried


# -- what is kept of what was posted -----------------------------------------------------


@given(
    st.builds(
        state,
        email=st.sampled_from([None, JANE]),
        phone_number=st.sampled_from([None, PHONE, "no number"]),
        customer=st.sampled_from(
            [None, Customer(first_name="Jane"), Customer(email=JOHN), Customer(phone_number=PHONE)]
        ),
        cart=st.sampled_from([None, CART, JANES_CART]),
    )
)
def test_of_a_state_whom_it_names_is_kept_and_when(said: StatePosted) -> None:
    trail = erasures.trail(said)

    if trail is None:
        assert not erasures.names_in(said)
    else:
        kept = facts.decode("state", trail)
        assert erasures.names_in(kept) == erasures.names_in(said)
        assert erasures.when(kept) == erasures.when(said)


def test_what_a_page_posts_on_and_on_takes_no_room_but_for_whom_it_names(
    tables: Tables, book: Book
) -> None:
    evidence = Consent(state=ConsentState.GRANTED, evidence="e" * 10_000)
    take_in(book, *(state(n, email=JANE, consent=evidence, ref="r" * 5_000) for n in range(3)))

    kept = [body for (body,) in tables.ask("SELECT body FROM facts")]

    assert len(kept) == 3
    assert all(len(body) < 500 for body in kept)


# -- one address in many carts -----------------------------------------------------------


def shared(book: Book, carts: int) -> None:
    """Have the same address typed in so many carts of the shop."""
    typed = (state(0, f"c-{n}", email=JANE) for n in range(carts))
    items = [received(fact, seq, inbox="many") for seq, fact in enumerate(typed, 1)]
    for start in range(0, carts, 5_000):
        book.take_in(items[start : start + 5_000], RULES, KEYS)


def seconds_to_erase(folder: Path, carts: int) -> float:
    """Return how long it takes, of the processor's time, to forget who was named in *carts*."""
    (folder / "checkouts.db").write_bytes(empty_book())
    with closing(written(Store(f"sqlite:///{folder}"))) as book:
        shared(book, carts)
        began = process_time()
        take_in(book, erasure(10, email=JANE))
        took = process_time() - began
        assert only(book, f"c-{carts - 1}").reason == ERASED
    return took


@pytest.mark.slow
def test_an_address_that_many_carts_share_is_erased_in_time(tmp_path: Path, figure: Figure) -> None:
    took = {}
    for carts in (1_000, 8_000):
        folder = tmp_path / str(carts)
        folder.mkdir()
        took[carts] = seconds_to_erase(folder, carts)

    ratio = took[8_000] / took[1_000]
    figure("to erase 8,000 carts, beside 1,000", f"{ratio:.1f}", "16")
    assert ratio < 16


@pytest.mark.slow
def test_an_address_may_stand_in_more_carts_than_a_query_has_room_for(
    book: Book, tables: Tables
) -> None:
    carts = 33_000 if tables.are_sqlite else 66_000
    shared(book, carts)

    take_in(book, erasure(10, email=JANE))

    assert book.counts("shop")[Status.CANCELLED] == carts
    assert traces(dump(tables), JANE) == []
