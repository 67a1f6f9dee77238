/** The script tag: its attributes are the first state, and `window.checkoutProxy` takes the rest. */
import { createCheckout } from "./checkout.js";

// The browser says which script this is while it is evaluated, and never again.
const script = /** @type {HTMLScriptElement} */ (document.currentScript);
const queue = window.checkoutProxy || [];

// Else it is loaded a second time, or something of the page's has the name.
if (queue.map) {
  const url = script.src.replace(/[^/]*$/, "state");
  window.checkoutProxy = createCheckout({ url, ...script.dataset });
  queue.map(window.checkoutProxy.push);
}
