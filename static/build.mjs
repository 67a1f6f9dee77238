/** Builds dist/ from src/: what pages load, what npm ships, and a manifest that says how large. */
import { buildSync } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

const TOOLS = readdirSync("src/consent").filter((file) => file !== "answer.js");
const manifest = {};

function build(name, format, entry) {
  const { outputFiles: [{ contents }] } = buildSync({
    ...entry,
    bundle: true, minify: true, format, target: "es2022", charset: "utf8", write: false,
    tsconfigRaw: "{}", // Else it writes "use strict" into each script.
  });
  const gzip = gzipSync(contents, { level: 9 }), brotli = brotliCompressSync(contents);
  manifest[name] = {
    bytes: contents.length,
    gzip: gzip.length,
    brotli: brotli.length,
    version: createHash("sha256").update(contents).digest("hex").slice(0, 16),
    integrity: "sha384-" + createHash("sha384").update(contents).digest("base64"),
  };
  writeFileSync(`dist/${name}`, contents);
  if (format === "iife") {
    writeFileSync(`dist/${name}.gz`, gzip);
    writeFileSync(`dist/${name}.br`, brotli);
  }
}

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist/consent", { recursive: true });
build("checkout.js", "iife", { entryPoints: ["src/tag.js"] });
build("index.js", "esm", { entryPoints: ["src/index.js"] });
for (const file of TOOLS) {
  build(`consent/${file}`, "esm", { entryPoints: [`src/consent/${file}`] });
  const contents = `
    import { watch } from "./${file}";
    const { dataset } = document.currentScript;
    watch((patch) => (window.checkoutProxy ||= []).push(patch), dataset);
  `;
  build(`consent-${file}`, "iife", { stdin: { contents, resolveDir: "src/consent" } });
}
writeFileSync("dist/manifest.json", JSON.stringify(manifest, null, 2) + "\n");
for (const [name, { bytes, gzip, brotli }] of Object.entries(manifest)) {
  console.log(`${name.padEnd(24)} ${bytes} bytes, ${gzip} gzip, ${brotli} brotli`);
}
