"""Sessions: which operators' sessions were ended before their time, over all web workers.

What ends one is a fact like any other; the sender writes it into the book, within a moment. That
all were ended need not wait for it: the web workers of a machine find it in a file.
"""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from uuid import uuid4

from proxy.admin.eras import ErasFile
from proxy.admin.signin import Operator
from proxy.facts import Fact, SignedOut
from proxy.store import Store


class Sessions:
    """The ends of sessions in *store*, kept under *shop*, written down with *append*.

    While no sender takes that in, one session ends in the web worker that was told, and all of
    them together on the machine that was told.
    """

    def __init__(
        self, shop: str, store: Store, append: Callable[[Fact], None], now: Callable[[], datetime]
    ) -> None:
        self._shop = shop
        self._store = store
        self._append = append
        self._now = now
        self._ended_here: set[str] = set()
        self._eras = ErasFile(store.folder)

    @property
    def era(self) -> str:
        """What new sessions are of, until somebody ends all of them."""
        return self._eras.read().current(self._ends("")[0])

    def holds(self, operator: Operator) -> bool:
        """Tell whether nobody ended the session of *operator*."""
        if operator.session in self._ended_here:
            return False
        in_book, is_ended = self._ends(operator.session)
        return operator.era == self._eras.read().current(in_book) and not is_ended

    def end(self, operator: Operator) -> None:
        """End the session of *operator*."""
        self._write(operator.session)
        self._ended_here.add(operator.session)

    def end_all(self) -> None:
        """End every session, or raise :exc:`Unavailable`."""
        in_book, _ = self._ends("")
        after = self._write(None)
        self._eras.write(self._eras.read().after(in_book, after))

    def _ends(self, session: str) -> tuple[str, bool]:
        if not self._store.exists:
            return "", False
        with closing(self._store.book()) as reader:
            return reader.sign_outs(self._shop, session)

    def _write(self, session: str | None) -> str:
        ended = SignedOut(
            id=uuid4().hex,
            shop=self._shop,
            cart_id="",
            received_at=self._now(),
            session=session,
        )
        self._append(ended)
        return ended.id
