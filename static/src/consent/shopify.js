import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells Shopify's privacy banner about marketing.
 *
 * Source: shopify.dev, "Customer Privacy API" and, for a shop on Hydrogen, which loads it by itself,
 * "useCustomerPrivacy". Where the law of the region asks for no consent, marketing is allowed before
 * anybody was asked.
 *
 * @type {(push: import("./answer.js").Push) => void}
 */
export const watch = quietly((push) => {
  const tell = quietly(() => {
    const privacy = window.Shopify.customerPrivacy, { marketing } = privacy.currentVisitorConsent();
    const isAllowed = marketing !== "no" && privacy.marketingAllowed();
    answer(push, "Shopify", isAllowed, `marketing=${marketing}`, /^(yes|no)$/.test(marketing));
  });
  for (const event of ["visitorConsentCollected", "shopifyCustomerPrivacyApiLoaded"]) {
    document.addEventListener(event, tell);
  }
  tell();
  window.Shopify.loadFeatures([{ name: "consent-tracking-api", version: "0.1" }], tell);
});
