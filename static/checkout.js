/*
 * Posts how a checkout stands (who, which cart, what consent) to the shop's own proxy:
 *
 *   <script defer src="/co/checkout.js" data-token="…" data-consent="required"></script>
 *   <script>(window.checkoutProxy ||= []).push({ email: "jane@shop.com" })</script>
 *
 * A data-attribute and push() say the same things under the same names: those in snapshot() below,
 * and for this script alone email_field, phone_number_field (CSS selectors) and debug.
 */
(() => {
  "use strict";

  const FIELDS = {
    email: "input:is([type=email],[autocomplete~=email],[name*=email i],[id*=email i])" +
      ":not([type=hidden],[type=password])",
    phone_number: "input:is([type=tel],[autocomplete~=tel])",
  };
  const COMPLETE = {
    email: /^[^\s@]+@[^\s@]+\.[^\s@]{2,}$/,
    // With its plus: the proxy can use no other, and card numbers are typed into tel fields too.
    phone_number: /^\+[\d\s()./-]{7,24}$/,
  };
  const SLOT = "checkout-proxy", PAUSE = 800, ATTEMPTS = 5, DAY = 864e5;

  // The browser says which script this is while it is evaluated, and never again.
  const script = document.currentScript;
  const state = {}, lastRead = new WeakMap();
  let page, latest, pause, retry, memory, acted = Date.now();

  function start() {
    const queue = window.checkoutProxy;
    if (queue && !Array.isArray(queue)) return; // Loaded a second time.
    page = newId();
    merge(script.dataset);
    window.checkoutProxy = { push: quietly(push) };
    push(...(queue || []));
    for (const type of ["change", "focusout"]) listen(type, fieldDone);
    // Before the order is placed: what comes after it would look like the next checkout.
    listen("submit", (event) => { fieldDone(event); flush(); });
    listen("load", schedule); // What filled a field meanwhile may have fired no event.
    // Switching apps on a phone fires the first of these alone, leaving an older Safari the second.
    listen("visibilitychange", () => document.visibilityState === "hidden" && flush());
    listen("pagehide", flush);
    listen("online", () => sendDue(true));
    // The first touch of cookies and storage takes milliseconds: not while the page is parsed.
    setTimeout(quietly(flush));
  }

  // -- what is known ----------------------------------------------------------------------

  function push(...patches) {
    patches.forEach(quietly(merge));
    schedule();
  }

  function merge(patch) {
    for (const [name, value] of Object.entries(patch)) {
      // A consent tool that answers undefined must not open what "required" has closed.
      if (value != null && state[name] !== value) {
        state[name] = value;
        acted = Date.now();
      }
    }
  }

  function fieldDone({ target }) {
    schedule();
    readFields(target);
  }

  function readFields(done = document) {
    for (const name in FIELDS) {
      const selector = state[`${name}_field`] || FIELDS[name];
      // Backwards, so that of two prefilled fields the first one has the last word.
      for (const field of [...document.querySelectorAll(selector)].reverse()) {
        // Somebody is typing here: not a word until this field, or its form, is done.
        if (field === document.activeElement && done !== field && done !== field.form) continue;
        const value = String(field.value).trim();
        if (lastRead.get(field) !== value && complete(name, value)) merge({ [name]: value });
        lastRead.set(field, value);
      }
    }
  }

  function snapshot() {
    return {
      token: state.token,
      email: complete("email", state.email),
      phone_number: complete("phone_number", state.phone_number),
      first_name: state.first_name,
      last_name: state.last_name,
      kx: state.kx || new URLSearchParams(location.search).get("_kx") ||
        text(fromBase64(cookie("__kla_id")).$exchange_id),
      consent: state.consent,
      checkout_url: new URL(state.checkout_url || location.href, location.href).href,
      locale: state.locale || document.documentElement.lang || navigator.language,
      claimed: state.claimed,
    };
  }

  const text = (value) => (typeof value === "string" ? value : undefined);

  const complete = (name, value) => (COMPLETE[name].test(text(value)) ? value : undefined);

  function isSomebody({ token, email, phone_number, kx }) {
    // A token that begins with a dot is compressed: it may well carry a customer.
    if (email || phone_number || kx || token.startsWith(".")) return true;
    const { customer } = fromBase64(token.split(".")[0]);
    return customer?.email || customer?.phone_number || customer?.external_id;
  }

  // -- whether it may leave the page ------------------------------------------------------

  const consent = () => state.consent?.state ?? state.consent;

  const isDenied = () => consent() === "denied" || cookie("__kla_off") === "true";

  function whyHeld() {
    if (isDenied()) return "consent is denied, or the cookie __kla_off is set";
    if (consent() === "granted") return "";
    if (consent() !== undefined) return "consent is not granted yet";
    return navigator.globalPrivacyControl ? "Global Privacy Control, and no consent given" : "";
  }

  // -- when it leaves the page ------------------------------------------------------------

  function schedule() {
    clearTimeout(pause);
    pause = setTimeout(quietly(flush), PAUSE);
  }

  function flush() {
    clearTimeout(pause);
    quietly(readFields)();
    const held = whyHeld() || (!state.token && "there is no token");
    if (held) say("held back:", held);
    else parkIfNew(snapshot());
    if (isDenied()) withdraw();
    sendDue();
  }

  function parkIfNew(members) {
    const seen = JSON.stringify(members);
    if (seen === latest) return;
    latest = seen;
    say("seen:", ...Object.keys(JSON.parse(seen)));
    if (!isSomebody(members)) return say("held back: nobody is known yet");
    // The newest of a page wins; what another page could not send stays.
    const seenNow = entry(members);
    keep({ sent: seenNow.members.id, parked: { ...shelf().parked, [page]: seenNow } });
  }

  function withdraw() {
    latest = undefined;
    const { sent, parked } = shelf();
    if (!sent || Object.values(parked).some((entry) => entry.of === sent)) return;
    acted = Date.now();
    // What may have arrived is taken back, with nothing about the shopper, until that is answered.
    const denial = { ...entry({ token: state.token, consent: "denied" }), of: sent };
    keep({ sent, parked: state.token ? { [page]: denial } : {} });
  }

  const isDenial = (entry) => entry.members.consent === "denied";

  // The id stays when it is sent again, so that the proxy counts it once. Its time is when the
  // shopper acted, not when the page got round to it: an order may lie between the two.
  const entry = (members) => ({ members: { id: newId(), ...members }, at: acted, tries: 0, due: 0 });

  function sendDue(all) {
    clearTimeout(retry);
    const { sent, parked } = shelf(), now = Date.now(), held = whyHeld();
    if (!Object.keys(parked).length) return;
    for (const key in parked) {
      if (!(parked[key]?.tries < ATTEMPTS && now - parked[key].at < DAY)) delete parked[key];
    }
    const ready = Object.entries(parked).filter(([, entry]) => !held || isDenial(entry));
    const due = ready.filter(([, entry]) => all || entry.due <= now);
    for (const [, entry] of due) entry.due = now + 1000 * 4 ** ++entry.tries; // 4, 16, 64, 256 s
    keep({ sent, parked }); // Before it is sent: the page may be gone when the answer comes.
    due.forEach(quietly(post));
    const next = Math.min(...ready.map(([, entry]) => entry.due));
    if (ready.length) retry = setTimeout(quietly(sendDue), next - now);
  }

  function post([key, { members, at, tries, of }]) {
    say("sent:", members.id, "attempt", tries);
    const answered = ({ status }) => {
      say("answered:", members.id, status);
      if (status < 500 && status !== 429) free(key, members.id, of);
    };
    fetch(new URL("state", script.src), {
      method: "POST",
      // A string goes as text/plain, which needs no CORS preflight.
      body: JSON.stringify({ ...members, age_ms: Math.max(0, Date.now() - at) }),
      credentials: "same-origin",
      keepalive: true, // Else the browser drops it when the shopper leaves.
    }).then(quietly(answered), quietly((error) => say("not answered:", members.id, error)));
  }

  // -- what is kept until it has arrived --------------------------------------------------

  function shelf() {
    try {
      const { sent, parked } = memory || JSON.parse(localStorage.getItem(SLOT));
      return { sent, parked: { ...parked } };
    } catch {
      return { parked: {} };
    }
  }

  function keep(shelf) {
    try {
      localStorage.setItem(SLOT, JSON.stringify(shelf));
    } catch {
      memory = shelf; // Blocked or full: then for as long as the page lives.
    }
  }

  function free(key, id, of) {
    const { sent, parked } = shelf();
    if (parked[key]?.members.id !== id) return; // Something newer was parked meanwhile.
    delete parked[key];
    keep({ sent: sent === of ? undefined : sent, parked }); // Taken back, unless more was sent since.
  }

  // -- small things -----------------------------------------------------------------------

  function fromBase64(text) {
    try {
      const json = atob(decodeURIComponent(text).replace(/-/g, "+").replace(/_/g, "/"));
      return Object(JSON.parse(json[0] === "%" ? decodeURIComponent(json) : json));
    } catch {
      return {}; // Anybody may write a cookie, and anything into it.
    }
  }

  function cookie(name) {
    try {
      const start = `${name}=`;
      return document.cookie.split("; ").find((part) => part.startsWith(start)).slice(start.length);
    } catch {
      return ""; // There is none, or the frame is sandboxed and the very look an error.
    }
  }

  // Unlike crypto.randomUUID, this is there on plain http as well.
  const newId = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

  // Capturing: a page that stops its own events does not stop them here.
  const listen = (type, act) => addEventListener(type, quietly(act), true);

  function say(...words) {
    // Never an address: session recorders keep what is in the console.
    if (state.debug !== undefined) console.debug("checkout-proxy:", ...words);
  }

  const quietly = (act) => (...args) => {
    try {
      return act(...args);
    } catch (error) {
      say("failed:", error);
    }
  };

  quietly(start)();
})();
