import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells OneTrust about one group of cookies, "targeting" by default.
 *
 * Source: developer.onetrust.com, "Web CMP Events Guide". A group can be active before anybody was
 * asked, where the shop's rule for the region says so.
 *
 * @param {import("./answer.js").Push} push
 * @param {{ group?: string }} [options]
 */
export function watch(push, { group = "C0004" } = {}) {
  const tell = quietly(() => {
    const groups = window.OnetrustActiveGroups, isAnswer = window.OneTrust.IsAlertBoxClosed();
    const isGranted = groups.split(",").includes(group);
    if (isGranted || isAnswer) answer(push, "OneTrust", isGranted, groups, isAnswer);
  });
  addEventListener("OneTrustGroupsUpdated", tell);
  tell();
}
