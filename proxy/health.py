"""Health: whether the process lives, and whether it can keep what it is told."""

from collections.abc import Callable

from flask import Blueprint


def blueprint(probe: Callable[[], None]) -> Blueprint:
    """Return ``/healthz``, which asks nothing, and ``/readyz``, which writes to the store."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, str]:
        probe()
        return {"status": "ready"}

    return routes
