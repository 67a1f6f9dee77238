"""The browser's surface: what a page posts is kept or refused, and the snippet is served."""

import json
import sqlite3
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from proxy import assets, states
from proxy.carts.cart import Cart
from proxy.facts import Claim, Consent, ConsentState, Customer, StatePosted
from proxy.states import MAX_BYTES
from proxy.tokens import Session, Tokens
from tests.web import ORIGIN, TOKEN_KEY, Answer, Web, served, token

Serve = Callable[..., Web]

SNIPPET = (assets.folder("static") / "dist" / "checkout.js").read_bytes()
VERSION = sha256(SNIPPET).hexdigest()[:16]


@pytest.fixture(scope="module", params=["on", "off"])
def fast(request: pytest.FixtureRequest) -> str:
    """Take everything both ways: before Flask's dispatch, and after."""
    return str(request.param)


@pytest.fixture(scope="module")
def one_web(fast: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with served(tmp_path_factory.mktemp("web") / "store", FAST=fast) as web:
        yield web


@pytest.fixture
def serve(fast: str, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            served(tmp_path / "store", FAST=fast, **settings)
        )


def body(**members: Any) -> str:
    """Return a state as the page writes it, under a token that holds."""
    return json.dumps({"token": token(), **members})


def kla_id(exchange_id: object, **more: object) -> str:
    """Return the value of Klaviyo's cookie, as its script writes it."""
    return b64encode(json.dumps({"$exchange_id": exchange_id} | more).encode()).decode()


def kept(web: Web, **members: Any) -> StatePosted:
    """Post a state and return it as it was kept."""
    web = web.from_now_on()
    answer = web.post_state(body(**members))
    assert answer.status == 202, answer.body
    [fact] = web.facts()
    assert isinstance(fact, StatePosted)
    return fact


def refused(web: Web, posted: bytes | str | list[bytes], **headers: str | None) -> Answer:
    """Post what is refused and return the problem; nothing of it may have been kept."""
    web = web.from_now_on()
    answer = web.post_state(posted, **headers)
    assert answer.status >= 400
    assert web.facts() == []
    return answer


# -- accepted ----------------------------------------------------------------------------


def test_a_state_is_on_disk_before_it_is_accepted(web: Web) -> None:
    answer = web.post_state(body(email="jane@shop.com"))

    assert (answer.status, answer.json()) == (202, {"status": "accepted"})
    assert [type(fact) for fact in web.facts()] == [StatePosted]


def test_everything_the_page_says_is_kept(web: Web) -> None:
    state = kept(
        web,
        id="post-1",
        email="jane@shop.com",
        phone_number="+4930123456",
        first_name="Jane",
        last_name="Döe",
        kx="abc.SITEID",
        consent="granted",
        checkout_url=f"{ORIGIN}/checkout",
        locale="de-AT",
        claimed={"value": "19.90", "currency": "EUR"},
    )

    assert (state.id, state.shop, state.cart_id) == ("post-1", "shop", "c-1")
    assert (state.email, state.phone_number) == ("jane@shop.com", "+4930123456")
    assert (state.first_name, state.last_name) == ("Jane", "Döe")
    assert (state.kx, state.locale) == ("abc.SITEID", "de-AT")
    assert state.checkout_url == "https://shop.example/checkout"
    assert state.claimed == Claim(value=Decimal("19.90"), currency="EUR")


def test_a_token_alone_is_a_state(web: Web) -> None:
    state = kept(web)

    assert state.id
    assert (state.email, state.consent, state.claimed, state.gpc) == (None, None, None, False)


def test_a_state_posted_again_keeps_the_id_the_page_gave_it(web: Web) -> None:
    posted = body(id="post-1")

    assert [web.post_state(posted).status for _ in range(2)] == [202, 202]
    assert [fact.id for fact in web.facts()] == ["post-1", "post-1"]


def test_states_without_an_id_are_each_given_their_own(web: Web) -> None:
    assert kept(web).id != kept(web).id


@pytest.mark.parametrize(
    "media_type", ["text/plain", "text/plain;charset=UTF-8", "application/json", None]
)
def test_a_state_may_come_as_text_as_json_or_as_nothing(web: Web, media_type: str | None) -> None:
    answer = web.post_state(body(), Content_Type=media_type)

    assert answer.status == 202


@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/html", "application/xml"],
)
def test_a_state_of_another_type_is_refused(web: Web, media_type: str) -> None:
    answer = refused(web, body(), Content_Type=media_type)

    assert answer.status == 415
    assert answer.json()["detail"] == (
        f"The body is {media_type}; send it as text/plain or application/json."
    )


def test_members_of_the_future_do_no_harm(web: Web) -> None:
    assert kept(web, favourite_colour="green").email is None


# -- what the shop vouches for -----------------------------------------------------------


def test_the_shops_words_come_out_of_the_token(web: Web) -> None:
    customer = Customer(email="vouched@shop.com")
    cart = Cart(currency="EUR", total=Decimal("19.90"), items=())

    web.post_state(json.dumps({"token": token(customer=customer, cart=cart, ref="r-1")}))

    [state] = web.facts()
    assert isinstance(state, StatePosted)
    assert (state.customer, state.cart, state.ref) == (customer, cart, "r-1")


@pytest.mark.parametrize(
    "tampered",
    [
        {"cart_id": "c-2"},
        {"shop": "another"},
        {"customer": {"email": "eve@shop.com"}},
        {"cart": {"currency": "EUR", "total": "0.01", "items": []}},
        {"ref": "r-2"},
        {"received_at": "2020-01-01T00:00:00Z"},
        {"gpc": True},
    ],
    ids=lambda tampered: next(iter(tampered)),
)
def test_a_page_cannot_say_what_only_the_shop_may(web: Web, tampered: dict[str, Any]) -> None:
    before = datetime.now(UTC)

    state = kept(web, **tampered)

    assert (state.shop, state.cart_id) == ("shop", "c-1")
    assert (state.customer, state.cart, state.ref, state.gpc) == (None, None, None, False)
    assert state.received_at >= before


def test_what_the_page_claims_to_cost_stays_a_claim(web: Web) -> None:
    state = kept(web, claimed={"value": "0.01", "currency": "EUR"}, total="0.01", value=0.01)

    assert state.claimed == Claim(value=Decimal("0.01"), currency="EUR")
    assert state.cart is None


# -- the token ---------------------------------------------------------------------------


def signed(*keys: str, shop: str = "shop") -> str:
    """Return a token signed with the last of *keys*."""
    tokens = Tokens(keys, shop=shop, max_age=timedelta(hours=24))
    return tokens.sign(Session(shop=shop, cart_id="c-1"))


@pytest.mark.parametrize(
    ("bad", "code", "detail"),
    [
        (
            "c-1",
            "token-malformed",
            "This is no token: a token has three parts with a dot between.",
        ),
        (
            signed("a-stolen-idea"),
            "token-forged",
            "The token's signature matches no key: it is forged, or its key was rotated away. "
            "`checkout-proxy doctor --only tokens --token TOKEN` says more.",
        ),
        (
            signed(TOKEN_KEY, shop="x"),
            "token-of-another-shop",
            "The token is of the shop 'x'; here CHECKOUT_PROXY_SHOP is 'shop'.",
        ),
    ],
    ids=["malformed", "forged", "another shop's"],
)
def test_a_token_that_does_not_hold_is_told_why(web: Web, bad: str, code: str, detail: str) -> None:
    answer = refused(web, body(token=bad))

    assert (answer.status, answer.code) == (401, code)
    assert answer.json()["title"] == "The credentials do not hold"
    assert answer.json()["detail"] == detail


def test_a_token_of_a_key_that_is_still_listed_holds(serve: Serve) -> None:
    web = serve(TOKEN_KEYS="old,new")

    assert web.post_state(body(token=signed("old"))).status == 202
    assert web.post_state(body(token=signed("new"))).status == 202


def test_a_token_older_than_the_shop_allows_is_expired(serve: Serve) -> None:
    web = serve(TOKEN_AGE="0.001")

    answer = web.post_state(body())

    assert (answer.status, answer.code) == (401, "token-expired")
    assert answer.json()["detail"].endswith("load the page again for a new one.")


# -- what cannot be kept -----------------------------------------------------------------


# In some failures SQLite takes the transaction back by itself, in others it leaves that to us.
@pytest.mark.parametrize("how", ["ABORT", "ROLLBACK"])
def test_a_state_that_is_not_on_disk_is_not_accepted(serve: Serve, how: str) -> None:
    web = serve()
    assert web.post_state(body(id="before")).status == 202
    with closing(sqlite3.connect(web.store.folder / "inbox-0.db")) as disk:
        disk.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON inbox BEGIN SELECT RAISE({how}, 'full'); END"
        )
        refused = web.post_state(body(id="full"))
        disk.execute("DROP TRIGGER full")

    assert (refused.status, refused.code) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "5"
    assert web.post_state(body(id="after")).status == 202
    assert [fact.id for fact in web.facts()] == ["before", "after"]


# -- what is no JSON ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "posted",
    [
        b"",
        b"email=jane%40shop.com",
        b"{",
        b'{"token": "x"} and more',
        b'{"token": "x"}\0',
        b'{"token": "\xff"}',
        b'{"token": "x", "first_name": "\xed\xa0\x80"}',
        b'{"token": "x", "first_name": "\\ud800"}',
        b'{"token": "x", "age_ms": NaN}',
        b'{"token": "x", "age_ms": Infinity}',
        b"{'token': 'x'}",
        b'\xef\xbb\xbf{"token": "x"}',
        '{"token": "x"}'.encode("utf-16"),
        b'{"token": "x", "y": ' + b"[" * 7_000 + b"]" * 7_000 + b"}",
        b'{"a": ' * 2_300 + b"1" + b"}" * 2_300,
    ],
    ids=lambda posted: repr(posted[:36]),
)
def test_what_is_no_json_is_refused_as_that(web: Web, posted: bytes) -> None:
    answer = refused(web, posted)

    assert (answer.status, answer.code) == (400, "not-json")
    assert answer.json()["detail"].startswith("The body is no JSON: ")


def test_a_body_nested_ten_thousand_deep_is_too_large_before_it_is_read(web: Web) -> None:
    answer = refused(web, b'{"token":' + b"[" * 10_000 + b"]" * 10_000 + b"}")

    assert answer.status == 413


def test_of_two_members_of_one_name_the_last_counts(web: Web) -> None:
    posted = f'{{"email": "eve@shop.com", "email": "jane@shop.com", "token": "{token()}"}}'

    assert web.post_state(posted).status == 202
    [state] = web.facts()
    assert isinstance(state, StatePosted)
    assert state.email == "jane@shop.com"


# -- how much ----------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """Return a state of *size* bytes that would be taken."""
    state = body().encode()
    return state + b" " * (size - len(state))


def test_a_body_of_sixteen_kibibytes_is_taken(web: Web) -> None:
    assert web.post_state(padded(MAX_BYTES)).status == 202


def test_a_body_of_one_byte_more_is_too_large(web: Web) -> None:
    answer = refused(web, padded(MAX_BYTES + 1))

    assert (answer.status, answer.code) == (413, "request-entity-too-large")


def test_a_body_in_chunks_is_taken(web: Web) -> None:
    posted = padded(MAX_BYTES)

    assert web.post_state([posted[:100], posted[100:]]).status == 202


@pytest.mark.parametrize("filling", [b" ", b"x"])
def test_a_body_in_chunks_that_does_not_say_how_large_it_is_cannot_be_larger(
    web: Web, filling: bytes
) -> None:
    answer = refused(web, [padded(MAX_BYTES), filling])

    assert answer.status == 413


# -- what cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "wrong"),
    [
        ("/token", {"token": None}),
        ("/token", {"token": 17}),
        ("/id", {"id": ""}),
        ("/id", {"id": "a/b"}),
        ("/id", {"id": "a\n"}),
        ("/id", {"id": "a" * 65}),
        ("/email", {"email": 17}),
        ("/email", {"email": "j" * 257}),
        ("/phone_number", {"phone_number": 4930123456}),
        ("/phone_number", {"phone_number": "0" * 257}),
        ("/first_name", {"first_name": ["Jane"]}),
        ("/first_name", {"first_name": "Jane\nDoe"}),
        ("/last_name", {"last_name": "Doe\0"}),
        ("/kx", {"kx": 7}),
        ("/consent", {"consent": True}),
        ("/consent", {"consent": "yes"}),
        ("/consent", {"consent": {}}),
        ("/consent/state", {"consent": {"state": "perhaps"}}),
        ("/checkout_url", {"checkout_url": ["https://shop.example/"]}),
        ("/locale", {"locale": 7}),
        ("/claimed", {"claimed": "19.90"}),
        ("/claimed", {"claimed": {"currency": "EUR"}}),
        ("/claimed/value", {"claimed": {"value": "19,90"}}),
        ("/claimed/value", {"claimed": {"value": "NaN"}}),
        ("/claimed/value", {"claimed": {"value": "Infinity"}}),
        ("/claimed/value", {"claimed": {"value": "1e15"}}),
        ("/claimed/value", {"claimed": {"value": "1e999999999"}}),
        ("/age_ms", {"age_ms": "12"}),
        ("/age_ms", {"age_ms": True}),
    ],
    ids=lambda case: case if isinstance(case, str) else repr(case)[:40],
)
def test_a_member_that_cannot_be_is_pointed_at(
    web: Web, pointer: str, wrong: dict[str, Any]
) -> None:
    answer = refused(web, body(**wrong))

    assert (answer.status, answer.code, answer.pointer) == (422, "invalid", pointer)


@pytest.mark.parametrize("age", ["1e999", "1" + "0" * 400])
def test_an_age_beyond_all_numbers_is_refused(web: Web, age: str) -> None:
    answer = refused(web, f'{{"token": "{token()}", "age_ms": {age}}}')

    assert (answer.status, answer.pointer) == (422, "/age_ms")


def test_a_state_without_a_token_says_what_is_missing(web: Web) -> None:
    answer = refused(web, "{}")

    assert answer.status == 422
    assert answer.json()["detail"] == "Object missing required field `token`."


@pytest.mark.parametrize("posted", ["null", "[]", '"token"', "17", "true"])
def test_a_body_that_is_no_object_says_so(web: Web, posted: str) -> None:
    answer = refused(web, posted)

    assert answer.status == 422
    assert answer.json()["detail"].startswith("Expected `object`, got ")


# -- addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("jane@shop.com", "jane@shop.com"),
        (" jane@shop.com ", "jane@shop.com"),
        ("Jane@SHOP.com", "Jane@shop.com"),
        ("jane+tea@shop.com", "jane+tea@shop.com"),
        ("jane@shöp.de", "jane@shöp.de"),
        ("jane@xn--shp-tna.de", "jane@shöp.de"),
        ("jäne@shop.com", "jäne@shop.com"),
        ("ja\u0308ne@shop.com", "jäne@shop.com"),
        ("jane@shop.test", "jane@shop.test"),
        ("jane@example.com", "jane@example.com"),
        ("", None),
        (None, None),
    ],
)
def test_an_address_is_kept_in_its_one_form(
    web: Web, typed: str | None, address: str | None
) -> None:
    assert kept(web, email=typed).email == address


@pytest.mark.parametrize(
    "typed",
    [
        "jane",
        "jane@",
        "@shop.com",
        "jane@gmial",
        "jane@localhost",
        "jane@shop..com",
        "jane@shop.com.",
        "jane@-shop.com",
        "jane@[127.0.0.1]",
        "jane@1.2.3.4",
        "jane@shop.invalid",
        "jane doe@shop.com",
        "Jane <jane@shop.com>",
        "jane@shop.com, eve@shop.com",
        '"jane doe"@shop.com',
        "jane@shop.com\u200b",
        "\u202ejane@shop.com",
    ],
)
def test_what_is_no_address_is_refused(web: Web, typed: str) -> None:
    answer = refused(web, body(email=typed))

    assert (answer.status, answer.pointer) == (422, "/email")
    assert answer.json()["detail"].startswith("email is no address: ")


def test_an_address_of_99_characters_is_kept(web: Web) -> None:
    address = "j" * 64 + "@" + "s" * 30 + ".com"
    assert len(address) == 99

    assert kept(web, email=address).email == address


def test_an_address_of_100_characters_is_longer_than_klaviyo_takes(web: Web) -> None:
    address = "j" * 64 + "@" + "s" * 31 + ".com"
    assert len(address) == 100

    answer = refused(web, body(email=address))

    assert answer.json()["detail"] == "email must have 99 characters at most."


def test_a_field_with_nothing_but_spaces_is_an_empty_field(web: Web) -> None:
    assert kept(web, email="  ").email is None


@pytest.mark.parametrize("domain", ["printer.local", "hidden.onion", "1.in-addr.arpa"])
def test_an_address_where_no_mail_arrives_is_refused(web: Web, domain: str) -> None:
    assert refused(web, body(email=f"jane@{domain}")).pointer == "/email"


@given(address=st.from_regex(states._PLAIN, fullmatch=True))
def test_a_plain_address_is_what_the_library_would_make_of_it(address: str) -> None:
    try:
        library = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        library = None

    if states._is_plain(address):
        assert library is not None
        assert library.normalized == address


@given(typed=st.text())
def test_no_address_is_too_strange_to_be_answered(one_web: Web, typed: str) -> None:
    answer = one_web.post_state(body(email=typed))

    assert answer.status in (202, 422)


@pytest.mark.parametrize("number", ["+4930123456", "030 123456", "none", "+", "٠١٢", "🕿"])
def test_a_telephone_number_is_kept_as_it_was_typed(web: Web, number: str) -> None:
    assert kept(web, phone_number=number).phone_number == number


@pytest.mark.parametrize("name", [
    "Jane", "J. R. R.", "O'Neill-Müller", "María José", "Dr. Jane", "김", "علی‌رضا", "Jane & John",
    'Jane "JJ"', "Doe, Jr.", "d'Ávila (née Šimić)", "李小龙", "x" * 64, "R&D",
    "Muthu a/l Samy", "Dr. Priya A/P Raman", "Ravi s/o Kumar", "Meier/Schulz", "Dipl.-Ing. Anna",
    "Jane...", "田中。",
])  # fmt: skip
def test_a_name_is_kept_as_it_was_typed(web: Web, name: str) -> None:
    state = kept(web, first_name=name, last_name=name)

    assert (state.first_name, state.last_name) == (name, name)


@pytest.mark.parametrize("name", [
    "you won: https://evil.example/claim?id=1", "jane@evil.io", "//evil", "tel:0900", "t.co/abc",
    "evil。com/claim", "<b>Jane</b>", "{{ person }}", "{% if %}", "[evil](x)", "evil&#46;com",
    "evil&period;com", "x" * 65, "x" * 9_000,
])  # fmt: skip
def test_a_name_that_is_a_strangers_link_is_left_out_and_the_state_is_kept(
    web: Web, name: str
) -> None:
    said = kept(web, email="jane@shop-demo.io", first_name=name, last_name="Doe")
    again = kept(web, email="jane@shop-demo.io", first_name="Jane", last_name=name)

    assert (said.email, said.first_name, said.last_name) == ("jane@shop-demo.io", None, "Doe")
    assert (again.first_name, again.last_name) == ("Jane", None)


@pytest.mark.parametrize(("name", "parted"), [
    ("Md.Rahman", "Md. Rahman"), ("J.R.R. Tolkien", "J. R. R. Tolkien"),
    ("Ph.D., MSc", "Ph. D., MSc"), ("Ст.Петров", "Ст. Петров"), ("الشيخ.محمد", "الشيخ. محمد"),
    ("Dr.Ravi s/o Kumar", "Dr. Ravi s/o Kumar"),
    ("www.evil.example", "www. evil. example"), ("win at t.co now", "win at t. co now"),
    ("x.com", "x. com"), ("猫.jp", "猫. jp"), ("пример.рф", "пример. рф"), ("भि.भारत", "भि. भारत"),
    ("สวัสดี.ไทย", "สวัสดี. ไทย"),
    ("evile\u0301.com", "evile\u0301. com"), ("😀😀.ws", "😀😀. ws"),
    ("evil.\u200bcom", "evil. \u200bcom"), ("evil。com", "evil。 com"),
    ("evil．com", "evil． com"), ("evil｡com", "evil｡ com"),
    ("evil\u2024com", "evil\u2024 com"), ("evil\ufe52com", "evil\ufe52 com"),
    ("evil..com", "evil.. com"), ("a." * 32, "a. " * 31 + "a."),
])  # fmt: skip
def test_a_name_is_parted_at_its_dots_so_that_it_is_no_link(
    web: Web, name: str, parted: str
) -> None:
    state = kept(web, first_name=name, last_name=name)

    assert (state.first_name, state.last_name) == (parted, parted)


@pytest.mark.parametrize("member", ["email", "phone_number", "first_name", "last_name", "kx"])
def test_an_empty_field_says_nothing(web: Web, member: str) -> None:
    assert getattr(kept(web, **{member: ""}), member) is None


# -- age ---------------------------------------------------------------------------------


def test_a_state_that_waited_in_the_browser_is_as_old_as_it_says(web: Web) -> None:
    state = kept(web, age_ms=90_000)

    assert state.received_at - state.acted_at == timedelta(seconds=90)


def test_a_clock_that_was_set_back_costs_no_state(web: Web) -> None:
    before = datetime.now(UTC)

    assert kept(web, age_ms=-3_600_000).acted_at >= before


@pytest.mark.parametrize("age_ms", [86_400_001, 1e12, 1e300])
def test_no_state_is_older_than_a_token_may_be(web: Web, age_ms: float) -> None:
    state = kept(web, age_ms=age_ms)

    assert state.received_at - state.acted_at == timedelta(hours=24)


def test_what_was_posted_keeps_itself_out_of_logs() -> None:
    posted = states.parsed(body(email="jane@shop-demo.io", first_name="Jane").encode())

    assert f"{posted} {posted!r}" == "<Posted> <Posted>"


# -- consent -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["granted", "denied"])
def test_consent_may_be_a_word(web: Web, word: str) -> None:
    assert kept(web, consent=word).consent == Consent(state=ConsentState(word))


def test_consent_may_come_with_the_record_of_the_tool_that_asked(web: Web) -> None:
    state = kept(web, consent={"state": "denied", "source": "cookiebot", "evidence": "stamp"})

    assert state.consent == Consent(state=ConsentState.DENIED, source="cookiebot", evidence="stamp")


def test_a_record_that_is_too_long_is_cut_and_the_word_is_kept(web: Web) -> None:
    state = kept(web, consent={"state": "denied", "source": "s" * 257, "evidence": "e" * 4_001})

    assert state.consent == Consent(
        state=ConsentState.DENIED, source="s" * 256, evidence="e" * 4_000
    )


def test_what_a_record_says_is_no_command_to_a_terminal(web: Web) -> None:
    state = kept(web, consent={"state": "granted", "source": "\x1b[2J", "evidence": "a\n\x00é\x9b"})

    assert state.consent == Consent(state=ConsentState.GRANTED, source=" [2J", evidence="a  é ")


@pytest.mark.parametrize(("header", "gpc"), [("1", True), ("0", False), (None, False)])
def test_global_privacy_control_is_kept_as_the_browser_sends_it(
    web: Web, header: str | None, gpc: bool
) -> None:
    web.post_state(body(), Sec_GPC=header)

    [state] = web.facts()
    assert isinstance(state, StatePosted)
    assert state.gpc is gpc


# -- the link back to the checkout -------------------------------------------------------


def test_a_link_to_a_listed_origin_is_kept(web: Web) -> None:
    url = f"{ORIGIN}/checkout?step=2#pay"

    assert kept(web, checkout_url=url).checkout_url == url


@pytest.mark.parametrize(
    ("url", "kept_of_it"),
    [
        ("/c?_kx=abc.SITE", "/c"),
        ("/c?_kx=abc.SITE#pay", "/c#pay"),
        ("/c?step=2&_kx=abc%3D&lang=de", "/c?step=2&lang=de"),
        ("/c?%5Fkx=abc&step=2&_kx", "/c?step=2"),
        ("/c?x_kx=1&step=_kx", "/c?x_kx=1&step=_kx"),
        ("/c?", "/c?"),
        ("/c#?_kx=abc", "/c#?_kx=abc"),
    ],
)
def test_a_link_identifies_nobody_who_follows_it(web: Web, url: str, kept_of_it: str) -> None:
    assert kept(web, checkout_url=f"{ORIGIN}{url}").checkout_url == f"{ORIGIN}{kept_of_it}"


def test_a_link_that_is_too_long_is_cut_at_its_query(web: Web) -> None:
    url = f"{ORIGIN}/checkout?{'q' * 4_000}"

    assert kept(web, checkout_url=url).checkout_url == f"{ORIGIN}/checkout"


def test_a_link_that_is_too_long_without_its_query_is_dropped(web: Web) -> None:
    assert kept(web, checkout_url=f"{ORIGIN}/{'c' * 4_000}?q").checkout_url is None


@pytest.mark.parametrize(
    ("members", "kx"),
    [
        ({"checkout_url": f"{ORIGIN}/c?step=2&_kx=abc.SITE%3D"}, "abc.SITE="),
        (
            {"checkout_url": f"{ORIGIN}/c?_kx=link", "kx": "said", "kla_id": kla_id("cookie")},
            "link",
        ),
        ({"checkout_url": f"{ORIGIN}/c?_kx=", "kx": "said", "kla_id": kla_id("cookie")}, "said"),
        ({"checkout_url": "https://elsewhere.example/?_kx=link"}, "link"),
        ({"kx": "", "kla_id": kla_id("cookie")}, "cookie"),
        ({"kla_id": kla_id("aBc_-1.XyZ").rstrip("=")}, "aBc_-1.XyZ"),
        ({"kla_id": kla_id("aBc_-1.XyZ").replace("=", "%3D")}, "aBc_-1.XyZ"),
        ({"kla_id": quote(b64encode(quote('{"$exchange_id": "a.b"}').encode()))}, "a.b"),
        ({"kla_id": kla_id("a.b", **{"$referrer": {"first_page": "/?q=%22%E0%A4%A"}})}, "a.b"),
    ],
)
def test_klaviyos_id_comes_from_the_link_the_page_or_the_cookie(
    web: Web, members: dict[str, str], kx: str
) -> None:
    assert kept(web, **members).kx == kx


@pytest.mark.parametrize(
    "cookie",
    [
        *("", "true", "%E0%A4%A", "!!!", "\x00", "=", "a", "é", "ñ" * 1_000),
        *map(kla_id, (None, 7, [1], {"toString": 1}, "with a space", "é", "x" * 600)),
        *(b64encode(each).decode() for each in (b"null", b"[1]", b'"a"', b"{", b"\xff", b"%ff")),
        b64encode(b"[" * 4_000).decode(),
    ],
)
def test_a_hostile_cookie_of_klaviyos_name_says_nothing(web: Web, cookie: str) -> None:
    state = kept(web, kla_id=cookie, email="jane@shop-demo.io")

    assert (state.kx, state.email) == (None, "jane@shop-demo.io")


@pytest.mark.parametrize("kx", ["", "a b", "é", "k" * 513, "a\n"])
def test_an_id_that_klaviyo_never_made_does_not_cost_the_rest(web: Web, kx: str) -> None:
    state = kept(web, kx=kx, email="jane@shop-demo.io")

    assert (state.kx, state.email) == (None, "jane@shop-demo.io")


def test_a_link_to_the_proxys_own_host_is_dropped_unless_that_is_listed(web: Web) -> None:
    assert kept(web, checkout_url=f"{web.url}/checkout").checkout_url is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "checkout",
        "/checkout",
        "//evil.example/",
        "javascript:alert(1)",
        "JavaScript:alert(1)//https://shop.example",
        "data:text/html,https://shop.example",
        "https://evil.example/",
        "http://shop.example/",
        "https://shop.example:8443/",
        "https://shop.example@evil.example/",
        "https://shop.example:pass@evil.example/",
        "https://jane:pass@shop.example/",
        "https://shop.example.evil.example/",
        "https://evilshop.example/",
        "https://evil.example/https://shop.example/",
        "https://evil.example#@shop.example/",
        "https://evil.example?@shop.example/",
        "https://evil.example\\@shop.example/",
        "https:\\\\shop.example/",
        "https://shop.example\\.evil.example/",
        "https://shop.example\t.evil.example/",
        "https://shop.example%2eevil.example/",
        "https:shop.example/",
        "https:///shop.example/",
        "https://shоp.example/",
    ],
)
def test_a_link_that_leads_elsewhere_is_dropped(web: Web, url: str) -> None:
    assert kept(web, checkout_url=url).checkout_url is None


@pytest.mark.parametrize("url", ["https://[", "https://[shop.example]/", "https://℀.example/"])
def test_a_link_that_is_no_address_is_dropped(web: Web, url: str) -> None:
    assert kept(web, checkout_url=url).checkout_url is None


@pytest.mark.parametrize("end", ['?"><script>', " x", "\n", "\0", "\u202e", "\\", "<x>"])
def test_a_link_with_what_no_address_has_in_it_is_dropped(web: Web, end: str) -> None:
    assert kept(web, checkout_url=f"{ORIGIN}/{end}").checkout_url is None


def test_a_link_is_not_believed_for_a_host_that_the_poster_chose(web: Web) -> None:
    web.post_state(body(checkout_url="https://evil.example/"), Host="evil.example")

    [state] = web.facts()
    assert isinstance(state, StatePosted)
    assert state.checkout_url is None


@pytest.mark.parametrize("locale", ["de", "de-AT", "de_AT", "zh-Hant-TW"])
def test_a_language_tag_is_kept(web: Web, locale: str) -> None:
    assert kept(web, locale=locale).locale == locale


@pytest.mark.parametrize(
    ("languages", "locale"),
    [("de-AT,de;q=0.9,en;q=0.8", "de-AT"), ("fr;q=0.5", "fr"), ("*", None), ("../x", None)],
)
def test_the_browsers_first_language_does_where_the_page_says_none(
    web: Web, languages: str, locale: str | None
) -> None:
    web = web.from_now_on()

    assert web.post_state(body(), Accept_Language=languages).status == 202
    assert web.post_state(body(locale="it"), Accept_Language=languages).status == 202

    states = [fact for fact in web.facts() if isinstance(fact, StatePosted)]
    assert [state.locale for state in states] == [locale, "it"]


@pytest.mark.parametrize("locale", ["", "d", "German", "de-", "de AT", "../de", "дё"])
def test_what_is_no_language_tag_is_dropped(web: Web, locale: str) -> None:
    assert kept(web, locale=locale).locale is None


# -- origins -----------------------------------------------------------------------------

STRANGERS = [
    "https://evil.example",
    "null",
    "https://shop.example.evil.example",
    "https://evilshop.example",
    "https://shopxexample",
    "http://shop.example",
    "https://shop.example:8443",
    "https://shop.example@evil.example",
    "https://shop.example, https://evil.example",
    "https://shop.example|",
    "*",
]


def test_a_page_of_a_listed_origin_may_post_and_read_the_answer(web: Web) -> None:
    answer = web.post_state(body(), Origin=ORIGIN)

    assert answer.status == 202
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] is None


def test_a_page_of_a_listed_origin_may_read_why_it_was_refused(web: Web) -> None:
    answer = web.post_state("{}", Origin=ORIGIN)

    assert answer.status == 422
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("origin", STRANGERS)
def test_a_page_of_another_origin_may_not_post(web: Web, origin: str) -> None:
    answer = refused(web, body(), Origin=origin)

    assert (answer.status, answer.code) == (403, "origin-not-allowed")
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_a_page_of_another_origin_is_told_which_setting_lets_it_in(web: Web) -> None:
    answer = refused(web, body(), Origin="https://other.example")

    assert answer.json()["detail"] == (
        "Pages of https://other.example may not post here: add it to CHECKOUT_PROXY_ORIGINS, or "
        f"serve the proxy under that page's own host (this is {web.url.removeprefix('http://')})."
    )


def test_a_page_on_the_proxys_own_host_may_post_though_no_origin_is_listed(serve: Serve) -> None:
    web = serve(ORIGINS="")

    assert web.post_state(body(), Origin=web.url).status == 202
    assert web.post_state(body(), Origin=ORIGIN).status == 403


def test_a_client_that_is_no_page_names_no_origin(web: Web) -> None:
    assert web.post_state(body()).status == 202


def test_an_origin_that_is_no_address_is_another_origin(web: Web) -> None:
    assert refused(web, body(), Origin="http://[").status == 403


def preflight(web: Web, origin: str | None) -> Answer:
    return web.ask(
        "OPTIONS",
        "/co/state",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type",
    )


def test_the_preflight_of_a_listed_origin_lets_json_through(web: Web) -> None:
    answer = preflight(web, ORIGIN)

    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type"
    assert answer.headers["Access-Control-Allow-Credentials"] is None


@pytest.mark.parametrize("origin", STRANGERS)
def test_the_preflight_of_another_origin_lets_nothing_through(web: Web, origin: str) -> None:
    assert preflight(web, origin).headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/orders", "/v1/carts/c-1", "/readyz"])
def test_no_page_may_speak_for_the_shops_server(web: Web, path: str) -> None:
    answer = web.ask("OPTIONS", path, Origin=ORIGIN, Access_Control_Request_Method="POST")

    assert answer.headers["Access-Control-Allow-Origin"] is None


# -- problems ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/co/state", 400),
        ("GET", "/co/state", 405),
        ("PUT", "/co/state", 405),
        ("DELETE", "/co/state", 405),
        ("TRACE", "/co/state", 405),
        ("POST", "/co/checkout.js", 405),
        ("GET", "/", 404),
        ("GET", "/co", 404),
        ("GET", "/co/", 404),
        ("GET", "/CO/checkout.js", 404),
        ("GET", "/co/checkout.ts", 404),
        ("GET", "/co/../proxy/app.py", 404),
        ("GET", "/static/checkout.js", 404),
        ("GET", "/co/checkout.%2e%2e%2f.js", 404),
        ("GET", "/%ff%00", 404),
        ("POST", "/v1/orders", 401),
    ],
)
def test_every_refusal_is_a_problem_that_says_what_it_is(
    web: Web, method: str, path: str, status: int
) -> None:
    answer = web.ask(method, path)

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:checkout-proxy:")
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in answer.body.decode()


def test_a_path_with_two_slashes_is_not_found(web: Web) -> None:
    assert web.ask("POST", "/co//state", body(), Content_Type="text/plain").status == 404


def test_a_method_that_is_not_allowed_is_told_with_those_that_are(web: Web) -> None:
    assert sorted(web.ask("GET", "/co/state").headers["Allow"].split(", ")) == ["OPTIONS", "POST"]


def test_a_head_request_is_answered_without_a_body(web: Web) -> None:
    answer = web.ask("HEAD", "/co/checkout.js")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["ETag"] == f'"{VERSION}"'


# -- the snippet -------------------------------------------------------------------------


def test_the_snippet_may_be_kept_for_an_hour(web: Web) -> None:
    answer = web.ask("GET", "/co/checkout.js")

    assert (answer.status, answer.body) == (200, SNIPPET)
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_of_any_origin_may_load_the_snippet_with_an_integrity_hash(web: Web) -> None:
    answer = web.ask("GET", "/co/checkout.js", Origin="https://another.example")

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize("tag", [f'"{VERSION}"', f'W/"{VERSION}"', f'"x", "{VERSION}"', "*"])
def test_a_snippet_that_has_not_changed_is_not_sent_again(web: Web, tag: str) -> None:
    answer = web.ask("GET", "/co/checkout.js", If_None_Match=tag)

    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"


def test_a_snippet_that_has_changed_is_sent(web: Web) -> None:
    answer = web.ask("GET", "/co/checkout.js", If_None_Match='"an-older-one"')

    assert (answer.status, answer.body) == (200, SNIPPET)


def test_the_snippet_under_its_version_never_changes(web: Web) -> None:
    answer = web.ask("GET", f"/co/checkout.{VERSION}.js")

    assert (answer.status, answer.body) == (200, SNIPPET)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("deflate", None),
    ],
)
def test_the_snippet_comes_compressed_as_the_browser_likes_it(
    web: Web, accepted: str, encoding: str | None
) -> None:
    answer = web.ask("GET", "/co/checkout.js", Accept_Encoding=accepted)

    suffix = {"br": ".br", "gzip": ".gz"}.get(encoding or "", "")
    expected = assets.folder("static") / "dist" / f"checkout.js{suffix}"
    assert (answer.status, answer.body) == (200, expected.read_bytes())
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Vary"] == "Accept-Encoding"
    again = web.ask(
        "GET",
        "/co/checkout.js",
        Accept_Encoding=accepted,
        If_None_Match=answer.headers["ETag"],
    )
    assert again.status == 304


@pytest.mark.parametrize("tool", ["cookiebot", "google", "onetrust", "shopify", "tcf"])
def test_the_consent_tools_scripts_are_served_too(web: Web, tool: str) -> None:
    answer = web.ask("GET", f"/co/consent-{tool}.js")

    assert answer.status == 200
    assert b"checkoutProxy" in answer.body


def test_a_script_that_is_none_is_not_there(web: Web) -> None:
    for path in ("/co/nothing.js", "/co/nothing.0123456789abcdef.js", "/co/index.js"):
        answer = web.ask("GET", path)

        assert answer.status == 404
        assert answer.json()["detail"].startswith("The scripts here are checkout, consent-")


def test_another_version_of_the_snippet_is_not_there(web: Web) -> None:
    answer = web.ask("GET", "/co/checkout.0123456789abcdef.js")

    assert answer.status == 404
    assert answer.json()["detail"] == (
        "This version of the snippet is not served any more; load checkout.js."
    )


def test_the_surface_lies_where_the_shop_wants_it(serve: Serve) -> None:
    web = serve(PREFIX="/till/v2")

    assert web.ask("GET", "/till/v2/checkout.js").body == SNIPPET
    answer = web.ask("POST", "/till/v2/state", body(), Origin=ORIGIN)
    assert answer.status == 202
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert web.ask("GET", "/co/checkout.js").status == 404
