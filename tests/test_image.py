"""The container's files say what the repository has."""

import re

from tests.running import ROOT

FOLDER = ROOT / "docs" / "running"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (FOLDER / "compose.yaml").read_text(encoding="utf-8")


def test_the_image_runs_without_root_and_takes_no_secret() -> None:
    said = re.findall(r"^([A-Z]+) (.*)$", DOCKERFILE, re.M)

    assert dict(said)["USER"] == "10001"
    assert [words for name, words in said if name in ("COPY", "ADD")] == [
        "dist/checkout_proxy-*.whl /tmp/"
    ]
    assert not re.search(r"(KEY|KEYS|TOKEN)\w*=", DOCKERFILE)


def test_what_compose_mounts_and_edits_is_there() -> None:
    mounted = re.findall(r"- \./nginx/([^:\s]+):", COMPOSE)
    upstream = (ROOT / "nginx" / "checkout-proxy-http.conf").read_text(encoding="utf-8")

    assert set(mounted) == {"checkout-proxy-http.conf", "site.conf"}
    assert all((ROOT / "nginx" / name).exists() for name in mounted)
    assert "server 127.0.0.1:8000;" in upstream  # compose's says `server proxy:8000;`
