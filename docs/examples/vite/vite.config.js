import { defineConfig } from "vite";

// What nginx does in production: the proxy and the shop's server under the page's own host.
export default defineConfig({
  server: {
    proxy: {
      "/co/": process.env.CHECKOUT_PROXY_URL ?? "http://127.0.0.1:8000",
      "/token": process.env.SHOP_URL ?? "http://127.0.0.1:3000",
    },
  },
});
