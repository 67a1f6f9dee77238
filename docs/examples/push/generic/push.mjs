// Tell checkout-proxy a cart, from any backend in Node 18 or later. No dependency.

/** Put `cart` after its change is committed. Amounts are strings, as the shop computed them. */
export function pushCart(cartId, cart) {
  // The newest of two carts wins, in whatever order they arrive. Where each change of a cart
  // counts up a number, send that as `version` instead.
  // The whole cart goes each time, so that the next push makes up for one that was lost.
  const dated = { updated_at: new Date().toISOString(), ...cart };
  return send("PUT", `/v1/carts/${encodeURIComponent(cartId)}`, dated);
}

/** Take the cart away: it was emptied, or became part of another at a login. */
export function deleteCart(cartId) {
  return send("DELETE", `/v1/carts/${encodeURIComponent(cartId)}`);
}

/** Say that the cart was ordered. An order that is told twice counts once. */
export function pushOrder(cartId, orderId) {
  return send("POST", "/v1/orders", { cart_id: String(cartId), order_id: orderId });
}

async function send(method, path, body) {
  const { CHECKOUT_PROXY_URL, CHECKOUT_PROXY_SHOP_KEY } = process.env;
  const headers = {
    Authorization: `Bearer ${CHECKOUT_PROXY_SHOP_KEY}`,
    "Content-Type": "application/json",
  };
  let problem;
  // All of it may be sent again. Two tries, then the shop goes on.
  for (let tries = 0; tries < 2; tries++) {
    try {
      const request = { method, headers, body: body && JSON.stringify(body) };
      const signal = AbortSignal.timeout(1000);
      const answer = await fetch(CHECKOUT_PROXY_URL + path, { ...request, signal });
      if (answer.ok) return;
      problem = `${answer.status} ${await answer.text()}`;
      // It will say the same again: the body says what to mend.
      if (answer.status < 500 && answer.status !== 429) break;
    } catch (error) {
      problem = error;
    }
  }
  console.warn("checkout-proxy was not told: %s %s: %s", method, path, problem);
}
