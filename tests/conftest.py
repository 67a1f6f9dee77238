"""Fixtures: the web half, served; stores of either engine; figures; what hypothesis may take."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from proxy.store import Store
from tests import postgres
from tests.books import lay_book
from tests.postgres import Postgres
from tests.tables import Tables
from tests.web import Web, served

# A busy machine is slow now and then, and that is no bug of ours.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run all tests of a module that share a server: to start it takes seconds."""
    for item in items:
        if isinstance(item, pytest.Function) and _shares_something(item):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


def _shares_something(item: pytest.Function) -> bool:
    known = item._fixtureinfo.name2fixturedefs
    return any(each[-1].scope == "module" for each in known.values())


@pytest.fixture(scope="session")
def one_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve many tests that have nothing to do with each other."""
    with served(tmp_path_factory.mktemp("web") / "store") as web:
        yield web


@pytest.fixture
def web(one_web: Web) -> Web:
    """Return the web half, in which nothing lies yet as far as this test can see."""
    return one_web.from_now_on()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Return a function that serves a web half of the test's own, with other settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(served(tmp_path / "store", **settings))


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """Serve PostgreSQL to many tests, a database each."""
    with postgres.served() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a store on each engine, migrated, in which nothing lies."""
    if request.param == "postgresql":
        return postgres.emptied(request.getfixturevalue("server"))
    url = f"sqlite:///{tmp_path}"
    lay_book(Store(url))
    return url


@pytest.fixture
def store(url: str, tmp_path: Path) -> Store:
    """Return the store at :func:`url`."""
    return Store(url, tmp_path / "spool")


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Store:
    """Return a store in PostgreSQL, migrated, in which nothing lies."""
    return Store(postgres.emptied(server), tmp_path / "spool")


@pytest.fixture
def tables(url: str) -> Tables:
    """Return the tables of :func:`store` as an outsider finds them."""
    return Tables(url)


class Figure(Protocol):
    """What notes a measured *value* beside its *gate*; the run ends with a table of all of them."""

    def __call__(self, name: str, value: str, gate: str) -> None: ...


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Return a function that has a figure printed at the end of the run."""

    def note(name: str, value: str, gate: str) -> None:
        record_property("figure", [name, value, gate])

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have noted with :func:`figure`."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    figures = [said for call in calls for key, said in call.user_properties if key == "figure"]
    if figures:
        terminalreporter.section("figures")
    for name, value, gate in figures:
        terminalreporter.line(f"{name:<40} {value:>12}   gate: {gate}")
