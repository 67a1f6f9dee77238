"""Identity: the strongest word wins, and nobody gets what is another's."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.facts import Customer, StatePosted
from proxy.identity import Profile, address_hash, canonical, e164, identify
from proxy.latest import Latest

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

TYPED, TOKEN, CART = "typed@shop-demo.io", "token@shop-demo.io", "cart@shop-demo.io"
PHONE, OTHER_PHONE = "+4930123456", "+12125550100"


def said(**words: Any) -> Latest:
    """Return what is known after one state that says *words*."""
    about: dict[str, Any] = {"id": "1", "shop": "shop", "cart_id": "c-1"}
    return Latest.of(StatePosted(received_at=NOON, acted_at=NOON, **about, **words))


JANE = Customer(
    email=TOKEN, phone_number=PHONE, external_id="17", first_name="Jane", last_name="Doe"
)


# -- who ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "cart_email", "expected"),
    [
        ({"email": TYPED, "customer": JANE, "kx": "k"}, CART, {"email": TYPED}),
        ({"customer": Customer(email=TOKEN), "kx": "k"}, CART, {"email": TOKEN}),
        ({"kx": "k"}, CART, {"email": CART}),
        ({"customer": Customer(external_id="17"), "kx": "k"}, None, {"external_id": "17"}),
        ({"phone_number": PHONE, "kx": "k"}, None, {"phone_number": PHONE}),
        ({"customer": Customer(phone_number=PHONE), "kx": "k"}, None, {"phone_number": PHONE}),
        ({"kx": "k"}, None, {"kx": "k"}),
        ({}, None, {}),
    ],
    ids=["typed", "token", "cart", "external id", "phone", "token's phone", "kx", "nobody"],
)
def test_the_strongest_word_is_who_it_is_about(
    words: dict[str, Any], cart_email: str | None, expected: dict[str, str]
) -> None:
    assert identify(said(**words), cart_email=cart_email) == Profile(**expected)


def test_the_shop_s_customer_comes_with_all_that_the_shop_knows() -> None:
    profile = identify(said(customer=JANE, locale="de-AT"))

    assert profile == Profile(
        email=TOKEN,
        phone_number=PHONE,
        external_id="17",
        first_name="Jane",
        last_name="Doe",
        locale="de-AT",
    )


@pytest.mark.parametrize("typed", [TOKEN, TOKEN.upper()])
def test_whoever_types_their_own_address_stays_the_shop_s_customer(typed: str) -> None:
    profile = identify(said(email=typed, customer=JANE))

    assert (profile.email, profile.external_id, profile.first_name) == (typed, "17", "Jane")


@pytest.mark.parametrize(
    "customer", [JANE, Customer(phone_number=PHONE, external_id="17", first_name="Jane")]
)
def test_whoever_types_another_address_gets_nothing_of_the_customer_s(customer: Customer) -> None:
    profile = identify(said(email=TYPED, customer=customer))

    assert profile == Profile(email=TYPED)


def test_whoever_types_the_cart_s_address_stays_the_shop_s_customer() -> None:
    profile = identify(said(email=CART, customer=Customer(external_id="17")), cart_email=CART)

    assert profile == Profile(email=CART, external_id="17")


def test_the_token_s_address_is_nearer_than_the_cart_s() -> None:
    profile = identify(said(email=CART, customer=JANE), cart_email=CART)

    assert profile == Profile(email=CART)


def test_what_was_typed_beats_what_the_shop_knows() -> None:
    words = {"phone_number": OTHER_PHONE, "first_name": "J.", "last_name": "D."}

    profile = identify(said(customer=JANE, **words))

    assert (profile.phone_number, profile.first_name) == (OTHER_PHONE, "J.")
    assert (profile.email, profile.external_id) == (TOKEN, "17")


@pytest.mark.parametrize("nobody", ["", "guest", "a@b", "a b@c.io", "@x.io", "a@x.io\n"])
def test_what_shops_write_for_nobody_is_nobody(nobody: str) -> None:
    assert identify(said(customer=Customer(email=nobody)), cart_email=nobody).is_nobody
    assert identify(said(customer=Customer(email=nobody)), cart_email=CART).email == CART


def test_an_address_may_have_99_characters_as_at_klaviyo() -> None:
    longest = f"{'j' * 60}@{'x' * 35}.io"
    assert len(longest) == 99

    assert identify(said(customer=Customer(email=longest))).email == longest
    assert identify(said(customer=Customer(email="j" + longest))).is_nobody


@pytest.mark.parametrize(
    ("words", "cart_email"),
    [
        ({"email": TYPED}, None),
        ({"customer": Customer(email=TOKEN)}, None),
        ({}, CART),
        ({"customer": Customer(external_id="17")}, None),
        ({"phone_number": PHONE}, None),
    ],
)
def test_kx_is_for_those_not_known_otherwise(words: dict[str, Any], cart_email: str | None) -> None:
    assert identify(said(kx="abc.SITEID", **words), cart_email=cart_email).kx is None


def test_kx_is_taken_where_the_telephone_number_is_none() -> None:
    profile = identify(said(kx="abc.SITEID", phone_number="none"))

    assert profile == Profile(kx="abc.SITEID")


@pytest.mark.parametrize(
    "profile",
    [Profile(), Profile(email=""), Profile(first_name="Jane", last_name="Doe", locale="de")],
)
def test_a_name_is_nobody(profile: Profile) -> None:
    assert profile.is_nobody


@pytest.mark.parametrize("name", ["email", "phone_number", "external_id", "kx"])
def test_any_identifier_is_somebody(name: str) -> None:
    assert not Profile(**{name: "x"}).is_nobody


WORDS = st.none() | st.text(max_size=20) | st.sampled_from([TYPED, TOKEN, PHONE, "guest"])
ADDRESSES = st.from_regex(r"\A[a-z]{1,5}@[a-z]{1,5}\.[a-z]{2,3}\Z")
CUSTOMERS = st.none() | st.builds(
    Customer, email=WORDS, phone_number=WORDS, external_id=WORDS, first_name=WORDS, last_name=WORDS
)


@settings(max_examples=60)
@given(typed=ADDRESSES, phone_number=WORDS, customer=CUSTOMERS, kx=WORDS, cart_email=WORDS)
def test_an_address_that_was_typed_is_always_who_it_is_about(
    typed: str, cart_email: str | None, **words: Any
) -> None:
    profile = identify(said(email=typed, **words), cart_email=cart_email)

    assert profile.email == typed
    assert profile.kx is None
    assert not profile.is_nobody


@settings(max_examples=60)
@given(phone_number=WORDS, customer=CUSTOMERS, kx=WORDS, first_name=WORDS, cart_email=WORDS)
def test_whatever_the_shop_says_somebody_is_identified_or_nobody(
    cart_email: str | None, **words: Any
) -> None:
    profile = identify(said(**words), cart_email=cart_email)

    known = [profile.email, profile.external_id, profile.phone_number, profile.kx]
    assert profile.is_nobody == (not any(known))


# -- telephone numbers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+4930123456", "+4930123456"),
        ("+49 (0)30 123456", "+4930123456"),
        ("+49 30 / 12-34.56", "+4930123456"),
        (" +1 212 555 0100 ", "+12125550100"),
        ("+496666666666666", "+496666666666666"),
        ("+4966666666666666", None),
        ("0171 1234567", None),
        ("004930123456", None),
        ("+49", None),
        ("+0", None),
        ("+999123456789", None),
        ("+1 212 555 010", None),
        ("+49 30 nonsense", None),
        ("call me", None),
        ("", None),
        (None, None),
        ("+" + "1" * 300, None),
    ],
)
def test_a_telephone_number_counts_only_as_e_164(written: str | None, number: str | None) -> None:
    assert e164(written) == number


def test_digits_of_another_script_are_no_telephone_number() -> None:
    assert e164("+\uff14\uff19 30 123456") is None
    assert e164("+49\u00a030\u00a0123456") == "+4930123456"


def test_a_telephone_number_that_is_none_is_dropped_and_the_event_is_not() -> None:
    profile = identify(said(email=TYPED, phone_number="0171 1234567"))

    assert profile == Profile(email=TYPED)


def test_the_customer_s_number_is_taken_where_the_typed_one_is_none() -> None:
    profile = identify(said(customer=JANE, phone_number="0171 1234567"))

    assert profile.phone_number == PHONE


@settings(max_examples=60)
@given(st.text(max_size=30) | st.from_regex(r"\A\+[0-9 ()./-]{3,20}\Z"))
def test_whatever_is_typed_for_a_number_comes_out_in_e_164_or_not_at_all(text: str) -> None:
    number = e164(text)

    assert number is None or (number[0] == "+" and number[1:].isascii() and number[1:].isdigit())
    assert e164(number) == number


# -- reserved domains --------------------------------------------------------------------


@pytest.mark.parametrize(
    "domain",
    [
        "example.com",
        "example.net",
        "example.org",
        "Example.COM",
        "sub.example.org",
        "a.b.example.com",
        "test.com",
        "mail.test.com",
        "test",
        "x.test",
        "a.b.test",
        "shop.example",
        "example",
        "localhost",
        "mail.localhost",
        "x.invalid",
        "TEST",
    ],
)
def test_domains_for_examples_are_reserved(domain: str) -> None:
    assert Profile(email=f"jane@{domain}").is_reserved


@pytest.mark.parametrize(
    "domain",
    [
        "shop-demo.io",
        "mytest.com",
        "latest.com",
        "testing.com",
        "test.community",
        "test.de",
        "test.com.au",
        "example.community",
        "example.co",
        "example.company",
        "example.de",
        "myexample.com",
        "my-example.com",
        "counterexample.org",
        "invalid.com",
        "localhost.io",
        "test.shop.io",
        "examplexcom.io",
    ],
)
def test_domains_that_only_look_like_it_are_not(domain: str) -> None:
    assert not Profile(email=f"jane@{domain}").is_reserved


@pytest.mark.parametrize("email", ["test@shop-demo.io", "example.com@shop-demo.io"])
def test_it_is_the_domain_that_is_reserved_not_the_name(email: str) -> None:
    assert not Profile(email=email).is_reserved


def test_who_has_no_address_is_of_no_domain() -> None:
    assert not Profile(external_id="17").is_reserved


# -- what is not told --------------------------------------------------------------------


# -- one spelling ------------------------------------------------------------------------

SPELLINGS = [
    ["jane@shop-demo.io", " Jane@SHOP-demo.io "],
    ["jane@münchen.de", "jane@MÜNCHEN.de", "jane@mu\u0308nchen.de", "Jane@xn--Mnchen-3ya.de"],
    ["rené@shop-demo.io", "rene\u0301@shop-demo.io", "RENÉ@ｓｈｏｐ-demo.io"],
]


@pytest.mark.parametrize("spelt", SPELLINGS)
def test_one_address_has_one_spelling_by_which_it_is_found(spelt: list[str]) -> None:
    assert {canonical(each) for each in spelt} == {spelt[0]}
    assert len({address_hash(each, b"a key") for each in spelt}) == 1
    assert canonical(spelt[0]) == spelt[0]


def test_what_is_no_address_has_a_spelling_too() -> None:
    assert canonical(" Nobody") == "nobody"
    assert canonical("RENÉ @x") == "rené @x"


def test_whoever_types_their_address_in_another_spelling_stays_the_shop_s_customer() -> None:
    customer = Customer(email="jane@xn--mnchen-3ya.de", external_id="17")

    assert identify(said(email="jane@münchen.de", customer=customer)).external_id == "17"


def test_no_repr_tells_who_it_is() -> None:
    latest = said(
        email="canary@x.io",
        first_name="canary",
        kx="canary",
        ref="canary",
        customer=Customer(email="canary@x.io", phone_number=PHONE, external_id="canary"),
    )

    told = repr([latest, latest.email, latest.customer, identify(latest), JANE])

    assert "canary" not in told
    assert PHONE not in told
    assert TOKEN not in told
