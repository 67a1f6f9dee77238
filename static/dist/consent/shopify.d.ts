/**
 * Pass on what the shopper tells Shopify's privacy banner about marketing.
 *
 * Source: shopify.dev, "Customer Privacy API". Where the law of the region asks for no consent,
 * marketing is allowed before anybody was asked.
 *
 * @param {import("./answer.js").Push} push
 */
export declare function watch(push: import("./answer.js").Push): void;
