import { route, type RouteConfig } from "@react-router/dev/routes";

export default [
  route("checkout", "routes/checkout.tsx"),
  route("token", "routes/token.ts"),
] satisfies RouteConfig;
