"""Tests that share a server run in one process, and not one server a process."""

import pytest


def test_xdist_sees_which_tests_belong_together(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("there is but one process")
    marked = [item for item in request.session.items if item.get_closest_marker("xdist_group")]

    assert marked
    assert all("@" in item.nodeid for item in marked)
