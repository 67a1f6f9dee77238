"""Sessions: which operators' sessions were ended before their time, over all web workers.

What ends one is a fact like any other; the sender writes it into the book, within a moment.
"""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from uuid import uuid4

from proxy.admin.signin import Operator
from proxy.facts import Fact, SignedOut
from proxy.store import Store


class Sessions:
    """The ends of sessions in *store*, kept under *shop*, written down with *append*.

    Without a sender that ever ran, a session ends in the web worker that was told alone.
    """

    def __init__(
        self, shop: str, store: Store, append: Callable[[Fact], None], now: Callable[[], datetime]
    ) -> None:
        self._shop = shop
        self._store = store
        self._append = append
        self._now = now
        self._ended_here: set[str] = set()

    @property
    def era(self) -> str:
        """What new sessions are of, until somebody ends all of them."""
        return self._ends("")[0]

    def holds(self, operator: Operator) -> bool:
        """Tell whether nobody ended the session of *operator*."""
        if operator.session in self._ended_here:
            return False
        era, is_ended = self._ends(operator.session)
        return operator.era == era and not is_ended

    def end(self, operator: Operator) -> None:
        """End the session of *operator*."""
        self._write(operator.session)
        self._ended_here.add(operator.session)

    def end_all(self) -> None:
        """End every session."""
        self._write(None)

    def _ends(self, session: str) -> tuple[str, bool]:
        if not self._store.exists:
            return "", False
        with closing(self._store.book()) as reader:
            return reader.sign_outs(self._shop, session)

    def _write(self, session: str | None) -> None:
        ended = SignedOut(
            id=uuid4().hex,
            shop=self._shop,
            cart_id="",
            received_at=self._now(),
            session=session,
        )
        self._append(ended)
