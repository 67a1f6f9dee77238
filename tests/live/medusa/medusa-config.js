// A Medusa without an admin's pages and without Redis.
"use strict";

const { defineConfig } = require("@medusajs/framework/utils");

const http = {
  storeCors: "",
  adminCors: "",
  authCors: "",
  jwtSecret: "of-no-use-to-anybody",
  cookieSecret: "of-no-use-to-anybody",
};

module.exports = defineConfig({
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    http,
  },
  admin: { disable: true },
});
