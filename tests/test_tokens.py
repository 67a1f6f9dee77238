"""The token law: what the shop vouches for is believed, and nothing else is."""

import json
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha1, sha256
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from itsdangerous import Signer, TimestampSigner, base64_encode

from proxy.carts.cart import Cart, LineItem
from proxy.errors import Unauthorized
from proxy.facts import Customer
from proxy.tokens import SALT, Session, Tokens
from tests.web import ORIGIN, Answer, Web, served

DAY = timedelta(days=1)
TOKENS = Tokens(["a-key"], shop="shop", max_age=DAY)
SESSION = Session(
    shop="shop",
    cart_id="c-1",
    customer=Customer(email="jane@shop.com", first_name="Jane"),
    cart=Cart(
        currency="EUR",
        total=Decimal("19.90"),
        items=(
            LineItem(product_id="17", name="Tea", quantity=Decimal(1), unit_price=Decimal("19.90")),
        ),
    ),
    ref="a-credential",
)
TOKEN = TOKENS.sign(SESSION)
OTHER = "https://checkout.shop.example"

Sign = Callable[[datetime], str]


@pytest.fixture(scope="module")
def two_fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve pages of two origins, and guests among them."""
    medusa = {"CARTS": "medusa", "CARTS_URL": "https://medusa.example", "CARTS_KEY": "pk_1"}
    folder = tmp_path_factory.mktemp("fronts")
    with served(folder, ORIGINS=f"{ORIGIN},{OTHER}", GUESTS="on", **medusa) as web:
        yield web


def test_what_is_signed_is_read() -> None:
    token = TOKENS.sign(SESSION)

    assert TOKENS.read(token, _now()) == SESSION


def test_a_token_names_the_moment_it_ends() -> None:
    assert TOKENS.expires_at(_now()) - _now() <= DAY


# -- forged ------------------------------------------------------------------------------


def test_a_token_signed_with_another_key_is_forged() -> None:
    token = Tokens(["another-key"], shop="shop", max_age=DAY).sign(SESSION)

    assert _refusal(token).code == "token-forged"


@pytest.mark.parametrize(
    ("digest", "salt"),
    [(sha1, SALT), (sha256, "itsdangerous"), (sha256, "checkout-proxy.admin")],
    ids=["a weaker digest", "no salt of its own", "the salt of another purpose"],
)
def test_the_right_key_used_for_something_else_signs_no_token(digest: Any, salt: str) -> None:
    signer = TimestampSigner("a-key", salt=salt, digest_method=digest)
    token = signer.sign(base64_encode(b'{"shop":"shop","cart_id":"c-1"}')).decode()

    assert _refusal(token).code == "token-forged"


def test_the_signature_of_one_session_does_not_hold_for_another() -> None:
    _, time, signature = TOKENS.sign(Session(shop="shop", cart_id="c-1")).split(".")
    dearer = base64_encode(b'{"shop":"shop","cart_id":"c-2"}').decode()

    refusal = _refusal(f"{dearer}.{time}.{signature}")

    assert refusal.code == "token-forged"


def test_a_token_cannot_be_made_younger() -> None:
    text, _, signature = _signed(b'{"shop":"shop","cart_id":"c-1"}', at=0).split(".")
    today = base64_encode(int(_now().timestamp()).to_bytes(4, "big")).decode()

    refusal = _refusal(f"{text}.{today}.{signature}")

    assert refusal.code == "token-forged"


@given(st.data())
def test_a_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TOKEN) - 2))
    changed = data.draw(st.characters().filter(lambda character: character != TOKEN[place]))

    refusal = _refusal(TOKEN[:place] + changed + TOKEN[place + 1 :])

    assert refusal.code in ("token-forged", "token-malformed")


@pytest.mark.parametrize("end", ["=", "==", "é", "=!"])
def test_a_token_is_written_in_one_way_only(end: str) -> None:
    assert _refusal(TOKEN + end).code == "token-forged"


def test_a_token_with_its_last_character_changed_is_refused() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = alphabet.replace(TOKEN[-1], "")

    codes = {_refusal(TOKEN[:-1] + other).code for other in others}

    assert codes == {"token-forged"}


# -- malformed ---------------------------------------------------------------------------


@given(st.text())
@example("")
@example(".")
@example("..")
@example("....")
@example("a.b.c")
@example("é.é.é")
@example("." + TOKEN)
@example(TOKEN.rpartition(".")[0])
@example(TOKEN.replace(".", ""))
def test_what_is_no_token_is_refused_as_that_and_nothing_else_is_raised(text: str) -> None:
    assert _refusal(text).code in ("token-forged", "token-malformed")


def test_a_token_without_its_dots_is_called_no_token() -> None:
    refusal = _refusal("c-1")

    assert refusal.code == "token-malformed"
    assert refusal.detail == "This is no token: a token has three parts with a dot between."


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"hello",
        b"null",
        b'"c-1"',
        b"[]",
        b"{}",
        b'{"shop":"shop"}',
        b'{"shop":"shop","cart_id":17}',
        b'{"shop":"shop","cart_id":""}',
        b'{"shop":"shop","cart_id":"c 1"}',
        b'{"shop":"shop","cart_id":"c-1\\n"}',
        b'{"shop":"shop","cart_id":"c-1\\u0000"}',
        b'{"shop":"shop","cart_id":"%s"}' % (b"c" * 256),
        b'{"shop":"shop","cart_id":"\xff"}',
        b'{"shop":"shop","cart_id":"\\ud800"}',
        b'{"shop":"shop","cart_id":"c-1","cart":{"total":"-1","currency":"EUR","items":[]}}',
        b'{"shop":"shop","cart_id":"c-1","cart":{"total":"1e999999999","currency":"EUR",'
        b'"items":[]}}',
        b'{"shop":"shop","cart_id":"c-1","customer":[]}',
        b'{"shop":"shop","cart_id":"c-1","ref":"%s"}' % (b"r" * 4_001),
        b'{"a":' * 20_000,
    ],
    ids=lambda said: said[:40].decode(errors="replace"),
)
def test_a_signature_does_not_make_nonsense_a_session(said: bytes) -> None:
    refusal = _refusal(_signed(said))

    assert refusal.code == "token-malformed"
    assert refusal.detail.startswith("The token is signed, and what it says is no session: ")


@pytest.mark.parametrize(
    "said",
    [
        b'{"shop":"shop","cart_id":"c-1","custmer":{}}',
        b'{"shop":"shop","cart_id":"c-1","customer":{"mail":"jane@shop.com"}}',
        b'{"shop":"shop","cart_id":"c-1","cart":{"total":"1","currency":"EUR","items":[],"x":1}}',
    ],
    ids=["in the session", "in the customer", "in the cart"],
)
def test_a_misspelt_member_is_named_rather_than_lost(said: bytes) -> None:
    assert "unknown field" in _refusal(_signed(said)).detail


def test_a_signed_text_that_is_not_packed_as_it_claims_is_malformed() -> None:
    # A dot at the front says that zlib packed what follows.
    token = TimestampSigner("a-key", salt=SALT, digest_method=sha256).sign(b".YWJj").decode()

    assert _refusal(token).code == "token-malformed"


# -- time --------------------------------------------------------------------------------


def test_a_token_holds_until_the_last_second() -> None:
    token = _signed_session(at=1_700_000_000)

    assert TOKENS.read(token, _time(1_700_000_000) + DAY)


def test_a_token_is_expired_a_second_later_and_says_what_to_do() -> None:
    token = _signed_session(at=1_700_000_000)

    refusal = _refusal(token, _time(1_700_000_000) + DAY + timedelta(seconds=1))

    assert refusal.code == "token-expired"
    assert refusal.detail == (
        "The token is 86401 s old and may be 86400 s: load the page again for a new one."
    )


def test_the_clock_of_the_shop_may_run_two_minutes_ahead() -> None:
    token = _signed_session(at=1_700_000_120)

    assert TOKENS.read(token, _time(1_700_000_000))


def test_a_token_from_further_in_the_future_is_refused() -> None:
    token = _signed_session(at=1_700_000_121)

    assert _refusal(token, _time(1_700_000_000)).code == "token-from-the-future"


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(1_700_000_000_000, id="milliseconds"),
        pytest.param(2**64 - 1, id="more than a time_t"),
        pytest.param(253_402_300_799, id="the last second there is"),
        pytest.param(2**32 - 1, id="the last second of four bytes"),
    ],
)
def test_a_signed_time_that_cannot_be_is_refused(seconds: int) -> None:
    token = _signed_session(at=seconds)

    assert _refusal(token).code in ("token-from-the-future", "token-malformed")


@given(st.binary(max_size=12))
def test_a_forged_time_is_never_looked_at(time: bytes) -> None:
    text, signed, signature = TOKEN.rsplit(".", 2)
    forged = base64_encode(time).decode()
    assume(forged != signed)

    refusal = _refusal(f"{text}.{forged}.{signature}")

    assert refusal.code == "token-forged"


# -- keys and shops ----------------------------------------------------------------------


def test_the_last_key_signs() -> None:
    token = Tokens(["old", "new"], shop="shop", max_age=DAY).sign(SESSION)

    assert Tokens(["new"], shop="shop", max_age=DAY).read(token, _now()) == SESSION
    with pytest.raises(Unauthorized):
        Tokens(["old"], shop="shop", max_age=DAY).read(token, _now())


@pytest.mark.parametrize("keys", [["old", "new"], ["new", "old"], ["older", "old", "new"]])
def test_a_token_of_an_older_key_holds_while_the_key_is_listed(keys: list[str]) -> None:
    token = Tokens(["old"], shop="shop", max_age=DAY).sign(SESSION)

    assert Tokens(keys, shop="shop", max_age=DAY).read(token, _now()) == SESSION


def test_a_token_of_a_key_that_was_rotated_away_is_told_so() -> None:
    token = Tokens(["old"], shop="shop", max_age=DAY).sign(SESSION)

    with pytest.raises(Unauthorized, match="or its key was rotated away") as refusal:
        Tokens(["new"], shop="shop", max_age=DAY).read(token, _now())

    assert refusal.value.code == "token-forged"


def test_a_token_of_another_shop_with_the_same_keys_is_refused() -> None:
    token = TOKENS.sign(Session(shop="another", cart_id="c-1"))

    assert _refusal(token).code == "token-of-another-shop"


def test_a_token_that_is_wrong_in_every_way_does_not_tell_whose_it_is() -> None:
    stranger = Tokens(["another-key"], shop="another", max_age=DAY)

    assert _refusal(stranger.sign(Session(shop="another", cart_id="c-1"))).code == "token-forged"


# -- what is carried ---------------------------------------------------------------------

_lines = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=256)
_cart_ids = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=" "), min_size=1, max_size=255
)
_amounts = st.decimals(-(10**14), 10**14, allow_nan=False, allow_infinity=False)
_prices = _amounts.map(abs)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_times = st.integers(946_684_800, 7_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC))
_items = st.builds(
    LineItem,
    product_id=st.integers() | _texts.filter(bool),
    name=_texts,
    quantity=_prices.filter(bool),
    unit_price=_amounts,
    row_total=st.none() | _amounts,
    sku=st.none() | _texts,
    variant=st.none() | _texts,
    product_url=st.none() | st.just("https://shop.example/tea"),
    image_url=st.none(),
    categories=st.lists(_texts, max_size=2).map(tuple),
)
_carts = st.builds(
    Cart,
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    total=_prices,
    items=st.lists(_items, max_size=3).map(tuple),
    version=st.none() | st.integers(),
    updated_at=st.none() | _times,
    subtotal=st.none() | _amounts,
    discount=st.none() | _amounts,
    tax=st.none() | _amounts,
    shipping=st.none() | _amounts,
    coupons=st.lists(_texts, max_size=2).map(tuple),
    checkout_url=st.none(),
    email=st.none() | _texts,
)
_customers = st.builds(
    Customer,
    email=st.none() | _lines,
    phone_number=st.none() | _lines,
    external_id=st.none() | _lines,
    first_name=st.none() | _lines,
    last_name=st.none() | _lines,
)


@given(
    st.builds(
        Session,
        shop=st.just("shop"),
        cart_id=_cart_ids,
        customer=st.none() | _customers,
        cart=st.none() | _carts,
        ref=st.none() | st.from_regex(r"[!-~]{0,50}", fullmatch=True),
    )
)
def test_every_session_is_read_as_it_was_signed_amounts_to_the_last_digit(
    session: Session,
) -> None:
    assert TOKENS.read(TOKENS.sign(session), _now()) == session


# -- secrets -----------------------------------------------------------------------------

_SECRETS = ("jane@shop.com", "a-credential", "a-key")
_ABOUT_JANE: dict[str, Any] = {
    "shop": "shop",
    "cart_id": "c-1",
    "customer": {"email": "jane@shop.com"},
    "ref": "a-credential",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"custmer": {"email": "jane@shop.com"}},
        {"customer": "jane@shop.com"},
        {"shop": "another"},
        {"cart_id": "jane@shop.com\n"},
        {"cart": {"currency": "EUR", "total": "jane@shop.com", "items": []}},
    ],
    ids=str,
)
def test_no_refusal_tells_what_the_token_says(wrong: dict[str, Any]) -> None:
    token = _signed(json.dumps(_ABOUT_JANE | wrong).encode())

    assert not _told(_refusal(token), *_SECRETS, token)


def test_no_refusal_tells_a_token_that_is_none() -> None:
    forged, malformed = TOKEN[:-20] + "A" * 20, TOKEN.replace(".", "")

    assert not _told(_refusal(forged), *_SECRETS, forged)
    assert not _told(_refusal(malformed), *_SECRETS, malformed)


def _told(error: Unauthorized, *secrets: str) -> list[str]:
    """Return which of *secrets* stand in *error*, its causes or its traceback."""
    told = repr(error) + error.detail + "".join(traceback.format_exception(error))
    return [secret for secret in secrets if secret in told]


def test_a_session_and_its_parts_keep_themselves_out_of_logs() -> None:
    told = f"{SESSION!r} {SESSION} {SESSION.customer!r} {SESSION.cart!r} {TOKENS!r}"

    assert not [secret for secret in (*_SECRETS, "19.90", "c-1") if secret in told]


# -- signing as a stranger would ---------------------------------------------------------


def _signed(said: bytes, *, at: int | None = None) -> str:
    """Return *said* under a signature that holds, made *at* these Unix seconds or now."""
    seconds = int(_now().timestamp()) if at is None else at
    time = seconds.to_bytes(max(4, (seconds.bit_length() + 7) // 8), "big")
    signer = Signer("a-key", salt=SALT, digest_method=sha256)
    return signer.sign(base64_encode(said) + b"." + base64_encode(time)).decode()


def _signed_session(*, at: int) -> str:
    return _signed(b'{"shop":"shop","cart_id":"c-1"}', at=at)


def _refusal(token: str, now: datetime | None = None) -> Unauthorized:
    with pytest.raises(Unauthorized) as refusal:
        TOKENS.read(token, now or _now())
    return refusal.value


def _now() -> datetime:
    return datetime.now(UTC)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# -- bound to an origin ------------------------------------------------------------------


def _post(web: Web, token: str, origin: str | None, query: str = "") -> Answer:
    body = json.dumps({"token": token, "email": "jane@shop-demo.io"})
    said: dict[str, str | None] = {"Content_Type": "text/plain", "Origin": origin}
    return web.ask("POST", f"/co/state{query}", body, **said)


# With a query it does not go the fast way.
@pytest.mark.parametrize("query", ["", "?by=flask"])
@pytest.mark.parametrize("origin", [OTHER, None])
def test_a_session_of_one_origin_serves_no_page_of_another(
    two_fronts: Web, query: str, origin: str | None
) -> None:
    web = two_fronts.from_now_on()
    bound = web.call("POST", "/v1/sessions", {"cart_id": "c-1", "origin": ORIGIN}).json()["token"]

    refused, taken = _post(web, bound, origin, query), _post(web, bound, ORIGIN, query)

    assert (refused.status, refused.code) == (403, "token-of-another-origin")
    assert (taken.status, len(web.facts())) == (202, 1)


def test_a_session_of_no_origin_serves_any_page_that_may_post(two_fronts: Web) -> None:
    free = two_fronts.call("POST", "/v1/sessions", {"cart_id": "c-1"}).json()["token"]

    assert [_post(two_fronts, free, origin).status for origin in (ORIGIN, OTHER)] == [202, 202]


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "HTTPS://A", "null"])
def test_a_session_of_what_is_no_origin_is_refused(two_fronts: Web, origin: str) -> None:
    answer = two_fronts.call("POST", "/v1/sessions", {"cart_id": "c-1", "origin": origin})

    assert (answer.status, answer.pointer) == (422, "/origin")


def test_a_guest_s_session_is_bound_to_the_page_that_asked_for_it(two_fronts: Web) -> None:
    body = json.dumps({"cart_id": "cart_01HXV7T7W8Y6W3J6W5J6Z8Q0AB"})
    asked: dict[str, str | None] = {"Content_Type": "text/plain", "Origin": OTHER}
    guest = two_fronts.ask("POST", "/co/session", body, **asked).json()["token"]

    refused, taken = _post(two_fronts, guest, ORIGIN), _post(two_fronts, guest, OTHER)

    assert (refused.status, refused.code, taken.status) == (403, "token-of-another-origin", 202)


def test_a_token_from_before_there_were_regions_and_origins_is_read() -> None:
    token = _signed(b'{"shop":"shop","cart_id":"c-1"}', at=int(_now().timestamp()))

    assert TOKENS.read(token, _now()) == Session(shop="shop", cart_id="c-1")


def test_what_carries_neither_is_signed_as_before() -> None:
    said = base64_encode(b'{"shop":"shop","cart_id":"c-1"}').decode()

    assert TOKENS.sign(Session(shop="shop", cart_id="c-1")).startswith(f"{said}.")
