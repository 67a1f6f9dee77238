import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells Shopify's privacy banner about marketing.
 *
 * Source: shopify.dev, "Customer Privacy API". Where the law of the region asks for no consent,
 * marketing is allowed before anybody was asked.
 *
 * @param {import("./answer.js").Push} push
 */
export function watch(push) {
  const tell = quietly(() => {
    const privacy = window.Shopify.customerPrivacy, { marketing } = privacy.currentVisitorConsent();
    const isGranted = privacy.marketingAllowed(), isAnswer = marketing === "yes" || marketing === "no";
    if (isGranted || isAnswer) answer(push, "Shopify", isGranted, `marketing=${marketing}`, isAnswer);
  });
  document.addEventListener("visitorConsentCollected", tell);
  quietly(() => {
    window.Shopify.loadFeatures([{ name: "consent-tracking-api", version: "0.1" }], tell);
  })();
}
