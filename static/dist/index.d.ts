export type State = import("./checkout.js").State;
export type Consent = import("./checkout.js").Consent;
export type Options = {
    /**
     * where the proxy takes states: `/co/state`, or that on another origin
     */
    url: string;
    /**
     * the session, or what asks your server for
     * one: called when there is none, and again when the proxy refuses the last one as too old
     */
    token: string | (() => Promise<string>);
};
export type Checkout = import("./checkout.js").Checkout & {
    destroy: () => void;
};
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
export declare function createCheckout(first: Omit<State, "token"> & Options): Checkout;
