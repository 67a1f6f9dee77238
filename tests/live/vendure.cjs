// A real Vendure with a small catalogue on 127.0.0.1: node vendure.cjs <port> <database file>.
// Where there is no such file, the shop is new. What is written later goes to the file at once.
"use strict";

const { existsSync } = require("node:fs");
const { flushCompileCache } = require("node:module");
const path = require("node:path");

const {
  bootstrap, DefaultLogger, dummyPaymentHandler, LogLevel, TransactionalConnection,
} = require("@vendure/core");
const { populate } = require("@vendure/core/cli");

const [port, location] = process.argv.slice(2);
const isNew = !existsSync(location);
let isReady = false;

const config = {
  apiOptions: {
    hostname: "127.0.0.1",
    port: Number(port),
    adminApiPath: "admin-api",
    shopApiPath: "shop-api",
    // It listens before it has any goods.
    middleware: [
      { route: "ready", handler: (_request, response) => response.sendStatus(isReady ? 200 : 503) },
    ],
  },
  authOptions: {
    tokenMethod: ["bearer", "api-key"],
    superadminCredentials: { identifier: "superadmin", password: "superadmin" },
    cookieOptions: { secret: "of-no-use-to-anybody" },
  },
  dbConnectionOptions: {
    type: "sqljs",
    location,
    synchronize: isNew,
    // Filling the shop is a thousand writes, and each would write the whole file.
    autoSave: !isNew,
    ...(isNew && { database: new Uint8Array() }),
  },
  logger: new DefaultLogger({ level: LogLevel.Warn, timestamp: false }),
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
};

const shop = {
  defaultLanguage: "en",
  defaultZone: "Europe",
  countries: [{ name: "Austria", code: "AT", zone: "Europe" }],
  taxRates: [
    { name: "Standard Tax", percentage: 20 },
    { name: "Reduced Tax", percentage: 10 },
    { name: "Zero Tax", percentage: 0 },
  ],
  shippingMethods: [{ name: "Standard Shipping", price: 1000, taxRate: 20 }],
  paymentMethods: [
    {
      name: "Standard Payment",
      handler: {
        code: dummyPaymentHandler.code,
        arguments: [{ name: "automaticSettle", value: "true" }],
      },
    },
  ],
  collections: [],
};

async function fill() {
  const goods = path.join(__dirname, "vendure.csv");
  const app = await populate(() => bootstrap(config), shop, goods);
  const { driver } = app.get(TransactionalConnection).rawConnection;
  await driver.save();
  driver.options.autoSave = true;
}

(isNew ? fill() : bootstrap(config)).then(() => {
  // Not at the end: whoever is killed has none.
  flushCompileCache();
  isReady = true;
});
