"""Check that the SBOM names what the installed wheel needs, each in the version that is there."""

import json
import re
import sys
from importlib.metadata import distributions, requires
from pathlib import Path


def main() -> None:
    """Compare the file that is named with the environment that runs this."""
    said = json.loads(Path(sys.argv[1]).read_bytes())
    assert said["bomFormat"] == "CycloneDX", "it is no SBOM"
    named = {plain(each["name"]): each["version"] for each in said["components"]}
    there = {plain(each.metadata["Name"]): each.version for each in distributions()}
    needed = {
        plain(re.split(r"[^\w.-]", line)[0])
        for line in requires("checkout-proxy") or ()
        if "extra ==" not in line
    }
    assert needed, "the wheel needs nothing"
    wrong = {name for name in needed if named.get(name) != there[name]}
    assert not wrong, f"the SBOM does not name {', '.join(sorted(wrong))} as installed"
    print(f"The SBOM names {len(named)} packages, all that the wheel needs among them.")


def plain(name: str) -> str:
    """Return *name* as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


main()
