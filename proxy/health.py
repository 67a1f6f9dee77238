"""Health: whether the process lives and can keep what it is told, and what was counted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flask import Blueprint, Response

from proxy.errors import StoreAway, Unavailable
from proxy.store import Store

if TYPE_CHECKING:
    from proxy.store.reader import Reader


def blueprint(probes: Sequence[Callable[[], None]], stores: Mapping[str, Store]) -> Blueprint:
    """Return ``/healthz``, which asks nothing, ``/readyz``, which writes to every inbox, and more.

    ``/metrics`` reads what the book of every shop says, each in its store.
    """
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, str]:
        for probe in probes:
            probe()
        return {"status": "ready"}

    @routes.get("/metrics")
    def metrics() -> Response:
        # Only here: nobody else waits for SQLAlchemy.
        from proxy import metrics

        try:
            said = metrics.exposed(lambda: _readers(stores), datetime.now(UTC))
        except StoreAway as error:
            raise Unavailable(str(error)) from error
        return Response(said, content_type=metrics.CONTENT_TYPE)

    return routes


def _readers(stores: Mapping[str, Store]) -> "Iterator[tuple[str, Reader]]":
    """Yield the book of each shop that has one, each until the next is asked for."""
    for shop, store in stores.items():
        if store.exists:
            with closing(store.book()) as reader:
                yield shop, reader
