"""Fixtures: the web half, served; and what hypothesis may take."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.web import Web, served

# A busy machine is slow now and then, and that is no bug of ours.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


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
