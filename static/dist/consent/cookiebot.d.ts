/**
 * Pass on what the shopper tells Cookiebot about its category "marketing".
 *
 * Source: cookiebot.com/en/developer. Its events come with each page, and with each new answer.
 *
 * @param {import("./answer.js").Push} push
 */
export declare function watch(push: import("./answer.js").Push): void;
