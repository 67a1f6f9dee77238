"""Health: whether the process lives, and whether it can keep what it is told."""

from collections.abc import Callable, Sequence

from flask import Blueprint


def blueprint(probes: Sequence[Callable[[], None]]) -> Blueprint:
    """Return ``/healthz``, which asks nothing, and ``/readyz``, which writes to every inbox."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, str]:
        for probe in probes:
            probe()
        return {"status": "ready"}

    return routes
