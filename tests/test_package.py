"""The snippet as it is built and shipped: dist/ is src/, small enough, and a package for npm."""

import gzip
import json
import os
import shutil
import subprocess
import tomllib
from base64 import b64encode
from hashlib import sha384
from pathlib import Path
from typing import Any

import pytest

from proxy.snippet import Snippet
from tests.conftest import Figure
from tests.running import NODE, ROOT

STATIC = ROOT / "static"
DIST = STATIC / "dist"

# In bytes, compressed with Brotli. They may only go down.
MOST = {"checkout.js": 1_200, "index.js": 1_200}
MOST_OF_A_CONSENT_TOOL = 360


def npm(*command: str, cwd: Path) -> str:
    """Return what npm says, the one that the development environment brings."""
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [NODE.with_name("npm"), "--no-audit", "--no-fund", "--silent", *command],
        cwd=cwd,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    """Return what lies in *folder*, out of its compression: another zlib compresses otherwise."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for name, path in files.items()
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a snippet that was built from the sources anew."""
    folder = tmp_path_factory.mktemp("static")
    shutil.copytree(STATIC / "src", folder / "src")
    for name in ("build.mjs", "package.json", "package-lock.json", "tsconfig.json"):
        shutil.copy(STATIC / name, folder)
    npm("ci", cwd=folder)
    npm("run", "build", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DIST / "manifest.json").read_bytes())
    return read


def test_what_is_shipped_is_what_the_sources_make(built: Path) -> None:
    """``make snippet`` makes it so, types checked."""
    assert contents(built / "dist") == contents(DIST)


def test_it_is_as_small_as_it_was(manifest: dict[str, Any], figure: Figure) -> None:
    sizes = {name: file["brotli"] for name, file in manifest.items()}
    for name, size in sizes.items():
        figure(f"{name}, Brotli", f"{size} bytes", f"{most(name)} bytes")

    assert {name: size for name, size in sizes.items() if size > most(name)} == {}


def most(name: str) -> int:
    return MOST.get(name, MOST_OF_A_CONSENT_TOOL)


def test_the_manifest_says_what_is_so(manifest: dict[str, Any]) -> None:
    for name, said in manifest.items():
        content = (DIST / name).read_bytes()
        assert said["bytes"] == len(content)
        assert said["integrity"] == f"sha384-{b64encode(sha384(content).digest()).decode()}"
    for name, snippet in Snippet.all_shipped().items():
        said = manifest[f"{name}.js"]
        assert said["version"] == snippet.version
        assert said["brotli"] == len(snippet.compressed["br"])


def test_the_package_has_the_version_of_the_proxy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = json.loads((STATIC / "package.json").read_bytes())

    assert (package["name"], package["version"]) == (project["name"], project["version"])


CONSUMER = """
import { createCheckout, type Checkout, type State } from "checkout-proxy";
import { watch } from "checkout-proxy/consent/tcf";

const state: State = { email: "jane@shop-demo.io", consent: "required", claimed: { value: 29.9 } };
export const checkout: Checkout = createCheckout({
  url: "/co/state",
  token: async () => (await fetch("/token")).text(),
  ...state,
});
watch(checkout.push, { purposes: "1,4" });
checkout.push({ consent: { state: "granted", source: "a tool", evidence: "its record" } });
checkout.flush();
checkout.destroy();
createCheckout({ url: "/co/state", token: "signed" });
// @ts-expect-error a misspelt member
checkout.push({ e_mail: "jane@shop-demo.io" });
// @ts-expect-error no token
createCheckout({ url: "/co/state" });
"""
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "module": "esnext",
        "moduleResolution": "bundler",
        "target": "es2022",
        "lib": ["es2022", "dom"],
        "types": [],
    },
    "include": ["*.ts"],
}
ON_A_SERVER = """
import { createCheckout } from "checkout-proxy";
process.on("uncaughtException", (error) => { console.error(error); process.exit(1); });
const asked = [];
const token = async () => asked.push(1);
const checkout = createCheckout({ url: "/co/state", token, email: "a@b.co" });
checkout.push({ first_name: "Jane" });
for (const tool of ["cookiebot", "google", "onetrust", "shopify", "tcf"]) {
  const { watch } = await import("checkout-proxy/consent/" + tool);
  watch(checkout.push);
}
checkout.flush();
checkout.destroy();
setTimeout(() => { console.log("asked", asked.length); }, 1_500);
"""


@pytest.fixture(scope="module")
def consumer(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has installed the package as ``npm pack`` makes it."""
    folder = tmp_path_factory.mktemp("consumer")
    archive = npm("pack", "--pack-destination", str(folder), cwd=built).strip()
    (folder / "package.json").write_text('{"name": "consumer", "type": "module", "private": true}')
    npm("install", f"./{archive}", cwd=folder)
    return folder


def test_the_package_ships_what_is_imported_and_nothing_else(consumer: Path) -> None:
    package = consumer / "node_modules/checkout-proxy"

    shipped = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    tools = ("answer", "cookiebot", "google", "onetrust", "shopify", "tcf")
    assert shipped == {
        *("package.json", "dist/index.js", "dist/index.d.ts", "dist/checkout.d.ts"),
        *(f"dist/consent/{tool}.d.ts" for tool in tools),
        *(f"dist/consent/{tool}.js" for tool in tools if tool != "answer"),
    }


def test_a_page_in_typescript_compiles_against_the_package(built: Path, consumer: Path) -> None:
    (consumer / "page.ts").write_text(CONSUMER)
    (consumer / "tsconfig.json").write_text(json.dumps(TSCONFIG))

    npm("exec", "--prefix", str(built), "--", "tsc", "--project", str(consumer), cwd=built)


@pytest.mark.slow
def test_on_a_server_it_does_nothing(consumer: Path) -> None:
    (consumer / "server.js").write_text(ON_A_SERVER)

    done = subprocess.run(
        [NODE, "server.js"], cwd=consumer, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "asked 0\n", "")
