import { answer, quietly } from "./answer.js";

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
export function watch(push, { type = "ad_user_data", layer = "dataLayer" } = {}) {
  const look = quietly((/** @type {any} */ entry) => {
    const [command, when, said] = entry;
    if (command === "consent" && when === "update" && said[type]) {
      answer(push, "Google Consent Mode", said[type] === "granted", `${type}=${said[type]}`);
    }
  });
  quietly(() => {
    const queue = (window[layer] ||= []), theirs = queue.push;
    // There is no event for it: Google's own scripts listen in the same way.
    queue.push = (/** @type {any[]} */ ...entries) => {
      entries.forEach(look);
      return theirs.apply(queue, entries);
    };
    queue.forEach(look);
  })();
}
