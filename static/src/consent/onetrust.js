import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells OneTrust about one `group` of cookies, "targeting" by default.
 *
 * Source: developer.onetrust.com, "Web CMP Events Guide" and "Web CMP JavaScript Methods". A group
 * can be active before anybody was asked, and after the banner was closed without an answer, where
 * the shop's rule for the region says so: an active group is an answer under the rule "opt-in" alone.
 *
 * @type {(push: import("./answer.js").Push, options?: { group?: string }) => void}
 */
export const watch = quietly((push, { group = "C0004" } = {}) => {
  const tell = quietly(() => {
    const { OneTrust, OnetrustActiveGroups: groups } = window;
    const isGranted = groups.split(",").includes(group);
    const isAnswer = OneTrust.IsAlertBoxClosed() &&
      (!isGranted || OneTrust.GetDomainData().ConsentModel.Name === "opt-in");
    answer(push, "OneTrust", isGranted, groups, isAnswer);
  });
  addEventListener("OneTrustGroupsUpdated", tell);
  tell();
});
