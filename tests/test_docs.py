"""The documents say what is so."""

import re
from pathlib import Path

from proxy.carts import presets
from proxy.cli import main
from proxy.settings import PREFIX, described

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


def documents() -> dict[Path, str]:
    """Return what every document of ours says, without the code of other people's packages."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    ours = [path for path in paths if "node_modules" not in path.parts]
    return {path: path.read_text(encoding="utf-8") for path in ours}


def test_every_link_between_the_documents_leads_somewhere() -> None:
    broken = [
        (document.name, target, heading)
        for document, text in documents().items()
        for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text)
        if not leads_somewhere(document, target, heading)
    ]

    assert broken == []


def leads_somewhere(document: Path, target: str, heading: str) -> bool:
    path = document.parent / target if target else document
    return path.exists() and (not heading or heading in headings(path))


def headings(document: Path) -> set[str]:
    """Return the names by which GitHub knows the headings of *document*."""
    found = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, left = set[Path](), {ROOT / "README.md"}
    while left:
        document = left.pop()
        reached.add(document)
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text("utf-8")):
            path = (document.parent / target).resolve()
            if path.suffix == ".md" and path not in reached:
                left.add(path)

    assert {path for path in documents() if "docs" in path.parts} <= reached


def test_every_test_that_the_threat_model_names_is_one() -> None:
    model = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", model)
    lines = re.findall(r"^\| .+ \| .+ \| (.+) \|$", model, re.M)

    missing = [
        (module, name)
        for module, name in named
        if f"\ndef {name}(" not in (ROOT / "tests" / module).read_text(encoding="utf-8")
    ]

    assert missing == []
    assert len(named) > 20
    assert [line for line in lines[1:] if ".py::" not in line] == []


def test_every_setting_that_the_documents_name_is_one() -> None:
    known = {variable for variable, _, _ in described()}
    # What an example's own server is told (docs/examples/), and a name that stands for all.
    others = {"URL", "SCRIPT", "TOKEN_KEY"}

    unknown = {
        (document.name, name)
        for document, text in documents().items()
        for name in re.findall(r"CHECKOUT_PROXY_([A-Z_]*[A-Z])", text)
        if name not in others and PREFIX + name.removesuffix("_FILE") not in known
    }

    assert unknown == set()


def test_every_command_that_the_documents_name_is_one() -> None:
    unknown = {
        (document.name, name)
        for document, text in documents().items()
        for name in re.findall(r"(?<![/\w-])checkout-proxy ([a-z]+)\b", _code(text))
        if name not in main.commands
    }

    assert unknown == set()


def _code(text: str) -> str:
    """Return what stands in code, where a command is one."""
    fences = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
    blocks = "\n".join(fences.findall(text))
    commands = [line for line in blocks.splitlines() if re.match(r"\s*[#$] .*checkout-proxy", line)]
    return "\n".join([*commands, *re.findall(r"`([^`]+)`", fences.sub("", text))])
