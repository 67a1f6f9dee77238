"""Advice: what an operator can do about what went wrong, by the reason that was written down."""

_ADVICE = (
    (
        "Klaviyo answered 400",
        "Klaviyo refuses the event itself, and its words say why. Mend it at its source, which is "
        "the cart or the address; then replay.",
    ),
    (
        "no answer from Klaviyo",
        "Klaviyo could not be reached for three days. See that this machine reaches "
        "a.klaviyo.com; then replay. What is older than 12 hours is recorded and starts no flow.",
    ),
    (
        "Klaviyo answered",
        "Klaviyo did not take it for three days. See status.klaviyo.com; then replay. What is "
        "older than 12 hours is recorded and starts no flow.",
    ),
    (
        "no cart was pushed",
        "Your server never put this cart. See that it calls PUT /v1/carts whenever a cart "
        "changes; put it, then replay.",
    ),
    (
        "the token carries no cart",
        "Carts are read from tokens (CHECKOUT_PROXY_CARTS=signed), and this one had none: sign "
        "the cart into it. These cannot be mended afterwards.",
    ),
    (
        "the token",
        "The session token does not say what this source of carts needs. Mend where your server "
        "signs it (docs/carts.md). These cannot be mended afterwards.",
    ),
    (
        "the shop",
        "The shop's API did not give this cart for six hours. `checkout-proxy cart CART_ID` asks "
        "it now and says what is wrong; once it reads the cart, replay.",
    ),
    (
        "the database",
        "The shop's database did not give this cart. `checkout-proxy cart CART_ID` asks it now "
        "and says what is wrong; once it reads the cart, replay.",
    ),
    (
        "a bug in the proxy",
        "This is ours: the log has a traceback, without a person's data. Report it; after an "
        "upgrade, replay.",
    ),
)
_OTHERWISE = (
    "What the source of carts answered is no cart as it is described. `checkout-proxy cart "
    "CART_ID` reads it now and says what is wrong; once it reads the cart, replay."
)


def about(reason: str) -> str:
    """Return what to do about a dead letter whose *reason* is this."""
    return next((words for begin, words in _ADVICE if reason.startswith(begin)), _OTHERWISE)
