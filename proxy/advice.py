"""Advice: what an operator can do about what went wrong, by the reason that was written down."""

import re

from proxy import outcomes

_LATE = "What is older than CHECKOUT_PROXY_LATE is recorded and starts no flow."
_ASK_NOW = (
    "`checkout-proxy cart CART_ID` asks it now and says what is wrong; once it reads the cart, "
)

# What was tried again and again; all the rest is the shop's API.
_GIVEN_UP = (
    (
        "no answer from Klaviyo",
        "Klaviyo could not be reached for {hours} hours. See that this machine reaches "
        f"a.klaviyo.com; then replay. {_LATE}",
    ),
    (
        "Klaviyo answered",
        "Klaviyo did not take it for {hours} hours. See status.klaviyo.com; then replay. " + _LATE,
    ),
    (
        "no cart was pushed",
        "Your server never put this cart. See that it calls PUT /v1/carts whenever a cart "
        "changes; put it, then replay.",
    ),
    (
        "the database",
        f"The shop's database did not give this cart for {{hours}} hours. {_ASK_NOW}replay.",
    ),
    ("", f"The shop's API did not give this cart for {{hours}} hours. {_ASK_NOW}replay."),
)

# What could not be otherwise the next time; all the rest is how the shop's answer is understood.
_AT_ONCE = (
    (
        "Klaviyo answered",
        "Klaviyo refuses the event itself, and its words say why. Mend it at its source, which is "
        "the cart or the address; then replay.",
    ),
    (
        "a bug in the proxy",
        "This is ours: the log has a traceback, without a person's data. Report it; after an "
        "upgrade, replay.",
    ),
    (
        "the token carries no cart",
        "Carts are read from tokens (CHECKOUT_PROXY_CARTS=signed), and this one had none: sign "
        "the cart into it. These cannot be mended afterwards.",
    ),
    (
        "the token|.*the token's ref|the database cannot take the cart's id",
        "The session token does not say what this source of carts needs. Mend where your server "
        "signs it (docs/carts.md). These cannot be mended afterwards.",
    ),
    (
        "the shop answered 4",
        f"The shop's API refuses to be asked for this cart. {_ASK_NOW}replay.",
    ),
    (
        "",
        "What the source of carts answered is no cart as it is described. `checkout-proxy cart "
        "CART_ID` reads it now and says what is wrong; once it reads the cart, replay.",
    ),
)


def about(reason: str) -> str:
    """Return what to do about a dead letter whose *reason* is this."""
    hours = outcomes.given_up_after(reason)
    table = _AT_ONCE if hours is None else _GIVEN_UP
    words = next(words for begin, words in table if re.match(begin, reason))
    return words.format(hours=hours)
