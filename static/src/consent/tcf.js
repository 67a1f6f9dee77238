import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells a consent tool of IAB Europe's framework (TCF 2).
 *
 * Source: the framework's "CMP API v2". All `purposes`, numbers with commas between them, must be
 * granted: by default to store things in the browser (1), to make a profile for advertising (3) and
 * to use it (4). The tool's stub must stand before this on the page, as the framework asks of it.
 *
 * @type {(push: import("./answer.js").Push, options?: { purposes?: string }) => void}
 */
export const watch = quietly((push, { purposes = "1,3,4" } = {}) => {
  const tell = quietly((/** @type {any} */ data, /** @type {boolean} */ isFine) => {
    if (isFine && data.gdprApplies === false) answer(push, "TCF", true, "gdprApplies=false", false);
    // A tool that is still loading calls too, and so does one that is still asking.
    if (isFine && data.gdprApplies && /^(tcloaded|useractioncomplete)$/.test(data.eventStatus)) {
      const isGranted = purposes.split(",").every((id) => data.purpose.consents[id.trim()] === true);
      answer(push, "TCF", isGranted, data.tcString);
    }
  });
  window.__tcfapi("addEventListener", 2, tell);
});
