import { createCheckout } from "checkout-proxy";

const checkout = createCheckout({
  url: "/co/state",
  token: async () => {
    const answer = await fetch("/token");
    if (!answer.ok) throw new Error(`/token answered ${answer.status}`);
    return answer.text();
  },
  consent: "required",
});

document.querySelector("#consent").onclick = () => checkout.push({ consent: "granted" });

// While you edit this file, the page stays and the checkout is made anew.
if (import.meta.hot) {
  import.meta.hot.accept();
  import.meta.hot.dispose(() => checkout.destroy());
}
