/**
 * What a page knows of a checkout, posted to the shop's own proxy until it has arrived.
 *
 * It is state, not events: there is one snapshot, and the newest wins. A page may hide, close or
 * lose its network at any moment, so what is to be sent lies in one slot of the browser's storage
 * before it is sent. Nothing here may break a page: every entry is wrapped, and what fails is told
 * under `debug` alone.
 */
export type State = {
    /**
     * the session, signed by the shop's server: it says which cart this is
     */
    token?: string;
    email?: string;
    /**
     * with its plus and country code
     */
    phone_number?: string;
    first_name?: string;
    last_name?: string;
    /**
     * Klaviyo's `_kx`, where it is not in the page's address or in its cookie
     */
    kx?: string;
    /**
     * `"granted"` or `"denied"`; with any other word it waits
     */
    consent?: string | Consent;
    /**
     * the way back to this checkout, else the page's own address
     */
    checkout_url?: string;
    /**
     * a language tag such as `de-AT`, else the browser's own
     */
    locale?: string;
    /**
     * the total that the page
     * shows: compared, never sent
     */
    claimed?: {
        value: number | string;
        currency?: string;
    };
    /**
     * a CSS selector, where the e-mail field is not found by itself
     */
    email_field?: string;
    /**
     * the same for the telephone number
     */
    phone_number_field?: string;
    /**
     * where it is there: say in the console what happens and why
     */
    debug?: unknown;
};
export type Consent = {
    state: string;
    source?: string;
    evidence?: string;
};
export type Checkout = {
    /**
     * say what is new
     */
    push: (patch?: State | null) => void;
    /**
     * send it now, without the pause that waits for corrections
     */
    flush: () => void;
};
/**
 * @param {State & { url?: string }} first what is known at once, and where it is posted to
 * @param {AbortSignal} [signal] ends the watching of the page
 * @param {(push: Checkout["push"]) => void} [renew] pushes a token where there is none that holds
 * @returns {Checkout}
 */
export declare function createCheckout(first: State & {
    url?: string;
}, signal?: AbortSignal, renew?: (push: Checkout["push"]) => void): Checkout;
