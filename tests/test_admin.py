"""The operator's pages: who comes in, what they show, what they never show, what they can do."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from flask import Flask, Response, request
from itsdangerous import TimestampSigner

from proxy import facts, outcomes, personkey
from proxy.admin.signin import SignIn
from proxy.alarms import Alarm, Name, News, State
from proxy.checkouts import Rules, Status
from proxy.clients import Clients, networks
from proxy.consents import ConsentMode, Modes
from proxy.facts import (
    CancelAsked,
    Customer,
    ErasureAsked,
    Fact,
    HurryAsked,
    ReleaseAsked,
    ReplayAsked,
)
from proxy.identity import address_hash, address_key
from proxy.store.book import Book, Change, Seen
from proxy.tallies import Sight
from tests.actors import CART, Ledger, Page, Shop, environment, judged_klaviyo
from tests.books import lay_book, written
from tests.operator import PASSWORD, Operator
from tests.running import Proxy
from tests.said import JANE, JOHN, NOON, after, order, received, state
from tests.web import TOKEN_KEY, Web, served

RULES = Rules(
    settle=timedelta(seconds=30),
    epoch=timedelta(hours=24),
    modes=Modes(ConsentMode.OPT_OUT),
    address_key=address_key(TOKEN_KEY),
)
SECRET_CART = "gid://shopify/Cart/abc?key=canary-of-a-key"
PAGES = ("shop/", "shop/?period=hour", "shop/checkouts", "shop/dead", "shop/quarantine")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with served(tmp_path, ADMIN_PASSWORD=PASSWORD) as web:
        lay_book(web.store)
        yield web


@pytest.fixture
def book(web: Web) -> Iterator[Book]:
    with closing(written(web.store)) as book:
        yield book


@pytest.fixture
def operator(web: Web) -> Operator:
    operator = Operator(web.url)
    operator.sign_in()
    return operator


def take_in(book: Book, *said: Fact, rules: Rules = RULES) -> None:
    book.take_in([received(fact, seq) for seq, fact in enumerate(said, 1)], rules)


def die(book: Book, cart_id: str, reason: str) -> None:
    (checkout,) = book.checkouts("shop", cart_id)
    refuse = Change(checkout=checkout, apply=partial(outcomes.refused, reason=reason))
    book.change("shop", [refuse], NOON)


# -- who comes in ------------------------------------------------------------------------


def test_without_a_password_there_are_no_pages(tmp_path: Path) -> None:
    with served(tmp_path) as web:
        assert web.ask("GET", "/admin/").status == 404
        assert web.ask("GET", "/admin/sign-in").status == 404


@pytest.mark.parametrize("path", ["", *PAGES, "shop/checkouts/c-1_1"])
def test_who_has_not_signed_in_is_asked_to(web: Web, path: str) -> None:
    answer = Operator(web.url).get(path)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/sign-in")


@pytest.mark.parametrize(
    "path", ["shop/search", "shop/dead", "shop/quarantine", "shop/checkouts/c-1_1", "sign-out"]
)
def test_who_has_not_signed_in_can_do_nothing(web: Web, path: str) -> None:
    answer = Operator(web.url).post(path, wish="replay")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/sign-in")
    assert web.facts() == []


def test_the_password_opens_a_session_that_no_script_and_no_other_site_gets(web: Web) -> None:
    answer = Operator(web.url).sign_in()

    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/")
    flags = set(answer.headers["Set-Cookie"].split("; ")[1:])
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/admin"} <= flags


def test_another_password_opens_nothing(web: Web) -> None:
    operator = Operator(web.url)

    assert operator.sign_in("another-password").status_code == 403
    assert operator.cookie == ""


def test_after_ten_wrong_passwords_no_more_are_heard(web: Web) -> None:
    operator = Operator(web.url)
    for _ in range(10):
        operator.sign_in("another-password")

    assert operator.sign_in().status_code == 429
    assert operator.cookie == ""


def test_who_comes_past_nginx_is_no_other_client_by_another_word(web: Web) -> None:
    kind, wrong = "application/x-www-form-urlencoded", b"password=another-password"

    statuses = [
        web.ask(
            "POST", "/admin/sign-in", wrong, Content_Type=kind, X_Real_IP=f"somebody {number}"
        ).status
        for number in range(11)
    ]

    assert statuses == [403] * 10 + [429]


def test_of_many_passwords_at_once_ten_are_heard() -> None:
    sign_in = SignIn(PASSWORD, "secret", lambda: NOON)

    heard = [sign_in.hears("192.0.2.1") for _ in range(30)]

    assert sum(heard) == 10


def test_the_right_password_is_heard_as_often_as_it_is_typed() -> None:
    sign_in = SignIn(PASSWORD, "secret", lambda: NOON)
    assert not tried(sign_in, "another", "192.0.2.1")

    for _ in range(30):
        assert tried(sign_in, PASSWORD, "192.0.2.1")

    assert [tried(sign_in, "another", "192.0.2.1") for _ in range(9)] == [False] * 9
    assert not sign_in.hears("192.0.2.1")


def tried(sign_in: SignIn, password: str, client: str) -> bool:
    return sign_in.hears(client) and sign_in.admits(password, client)


def test_after_five_minutes_passwords_are_heard_again() -> None:
    now = NOON
    sign_in = SignIn(PASSWORD, "secret", lambda: now)
    for _ in range(10):
        assert not tried(sign_in, "another", "192.0.2.1")
    assert not sign_in.hears("192.0.2.1")

    now += timedelta(minutes=5, seconds=1)

    assert sign_in.hears("192.0.2.1")
    assert sign_in.admits(PASSWORD, "192.0.2.1")


def test_no_stranger_shuts_an_operator_out() -> None:
    sign_in = SignIn(PASSWORD, "secret", lambda: NOON)
    for number in range(1_000):
        assert not tried(sign_in, "another", f"192.0.2.{number % 250}")

    assert sign_in.hears("198.51.100.1")
    assert not sign_in.admits("mistyped", "198.51.100.1")
    assert not tried(sign_in, "mistyped", "198.51.100.1")
    assert sign_in.hears("198.51.100.1")


def test_of_many_clients_together_a_few_tries_each_are_heard() -> None:
    sign_in = SignIn(PASSWORD, "secret", lambda: NOON)

    heard = 0
    for stranger in (f"192.0.2.{number}" for number in range(100)):
        while sign_in.hears(stranger):
            sign_in.admits("another", stranger)
            heard += 1

    # Ten clients had ten tries each, ninety had three.
    assert heard == 10 * 10 + 90 * 3


@pytest.mark.parametrize(
    ("peer", "told", "whose"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("172.18.0.2", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "192.168.1.5", "192.168.1.5"),
        ("198.18.0.1", "203.0.113.7", "198.18.0.1"),
        ("8.8.8.8", "203.0.113.7", "8.8.8.8"),
        ("192.0.2.9", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("127.0.0.1", "fd00:1:2:3:4:5:6:7", "fd00:1:2:3::/64"),
        ("127.0.0.1", "unix:", "127.0.0.1"),
        ("172.18.0.2", "no address", "172.18.0.2"),
        ("", "", ""),
    ],
)
def test_a_client_is_who_a_trusted_proxy_says_it_is_and_cannot_say_so_itself(
    peer: str, told: str, whose: str
) -> None:
    sign_in = SignIn(PASSWORD, "secret", lambda: NOON, Clients(networks("192.0.2.0/24")))
    headers = {"X-Forwarded-For": "6.6.6.6"} | ({"X-Real-IP": told} if told else {})
    with Flask(__name__).test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert sign_in.client(request) == whose


def test_a_clock_that_is_set_back_shuts_nobody_out_for_longer() -> None:
    now = NOON
    sign_in = SignIn(PASSWORD, "secret", lambda: now)
    for _ in range(10):
        assert not tried(sign_in, "another", "192.0.2.1")

    now -= timedelta(days=1)

    assert sign_in.hears("192.0.2.1")


@pytest.mark.parametrize(("password", "secret"), [("another-password", "s"), (PASSWORD, "other")])
def test_another_password_or_key_ends_every_session(password: str, secret: str) -> None:
    before = SignIn(PASSWORD, "s", lambda: NOON)
    after = SignIn(password, secret, lambda: NOON)
    cookie = before.begin(Response(), "").headers["Set-Cookie"].partition(";")[0]

    with Flask(__name__).test_request_context(headers={"Cookie": cookie}):
        assert before.operator(request) is not None
        assert after.operator(request) is None


@pytest.mark.parametrize(
    ("hours", "holds"), [(2 / 3600, True), (-11.9, True), (-12.1, False), (12.1, False)]
)
def test_a_session_lasts_twelve_hours_also_on_a_machine_behind(
    monkeypatch: pytest.MonkeyPatch, hours: float, holds: bool
) -> None:
    sign_in = SignIn(PASSWORD, "s", lambda: NOON)
    with monkeypatch.context() as patch:
        signed_at = int(datetime.now(UTC).timestamp() + hours * 3600)
        patch.setattr(TimestampSigner, "get_timestamp", lambda _: signed_at)
        cookie = sign_in.begin(Response(), "").headers["Set-Cookie"].partition(";")[0]

    with Flask(__name__).test_request_context(headers={"Cookie": cookie}):
        assert (sign_in.operator(request) is not None) == holds


def test_who_signed_out_is_out(operator: Operator) -> None:
    answer = operator.post("sign-out")

    assert answer.headers["Set-Cookie"].startswith("__Secure-checkout-proxy-operator=;")


LARGE = "password=" + "a" * 20_000
IN_PARTS = (
    f'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n{LARGE}\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        (LARGE, "application/x-www-form-urlencoded"),
        (IN_PARTS, "multipart/form-data; boundary=b"),
    ],
)
def test_a_form_that_is_larger_than_any_of_ours_is_not_read(
    web: Web, form: str, content_type: str
) -> None:
    answer = web.ask("POST", "/admin/sign-in", form, **{"Content-Type": content_type})

    assert answer.status == 413


@pytest.mark.parametrize("csrf", ["", "guessed"])
def test_a_form_of_another_site_does_nothing(web: Web, book: Book, csrf: str) -> None:
    operator = Operator(web.url)
    operator.sign_in()
    take_in(book, state(0, email=JANE))
    (checkout,) = book.checkouts("shop", "c-1")

    answer = operator.post(f"shop/checkouts/{checkout.unique_id}", csrf=csrf, wish="cancel")

    assert answer.status_code == 403
    assert web.facts() == []


def test_a_form_of_another_session_does_nothing(web: Web, operator: Operator) -> None:
    other = Operator(web.url)
    other.sign_in()

    assert operator.post("shop/dead", csrf=other.csrf).status_code == 403


@pytest.mark.parametrize("path", ["shop/checkouts/%00", "shop/checkouts?cart=a%00"])
def test_what_no_store_takes_is_not_looked_for(operator: Operator, path: str) -> None:
    assert operator.get(path).status_code == 400
    assert operator.post("shop/search", words="a\0@b").status_code == 400
    assert operator.post("shop/dead", reason="\0").status_code == 400


@pytest.mark.parametrize("path", ["sign-in", *PAGES, "shop/nothing-here", "style.css"])
def test_every_page_is_kept_to_itself(operator: Operator, path: str) -> None:
    headers = operator.get(path).headers

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert path == "style.css" or headers["Cache-Control"] == "no-store"


def test_the_browsers_surface_sets_no_cookie(web: Web, operator: Operator) -> None:
    answer = requests.get(f"{web.url}/co/checkout.js", headers={"Cookie": operator.cookie})

    assert "Set-Cookie" not in answer.headers


# -- what they show ----------------------------------------------------------------------


def test_with_nothing_yet_every_page_says_so(operator: Operator, book: Book) -> None:
    assert "No sender is at work." in text(operator.page("shop/"))
    look(book)
    assert "All is well. No checkout reached Klaviyo" in text(operator.page("shop/"))
    assert "There is no such checkout." in operator.page("shop/checkouts")
    assert "There are none." in operator.page("shop/dead")


def text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def look(book: Book, *raised: Alarm) -> None:
    """Let a sender look after the account, and raise alarms."""
    seen = Seen(at=datetime.now(UTC), revision="2026-07-15")
    book.note(
        "shop", seen, [News(alarm=each, state=State.RAISED) for each in raised], to_tell=False
    )


def test_alarms_are_told_with_what_to_do(operator: Operator, book: Book) -> None:
    look(book, Alarm(name=Name.BACKLOG, words="for an hour", remedy="Is `the key` right?"))

    said = text(operator.page("shop/"))

    assert "1 alarm. backlog: see below." in said
    assert "for an hour To do: Is the key right?" in said


def test_dead_letters_are_told_with_what_to_do(operator: Operator, book: Book) -> None:
    take_in(book, state(0, "c-1", email=JANE), state(0, "c-2", email=JANE))
    for cart_id in ("c-1", "c-2"):
        die(book, cart_id, "no cart was pushed (PUT /v1/carts/{cart_id}) (given up after 6 h)")

    dead = text(operator.page("shop/dead"))
    assert "2 × no cart was pushed" in dead
    assert "See that it calls PUT /v1/carts" in dead


def test_that_klaviyo_refuses_the_key_is_told_first(operator: Operator, book: Book) -> None:
    now = datetime.now(UTC)
    standing = book.standing("shop").after_refusal("Klaviyo answered 401", now=now)
    book.set_standing("shop", standing)
    look(book)

    said = text(operator.page("shop/"))

    assert "Nothing is sent just now. Klaviyo answered 401." in said
    assert "Klaviyo refuses the key" in said


def test_what_was_looked_for_is_told_where_that_is_switched_on(tmp_path: Path) -> None:
    for audit, is_told in (("on", True), ("off", False)):
        with served(tmp_path, ADMIN_PASSWORD=PASSWORD, AUDIT=audit) as web:
            lay_book(web.store)
            operator = Operator(web.url)
            operator.sign_in()
            with closing(written(web.store)) as book:
                book.looked_for("shop", "c-1", Sight.ARRIVED, "it is there", datetime.now(UTC))

            said = text(operator.page("shop/"))

            assert ("Looked for there, an hour later arrived: 1" in said) == is_told


def test_what_was_refused_is_named(web: Web, operator: Operator, book: Book) -> None:
    web.post_state('{"token": "a.b.c"}', Origin="https://shop.example")
    web.post_state("{}", Origin="https://www.shop.example")
    requests.put(f"{web.url}/v1/carts/c-1", json=CART, timeout=30)
    counted = handed_in(web)

    take_in(book, *counted)

    page = operator.page("shop/")
    for words in ("Tokens that match no key", "Pages of origins that are not listed"):
        assert words in page
    assert "Calls of /v1 without the shop's key" in page


def handed_in(web: Web) -> list[Fact]:
    """Return what the web half counts, once it has handed it in."""
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while datetime.now(UTC) < deadline:
        with closing(web.store.inboxes("shop")) as inboxes:
            kept = inboxes.after({}, 1000)
        if found := [item for item in kept if item.kind == "counted"]:
            return [facts.decode(item.kind, item.body) for item in found]
    raise TimeoutError


def test_a_checkouts_page_tells_its_story_and_what_was_sent(operator: Operator, book: Book) -> None:
    take_in(book, state(0, email=JANE))
    (checkout,) = book.checkouts("shop", "c-1")
    sent = Change(
        checkout=checkout,
        apply=partial(outcomes.delivered, at=NOON),
        event=b'{"value":19.90,"metric":"x"}',
    )
    book.change("shop", [sent], NOON)

    page = operator.page(f"shop/checkouts/{checkout.unique_id}")

    assert "state posted pending: settling" in text(page)
    assert '"value": 19.90' in page


def test_a_long_list_goes_on_over_pages(operator: Operator, book: Book) -> None:
    take_in(book, *(state(n / 100, f"c-{n}", email=JANE) for n in range(120)))
    seen: list[str] = []
    path = "shop/checkouts"
    while path:
        page = operator.page(path)
        seen += re.findall(r">(c-\d+)</a>", page)
        more = re.search(r'<p class="more"><a href="/admin/([^"]+)"', page)
        path = more[1] if more else ""

    assert seen == [f"c-{n}" for n in reversed(range(120))]


@pytest.mark.parametrize(
    "path",
    [
        "shop/checkouts?after=nonsense",
        "shop/checkouts?after=2026-11-22T12:00:00%20c-1_1",
        "shop/checkouts?status=invented",
        "shop/?period=century",
        "shop/checkouts?address=",
    ],
)
def test_odd_links_break_nothing(operator: Operator, path: str) -> None:
    assert operator.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["another-shop/", "shop/checkouts/c-1_1", "shop/nothing", "shop/checkouts/%ff"]
)
def test_what_is_not_there_is_said_in_words(operator: Operator, path: str) -> None:
    answer = operator.get(path)

    assert answer.status_code == 404
    assert "<h1>Not Found</h1>" in answer.text


def test_a_store_that_no_sender_has_made_is_said_to_be_none(tmp_path: Path) -> None:
    with served(tmp_path, ADMIN_PASSWORD=PASSWORD) as web:
        operator = Operator(web.url)
        operator.sign_in()

        answer = operator.get("shop/")

    assert answer.status_code == 503
    assert "No sender has been at work here yet" in answer.text


def test_what_a_shop_names_its_carts_is_not_run(operator: Operator, book: Book) -> None:
    cart_id = "<script>alert(1)</script>\"'>"
    take_in(book, state(0, cart_id, email=JANE))
    die(book, cart_id, "<img src=x onerror=alert(1)>")
    (checkout,) = book.checkouts("shop", cart_id)

    for path in ("shop/checkouts", "shop/dead"):
        assert re.search(r"<(script|img)", operator.get(path).text) is None
    answer = operator.get(operator.search(checkout.unique_id))
    assert answer.status_code == 200
    assert re.search(r"<(script|img)", answer.text) is None


# -- what is looked for ------------------------------------------------------------------


def test_a_checkout_is_found_by_its_cart_and_by_its_event(operator: Operator, book: Book) -> None:
    take_in(book, state(0, "c-7", email=JANE))
    (checkout,) = book.checkouts("shop", "c-7")

    for words in ("c-7", checkout.unique_id, f"  {checkout.unique_id} "):
        assert operator.search(words) == f"shop/checkouts/{checkout.unique_id}"


def test_an_address_finds_its_checkout_and_is_in_no_link(operator: Operator, book: Book) -> None:
    take_in(book, state(0, "c-7", email=JANE), state(0, "c-8", email="john@shop-demo.io"))
    take_in(book, order(1, "c-7"))

    found = operator.search(JANE.upper())

    assert "@" not in found
    assert "jane" not in found.casefold()
    page = operator.page(found)
    assert "c-7" in page
    assert "c-8" not in page


def test_a_carts_secret_is_on_no_page_and_in_no_link(operator: Operator, book: Book) -> None:
    take_in(book, state(0, SECRET_CART, email=JANE))

    found = operator.search(SECRET_CART)
    page = operator.page(found)
    listed = operator.page("shop/checkouts")

    assert "canary-of-a-key" not in found + page + listed
    assert "settling" in page


def test_a_long_list_of_such_carts_goes_on_without_their_secrets(
    operator: Operator, book: Book
) -> None:
    take_in(book, *(state(n / 100, f"{SECRET_CART}{n}", email=JANE) for n in range(60)))

    page = operator.page("shop/checkouts")
    more = re.search(r'<p class="more"><a href="/admin/([^"]+)"', page)
    assert more is not None
    rest = operator.page(more[1])

    assert "canary-of-a-key" not in page + rest
    assert (page.count("settling"), rest.count("settling")) == (50, 10)


def test_a_list_goes_on_after_a_checkout_that_was_removed_since(
    operator: Operator, book: Book
) -> None:
    take_in(book, state(0, "c-1", email=JANE), state(5, "c-2", email=JANE))

    page = operator.page(f"shop/checkouts?after={after(3):%Y-%m-%dT%H:%M:%S}Z%20c-9_1")

    assert re.findall(r">(c-\d+)</a>", page) == ["c-1"]


def test_what_is_nowhere_is_said_to_be(operator: Operator) -> None:
    for words in ("c-99", "nobody@shop-demo.io", SECRET_CART):
        assert "There is no such checkout." in operator.page(operator.search(words))


def test_no_page_tells_who_a_checkout_is_about(operator: Operator, book: Book) -> None:
    said: dict[str, Any] = {
        "email": "canary-jane@shop-demo.io",
        "phone_number": "+4930123456",
        "first_name": "Canaria",
        "last_name": "Canarini",
        "kx": "canary-kx",
        "ref": "canary-ref",
        "checkout_url": "https://shop.example/c?secret=canary",
    }
    take_in(book, state(0, "c-1", **said), state(0, "c-2", **said))
    die(book, "c-2", "Klaviyo answered 400")

    for path in (*PAGES, *(operator.search(cart_id) for cart_id in ("c-1", "c-2"))):
        page = operator.page(path)
        assert re.search("canar|30123456", page, re.IGNORECASE) is None


# -- what they can do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "kind"), [("hurry", HurryAsked), ("cancel", CancelAsked), ("replay", ReplayAsked)]
)
def test_a_button_writes_a_fact_down(
    web: Web, operator: Operator, book: Book, wish: str, kind: type[Fact]
) -> None:
    take_in(book, state(0, email=JANE))
    (checkout,) = book.checkouts("shop", "c-1")

    answer = operator.post(f"shop/checkouts/{checkout.unique_id}", wish=wish)

    assert answer.headers["Location"] == f"/admin/shop/checkouts/{checkout.unique_id}?asked={wish}"
    (fact,) = web.facts()
    assert isinstance(fact, kind)
    assert (fact.cart_id, msgspec.to_builtins(fact)["epoch"]) == (
        "c-1",
        NOON.isoformat()[:19] + "Z",
    )


def test_what_cannot_be_asked_for_is_refused(web: Web, operator: Operator, book: Book) -> None:
    take_in(book, state(0, email=JANE))
    (checkout,) = book.checkouts("shop", "c-1")

    assert operator.post(f"shop/checkouts/{checkout.unique_id}", wish="x").status_code == 400
    assert web.facts() == []


def kept_back(book: Book) -> None:
    """Let three checkouts be in quarantine, for two reasons, and one wait."""
    take_in(
        book,
        *(state(0, f"c-{n}", email=JANE, automated=True) for n in range(2)),
        *(state(n, "c-2", email=f"{n}@x.io") for n in range(4)),
        state(0, "c-3", email=JANE),
    )


def released(web: Web) -> list[str]:
    return [fact.cart_id for fact in web.facts() if isinstance(fact, ReleaseAsked)]


def test_what_is_in_quarantine_is_told_by_its_reason(operator: Operator, book: Book) -> None:
    assert "There is nothing." in operator.page("shop/quarantine")

    kept_back(book)

    page = text(operator.page("shop/quarantine"))
    assert "2 × a bot's user agent" in page
    assert "1 × more than 3 addresses were typed" in page


def test_what_is_in_quarantine_is_released_by_its_reason_or_all(
    operator: Operator, web: Web, book: Book
) -> None:
    kept_back(book)

    answer = operator.post("shop/quarantine", reason="a bot's user agent")
    assert answer.headers["Location"] == "/admin/shop/quarantine?asked=2"
    assert sorted(released(web)) == ["c-0", "c-1"]

    assert operator.post("shop/quarantine").headers["Location"].endswith("?asked=3")
    assert "3 are released." in text(operator.page("shop/quarantine?asked=3"))


def test_one_in_quarantine_is_released_on_its_page(
    operator: Operator, web: Web, book: Book
) -> None:
    kept_back(book)
    (kept,), (waiting,) = (book.checkouts("shop", cart_id) for cart_id in ("c-2", "c-3"))

    assert "Release" in operator.page(f"shop/checkouts/{kept.unique_id}")
    assert "Release" not in operator.page(f"shop/checkouts/{waiting.unique_id}")
    answer = operator.post(f"shop/checkouts/{kept.unique_id}", wish="release")

    assert answer.status_code == 303
    assert "It is believed" in operator.page(answer.headers["Location"].removeprefix("/admin/"))
    assert released(web) == ["c-2"]


def test_dead_letters_are_sent_again_by_their_reason_or_all(
    web: Web, operator: Operator, book: Book
) -> None:
    take_in(book, *(state(0, f"c-{number}", email=JANE) for number in range(3)))
    for number, reason in enumerate(["one", "one", "another"]):
        die(book, f"c-{number}", reason)

    operator.post("shop/dead", reason="one")

    assert sorted(fact.cart_id for fact in web.facts()) == ["c-0", "c-1"]
    assert operator.post("shop/dead").headers["Location"] == "/admin/shop/dead?asked=3"


def test_what_died_of_a_longer_reason_is_not_sent_again_with_it(
    web: Web, operator: Operator, book: Book
) -> None:
    take_in(book, state(0, "c-1", email=JANE), state(0, "c-2", email=JANE))
    die(book, "c-1", "the shop answered 400")
    die(book, "c-2", "the shop answered 400 to the token's ref")

    answer = operator.post("shop/dead", reason="the shop answered 400")

    assert answer.headers["Location"] == "/admin/shop/dead?asked=1"
    assert [fact.cart_id for fact in web.facts()] == ["c-1"]


def test_a_link_to_the_pages_puts_no_words_into_them(operator: Operator) -> None:
    assert "Call us" not in operator.page("shop/dead?asked=Call+us")


def test_a_checkout_is_sent_and_another_called_off_by_a_button(tmp_path: Path) -> None:
    with judged_klaviyo() as klaviyo:
        env = environment(tmp_path, klaviyo.url, SETTLE="3000", ADMIN_PASSWORD=PASSWORD)
        with Proxy(env) as proxy:
            shop, operator = Shop(proxy.url), Operator(proxy.url)
            ledger = Ledger(tmp_path, klaviyo)
            for cart_id in ("c-1", "c-2"):
                shop.push(cart_id)
                Page(proxy.url, shop.token(cart_id)).say(email=JANE)
                ledger.wait(cart_id, Status.PENDING)
            operator.sign_in()

            operator.post(operator.search("c-1"), wish="hurry")
            operator.post(operator.search("c-2"), wish="cancel")

            ledger.wait("c-1", Status.DELIVERED)
            ledger.wait("c-2", Status.CANCELLED)
            page = text(operator.page(operator.search("c-1")))
    assert len(ledger.events("c-1")) == 1
    assert ledger.events("c-2") == []
    assert "hurry asked" in page
    assert "Klaviyo answered 202" in page


def test_who_goes_on_after_the_delivery_makes_it_no_sooner(book: Book, operator: Operator) -> None:
    take_in(book, state(0, email=JANE))
    (checkout,) = book.checkouts("shop", "c-1")
    took = Change(checkout=checkout, apply=partial(outcomes.delivered, at=after(1)))
    book.change("shop", [took], after(1))
    at_once = text(operator.page(operator.search("c-1")))

    take_in(book, state(5, email=JANE))
    later = text(operator.page(operator.search("c-1")))

    assert "After 1 min" in at_once
    assert "Delivered" in later
    assert "After" not in later


def test_an_address_is_found_under_the_key_that_the_sender_keeps(
    book: Book, operator: Operator
) -> None:
    (key,) = personkey.kept(book, "shop", [personkey.lock_key(TOKEN_KEY)])
    take_in(book, state(email=JANE), rules=replace(RULES, address_key=key))

    assert "c-1" in text(operator.page(operator.search(JANE)))


def test_of_a_long_story_the_end_is_told_and_how_much_came_before(
    book: Book, operator: Operator
) -> None:
    take_in(book, *(state(n / 100, email=JANE) for n in range(1_234)))

    page = operator.page(operator.search("c-1"))

    assert page.count("state posted") == 200
    assert "1,034 more came before" in text(page)


# -- erasing -----------------------------------------------------------------------------


def test_who_a_checkout_is_about_is_erased_by_all_names_that_are_known(
    web: Web, book: Book, operator: Operator
) -> None:
    take_in(book, state(email=JANE, phone_number="+4930123456"))
    page = f"shop/checkouts/c-1_{NOON.timestamp():.0f}"
    assert "Erase this person’s data" in operator.page(page)

    answer = operator.post(page, wish="erase", sure="yes")

    assert "is to be erased" in operator.page(answer.headers["Location"].removeprefix("/admin/"))
    asked = [fact for fact in web.facts() if isinstance(fact, ErasureAsked)]
    hashed = address_hash(JANE, address_key(TOKEN_KEY))
    assert [(f.cart_id, f.address_hash, f.email, f.phone_number) for f in asked] == [
        ("c-1", hashed, None, None),
        ("", None, JANE, None),
        ("", None, None, "+4930123456"),
    ]


def test_who_a_closed_checkout_was_about_is_erased_by_the_hashes_that_are_left(
    web: Web, book: Book, operator: Operator
) -> None:
    take_in(book, state(email=JANE, phone_number="+4930123456"), order(1))

    operator.post(f"shop/checkouts/c-1_{NOON.timestamp():.0f}", wish="erase", sure="yes")

    asked = [fact for fact in web.facts() if isinstance(fact, ErasureAsked)]
    hashes = [address_hash(who, address_key(TOKEN_KEY)) for who in (JANE, "+4930123456")]
    assert [(f.cart_id, f.address_hash) for f in asked] == [("c-1", hashes[0]), ("", hashes[1])]


def test_to_erase_whose_address_was_typed_does_not_erase_whose_session_it_was(
    web: Web, book: Book, operator: Operator
) -> None:
    janes = Customer(email=JANE, phone_number="+4930123456")
    take_in(book, state(email=JOHN, customer=janes), order(1))

    operator.post(f"shop/checkouts/c-1_{NOON.timestamp():.0f}", wish="erase", sure="yes")

    asked = [fact for fact in web.facts() if isinstance(fact, ErasureAsked)]
    hashed = address_hash(JOHN, address_key(TOKEN_KEY))
    assert [(f.cart_id, f.address_hash) for f in asked] == [("c-1", hashed)]


def test_nobody_is_erased_by_one_press(web: Web, book: Book, operator: Operator) -> None:
    take_in(book, state(email=JANE))

    answer = operator.post(f"shop/checkouts/c-1_{NOON.timestamp():.0f}", wish="erase")

    assert answer.status_code == 400
    assert web.facts() == []
