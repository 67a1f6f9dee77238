/**
 * Pass on what the shopper tells Shopify's privacy banner about marketing.
 *
 * Source: shopify.dev, "Customer Privacy API" and, for a shop on Hydrogen, which loads it by itself,
 * "useCustomerPrivacy". Where the law of the region asks for no consent, marketing is allowed before
 * anybody was asked.
 *
 * @type {(push: import("./answer.js").Push) => void}
 */
export declare const watch: (push: import("./answer.js").Push) => void;
