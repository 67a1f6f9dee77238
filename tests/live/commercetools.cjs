// A stand-in commercetools on 127.0.0.1: node commercetools.cjs <port> <client id> <secret>.
"use strict";

const { CommercetoolsMock } = require("@labdigital/commercetools-mock");

const [port, id, secret] = process.argv.slice(2);
const shop = new CommercetoolsMock({ enableAuthentication: true, validateCredentials: true });
const { tokens } = shop.authStore();

// -- what commercetools does and this one does not

const client = `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;

// It would sell a token to anybody.
shop.app.addHook("onRequest", async (request, reply) => {
  if (request.url.startsWith("/oauth/") && request.headers.authorization !== client) {
    return reply.code(401).send({ error: "invalid_client" });
  }
});

const ordered = new Set();

// Its totals have no decimals in any currency, and its carts stay active for ever.
shop.app.addHook("preSerialization", async (_request, _reply, said) => {
  if (said.orderState) ordered.add(said.cart.id);
  return said.cartState ? mended(said) : said;
});

function mended(cart) {
  const [{ totalPrice }] = [...cart.lineItems, ...cart.customLineItems];
  return {
    ...cart,
    cartState: ordered.has(cart.id) ? "Ordered" : cart.cartState,
    totalPrice: { ...cart.totalPrice, fractionDigits: totalPrice.fractionDigits },
  };
}

// -- what is for tests alone

shop.app.get("/test/tokens", async () => ({ sold: tokens.length }));
shop.app.delete("/test/tokens", async () => {
  tokens.length = 0;
  return {};
});

shop.app.listen({ port: Number(port), host: "127.0.0.1" });
