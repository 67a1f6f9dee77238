"""What a refusal is called does not change, and stands in the documents."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import partial

import pytest

from proxy import problems
from proxy.budgets import Budget
from proxy.errors import Refused
from tests.running import ROOT
from tests.web import Web


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", "", 404, "not-found"),
        ("GET", "/co/state", "", 405, "method-not-allowed"),
        ("POST", "/co/state", "x" * 17_000, 413, "request-entity-too-large"),
        ("POST", "/co/state", "{", 400, "not-json"),
    ],
)
def test_what_flask_refuses_has_a_code_of_ours(
    web: Web, method: str, path: str, body: str, status: int, code: str
) -> None:
    answer = web.ask(method, path, body)

    assert (answer.status, answer.json()["type"]) == (status, f"urn:checkout-proxy:{code}")


def test_the_document_has_every_code_and_no_other() -> None:
    table = (ROOT / "docs/api.md").read_text().partition("## Problems")[2].partition("\n## ")[0]
    told = {code for row in re.findall(r"^\| (`.*?) \|", table, re.M) for code in codes_in(row)}

    assert told == {*of_classes(Refused), *of_arguments(), *of_nginx(), *elsewhere()}


codes_in = partial(re.findall, "`([a-z-]+)`")


def of_classes(kind: type[Refused]) -> Iterator[str]:
    """Yield the codes that errors have by their kind."""
    yield kind.code
    for each in kind.__subclasses__():
        yield from of_classes(each)


def of_arguments() -> Iterator[str]:
    """Yield the codes with which errors are raised."""
    for path in (ROOT / "proxy").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code":
                yield from codes_in(ast.unparse(node.value).replace("'", "`"))


def of_nginx() -> Iterator[str]:
    """Yield the codes of what nginx answers itself."""
    for path in (ROOT / "nginx").glob("*.conf"):
        yield from re.findall("urn:checkout-proxy:([a-z-]+)", path.read_text())


def elsewhere() -> Iterator[str]:
    yield "internal"
    yield from problems.CODES.values()
    yield from (f"too-many-of-one-{field.name}" for field in fields(Budget))
