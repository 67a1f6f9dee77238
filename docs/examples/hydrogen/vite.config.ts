import { reactRouter } from "@react-router/dev/vite";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [reactRouter()],
  // What nginx does in production: the proxy under the page's own host.
  server: { proxy: { "/co/": process.env.CHECKOUT_PROXY_URL ?? "http://127.0.0.1:8000" } },
});
