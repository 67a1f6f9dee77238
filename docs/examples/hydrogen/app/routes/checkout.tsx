import { createCheckout, type Checkout } from "checkout-proxy";
import { useEffect, useRef } from "react";

async function token() {
  const answer = await fetch("/token");
  if (!answer.ok) throw new Error(`/token answered ${answer.status}`);
  return answer.text();
}

export default function CheckoutPage() {
  const checkout = useRef<Checkout>(null);

  useEffect(() => {
    const made = createCheckout({
      url: "/co/state",
      token,
      consent: "required",
    });
    checkout.current = made;
    return () => made.destroy();
  }, []);

  return (
    <>
      <title>Checkout</title>
      <label>
        E-mail <input type="email" name="email" autoComplete="email" />
      </label>
      <button onClick={() => checkout.current?.push({ consent: "granted" })}>
        You may write to me
      </button>
    </>
  );
}
