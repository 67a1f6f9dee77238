/**
 * What every consent tool's module has in common: the one function of a checkout that it calls.
 *
 * @typedef {import("../checkout.js").Checkout["push"]} Push
 */

/**
 * Push the shopper's answer, or the tool's word that none is needed here.
 *
 * Where none is needed, Global Privacy Control is the shopper's word, and only an answer goes over it.
 *
 * @param {Push} push
 * @param {string} source the tool's name
 * @param {boolean} granted what is not `true` itself is no yes
 * @param {string} evidence the tool's own record of it
 * @param {boolean} [isAnswer] false where nobody was asked
 */
export function answer(push, source, granted, evidence, isAnswer = true) {
  const isGranted = granted === true;
  if (isAnswer || (isGranted && !navigator.globalPrivacyControl)) {
    push({ consent: { state: isGranted ? "granted" : "denied", source, evidence: `${evidence}` } });
  }
}

/**
 * Return *act* as one that breaks nobody's page: consent tools call it from within their own code.
 *
 * @template {any[]} Args
 * @param {(...args: Args) => void} act
 * @returns {(...args: Args) => void}
 */
export const quietly = (act) => (...args) => {
  try {
    act(...args);
  } catch {
    // What the tool says is not what its makers document, and then it says nothing.
  }
};
