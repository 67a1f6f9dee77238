"""Systemd understands the units of docs/running/, and rates them as the documents say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

FOLDER = ROOT / "docs" / "running"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: it is systemd's"
)


def analyzed(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_has_no_mistake(unit: str, tmp_path: Path) -> None:
    text = (FOLDER / unit).read_text().replace("/usr/local/bin/checkout-proxy", sys.executable)
    (tmp_path / unit).write_text(text)

    verified = analyzed("verify", "--man=no", "--recursive-errors=no", f"{tmp_path / unit}")

    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_as_safe_as_the_documents_say(unit: str) -> None:
    said = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")

    exposed = analyzed("security", "--offline=true", "--no-pager", f"{FOLDER / unit}")

    found = re.search(r"Overall exposure level for .*: ([\d.]+)", exposed.stdout)
    assert found is not None, exposed.stderr
    # Each version of systemd weighs a little differently.
    assert float(found[1]) <= 1.5
    assert f"| `{unit}` | 1.2 |" in said
