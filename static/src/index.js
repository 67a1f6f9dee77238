/** The ES module, for pages that are built. */
import { createCheckout as start } from "./checkout.js";

/**
 * @typedef {import("./checkout.js").State} State
 * @typedef {import("./checkout.js").Consent} Consent
 */

/**
 * @typedef {object} Options
 * @property {string} url where the proxy takes states: `/co/state`, or that on another origin
 * @property {string | (() => Promise<string>)} token the session, or what asks your server for
 *   one: called when there is none, and again when the proxy refuses the last one as too old
 */

/** @typedef {import("./checkout.js").Checkout & { destroy: () => void }} Checkout */

/**
 * Watch this page's checkout, and tell the proxy how it stands. On a server it does nothing.
 *
 * `push()` says what is new; `flush()` sends it now, without the pause that waits for corrections;
 * `destroy()` does so too, and watches the page no longer.
 *
 * @param {Omit<State, "token"> & Options} first
 * @returns {Checkout}
 */
export function createCheckout(first) {
  const life = new AbortController(), { token } = /** @type {any} */ (first);
  const checkout = /** @type {Checkout} */ (start(
    token.call ? { ...first, token: "" } : /** @type {any} */ (first),
    life.signal,
    (push) => token().then((/** @type {string} */ token) => push({ token }), () => {}),
  ));
  checkout.destroy = () => {
    life.abort();
    checkout.flush();
  };
  return checkout;
}
