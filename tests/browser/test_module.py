"""The ES module: a token that is fetched and fetched again, and an end."""

import json

import pytest

from tests.actors import until
from tests.browser.conftest import Shop, enter

EMAIL = '<label>E-mail <input type="email" name="email"></label> <button>Next</button>'


def started(shop: Shop, *tokens: str, **options: object) -> str:
    """Return the script of a page that asks for *tokens*, one after the other."""
    return f"""
        import {{ createCheckout }} from "/dist/index.js";
        const tokens = {json.dumps(tokens)};
        window.asked = 0;
        window.checkout = createCheckout({{
          url: "/co/state",
          token: async () => tokens[asked++] ?? Promise.reject(Error("the shop's server is away")),
          ...{json.dumps(options)},
        }});
    """


def asked(shop: Shop) -> int:
    return int(shop.page.evaluate("asked"))


def test_a_token_by_value_is_used_at_once(shop: Shop) -> None:
    shop.run(
        f"""
        import {{ createCheckout }} from "/dist/index.js";
        const checkout = createCheckout({{ url: "/co/state", token: "{shop.token()}" }});
        checkout.push({{ email: "jane@shop-demo.io" }});
        checkout.flush();
        """
    )

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"


def test_a_token_is_fetched_once_and_then_all_is_sent(shop: Shop) -> None:
    shop.run(started(shop, shop.token(), email="jane@shop-demo.io"), EMAIL)
    assert shop.has_posts(1)

    enter(shop.page, "E-mail", "joan@shop-demo.io")
    shop.later(seconds=1)

    assert [state.email for state in shop.states(2)] == ["jane@shop-demo.io", "joan@shop-demo.io"]
    assert asked(shop) == 1


def test_a_token_that_is_refused_is_fetched_anew(shop: Shop) -> None:
    old, new = shop.token(), shop.token(external_id="7")
    shop.failures = [401]
    shop.run(started(shop, old, new, email="jane@shop-demo.io"))

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"
    assert [post.body["token"] for post in shop.posts] == [old, new]


def test_a_second_refusal_in_a_row_ends_it(shop: Shop) -> None:
    tokens = [shop.token(external_id=str(number)) for number in range(4)]
    shop.failures = [401] * 4
    shop.run(started(shop, *tokens, email="jane@shop-demo.io"))
    assert shop.has_posts(2)

    shop.assert_silent(posts=2)
    assert asked(shop) == 2


def test_a_server_that_is_away_is_asked_again_when_something_is_new(shop: Shop) -> None:
    shop.run(started(shop, email="jane@shop-demo.io"))
    until(lambda: asked(shop) == 1)

    shop.page.evaluate("checkout.push({ first_name: 'Jane' })")

    until(lambda: asked(shop) == 2)


@pytest.mark.parametrize("gone", ["destroyed", "left alone"])
def test_the_end_sends_what_is_new_and_watches_no_longer(shop: Shop, gone: str) -> None:
    shop.run(started(shop, shop.token(), first_name="Jane"), EMAIL)
    assert shop.has_posts(1)
    enter(shop.page, "E-mail", "jane@shop-demo.io")

    if gone == "destroyed":
        shop.page.evaluate("checkout.destroy()")
        assert shop.has_posts(2)
    enter(shop.page, "E-mail", "joan@shop-demo.io")
    shop.later(seconds=1)

    if gone == "destroyed":
        shop.assert_silent(posts=2)
        assert shop.states(2)[1].email == "jane@shop-demo.io"
    else:
        until(lambda: "joan" in str(shop.posts[-1].body))


NEXT_PAGE = """
  history.pushState(null, "", "/thanks");
  document.body.innerHTML = "<input type=email value=account@shop-demo.io>";
"""


def test_what_comes_after_the_checkout_is_not_taken_for_it(shop: Shop) -> None:
    shop.run(started(shop, shop.token(), first_name="Jane"), EMAIL)
    assert shop.has_posts(1)
    at = shop.page.url
    enter(shop.page, "E-mail", "jane@shop-demo.io")
    shop.page.evaluate(NEXT_PAGE)

    shop.page.evaluate("checkout.destroy()")

    state = shop.states(2)[1]
    assert (state.email, state.checkout_url) == ("jane@shop-demo.io", at)
    shop.assert_silent(posts=2)


def test_a_page_that_only_goes_elsewhere_says_nothing_new(shop: Shop) -> None:
    shop.run(started(shop, shop.token(), email="jane@shop-demo.io"))
    assert shop.has_posts(1)

    shop.page.evaluate("history.pushState(null, '', '/thanks')")
    shop.push()

    shop.assert_silent(posts=1)


def test_an_end_before_the_beginning_asks_for_no_token(shop: Shop) -> None:
    shop.run(started(shop, shop.token(), email="jane@shop-demo.io") + "checkout.destroy();")

    shop.assert_silent()
    assert asked(shop) == 0


SHADOW = """
  const root = document.body.appendChild(document.createElement("shop-form"))
    .attachShadow({ mode: "open" });
  root.innerHTML = "<label>E-mail <input type=email></label><label>Name <input></label>";
"""


def test_a_field_in_an_open_shadow_root_is_seen(shop: Shop) -> None:
    shop.open(f"<body><script>{SHADOW}</script>")

    enter(shop.page, "E-mail", "jane@shop-demo.io")
    shop.later(seconds=1)

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"
