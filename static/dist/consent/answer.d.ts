/**
 * What every consent tool's module has in common: the one function of a checkout that it calls.
 *
 * @typedef {import("../checkout.js").Checkout["push"]} Push
 */
export type Push = import("../checkout.js").Checkout["push"];
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
export declare function answer(push: Push, source: string, granted: boolean, evidence: string, isAnswer?: boolean): void;
/**
 * Return *act* as one that breaks nobody's page: consent tools call it from within their own code.
 *
 * @template {any[]} Args
 * @param {(...args: Args) => void} act
 * @returns {(...args: Args) => void}
 */
export declare const quietly: <Args extends any[]>(act: (...args: Args) => void) => (...args: Args) => void;
