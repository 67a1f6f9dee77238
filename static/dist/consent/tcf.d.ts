/**
 * Pass on what the shopper tells a consent tool of IAB Europe's framework (TCF 2).
 *
 * Source: the framework's "CMP API v2". All `purposes`, numbers with commas between them, must be
 * granted: by default to store things in the browser (1), to make a profile for advertising (3) and
 * to use it (4). The tool's stub must stand before this on the page, as the framework asks of it.
 *
 * @type {(push: import("./answer.js").Push, options?: { purposes?: string }) => void}
 */
export declare const watch: (push: import("./answer.js").Push, options?: {
    purposes?: string;
}) => void;
