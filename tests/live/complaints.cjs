// What is wrong with a GraphQL query, a line each: node complaints.cjs <url> < query.
"use strict";

const { readFileSync } = require("node:fs");

const graphql = require("graphql");

const RULES = [...graphql.specifiedRules, graphql.NoDeprecatedCustomRule];

async function introspected(url) {
  const body = JSON.stringify({ query: graphql.getIntrospectionQuery() });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body });
  return graphql.buildClientSchema((await answer.json()).data);
}

async function main() {
  const schema = await introspected(process.argv[2]);
  const query = graphql.parse(readFileSync(0, "utf8"));
  for (const { message } of graphql.validate(schema, query, RULES)) console.log(message);
}

main();
