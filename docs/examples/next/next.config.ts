import type { NextConfig } from "next";

const PROXY = process.env.CHECKOUT_PROXY_URL ?? "http://127.0.0.1:8000";

export default {
  // What nginx does where it stands before the shop: the proxy under the page's own host.
  rewrites: async () => [{ source: "/co/:path*", destination: `${PROXY}/co/:path*` }],
} satisfies NextConfig;
