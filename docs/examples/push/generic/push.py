"""Tell checkout-proxy a cart, from any backend in Python 3.11 or later. Needs requests."""

import logging
import os
from datetime import UTC, datetime
from urllib.parse import quote

import requests

logger = logging.getLogger(__name__)


def push_cart(cart_id, cart):
    """Put *cart* after its change is committed. Amounts are strings, as the shop computed them."""
    # The newest of two carts wins, in whatever order they arrive. Where each change of a cart
    # counts up a number, send that as "version" instead.
    cart = {"updated_at": datetime.now(UTC).isoformat(), **cart}
    # The whole cart goes each time, so that the next push makes up for one that was lost.
    _send("PUT", f"/v1/carts/{quote(str(cart_id), safe='')}", cart)


def delete_cart(cart_id):
    """Take the cart away: it was emptied, or became part of another at a login."""
    _send("DELETE", f"/v1/carts/{quote(str(cart_id), safe='')}")


def push_order(cart_id, order_id):
    """Say that the cart was ordered. An order that is told twice counts once."""
    _send("POST", "/v1/orders", {"cart_id": str(cart_id), "order_id": order_id})


def _send(method, path, body=None):
    url = os.environ["CHECKOUT_PROXY_URL"] + path
    headers = {"Authorization": f"Bearer {os.environ['CHECKOUT_PROXY_SHOP_KEY']}"}
    # All of it may be sent again. Two tries, then the shop goes on: a shopper waits.
    for _ in range(2):
        try:
            answer = requests.request(method, url, json=body, headers=headers, timeout=1)
        except requests.RequestException as error:
            problem = str(error)
            continue
        if answer.ok:
            return
        problem = f"{answer.status_code} {answer.text}"
        # It will say the same again: the body says what to mend.
        if answer.status_code < 500 and answer.status_code != 429:
            break
    logger.warning("checkout-proxy was not told: %s %s: %s", method, path, problem)
