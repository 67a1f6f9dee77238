/**
 * Pass on what the shopper tells OneTrust about one group of cookies, "targeting" by default.
 *
 * Source: developer.onetrust.com, "Web CMP Events Guide". A group can be active before anybody was
 * asked, where the shop's rule for the region says so.
 *
 * @param {import("./answer.js").Push} push
 * @param {{ group?: string }} [options]
 */
export declare function watch(push: import("./answer.js").Push, { group }?: {
    group?: string;
}): void;
