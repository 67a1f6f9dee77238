"""Rest: how long a shop is let alone that refuses us, or asks for patience."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.errors import CartError, SourceDown, SourceRefused

logger = logging.getLogger(__name__)

# A shop that refuses us is let alone for so long, in seconds.
_REFUSED_FOR = 60.0


class Rest:
    """How long the shop is let alone, and what is said meanwhile to who asks."""

    def __init__(self) -> None:
        self._until = 0.0
        self._why: CartError = SourceDown("")

    def check(self) -> None:
        """Raise what the shop said last, while it is let alone."""
        if time.monotonic() < self._until:
            raise self._why

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Let the shop alone where it says so meanwhile."""
        try:
            yield
        except SourceRefused as error:
            # Here and not for each checkout: there may be thousands that wait for it.
            logger.error("carts cannot be read: %s", error)
            self._begin(error, _REFUSED_FOR)
            raise
        except SourceDown as error:
            if error.retry_after is not None:
                self._begin(error, error.retry_after.total_seconds())
            raise

    def _begin(self, why: CartError, seconds: float) -> None:
        self._until, self._why = time.monotonic() + seconds, why
