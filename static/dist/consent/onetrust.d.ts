/**
 * Pass on what the shopper tells OneTrust about one `group` of cookies, "targeting" by default.
 *
 * Source: developer.onetrust.com, "Web CMP Events Guide" and "Web CMP JavaScript Methods". A group
 * can be active before anybody was asked, and after the banner was closed without an answer, where
 * the shop's rule for the region says so: an active group is an answer under the rule "opt-in" alone.
 *
 * @type {(push: import("./answer.js").Push, options?: { group?: string }) => void}
 */
export declare const watch: (push: import("./answer.js").Push, options?: {
    group?: string;
}) => void;
