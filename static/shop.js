// The demo's own script: it keeps the story up to date and plays the tricks. A real shop needs none
// of it; the snippet, checkout.js, watches the address field by itself.

const story = document.getElementById("story");
const shown = new Map();

async function tell() {
  if (!document.hidden) {
    const answer = await fetch(story.dataset.url).catch(() => null);
    if (answer?.ok) show(await answer.json());
  }
  setTimeout(tell, 1000);
}

function show(told) {
  for (const [id, html] of Object.entries(told.html)) {
    // What has not changed stays, with its scroll position and the reader's selection.
    if (shown.get(id) !== html) document.getElementById(id).outerHTML = html;
    shown.set(id, html);
  }
  const headline = document.getElementById("headline");
  // A status is read aloud whenever it is written, so it is written when it changes.
  if (headline.textContent !== told.headline) headline.textContent = told.headline;
}

for (const form of document.querySelectorAll("form[data-quiet]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault(); // A reload would empty the address field.
    const body = new FormData(form, event.submitter);
    const asked = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
    const done = asked?.type === "opaqueredirect";
    form.querySelector("output").textContent = done ? event.submitter.dataset.said : "That did not work.";
  });
}

for (const box of document.querySelectorAll("input[data-on]")) {
  box.addEventListener("change", () => {
    const said = box.checked ? box.dataset.on : box.dataset.off;
    (window.checkoutProxy ||= []).push(JSON.parse(said));
  });
}

tell();
