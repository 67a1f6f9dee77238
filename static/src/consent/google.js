import { answer, quietly } from "./answer.js";

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
export const watch = quietly((push, { type = "ad_user_data", layer = "dataLayer" } = {}) => {
  const look = quietly((/** @type {any} */ entry) => {
    const [command, when, said] = entry, word = said[type], isGranted = word === "granted";
    if (command === "consent" && when === "update" && word) {
      answer(push, "Google Consent Mode", isGranted, `${type}=${word}`, !isGranted);
    }
  });
  const queue = (window[layer] ||= []), theirs = queue.push;
  queue.forEach(look); // First: in a frozen queue the rest fails.
  // There is no event for it: Google's own scripts listen in the same way.
  queue.push = (/** @type {any[]} */ ...entries) => {
    entries.forEach(look);
    return theirs.apply(queue, entries);
  };
});
