"""What others know of mistakes, held against our files: nginx's configuration, and our own code."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import running
from tests.running import ROOT, Nginx

pytestmark = pytest.mark.skipif(running.nginx() is None, reason="there is no nginx")

# What gixy objects to, and is meant.
MEANT = {
    # The proxy compares a page's origin with Host, port and all; nothing is built out of it.
    "host_spoofing",
    # A status that has no value there is to have none.
    "hash_without_default",
    # site.conf says why it is left to the operator.
    "hsts_header",
    # The line is that of the tests' own frame around the shipped files.
    "worker_rlimit_nofile_vs_connections",
}


def objections(folder: Path, **edits: str) -> set[str]:
    """Return what gixy finds in the shipped files, edited as :class:`Nginx` does."""
    Nginx(folder, proxy="127.0.0.1:8000", edits=edits)
    command = [str(Path(sys.executable).with_name("gixy")), "-f", "json"]
    done = subprocess.run(
        [*command, str(folder / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return {found["plugin"] for found in json.loads(done.stdout)}


OPERATORS = "include /etc/nginx/checkout-proxy/checkout-proxy-operators.conf;"


def test_gixy_objects_to_nothing_that_is_not_meant(tmp_path: Path) -> None:
    everything = f"include {tmp_path}/checkout-proxy-operators.conf;"

    found = objections(tmp_path, **{f"# {OPERATORS}": everything})

    assert found <= MEANT


@pytest.mark.parametrize(
    ("old", "new", "objection"),
    [
        ("https://$server_name$request_uri;", "https://$server_name$uri;", "http_splitting"),
        ("    # The shop.", "    location ~ /go/(.*) { proxy_pass http://$1; }", "ssrf"),
    ],
)
def test_control_a_careless_line_is_objected_to(
    tmp_path: Path, old: str, new: str, objection: str
) -> None:
    assert objection in objections(tmp_path, **{old: new})


# -- bandit's rules, by ruff -------------------------------------------------------------

# Where one of them is switched off in what is delivered, and how often.
SWITCHED_OFF = re.compile(r"noqa:.*\bS\d{3}")
WITH_REASON = re.compile(r"noqa:.*\bS\d{3}\b.* - \w+")


def test_no_rule_of_bandits_is_off_for_what_is_delivered() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]

    assert "S" in lint["select"]
    # An assert states what the types cannot say, and guards nothing.
    assert [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)] == ["S101"]
    for place, rules in lint["per-file-ignores"].items():
        assert place.startswith(("tests/", ".ci/")) or not [r for r in rules if r[:2] == "S1"]
        assert place.startswith(("tests/", ".ci/")) or "S" not in rules


def test_a_line_that_is_excused_says_why() -> None:
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "proxy").rglob("*.py")
        for line in path.read_text().splitlines()
        if SWITCHED_OFF.search(line)
    ]

    assert [line for line in lines if not WITH_REASON.search(line)] == []
    assert lines


# -- what is known of what we depend on --------------------------------------------------

SAYS = """
import sys
sys.stdout.write({said!r})
sys.exit({status})
"""
KNOWN = '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]}]}'
NONE = '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}'
SKIPPED = '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        (KNOWN, 1, "a 1: PYSEC-1"),
        (KNOWN.replace("]}]}", ']}, {"name": "b", "skip_reason": "x"}]}'), 1, "a 1: PYSEC-1"),
        (NONE, 0, "No weakness is known of 1 packages."),
        (SKIPPED, 0, "NOT AUDITED"),
        ("", 0, "NOT AUDITED"),
    ],
    ids=["known", "known of one, the other not looked up", "none", "not looked up", "no answer"],
)
def test_a_known_weakness_fails_and_an_advisory_service_that_is_away_only_warns(
    tmp_path: Path, said: str, status: int, words: str
) -> None:
    (tmp_path / "pip-audit.py").write_text(SAYS.format(said=said, status=status))

    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(ROOT / ".ci" / "audit.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status, done.stderr
    assert words in done.stdout + done.stderr


# The script with another pip-audit in its place.
AUDITED = """
import runpy, sys
script, folder = sys.argv.pop(1), sys.argv.pop(1)
audit = runpy.run_path(script)
audit["main"].__globals__["COMMAND"] = [sys.executable, folder + "/pip-audit.py"]
sys.exit(audit["main"]())
"""
