const PROXY = process.env.NUXT_CHECKOUT_PROXY_URL ?? "http://127.0.0.1:8000";

export default defineNuxtConfig({
  compatibilityDate: "2026-11-01",
  // What nginx does where it stands before the shop: the proxy under the page's own host.
  routeRules: { "/co/**": { proxy: `${PROXY}/co/**` } },
  // Read from the environment at run time: NUXT_CHECKOUT_PROXY_URL, NUXT_CHECKOUT_PROXY_SHOP_KEY.
  runtimeConfig: { checkoutProxy: { url: PROXY, shopKey: "" } },
});
