/**
 * What a page knows of a checkout, posted to the shop's own proxy until it has arrived.
 *
 * It is state, not events: there is one snapshot, and the newest wins. A page may hide, close or
 * lose its network at any moment, so what is to be sent lies in one slot of the browser's storage
 * before it is sent. Nothing here may break a page: every entry is wrapped, and what fails is told
 * under `debug` alone.
 */

/**
 * What a page can say; the proxy ignores members that it does not know.
 *
 * @typedef {object} State
 * @property {string} [token] the session, signed by the shop's server: it says which cart this is
 * @property {string} [email]
 * @property {string} [phone_number] with its plus and country code
 * @property {string} [first_name]
 * @property {string} [last_name]
 * @property {string} [kx] Klaviyo's `_kx`, where it is not in the page's address or in its cookie
 * @property {string | Consent} [consent] `"granted"` or `"denied"`; with any other word it waits
 * @property {string} [checkout_url] the way back to this checkout, else the page's own address
 * @property {string} [locale] a language tag such as `de-AT`, else the browser's own
 * @property {{ value: number | string, currency?: string }} [claimed] the total that the page
 *   shows: compared, never sent
 * @property {string} [email_field] a CSS selector, where the e-mail field is not found by itself
 * @property {string} [phone_number_field] the same for the telephone number
 * @property {unknown} [debug] where it is there: say in the console what happens and why
 */

/**
 * A consent tool's answer, the tool's name, and the tool's own record of it.
 *
 * @typedef {{ state: string, source?: string, evidence?: string }} Consent
 */

/**
 * @typedef {object} Checkout
 * @property {(patch?: State | null) => void} push say what is new
 * @property {() => void} flush send it now, without the pause that waits for corrections
 */

const SLOT = "checkout-proxy";

// What is looked at, and when it is complete: nothing else that is typed leaves the page. A number
// needs its plus: the proxy can use no other, and card numbers are typed into such fields too.
/** @type {[keyof State, string, RegExp][]} */
const FIELDS = [
  ["email", "email", /^\S+@\S+\.\S\S+\s*$/],
  ["phone_number", "tel", /^\+[\d\s()./-]{7,}$/],
];

/**
 * @param {State & { url?: string }} first what is known at once, and where it is posted to
 * @param {AbortSignal} [signal] ends the watching of the page
 * @param {(push: Checkout["push"]) => void} [renew] pushes a token where there is none that holds
 * @returns {Checkout}
 */
export function createCheckout(first, signal, renew) {
  /** @type {Record<string, any>} */
  const state = {};
  /** @type {Record<string, any>} */
  const said = {};
  // What has not arrived yet; {} when all has, 0 when nothing was ever sent.
  /** @type {any} */
  let parked = 0;
  /** @type {number} */
  let acted;
  /** @type {string} */
  let place;
  /** @type {ReturnType<typeof setTimeout>} */
  let pause;
  /** @type {ReturnType<typeof setTimeout>} */
  let retry;
  /** @type {string} */
  let latest;
  /** @type {boolean} */
  let isRefused;

  // -- what is known ------------------------------------------------------------------------

  const merge = quietly((patch) => {
    for (const name in patch) {
      // A consent tool that answers undefined must not open what "required" has closed.
      if (state[name] !== patch[name] && patch[name] != null) {
        state[name] = patch[name];
        place = location.href; // Not when it is sent: by then this may be the page of the order.
        acted = Date.now();
      }
    }
  });

  const push = quietly((patch) => {
    merge(patch);
    clearTimeout(pause);
    pause = setTimeout(flush, 800);
  });

  // What is typed counts; what was there already counts where nothing else is known.
  const look = quietly((field, isTyped) => {
    for (const [name, type, complete] of FIELDS) {
      const usual = `[name*=${type} i],[type=${type}],[autocomplete~=${type}]`;
      if (
        /^te|^email/.test(field.type) && (isTyped || !state[name]) &&
        complete.test(field.value) && field.matches(state[name + "_field"] || usual)
      ) merge({ [name]: field.value });
    }
  });

  const watch = quietly((root) => {
    for (const type of "change visibilitychange focusout pagehide submit focusin online".split(" ")) {
      // Capturing: a page that stops its own events does not stop them here.
      (root || window).addEventListener(type, handle, { signal, capture: true });
    }
  });

  const handle = quietly((event) => {
    const field = event.composedPath()[0];
    push(); // Also of a prerendered page, which is visible a moment before it is a visit.
    if (/^change|focus/.test(event.type)) {
      look(field, event.type === "change");
      watch(field.getRootNode()); // Between two fields of one shadow root, nothing leaves it.
    } else flush(event.type), leave();
    if (event.type === "online") send();
  });

  // -- whether it may leave the page --------------------------------------------------------

  // "granted", "denied", or what it waits for.
  function verdict() {
    const consent = state.consent ?? parked.consent;
    return !state.token ? "no token"
      : document.prerendering || navigator.webdriver ? "no user"
      : cookie(/__kla_off=(true)/) ? "denied"
      : consent?.state ?? consent ?? (navigator.globalPrivacyControl ? "GPC" : "granted");
  }

  // -- when it leaves the page --------------------------------------------------------------

  const flush = quietly((why) => {
    // What this and that take, neither may the shopper wait for at once.
    quietly(setTimeout)(leave);
    parked ||= quietly(() => JSON.parse(localStorage[SLOT] || 0))() || 0;
    if (signal?.aborted) return;
    for (const field of document.querySelectorAll("input")) {
      // Somebody is typing here: not a word until the field, or its form, is done.
      if (why === "submit" || field !== document.activeElement) look(field);
    }
    if (!state.token) renew?.(push); // On a server, which has none, it does not come to this.
  });

  const leave = quietly(() => {
    const word = verdict(), isGranted = word === "granted", { token } = state;
    const members = isGranted ? {
      kla_id: cookie(/__kla_id=([^;]*)/),
      checkout_url: place,
      ...state,
    } : { consent: word, token };
    const whole = JSON.stringify(members);
    say(word + ": " + Object.keys(JSON.parse(whole)));
    // Where nothing was ever sent, there is nothing to take back.
    if (whole !== latest && (isGranted || (word === "denied" && parked))) {
      latest = whole;
      parked = {
        // What an earlier page of this cart could not send. But for its time and signature, at its
        // end, a token says which cart it is.
        ...(isGranted && `${parked.token}`.slice(0, -51) === token.slice(0, -51) && parked),
        ...members,
        id: "" + Math.random(), // It tells two states of one cart apart, no more.
        // A switch of Klaviyo's is no word of the page's, and newer than the last of them.
        at: isGranted ? acted : Date.now(),
        tries: 0,
      };
      send();
    }
  });

  const send = quietly(() => {
    const { at, id, tries } = parked, age_ms = Date.now() - at;
    clearTimeout(retry);
    if (!(tries < 5 && age_ms < 864e5)) at && keep({});
    else if ([parked.consent, "granted"].includes(verdict())) {
      keep({ ...parked, tries: tries + 1 });
      retry = quietly(setTimeout)(send, 4 ** (6 + tries)); // After 4, 16, 64 and 256 s.
      say("sent: " + id);
      // A string goes as text/plain, which needs no preflight; keepalive outlives the page.
      fetch(state.url, { method: "POST", body: JSON.stringify({ ...parked, age_ms }), keepalive: true })
        .then(quietly(({ status }) => {
          say("answered: " + status);
          if (parked.id === id && status < 500 && status !== 429) keep({});
          // A second refusal in a row is no matter of the token's age.
          if ((isRefused = !isRefused && status === 401)) renew?.(push);
        }), say);
    }
  });

  const keep = quietly((value) => {
    parked = value;
    localStorage[SLOT] = JSON.stringify(value);
  });

  // -- small things -------------------------------------------------------------------------

  const cookie = quietly((pattern) => pattern.exec(document.cookie)?.[1]);

  /** @type {(act: (...args: any[]) => any) => (...args: any[]) => any} */
  function quietly(act) {
    return (...args) => {
      try {
        return act(...args);
      } catch (error) {
        say("" + error);
      }
    };
  }

  // Once each, and never what was typed: session recorders keep what is in the console.
  function say(/** @type {any} */ word) {
    if ("debug" in state && !said[word]) console.debug(SLOT, said[word] = word);
  }

  push(first);
  watch();

  return { push, flush };
}
