import { answer, quietly } from "./answer.js";

/**
 * Pass on what the shopper tells Cookiebot about its category "marketing".
 *
 * Source: cookiebot.com/en/developer. Its events come with each page, and with each new answer. Its
 * method is "implied" where it answers for the shopper, as outside of the regions that ask.
 *
 * @type {(push: import("./answer.js").Push) => void}
 */
export const watch = quietly((push) => {
  const tell = quietly(() => {
    const { hasResponse, consent: { marketing, method, stamp } } = window.Cookiebot;
    const isAnswer = !marketing || method === "explicit";
    if (hasResponse) answer(push, "Cookiebot", marketing, `${method} ${stamp}`, isAnswer);
  });
  for (const event of ["CookiebotOnConsentReady", "CookiebotOnAccept", "CookiebotOnDecline"]) {
    addEventListener(event, tell);
  }
  tell(); // It may have been here before us.
});
