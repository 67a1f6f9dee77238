"""The documents say what is so."""

import re
from pathlib import Path

from proxy.carts import presets
from proxy.settings import described

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_setting_as_the_command_prints_it() -> None:
    rows = re.findall(r"^\| `(CHECKOUT_PROXY_\w+)` \| (?:`(.*?)`)? ?\| (.*) \|$", README, re.M)

    assert rows == described()


def test_the_readmes_token_examples_are_those_that_are_run() -> None:
    blocks = re.compile(r"^```(python|js|php|ruby)\n(.*?)^```", re.M | re.S)
    tokens = (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")

    in_readme = dict(blocks.findall(README))
    in_tokens = {language: set() for language in in_readme}  # type: dict[str, set[str]]
    for language, code in blocks.findall(tokens):
        in_tokens.setdefault(language, set()).add(code)

    assert set(in_readme) == {"python", "js", "php", "ruby"}
    assert all(code in in_tokens[language] for language, code in in_readme.items())


def platforms() -> list[tuple[str, str, str]]:
    """Return each platform, its preset's name, and what was run against it."""
    carts = (ROOT / "docs" / "carts.md").read_text(encoding="utf-8")
    return re.findall(r"^\| ([^|`]+) \| `([a-z]+)` \| .+ \| (.+) \|$", carts, re.M)


def test_each_platform_is_in_both_tables_that_say_what_was_run_against_it() -> None:
    rows = platforms()

    assert sorted(name for _, name, _ in rows) == presets.names()
    for platform, name, run in rows:
        assert f"| {platform} | its API, `{name}` | {run} |" in README


LIVE = re.compile(r"a live \w+ ([\d.]+), in (every test run|the slow tests)")


def test_a_platform_that_is_run_live_has_a_test_of_its_own_and_the_version_that_is_pinned() -> None:
    said = {name: found for _, name, run in platforms() if (found := LIVE.fullmatch(run))}

    assert set(said) == {"medusa", "vendure"}
    for name, found in said.items():
        version, when = found.groups()
        test = (ROOT / "tests" / f"test_{name}.py").read_text(encoding="utf-8")
        assert pinned(name) == version
        assert ("pytest.mark.slow" in test) == (when == "the slow tests")


def pinned(name: str) -> str:
    """Return the version of a live shop, as npm is told which."""
    live = ROOT / "tests" / "live"
    told = "".join(path.read_text() for path in live.rglob("package.json"))
    (version,) = re.findall(rf'"@{name}\w*/(?:core|medusa)": "(.+)"', told)
    return str(version)


def test_every_link_between_the_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]

    broken = [
        (document.name, target)
        for document in documents
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]

    assert broken == []
