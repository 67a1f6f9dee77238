"""The snippet says what the shopper has finished saying, loses nothing and breaks nothing."""

import base64
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Error, Page

from proxy.facts import Consent, ConsentState
from tests.actors import until
from tests.browser.conftest import GPC, Host, Shop, enter

EMAIL = '<label>E-mail <input type="email" name="email"></label> <button>Next</button>'
PHONE = '<label>Phone <input type="tel" name="phone"></label> <button>Next</button>'

FORM = f'<form action="/thanks" novalidate>{EMAIL}</form>'


def kla_id(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


# -- what is sent ------------------------------------------------------------------------


def test_only_complete_addresses_leave_and_the_last_one_wins(shop: Shop, page: Page) -> None:
    shop.open(EMAIL)

    for posts, address in enumerate(("jane@gmial", "jane@gmial.com", "jane@shop-demo.io")):
        enter(page, "E-mail", address)
        shop.later(seconds=1)
        assert shop.has_posts(posts)

    states = shop.states(2)
    assert [state.email for state in states] == ["jane@gmial.com", "jane@shop-demo.io"]


def test_corrections_within_the_pause_are_one_state(shop: Shop, page: Page) -> None:
    shop.open(EMAIL)
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))

    enter(page, "E-mail", "jane@gmial.com")
    enter(page, "E-mail", "jane@shop-demo.io")
    page.clock.run_for(1000)

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_keystrokes_do_not_leave_even_when_the_page_hides(shop: Shop, page: Page) -> None:
    shop.open(EMAIL)

    page.get_by_label("E-mail").press_sequentially("jane@shop-demo.io")
    page.evaluate("dispatchEvent(new Event('pagehide'))")

    shop.assert_silent()


def test_a_known_customer_is_sent_as_the_page_loads(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", first_name="Jane", last_name="Doe")

    (state,) = shop.states(1)
    assert (state.email, state.first_name, state.last_name) == ("jane@shop-demo.io", "Jane", "Doe")
    assert state.locale == "de-AT"
    assert state.checkout_url == shop.page.url


@pytest.mark.parametrize("customer", [{"email": "jane@shop-demo.io"}, {"external_id": "7"}])
def test_a_customer_in_the_token_is_sent_as_the_page_loads(
    shop: Shop, customer: dict[str, str]
) -> None:
    token = shop.token(**customer)
    assert not token.startswith(".")

    shop.open(token=token)

    (state,) = shop.states(1)
    assert state.customer is not None


def test_a_compressed_token_may_carry_a_customer(shop: Shop) -> None:
    shop.open(token=shop.token(email="jane@shop-demo.io", first_name="Jane" * 50))

    (state,) = shop.states(1)
    assert state.customer is not None
    assert shop.posts[0].body["token"].startswith(".")


def test_a_page_that_knows_nobody_says_that_it_is_there(shop: Shop) -> None:
    with shop.page.expect_request("**/state") as asked:
        shop.open()

    assert set(asked.value.post_data_json or {}) == {
        *("id", "token", "url", "checkout_url", "at", "tries", "age_ms")
    }


def test_without_a_token_nothing_is_sent(shop: Shop) -> None:
    shop.open(token="", email="jane@shop-demo.io")

    shop.assert_silent()


def test_a_prefilled_field_counts(shop: Shop) -> None:
    shop.open('<input type="email" value="jane@shop-demo.io">')

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_of_two_prefilled_fields_the_first_counts(shop: Shop) -> None:
    shop.open('<input type="email" value="jane@shop-demo.io"><input id="email2" value="a@b.io">')

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_field_filled_without_any_event_is_seen_when_the_page_hides(
    shop: Shop, page: Page
) -> None:
    shop.open(EMAIL)
    shop.later(seconds=1)

    page.evaluate("document.querySelector('input').value = 'jane@shop-demo.io'")
    page.evaluate("dispatchEvent(new Event('pagehide'))")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_form_sent_off_says_that_its_fields_are_done(shop: Shop, page: Page) -> None:
    shop.open(f'<form action="/thanks">{EMAIL}</form>')
    page.get_by_label("E-mail").focus()

    page.evaluate("document.querySelector('input').value = 'jane@shop-demo.io'")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_the_shops_own_selector_is_the_only_one_looked_at(shop: Shop) -> None:
    shop.open(
        '<input type="email" value="friend@shop-demo.io">'
        '<input id="who" value="jane@shop-demo.io">',
        email_field="#who",
    )

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_selector_that_is_none_does_not_hold_up_the_rest(shop: Shop) -> None:
    shop.open(email_field="#", email="jane@shop-demo.io")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_field_drawn_later_is_seen(shop: Shop, page: Page) -> None:
    shop.open("<main></main>")

    page.evaluate("html => { document.querySelector('main').innerHTML = html }", EMAIL)
    enter(page, "E-mail", "jane@shop-demo.io")
    shop.later(seconds=1)

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_field_whose_events_the_page_stops_is_seen(shop: Shop, page: Page) -> None:
    stop = "document.addEventListener(type, event => event.stopPropagation(), true)"
    shop.open(f"{EMAIL}<script>for (const type of ['change', 'focusout']) {stop}</script>")

    enter(page, "E-mail", "jane@shop-demo.io")
    shop.later(seconds=1)

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_phone_number_is_sent(shop: Shop, page: Page) -> None:
    shop.open(PHONE)

    enter(page, "Phone", "+49 (0)30 1234567")
    shop.later(seconds=1)

    (state,) = shop.states(1)
    assert state.phone_number == "+49 (0)30 1234567"


def test_a_card_number_typed_into_a_telephone_field_stays(shop: Shop, page: Page) -> None:
    shop.open(PHONE)

    enter(page, "Phone", "4111 1111 1111 1111")

    shop.assert_silent()


def test_passwords_and_hidden_fields_stay(shop: Shop) -> None:
    shop.open(
        '<input type="hidden" name="paypal_email" value="shop@shop-demo.io">'
        '<input type="password" name="email_password" value="secret@shop-demo.io">'
    )

    shop.assert_silent()


def test_a_claimed_total_is_passed_on(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io")
    assert shop.has_posts(1)

    shop.push(claimed={"value": "29.90", "currency": "EUR"})

    claimed = shop.states(2)[1].claimed
    assert claimed is not None
    assert (str(claimed.value), claimed.currency) == ("29.90", "EUR")


# -- when it is sent ---------------------------------------------------------------------


def test_the_queue_from_before_the_script_is_taken_over(shop: Shop) -> None:
    push = "(window.checkoutProxy ||= []).push({ email: 'jane@shop-demo.io' })"
    shop.open(f"<script>{push}</script>")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_one_patch_that_is_none_does_not_hold_up_the_others(shop: Shop) -> None:
    queue = "window.checkoutProxy = [null, 7, { email: 'jane@shop-demo.io' }]"
    shop.open(f"<script>{queue}</script>")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


@pytest.mark.parametrize("leave", ["link", "button", "enter", "reload", "close"])
def test_leaving_right_after_the_last_key_loses_nothing(shop: Shop, page: Page, leave: str) -> None:
    shop.open(f'<form action="/thanks">{EMAIL}</form><a href="/cart">Back to the cart</a>')
    page.get_by_label("E-mail").press_sequentially("jane@shop-demo.io")

    match leave:
        case "enter":
            page.keyboard.press("Enter")
            page.wait_for_url("**/thanks*")
        case "reload":
            page.keyboard.press("Tab")
            page.reload()
        case "close":
            page.keyboard.press("Tab")
            page.close()
        case _:
            page.locator({"link": "a", "button": "button"}[leave]).click()
            page.wait_for_url(re.compile("/(thanks|cart)"))

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_what_did_not_change_is_not_sent_twice(shop: Shop, page: Page) -> None:
    shop.open(EMAIL)
    enter(page, "E-mail", "jane@shop-demo.io")
    shop.later(seconds=1)
    assert shop.has_posts(1)

    enter(page, "E-mail", "jane@shop-demo.io")
    shop.push(email="jane@shop-demo.io")
    page.evaluate("dispatchEvent(new Event('pagehide'))")

    shop.assert_silent(posts=1)


def test_the_snippet_loaded_twice_sends_once(shop: Shop) -> None:
    shop.open('<script defer src="/co/checkout.js"></script>', email="jane@shop-demo.io")
    assert shop.has_posts(1)

    shop.assert_silent(posts=1)


def test_there_is_no_preflight(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io")

    shop.states(1)
    assert shop.posts[0].content_type == "text/plain;charset=UTF-8"
    assert shop.host.methods == {"POST"}


# -- when it does not arrive -------------------------------------------------------------


@pytest.mark.parametrize("failure", [429, 500, 503])
def test_a_failure_is_tried_again_under_the_same_id(shop: Shop, failure: int) -> None:
    shop.failures = [failure]
    shop.open(email="jane@shop-demo.io")
    assert shop.has_posts(1)

    shop.later(seconds=4)

    (state,) = shop.states(1)
    assert [post.id for post in shop.posts] == [state.id, state.id]
    assert state.received_at - state.acted_at >= timedelta(seconds=4)


def test_a_refusal_is_final(shop: Shop) -> None:
    shop.failures = [400, 401, 413, 422]

    for posts, name in enumerate(["jane", "joan", "jean", "jill"], start=1):
        shop.open(email=f"{name}@shop-demo.io")
        assert shop.has_posts(posts)
        until(lambda: "@" not in shop.slot())

    shop.assert_silent(posts=4)


def test_it_is_tried_five_times_at_most(shop: Shop) -> None:
    shop.failures = [503] * 9
    shop.open(email="jane@shop-demo.io")
    for tried, pause in enumerate((4, 16, 64, 256), start=1):
        assert shop.has_posts(tried)
        shop.later(seconds=pause)
    assert shop.has_posts(5)

    shop.assert_silent(posts=5)
    assert "jane" not in shop.slot()


def test_what_is_a_day_old_is_forgotten(shop: Shop) -> None:
    shop.failures = [503]
    shop.open(email="jane@shop-demo.io")
    assert shop.has_posts(1)

    shop.later(hours=25)

    shop.assert_silent(posts=1)
    assert "jane" not in shop.slot()


def cannot_be_sent(shop: Shop) -> None:
    """Leave a typed address in the browser that the proxy could not take."""
    shop.failures = [503]
    shop.open(EMAIL)
    enter(shop.page, "E-mail", "jane@shop-demo.io")
    shop.later(seconds=1)
    assert shop.has_posts(1)


def test_the_next_page_sends_what_this_one_could_not(shop: Shop, page: Page) -> None:
    cannot_be_sent(shop)

    shop.open()

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"
    page.wait_for_function("!JSON.stringify({...localStorage}).includes('jane')")


def test_what_the_next_page_knows_joins_what_this_one_could_not_send(shop: Shop) -> None:
    cannot_be_sent(shop)

    shop.open(first_name="Jane")

    (state,) = shop.states(1)
    assert (state.email, state.first_name) == ("jane@shop-demo.io", "Jane")


def test_what_one_cart_could_not_send_is_not_sent_for_another(
    shop: Shop, host: Host, page: Page
) -> None:
    cannot_be_sent(shop)

    another = Shop(host=host, page=page)
    another.open(first_name="Joan")

    (state,) = another.states(1)
    assert (state.email, state.first_name) == (None, "Joan")


def test_it_is_sent_as_soon_as_the_browser_is_online_again(
    shop: Shop, page: Page, context: BrowserContext
) -> None:
    shop.open(EMAIL)
    context.set_offline(True)
    enter(page, "E-mail", "jane@shop-demo.io")
    with page.expect_event("requestfailed"):
        shop.later(seconds=1)

    context.set_offline(False)

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_what_has_arrived_is_not_kept_in_the_browser(shop: Shop) -> None:
    with shop.page.expect_response("**/state"):
        shop.open(email="jane@shop-demo.io")

    shop.states(1)
    shop.page.wait_for_function("!JSON.stringify({...localStorage}).includes('jane')")


# -- consent -----------------------------------------------------------------------------


def test_nothing_leaves_until_the_consent_that_is_required_is_given(shop: Shop, page: Page) -> None:
    shop.open(EMAIL, consent="required")
    enter(page, "E-mail", "jane@shop-demo.io")
    shop.push(consent=None)
    shop.assert_silent()
    assert "jane" not in shop.slot()

    shop.push(consent="granted")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"
    assert state.consent == Consent(state=ConsentState.GRANTED)


def test_a_consent_tools_own_record_is_passed_on(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", consent="required")

    shop.push(consent={"state": "granted", "source": "Usercentrics", "evidence": "c-1"})

    (state,) = shop.states(1)
    assert state.consent == Consent(
        state=ConsentState.GRANTED, source="Usercentrics", evidence="c-1"
    )


def test_a_word_that_is_no_consent_is_none(shop: Shop) -> None:
    for word in ("", "Granted", "pending"):
        shop.open(email="jane@shop-demo.io", consent=word)

        shop.assert_silent()


def test_after_a_denial_nothing_leaves(shop: Shop, page: Page) -> None:
    shop.open(EMAIL, consent="denied")

    enter(page, "E-mail", "jane@shop-demo.io")

    shop.assert_silent()
    assert shop.slot() == "{}"


def test_a_withdrawal_is_told_once_and_without_the_shopper(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", first_name="Jane", consent="granted")
    assert shop.has_posts(1)

    shop.push(consent="denied")
    assert shop.has_posts(2)
    shop.push(email="jane@shop-demo.io")

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)
    assert shop.posts[1].body.keys() == {"id", "token", "consent", "at", "tries", "age_ms"}
    shop.assert_silent(posts=2)


def test_a_withdrawal_on_a_later_page_is_told(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)

    shop.open(consent="denied")

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)


def test_a_withdrawal_that_does_not_arrive_is_told_again(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)
    shop.failures = [503]

    shop.push(consent="denied")
    assert shop.has_posts(2)
    shop.later(seconds=4)

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)


def test_a_withdrawal_that_was_given_up_is_told_by_the_next_page(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)
    shop.failures = [503] * 5
    shop.push(consent="denied")
    for number, seconds in enumerate((0, 4, 16, 64, 256), 2):
        shop.later(seconds=seconds)
        assert shop.has_posts(number)
    shop.later(hours=1)

    shop.open(consent="denied")

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)


def test_a_second_withdrawal_is_told_although_the_first_never_arrived(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)
    shop.failures = [503]
    shop.push(consent="denied")
    assert shop.has_posts(2)
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(3)

    shop.push(consent="denied")

    assert shop.has_posts(4)
    said = [(post.body["consent"], post.accepted) for post in shop.posts]
    assert said == [("granted", True), ("denied", False), ("granted", True), ("denied", True)]


def test_a_withdrawal_forgets_what_could_not_be_sent(shop: Shop) -> None:
    shop.failures = [503]
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)

    shop.push(consent="denied")

    (state,) = shop.states(1)
    assert state.email is None
    assert "jane" not in shop.slot()


def test_consent_given_anew_sends_anew(shop: Shop) -> None:
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)
    shop.push(consent="denied")
    assert shop.has_posts(2)

    shop.push(consent="granted")

    assert shop.states(3)[2].email == "jane@shop-demo.io"


def test_what_could_not_be_sent_waits_for_the_consent_of_the_next_page(shop: Shop) -> None:
    shop.failures = [503]
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)
    shop.open(consent="required")
    shop.later(seconds=30)
    assert len(shop.asked) == 1

    shop.push(consent="granted")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_global_privacy_control_holds_until_consent_is_given_expressly(shop: Shop) -> None:
    shop.page.add_init_script(GPC)
    shop.open(email="jane@shop-demo.io")
    shop.assert_silent()

    shop.push(consent="granted")

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_klaviyos_own_switch_holds_everything(shop: Shop, context: BrowserContext) -> None:
    context.add_cookies([{"name": "__kla_off", "value": "true", "url": shop.url}])

    shop.open(email="jane@shop-demo.io")

    shop.assert_silent()


def test_klaviyos_own_switch_is_a_later_word_than_the_consent_before_it(
    shop: Shop, page: Page, context: BrowserContext
) -> None:
    shop.open(email="jane@shop-demo.io", consent="granted")
    assert shop.has_posts(1)
    shop.later(minutes=1)

    context.add_cookies([{"name": "__kla_off", "value": "true", "url": shop.url}])
    page.evaluate("dispatchEvent(new Event('pagehide'))")

    given, denied = shop.states(2)
    assert denied.consent == Consent(state=ConsentState.DENIED)
    assert denied.acted_at > given.acted_at


# -- Klaviyo's own names for a shopper ---------------------------------------------------


def test_kx_in_the_address_is_sent_and_kept_out_of_the_checkout_url(shop: Shop) -> None:
    shop.open(query="?step=2&_kx=aBc_-1.XyZ")

    (state,) = shop.states(1)
    assert state.kx == "aBc_-1.XyZ"
    assert state.checkout_url == shop.page.url.replace("&_kx=aBc_-1.XyZ", "")


def test_an_address_that_is_too_long_is_cut_at_its_query(shop: Shop) -> None:
    shop.open(query=f"?gclid={'x' * 4000}", email="jane@shop-demo.io")

    (state,) = shop.states(1)
    assert state.checkout_url == shop.page.url.partition("?")[0]


def test_the_exchange_id_of_klaviyos_cookie_is_sent(shop: Shop, context: BrowserContext) -> None:
    plain = kla_id({"cid": "x", "$exchange_id": "aBc.XyZ"})
    escaped = base64.b64encode(quote('{"$exchange_id": "aBc.XyZ"}').encode()).decode()
    cookies = (plain, plain.rstrip("="), plain.replace("=", "%3D"), escaped)

    for posts, cookie in enumerate(cookies, start=1):
        shop.page.goto("about:blank")  # Else the last page tells of the next cookie as it goes.
        context.add_cookies([{"name": "__kla_id", "value": cookie, "url": shop.url}])
        shop.open()
        assert shop.has_posts(posts), cookie

    assert [state.kx for state in shop.states(4)] == ["aBc.XyZ"] * 4


def test_a_cookie_that_cannot_be_read_does_not_cost_the_rest(
    shop: Shop, context: BrowserContext
) -> None:
    context.add_cookies([{"name": "__kla_id", "value": "%E0%A4%A", "url": shop.url}])

    shop.open(email="jane@shop-demo.io")

    (state,) = shop.states(1)
    assert (state.email, state.kx) == ("jane@shop-demo.io", None)


# -- who does not count ------------------------------------------------------------------


def test_a_robot_is_no_shopper(shop: Shop, console: list[str]) -> None:
    shop.page.add_init_script("Object.defineProperty(navigator, 'webdriver', { value: true })")

    shop.open(email="jane@shop-demo.io", debug="")

    shop.assert_silent()
    assert console == ["checkout-proxy no user: consent,token"]


def test_a_prerendered_page_sends_once_it_is_shown(shop: Shop) -> None:
    drawn = "Object.defineProperty(document, 'prerendering', { get: () => !window.isShown })"
    shop.page.add_init_script(drawn)
    shop.open(email="jane@shop-demo.io")
    shop.assert_silent()

    # In this order, as Chromium does it.
    shop.page.evaluate("dispatchEvent(new Event('visibilitychange')); isShown = true")
    shop.later(seconds=1)

    assert [state.email for state in shop.states(1)] == ["jane@shop-demo.io"]


# -- on somebody else's page -------------------------------------------------------------


# A page where a part of the browser is missing, throws or lies, but a state can be sent.
BROKEN = (
    "Object.defineProperty(window, 'localStorage', { get() { throw Error('blocked') } })",
    "Object.defineProperty(window, 'localStorage', { value: null })",
    """Object.defineProperty(window, 'localStorage', { value: new Proxy({}, {
         get() { throw Error('get') }, set() { throw Error('set') } }) })""",
    "Storage.prototype.setItem = () => { throw Error('full') }",
    # Filled to its last byte, as the browser itself says it.
    "for (let n = 2 ** 22; n >= 1; n /= 2) try { localStorage['x' + n] = 'x'.repeat(n) } catch {}",
    "localStorage['checkout-proxy'] = '{broken'",
    "localStorage['checkout-proxy'] = 'null'",
    "localStorage['checkout-proxy'] = '\"a word\"'",
    "localStorage['checkout-proxy'] = '[[], 7]'",
    """localStorage['checkout-proxy'] = '{"parked":{"a":null,"b":7,"c":{}}}'""",
    """localStorage['checkout-proxy'] = '{"token":{},"id":[],"at":"x","tries":{}}'""",
    "Object.defineProperty(Document.prototype, 'cookie', { get() { throw Error('frame') } })",
    "Object.defineProperty(Document.prototype, 'cookie', { value: null })",
    "delete Crypto.prototype.randomUUID",
    "Object.defineProperty(window, 'crypto', { value: undefined })",
    "delete window.URL; delete window.URLSearchParams",
    "delete window.Map; delete window.Set; delete window.WeakMap; delete window.WeakSet",
    "[Object, Array, Function, Promise, String].map(one => Object.freeze(one.prototype))",
    "Object.prototype.theirs = function () { throw Error('theirs') }",
    "Object.prototype.theirs = { toJSON: 7 }; Array.prototype.last = Object",
    "window.addEventListener = undefined",
    "window.addEventListener = () => { throw Error('theirs') }",
    "document.querySelectorAll = () => { throw Error('theirs') }",
    "document.querySelectorAll = () => null",
    "navigator.sendBeacon = () => { throw Error('theirs') }; delete window.XMLHttpRequest",
    "console.debug = () => { throw Error('theirs') }",
    "for (const name of ['__kla_id', '__kla_off', '%']) document.cookie = name + '=%\"<,=$&%00;'",
)


def test_a_broken_page_still_sends(shop: Shop, page: Page) -> None:
    for posts, broken in enumerate(BROKEN, start=1):
        script = f"<script>localStorage.clear(); {broken}</script>"
        with suppress(Error):  # One of them breaks our own clock too.
            shop.open(script + FORM, email="jane@shop-demo.io")
        assert shop.has_posts(posts, accepted=True), broken
        assert shop.posts[-1].body["email"] == "jane@shop-demo.io", broken

        page.get_by_label("E-mail").fill("joan")
        page.get_by_role("button").click()
        page.wait_for_url("**/thanks?email=joan")


def test_a_page_without_timers_still_sends_when_it_goes(shop: Shop, page: Page) -> None:
    shop.open(f"<script>window.setTimeout = () => {{ throw Error('theirs') }}</script>{EMAIL}")

    enter(page, "E-mail", "jane@shop-demo.io")
    page.evaluate("dispatchEvent(new Event('pagehide'))")

    assert shop.has_posts(1)
    assert {state.email for state in shop.states(1)} == {"jane@shop-demo.io"}


BROKEN_BEYOND_SENDING = (
    "delete window.fetch",
    "window.fetch = () => { throw Error('theirs') }",
    "window.fetch = () => undefined",
    "window.fetch = () => Promise.reject(Error('theirs'))",
    "window.fetch = () => Promise.reject()",
    "window.fetch = () => Promise.resolve()",
    "window.fetch = () => new Promise(() => {})",
    "window.checkoutProxy = 7",
    "JSON.stringify = () => { throw Error('theirs') }",
    "Date.now = () => { throw Error('theirs') }",
    "Math.random = () => { throw Error('theirs') }",
    "window.setTimeout = undefined; window.clearTimeout = undefined",
    "Object.prototype.toJSON = () => { throw Error('theirs') }",
)


def test_a_page_broken_beyond_sending_is_left_in_peace(shop: Shop, page: Page) -> None:
    for broken in BROKEN_BEYOND_SENDING:
        shop.open(f"<script>{broken}</script>{FORM}")

        enter(page, "E-mail", "jane")
        shop.later(seconds=10)
        page.get_by_role("button").click()
        page.wait_for_url("**/thanks?email=jane")


def test_an_element_that_takes_the_global_name_is_left_in_peace(shop: Shop) -> None:
    shop.open('<form id="checkoutProxy"></form>', email="jane@shop-demo.io")

    shop.assert_silent()


def test_a_strict_content_security_policy_is_no_hindrance(shop: Shop) -> None:
    policy = (
        "default-src 'none'; script-src 'self'; connect-src 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    shop.open(email="jane@shop-demo.io", headers={"Content-Security-Policy": policy})

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_plain_http_is_no_hindrance(shop: Shop, page: Page) -> None:
    page.goto(
        shop.host.insecure_url + shop.publish(email="jane@shop-demo.io"),
    )

    assert page.evaluate("isSecureContext") is False
    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_storage_and_cookies_are_not_touched_while_the_page_is_parsed(
    shop: Shop, page: Page
) -> None:
    page.add_init_script(
        """
        window.touched = [];
        const watch = (owner, name) => {
          const { get } = Object.getOwnPropertyDescriptor(owner, name);
          Object.defineProperty(owner, name, {
            get() { touched.push([name, document.currentScript !== null]); return get.call(this) },
          });
        };
        watch(Document.prototype, "cookie");
        watch(window, "localStorage");
        watch(window, "sessionStorage");
        """
    )
    shop.open(email="jane@shop-demo.io")

    shop.states(1)
    touched = page.evaluate("touched")
    assert {name for name, _ in touched} == {"cookie", "localStorage"}
    assert not any(evaluating for _, evaluating in touched)


def test_it_writes_no_cookie_and_one_global(
    shop: Shop, page: Page, context: BrowserContext
) -> None:
    page.add_init_script("window.before = null; window.before = Object.keys(window)")
    shop.open(email="jane@shop-demo.io")

    shop.states(1)
    new = page.evaluate("Object.keys(window).filter(name => !before.includes(name))")
    assert new == ["checkoutProxy"]
    assert context.cookies() == []


def test_the_form_is_left_as_it_was(shop: Shop, page: Page) -> None:
    shop.open("<form><input type='email'><input type='tel'></form>", email="jane@shop-demo.io")

    shop.states(1)
    assert page.locator("form").inner_html() == '<input type="email"><input type="tel">'
    assert page.eval_on_selector_all("input", "all => all.map(one => one.value)") == ["", ""]


def test_the_debug_switch_tells_what_happens_and_to_whom_not(
    shop: Shop, console: list[str]
) -> None:
    shop.open(email="jane@shop-demo.io", consent="required", debug="")
    shop.later(seconds=1)
    shop.push(consent="granted")
    shop.states(1)
    shop.push(first_name="Jane")
    shop.states(2)

    assert console == [
        f"checkout-proxy {said}"
        for said in (
            "required: consent,token",
            "granted: checkout_url,url,token,email,consent,debug",
            f"sent: {shop.posts[0].id}",
            "answered: 202",
            "granted: checkout_url,url,token,email,consent,debug,first_name",
            f"sent: {shop.posts[1].id}",
        )
    ]


def test_without_the_debug_switch_the_console_is_silent(shop: Shop, console: list[str]) -> None:
    shop.open(email="jane@shop-demo.io")

    shop.states(1)
    assert console == []
