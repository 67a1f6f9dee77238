import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells a consent tool of IAB Europe's framework (TCF 2).
 *
 * Source: the framework's "CMP API v2". All *purposes* must be granted: by default to store things
 * in the browser (1), to make a profile for advertising (3) and to use it (4). The tool's stub must
 * stand before this on the page, as the framework asks of it.
 *
 * @param {import("./answer.js").Push} push
 * @param {{ purposes?: string }} [options] their numbers, with commas between them
 */
export function watch(push, { purposes = "1,3,4" } = {}) {
  const tell = quietly((/** @type {any} */ data, /** @type {boolean} */ isFine) => {
    if (!isFine || data.eventStatus === "cmpuishown") return;
    if (data.gdprApplies === false) return answer(push, "TCF", true, "gdprApplies=false", false);
    const isGranted = purposes.split(",").every((purpose) => data.purpose.consents[purpose.trim()]);
    answer(push, "TCF", isGranted, data.tcString);
  });
  quietly(() => window.__tcfapi("addEventListener", 2, tell))();
}
