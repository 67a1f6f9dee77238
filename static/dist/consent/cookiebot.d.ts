/**
 * Pass on what the shopper tells Cookiebot about its category "marketing".
 *
 * Source: cookiebot.com/en/developer. Its events come with each page, and with each new answer. Its
 * method is "implied" where it answers for the shopper, as outside of the regions that ask.
 *
 * @type {(push: import("./answer.js").Push) => void}
 */
export declare const watch: (push: import("./answer.js").Push) => void;
