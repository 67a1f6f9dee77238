"""QA: an operator pastes a token or a state, and is told at which step it stops, and why."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from proxy.checkouts import Status
from proxy.facts import Customer, QuestionAsked
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from proxy.tokens import Session, Tokens
from tests.actors import TOKEN_KEYS, Ledger, Page, environment, judged_klaviyo, until
from tests.books import lay_book, written
from tests.commands import run
from tests.operator import PASSWORD, Operator
from tests.platform import KEY, Platform, recorded
from tests.running import Proxy
from tests.said import JANE, NOON
from tests.said import state as said_at
from tests.test_admin import take_in
from tests.web import Web, served
from tests.web import token as signed

ORIGIN = "https://shop.example"
OLD_KEY, NEW_KEY = TOKEN_KEYS.split(",")
CANARY = "canary"
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def named(name: str) -> str:
    """Return a cart's id as the platform makes them."""
    return f"cart_{name:0>26}"


CART_ID = named("1")


def token(cart_id: str = CART_ID, *, key: str = NEW_KEY, shop: str = "shop", **more: Any) -> str:
    """Return a token as the shop's server signs it."""
    tokens = Tokens([key], shop=shop, max_age=timedelta(hours=24))
    return tokens.sign(Session(shop=shop, cart_id=cart_id, **more))


@dataclass
class Desk:
    """A shop that is served, with a sender, whose carts are at a platform."""

    proxy: Proxy
    operator: Operator
    platform: Platform
    klaviyo: Klaviyo
    env: dict[str, str]
    ledger: Ledger
    locations: list[str] = field(default_factory=list)

    def cart(self, cart_id: str, **changes: Any) -> None:
        """Let the platform have a cart of nobody's, with *changes*."""
        said = json.loads(recorded("medusa_eur"))
        said["cart"] |= {"id": cart_id, "email": None} | changes
        self.platform.status, self.platform.answer = 200, json.dumps(said).encode()

    def try_token(self, text: str) -> str:
        return self._posted("shop/qa/token", token=text)

    def try_state(self, body: str | dict[str, Any], **form: str) -> str:
        """Return what the page says in the end."""
        text = body if isinstance(body, str) else json.dumps(body)
        return self._posted("shop/qa/state", state=text, **form)

    def preview(self, unique_id: str) -> str:
        """Return what the page says of a checkout."""
        return self._posted(f"shop/checkouts/{unique_id}", wish="preview")

    def _posted(self, path: str, **form: str) -> str:
        answer = self.operator.post(path, **form)
        if answer.status_code == 200:
            return text(answer.text)
        assert answer.status_code == 303, answer.text
        where = answer.headers["Location"]
        self.locations.append(where)
        page = ""

        def answered() -> bool:
            nonlocal page
            page = self.operator.get(where.removeprefix("/admin/")).text
            return "is being asked" not in page

        until(answered)
        return text(page)


def text(page: str) -> str:
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def state(cart_id: str = CART_ID, **said: Any) -> dict[str, Any]:
    """Return a state as a page posts it."""
    return {"id": uuid4().hex, "token": token(cart_id), "email": JANE, **said}


@pytest.fixture(scope="module")
def served_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("desk")
    with judged_klaviyo() as klaviyo, Platform().serve() as platform:
        settings = {"SETTLE": "3000", "ADMIN_PASSWORD": PASSWORD, "ORIGINS": ORIGIN}
        carts = {"CARTS": "medusa", "CARTS_URL": platform.url, "CARTS_KEY": KEY}
        env = environment(folder, klaviyo.url, **settings, **carts)
        with Proxy(env, "--workers", "1") as proxy:
            operator = Operator(proxy.url)
            store = Store.of("shop", f"sqlite:///{folder}")
            until(lambda: store.exists and store.has_sender("shop"))
            operator.sign_in()
            yield Desk(proxy, operator, platform, klaviyo, env, Ledger(folder, klaviyo))
            assert CANARY not in proxy.log.casefold()
        assert klaviyo.requests == ()


@pytest.fixture
def desk(served_desk: Desk) -> Desk:
    served_desk.cart(CART_ID)
    return served_desk


# -- a state -----------------------------------------------------------------------------


def test_a_state_that_is_well_is_followed_to_the_event(desk: Desk) -> None:
    said = desk.try_state(state(), origin=f"{ORIGIN}/checkout?step=2", media_type="text/plain")

    assert "Nothing stops it." in said
    assert f"pages of {ORIGIN} may post" in said
    assert "by key 2 of 2, the one that signs" in said
    assert "175.83 EUR" in said
    assert '"email": "jane@shop-demo.io"' in said
    assert desk.klaviyo.requests == ()


@pytest.mark.parametrize(
    ("said", "step", "words"),
    [
        ({"consent": "denied"}, "consent", "the shopper denied consent"),
        ({"email": "jane@example.com"}, "identity", "kept for examples"),
        ({"email": None}, "identity", "waits for an address"),
        ({"email": "jane@nowhere"}, "address", "(at /email)"),
        ({"email": 7}, "JSON", "(at /email)"),
        ({"claimed": {"value": "1e99"}}, "total", "(at /claimed/value)"),
        ({"consent": "perhaps"}, "JSON", "(at /consent)"),
        ({"token": "a.b"}, "form", "three parts"),
        ({"token": token(key="a-key-of-somebody-else")}, "signature", "matches no key"),
        ({"token": token(shop="another")}, "shop", "CHECKOUT_PROXY_SHOP is 'shop'"),
    ],
)
def test_each_mistake_in_a_state_names_its_step(
    desk: Desk, said: dict[str, Any], step: str, words: str
) -> None:
    page = desk.try_state(state(**said))

    assert f"It stops at: {step}." in page
    assert words in page


@pytest.mark.parametrize(
    ("status", "changes", "words"),
    [
        (503, {}, "the shop answered 503: it is asked again"),
        (404, {}, "after three tries the checkout is cancelled"),
        (200, {"currency_code": None}, "a dead letter"),
        (200, {"completed_at": "2026-11-22T12:00:00Z"}, "became an order"),
    ],
    ids=["down", "gone", "invalid", "ordered"],
)
def test_what_is_wrong_with_the_cart_is_said(
    desk: Desk, status: int, changes: dict[str, Any], words: str
) -> None:
    desk.cart(CART_ID, **changes)
    desk.platform.status = status

    page = desk.try_state(state())

    assert "It stops at: cart." in page
    assert words in page


def test_a_fourth_address_names_its_step(desk: Desk) -> None:
    desk.cart(named("4"))
    page = Page(desk.proxy.url, token(named("4")))
    for number in range(3):
        page.say(email=f"jane-{number}@shop-demo.io")
    until(lambda: [len(each.addresses) for each in desk.ledger.checkouts(named("4"))] == [3])

    said = desk.try_state(state(named("4")))

    assert "It stops at: addresses." in said
    assert [len(each.addresses) for each in desk.ledger.checkouts(named("4"))] == [3]


@pytest.mark.parametrize(
    ("form", "step"),
    [
        ({"origin": "https://www.shop.example"}, "origin"),
        ({"media_type": "application/x-www-form-urlencoded"}, "media type"),
    ],
)
def test_what_the_request_has_wrong_names_its_step(
    desk: Desk, form: dict[str, str], step: str
) -> None:
    assert f"It stops at: {step}." in desk.try_state(state(), **form)


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ("{", "JSON"),
        ("[]", "JSON"),
        ('{"email": "\\ud800"}', "JSON"),
        ('{"token": "\\ud800\\udc00"}', "form"),
        ("[" * 10_000, "JSON"),
        ("{}" + "x" * 100 * 1024, "size"),
        (json.dumps({"token": "a.b.c", "email": "x" * 100 * 1024}), "size"),
        ("\x00", "JSON"),
        ("", "JSON"),
    ],
)
def test_what_is_no_state_is_said_to_be_none(desk: Desk, body: str, step: str) -> None:
    assert f"It stops at: {step}." in desk.try_state(body)


def test_a_link_that_leads_elsewhere_is_said_to_be_dropped(desk: Desk) -> None:
    said = desk.try_state(state(checkout_url="https://elsewhere.example/c"))

    assert "dropped: its origin https://elsewhere.example is not in CHECKOUT_PROXY_ORIGINS" in said
    assert "Nothing stops it." in said


def test_a_name_with_a_link_in_it_is_said_to_be_left_out(desk: Desk) -> None:
    page = desk.try_state(state(first_name="claim it at //evil.example", last_name="Doe"))

    assert "a link or markup in it, and is left out" in page
    assert '"last_name": "Doe"' in page
    assert '"first_name"' not in page


def test_a_name_with_a_dot_in_it_is_said_to_be_parted(desk: Desk) -> None:
    page = desk.try_state(state(first_name="Md.Rahman", last_name="Doe"))

    assert "a space was put behind a dot in one, so that it is no link" in page
    assert '"first_name": "Md. Rahman"' in page


def test_a_name_as_it_was_typed_is_not_spoken_of(desk: Desk) -> None:
    page = desk.try_state(state(first_name="Md. Rahman s/o", last_name="Doe"))

    assert "a space was put" not in page
    assert "is left out" not in page


def test_a_state_that_waited_in_the_browser_counts_from_the_act(desk: Desk) -> None:
    said = desk.try_state(state(age_ms=13 * 3_600_000))

    assert "posted 46,800 s after the shopper's act" in said
    assert '"backfill": true' in said


# -- a token -----------------------------------------------------------------------------


def test_a_token_is_told_part_by_part(desk: Desk) -> None:
    said = desk.try_token(token(key=OLD_KEY, customer=Customer(email=JANE), ref="a-ref"))

    assert "by key 1 of 2, an older one, which still verifies" in said
    assert "j…@shop-demo.io" in said
    assert "there is a credential that reads the cart" in said
    assert "the token carries no cart" in said
    assert "It stops" not in said
    assert OLD_KEY not in said


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("", "form"),
        ("canary", "form"),
        ("a.b.c", "form"),
        (token()[:-3], "signature"),
        (token()[3:], "form"),
        (token(key="a-key-of-somebody-else"), "signature"),
        (token(shop="another"), "shop"),
        (f"{HOSTILE}.a.b", "form"),
        ("😀.é.ß", "form"),
    ],
    # Tokens are of this moment, and every process that runs tests must know each by one name.
    ids=["nothing", "word", "a.b.c", "cut", "torn", "another key", "another shop", "html", "odd"],
)
def test_each_mistake_in_a_token_names_its_step(desk: Desk, text: str, step: str) -> None:
    assert f"It stops at: {step}." in desk.try_token(text)


def test_a_token_that_is_too_old_says_how_old(tmp_path: Path) -> None:
    with served(tmp_path, ADMIN_PASSWORD=PASSWORD, TOKEN_AGE="1") as web:
        lay_book(web.store)
        operator = Operator(web.url)
        operator.sign_in()
        old = signed()
        until(lambda: web.post_state(json.dumps({"token": old})).status == 401)

        said = text(operator.post("shop/qa/token", token=old).text)

    assert "It stops at: age of the token." in said
    assert "may be 1 s" in said


# -- a checkout --------------------------------------------------------------------------


def test_of_a_checkout_that_waits_is_shown_what_would_be_sent(desk: Desk) -> None:
    desk.cart(named("5"))
    Page(desk.proxy.url, token(named("5"))).say(email=JANE, consent="granted")
    (checkout,) = desk.ledger.wait(named("5"), Status.PENDING)

    said = desk.preview(checkout.unique_id)

    assert "Nothing stops it." in said
    assert f'"unique_id": "{checkout.unique_id}"' in said
    assert desk.ledger.wait(named("5"), Status.PENDING) == [checkout]


def test_the_command_says_of_it_what_the_page_says(desk: Desk) -> None:
    desk.cart(named("6"))
    Page(desk.proxy.url, token(named("6"))).say(email=JANE)
    (checkout,) = desk.ledger.wait(named("6"), Status.PENDING)
    page = desk.preview(checkout.unique_id)

    printed = run("preview", named("6"), "--json", **desk.env)

    said = json.loads(printed.stdout)
    assert printed.returncode == 0
    assert said["event"]["data"]["attributes"]["unique_id"] == checkout.unique_id
    assert all(step["words"] in page for step in said["steps"])
    assert run("preview", checkout.unique_id, "--json", **desk.env).stdout == printed.stdout
    assert "nothing was received" in run("preview", "c-99", **desk.env).stderr


# -- what is kept to itself --------------------------------------------------------------


def test_what_is_pasted_is_in_no_address_and_no_log(desk: Desk) -> None:
    cart_id = named(CANARY.upper())
    desk.cart(cart_id)
    said = {"email": f"{CANARY}@shop-demo.io", "first_name": CANARY, "locale": CANARY}

    assert "Nothing stops it." in desk.try_state(state(cart_id, **said))
    desk.try_state(f'{{"{CANARY}": ')
    desk.try_token(f"{CANARY}.{CANARY}.{CANARY}")
    desk.platform.answer = b"{"
    desk.try_state(state(cart_id, **said))

    assert CANARY not in desk.proxy.log.casefold()
    assert CANARY not in "".join(desk.locations).casefold()
    assert desk.ledger.checkouts(cart_id) == []


@pytest.mark.parametrize("what", ["token", "state"])
def test_what_is_pasted_is_not_run(desk: Desk, what: str) -> None:
    pasted = json.dumps(state(HOSTILE)) if what == "state" else HOSTILE
    answer = desk.operator.post(f"shop/qa/{what}", **{what: pasted, "origin": HOSTILE})

    assert answer.status_code == 200
    assert re.search("<(script|img)", answer.text) is None
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_what_a_shop_says_is_not_run_where_the_event_is_shown(desk: Desk) -> None:
    desk.cart(named("7"))
    jane = Customer(email=JANE, first_name=HOSTILE)

    desk.try_state(state(token=token(named("7"), customer=jane)))

    assert "&lt;script&gt;" in desk.operator.seen[-1]
    assert re.search("<(script|img)", desk.operator.seen[-1]) is None


@pytest.mark.parametrize("path", ["shop/qa/token", "shop/qa/state"])
def test_a_form_of_another_site_asks_nothing(desk: Desk, path: str) -> None:
    answer = desk.operator.post(path, csrf="guessed", state=json.dumps(state()))

    assert answer.status_code == 403
    assert Operator(desk.proxy.url).post(path).headers["Location"] == "/admin/sign-in"


def test_answers_are_for_those_who_signed_in(desk: Desk) -> None:
    desk.try_state(state())

    stranger = Operator(desk.proxy.url).get(desk.locations[-1].removeprefix("/admin/"))

    assert (stranger.status_code, stranger.headers["Location"]) == (303, "/admin/sign-in")


# -- without an answer -------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Web, Operator]]:
    """Serve the web half alone: nobody answers."""
    with served(tmp_path, ADMIN_PASSWORD=PASSWORD) as web:
        lay_book(web.store)
        operator = Operator(web.url)
        operator.sign_in()
        yield web, operator


def test_without_a_sender_the_first_steps_are_told_and_nothing_is_kept(
    alone: tuple[Web, Operator],
) -> None:
    web, operator = alone

    answer = operator.post("shop/qa/state", state=json.dumps({"token": signed(), "email": JANE}))

    assert "no sender is at work here" in text(answer.text)
    assert "j…@shop-demo.io" in answer.text
    assert web.facts() == []


@pytest.mark.parametrize(
    ("seconds", "words", "looks_again"),
    [
        (1, "The sender is being asked.", True),
        (20, "Is the sender at work?", False),
        (4_000, "erased after an hour", False),
    ],
)
def test_a_page_looks_again_for_a_while(
    alone: tuple[Web, Operator], seconds: float, words: str, looks_again: bool
) -> None:
    _, operator = alone
    asked_at = datetime.now(UTC) - timedelta(seconds=seconds)

    page = operator.page(f"shop/qa?question={asked_at:%Y%m%dT%H%M%S}-{uuid4().hex}")

    assert words in page
    assert ('<meta http-equiv="refresh" content="1">' in page) == looks_again


@pytest.mark.parametrize("name", ["", "x", "../..", "%3Cscript%3E", "9" * 5_000])
def test_an_invented_question_has_no_answer(alone: tuple[Web, Operator], name: str) -> None:
    _, operator = alone

    answer = operator.get(f"shop/qa?question={name}")

    assert answer.status_code == 200
    assert "<script" not in answer.text


def test_a_checkouts_question_is_a_fact(alone: tuple[Web, Operator]) -> None:
    web, operator = alone
    with closing(written(web.store)) as book:
        take_in(book, said_at(0, email=JANE))
        (checkout,) = book.checkouts("shop", "c-1")

    answer = operator.post(f"shop/checkouts/{checkout.unique_id}", wish="preview")

    assert "?question=" in answer.headers["Location"]
    (fact,) = web.facts()
    assert isinstance(fact, QuestionAsked)
    assert (fact.cart_id, fact.epoch, fact.state) == ("c-1", NOON, None)


# -- the list of what is to do -----------------------------------------------------------


def test_what_is_seen_to_be_done_is_ticked_off(desk: Desk) -> None:
    Page(desk.proxy.url, token(named("8"))).say(email=JANE)
    desk.ledger.wait(named("8"), Status.PENDING)

    page = text(desk.operator.page("shop/qa"))

    assert re.search(r"A page posted a state last at \d\d:\d\d", page)
    assert "Klaviyo took an event not yet" in page
    assert "Placed Order zero times since starting this flow" in page
    assert "checkout-proxy doctor --send-test ADDRESS" in page


# -- by the command ----------------------------------------------------------------------


def test_the_command_tries_a_state(desk: Desk) -> None:
    well = run("qa", "--state", "-", "--origin", ORIGIN, stdin=json.dumps(state()), **desk.env)
    denied = run("qa", "--state", "-", stdin=json.dumps(state(consent="denied")), **desk.env)

    assert well.returncode == 0, well.stderr
    assert re.search(r"^passed +cart +175\.83 EUR", well.stdout, re.M)
    assert '"metric"' in well.stdout
    assert denied.returncode == 1
    assert re.search("^stopped +consent +the shopper denied", denied.stdout, re.M)
    assert '"metric"' not in denied.stdout


@pytest.mark.parametrize("given", [b"\xff\xfe", b"{", b'{"token": "\\udc00"}', b"x" * 100_000])
def test_the_command_says_what_is_no_state(desk: Desk, given: bytes) -> None:
    done = run("qa", "--state", "-", stdin=given, **desk.env)

    assert (done.returncode, done.stderr) == (1, "")
    assert re.search("^stopped +(JSON|form) ", done.stdout, re.M)


def test_the_command_tries_a_token(desk: Desk) -> None:
    well = run("qa", "--token", "-", "--json", stdin=token(), **desk.env)
    forged = run("qa", "--token", token(key="a-key-of-somebody-else"), **desk.env)

    steps = {step["name"]: step["verdict"] for step in json.loads(well.stdout)["steps"]}
    assert (well.returncode, steps["signature"], steps["age of the token"]) == (
        0,
        "passed",
        "passed",
    )
    assert forged.returncode == 1
    assert re.search("^stopped +signature ", forged.stdout, re.M)
    assert run("qa", **desk.env).returncode == 2
