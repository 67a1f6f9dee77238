/**
 * Pass on what a consent tool tells Google's Consent Mode about one kind of use.
 *
 * Source: developers.google.com, "Set up consent mode on websites". Only what is told with `update`
 * counts, once the shopper has answered: a `default` may be meant for another region. Many tools
 * also update where they ask nobody, so that a yes does not go over Global Privacy Control.
 *
 * `type` is the kind of use, such as `ad_storage`, and `layer` the name of Google's queue, where it
 * has another.
 *
 * @type {(push: import("./answer.js").Push, options?: { type?: string, layer?: string }) => void}
 */
export declare const watch: (push: import("./answer.js").Push, options?: {
    type?: string;
    layer?: string;
}) => void;
