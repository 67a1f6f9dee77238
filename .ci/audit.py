"""Ask whether a weakness is known of what is locked: one that is fails, no answer only warns."""

import json
import subprocess
import sys
from pathlib import Path

LOCK = "requirements-dev.txt"
COMMAND = [str(Path(sys.executable).with_name("pip-audit")), "--disable-pip", "--require-hashes"]


def main() -> int:
    """Return 1 where a weakness is known of a package in the lock."""
    options = ["--requirement", sys.argv[1] if len(sys.argv) > 1 else LOCK, "--format", "json"]
    asked = [*COMMAND, *options, "--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return warned("nothing", last[0])
    weak = [package for package in packages if package.get("vulns")]
    for package in weak:
        ids = ", ".join(found["id"] for found in package["vulns"])
        print(f"{package['name']} {package['version']}: {ids}")
    unknown = [package["skip_reason"] for package in packages if "skip_reason" in package]
    if unknown and not weak:
        warned(f"{len(packages) - len(unknown)} of {len(packages)} packages", unknown[0])
    if not weak and not unknown:
        print(f"No weakness is known of {len(packages)} packages.")
    return 1 if weak else 0


def warned(looked_up: str, why: str) -> int:
    """Say as loudly as a line can that the question was not answered."""
    print("!" * 88, file=sys.stderr)
    print(f"!! NOT AUDITED: the advisory service told us of {looked_up}", file=sys.stderr)
    print(f"!! {why}", file=sys.stderr)
    print("!" * 88, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
