/**
 * Pass on what a consent tool tells Google's Consent Mode about one kind of use.
 *
 * Source: developers.google.com, "Set up consent mode on websites". Only what is told with `update`
 * counts, once the shopper has answered: a `default` may be meant for another region.
 *
 * @param {import("./answer.js").Push} push
 * @param {{ type?: string, layer?: string }} [options] the kind of use, such as `ad_storage`, and
 *   the name of Google's queue, where it has another
 */
export declare function watch(push: import("./answer.js").Push, { type, layer }?: {
    type?: string;
    layer?: string;
}): void;
