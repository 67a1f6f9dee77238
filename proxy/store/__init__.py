"""Store: where the two halves meet; facts go in on one side, decisions come out on the other."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from proxy.errors import StoreAway
from proxy.facts import Fact
from proxy.store.received import Received
from proxy.store.seal import PLAIN, Seal
from proxy.store.sqlite import SqliteStore, check_is_of_folders

if TYPE_CHECKING:
    from proxy.store.book import Book
    from proxy.store.postgres import PostgresStore
    from proxy.store.reader import Reader

__all__ = [
    "Inbox",
    "Inboxes",
    "Store",
]

logger = logging.getLogger(__name__)

_SQLITE = "sqlite:///"
_POLL_SECONDS = 1.0
# An order may be among what was kept elsewhere, and what it cancels is due already.
_SHIPPING_SECONDS = 3.0


class Inbox(Protocol):
    """An inbox as the web half knows it, whatever the engine; safe to call from many threads."""

    def append(self, fact: Fact) -> None:
        """Return once *fact* is on disk, or raise :exc:`Unavailable`: it is not known to be."""

    def probe(self) -> None:
        """Return once something could have been kept, or raise :exc:`Unavailable`."""

    def close(self) -> None:
        """Take nothing more; a second time does nothing."""


class Inboxes(Protocol):
    """All inboxes as the sender reads them, whatever the engine."""

    def after(self, marks: dict[str, int], limit: int) -> list[Received]:
        """Return at most *limit* facts of each inbox that lie after its mark, oldest first."""

    @property
    def is_complete(self) -> bool:
        """Whether all there is could be read the last time."""

    def salvage(
        self, marks: dict[str, int], take_in: Callable[[Sequence[Received]], object]
    ) -> None:
        """Hand what can still be read of damaged inboxes to *take_in*."""

    def prune_orphans(self, marks: dict[str, int]) -> None:
        """Remove what was taken in, where no web worker does so."""

    def tidy(self) -> None:
        """Remove what was taken in, where it would lie for long otherwise."""

    def forget_salvaged(self) -> None:
        """Remove damaged inboxes of which all that is whole was taken in."""

    def close(self) -> None:
        """Close what is open."""


class Store:
    """The store at *url*: ``sqlite:///`` and a shop's folder, or ``postgresql://`` and a database.

    With PostgreSQL the web half keeps facts in the folder *spool* while the database is away.
    What is about people is sealed with *seal*. Everything is opened when it is asked for, so a web
    worker never writes the book.
    """

    def __init__(
        self, url: str, spool: Path = Path("checkout-proxy-spool"), seal: Seal = PLAIN
    ) -> None:
        self._engine = _engine(url, spool, seal)
        self.place = self._engine.place
        """What to call the store before people: it has no password in it."""
        self.folder = self._engine.folder
        """Where this machine's own files lie."""

    @classmethod
    def of(
        cls, shop: str, url: str, spool: Path = Path("checkout-proxy-spool"), seal: Seal = PLAIN
    ) -> "Store":
        """Return the store of *shop* at *url*, or raise :exc:`Misconfigured`.

        With SQLite that is a folder of its own, also where there is but one shop: nothing has to
        move when a second comes. A database keeps all shops, apart by their names.
        """
        if url.startswith(_SQLITE):
            check_is_of_folders(Path(url.removeprefix(_SQLITE)))
            url = f"{url.rstrip('/')}/{shop}"
        return cls(url, spool, seal)

    def prepare(self) -> None:
        """Make the folder, or raise :exc:`Misconfigured` where nothing can be written in it."""
        self._engine.prepare()

    def inbox(self) -> Inbox:
        """Return an inbox that is this process' own, with nothing between it and the store."""
        return self._engine.inbox()

    def web_inbox(self) -> Inbox:
        """Return an inbox that is this web worker's own, and tend to it until it is closed."""
        return self._engine.web_inbox()

    def inboxes(self, shop: str) -> Inboxes:
        """Return the inboxes of *shop*."""
        return self._engine.inboxes(shop)

    def book(self) -> "Reader":
        """Return the book of checkouts, to look into; :meth:`migrate` must have made it."""
        return self._engine.book()

    @contextmanager
    def account(
        self, shop: str, stop: threading.Event, *, was_away: bool = False
    ) -> Iterator["Book | None"]:
        """Hold *shop*'s account, and yield its book, migrated; ``None`` where *stop* came first.

        There is one holder at a time. One that may no longer be it gets :exc:`AccountLost`. After
        the store *was_away*, web halves are given a moment to bring what they kept meanwhile.
        """
        said = ""
        while not stop.is_set():
            why_not = f"another sender is at work on {self.place}"
            with ExitStack() as stack:
                try:
                    book = stack.enter_context(self._engine.held(shop))
                except StoreAway as error:
                    book, why_not, was_away = None, str(error), True
                if book is not None:
                    if was_away:
                        stop.wait(_SHIPPING_SECONDS)
                    yield book
                    return
            if why_not != said:
                logger.warning("%s; waiting until that is over", why_not)
                said = why_not
            stop.wait(_POLL_SECONDS)
        yield None

    def has_sender(self, shop: str) -> bool:
        """Tell whether somebody holds *shop*'s account just now, or raise :exc:`StoreAway`."""
        return self._engine.has_sender(shop)

    @property
    def exists(self) -> bool:
        """Whether a sender has made its tables here: half of them are none yet."""
        return self._engine.exists

    @property
    def owner(self) -> int | None:
        """The user to whom the files belong, and who alone can read what is written beside them.

        ``None`` where a database keeps all, or where nothing is kept yet.
        """
        return self._engine.owner

    @property
    def damaged(self) -> list[Path]:
        """The inboxes that were set aside as damaged and still lie on this machine."""
        files = [*self.folder.glob("*.corrupt-*"), *self.folder.glob("*.salvaged-*")]
        return sorted(path for path in files if not path.name.endswith("-wal"))

    def migrate(self) -> None:
        """Bring the book's tables up to date."""
        self._engine.migrate()


def _engine(url: str, spool: Path, seal: Seal) -> "SqliteStore | PostgresStore":
    if url.startswith(_SQLITE):
        return SqliteStore(Path(url.removeprefix(_SQLITE)), seal)
    # Only here: psycopg is an extra.
    from proxy.store.postgres import PostgresStore

    return PostgresStore(url, spool, seal)
