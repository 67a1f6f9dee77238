import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells Cookiebot about its category "marketing".
 *
 * Source: cookiebot.com/en/developer. Its events come with each page, and with each new answer.
 *
 * @param {import("./answer.js").Push} push
 */
export function watch(push) {
  const tell = quietly(() => {
    const { hasResponse, consent } = window.Cookiebot;
    if (hasResponse) answer(push, "Cookiebot", consent.marketing, String(consent.stamp));
  });
  for (const event of ["CookiebotOnConsentReady", "CookiebotOnAccept", "CookiebotOnDecline"]) {
    addEventListener(event, tell);
  }
  tell(); // It may have been here before us.
}
