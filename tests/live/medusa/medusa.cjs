// One of Medusa's commands: node medusa.cjs <command> <its options as JSON>.
// Its own command line would look for it in a node_modules beside medusa-config.js.
"use strict";

const [command, options] = process.argv.slice(2);
const { default: run } = require(`@medusajs/medusa/commands/${command}`);

run({ directory: __dirname, ...JSON.parse(options) });
