"""What is shipped for Prometheus and Grafana: it reads metrics that there are, and works."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy import metrics
from proxy.metrics import exposed
from tests.live import cache
from tests.running import ROOT
from tests.said import NOON

FOLDER = ROOT / "docs" / "monitoring"
RULES = FOLDER / "checkout-proxy-rules.yml"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text())
_NAME = r"checkout_proxy_[a-z_]+"


def known() -> set[str]:
    """Return every name under which something can be read."""
    said = exposed(list, NOON).decode()
    families = set(re.findall(rf"# TYPE ({_NAME}) (?:counter|gauge|histogram)", said))
    parts = {f"{name}_{end}" for name in families for end in ("bucket", "count", "sum")}
    return families | parts


@pytest.mark.parametrize(
    "text",
    [RULES.read_text(), json.dumps(DASHBOARD), (ROOT / "docs/monitoring.md").read_text()],
    ids=["rules", "dashboard", "document"],
)
def test_every_metric_that_is_read_is_told(text: str) -> None:
    named = set(re.findall(_NAME, text))

    assert named
    assert named <= known()


def test_every_metric_is_documented() -> None:
    document = (ROOT / "docs/monitoring.md").read_text()
    families = {name for name in known() if not re.search("_(bucket|count|sum)$", name)}

    endings = ("_cancelled_total", "_quarantined_total")
    assert {name for name in families if name not in document} == {
        f"checkout_proxy{ending}" for ending in endings
    }
    assert metrics.CONTENT_TYPE.startswith("text/plain")


def test_the_dashboard_shows_each_panel_once() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]

    assert len(set(places)) == len(places)
    assert len({panel["title"] for panel in DASHBOARD["panels"]}) == len(places)


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return Prometheus' own tool, out of Debian's package where it is not installed."""
    if found := shutil.which("promtool"):
        return found
    folder = cache("promtool")
    program = folder / "usr" / "bin" / "promtool"
    if not program.exists():
        _fetch(folder)
    return f"{program}"


def _fetch(folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("there is no promtool, and no apt to have it from")
    fetched = subprocess.run(
        ["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, text=True
    )
    packages = list(folder.glob("prometheus_*.deb"))
    if fetched.returncode != 0 or not packages:
        pytest.skip(f"promtool cannot be had: {fetched.stderr.strip()[-200:]}")
    subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_the_rules(promtool: str) -> None:
    assert "SUCCESS: 8 rules found" in _run(promtool, "check", "rules", RULES.name)


def test_the_rules_alert_when_they_should(promtool: str) -> None:
    assert "SUCCESS" in _run(promtool, "test", "rules", "checkout-proxy-rules-test.yml")


def test_prometheus_finds_nothing_odd_in_the_metrics(promtool: str) -> None:
    said = exposed(list, NOON)

    done = subprocess.run([promtool, "check", "metrics"], input=said, capture_output=True)

    assert done.returncode == 0, done.stderr.decode()
