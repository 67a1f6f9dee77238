"""Remote inbox: what a web worker's threads bring goes to PostgreSQL, all that gathered at once."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import groupby
from operator import attrgetter
from queue import Empty, SimpleQueue

from proxy import facts
from proxy.errors import Unavailable
from proxy.facts import Fact
from proxy.store.database import Connection, Database, Line, words
from proxy.store.group_commit import PATIENCE
from proxy.store.seal import PLAIN, Seal
from proxy.store.streams import Row, Stream

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_MAX_GATHERED = 1000


class RemoteInbox:
    """Append facts to *database* from many threads, through one thread and its connection.

    A thread waits for its fact at most as long as for a disk. After the first that waited in vain
    all are told at once that the database is away, until it was connected to anew.
    """

    def __init__(self, database: Database, seal: Seal = PLAIN) -> None:
        self._seal = seal
        self._database = database
        self._closed = threading.Event()
        self._lost = False
        self._post: _Post | None = _Post()  # open at once: the first may wait for the connection
        self._thread = threading.Thread(target=self._run, args=(self._post,), daemon=True)
        self._thread.start()

    def append(self, fact: Fact) -> None:
        """Return once *fact* is committed, or raise :exc:`Unavailable`: it is not known to be."""
        body = self._seal.sealed(facts.encode(fact))
        row = fact.id, facts.kind(fact), fact.cart_id, fact.received_at, body
        self._hand_over(_Entry(fact.shop, row))

    def probe(self) -> None:
        """Return once the database has answered, or raise :exc:`Unavailable`."""
        self._hand_over(_Entry("", None))

    def close(self) -> None:
        """Write what was handed over and take nothing more; a second time does nothing."""
        self._closed.set()
        post, self._post = self._post, None
        if post is not None:
            post.end()
        self._thread.join(PATIENCE.total_seconds())

    def _hand_over(self, entry: "_Entry") -> None:
        post = self._post
        if post is None:
            raise Unavailable(f"{self._database.place} is away.")
        if not post.write(entry):
            # It may be written yet, or twice: facts are known by their ids.
            post.cut()
            self._give_up(post)
            raise Unavailable(f"{self._database.place} does not answer.")
        if entry.error is not None:
            raise Unavailable(f"{self._database.place} cannot write.") from entry.error

    def _give_up(self, post: "_Post") -> None:
        if self._post is post:
            self._post = None

    # -- the one thread ------------------------------------------------------------------

    def _run(self, post: "_Post") -> None:
        while not self._closed.is_set():
            try:
                with closing(self._database.connect()) as connection:
                    self._serve(post, connection)
            except Exception as error:
                # Whatever it is, all who wait must hear of it, and the next connection is tried.
                self._note_loss(error)
            self._give_up(post)
            post.fail()
            self._closed.wait(_RETRY_SECONDS)
            post = _Post()

    def _serve(self, post: "_Post", connection: Connection) -> None:
        connection.execute(_IS_MIGRATED)
        with closing(Line(connection)) as post.line:
            self._note_return()
            if not self._closed.is_set():
                self._post = post
            stream = Stream(connection)
            for entries in post.gathered():
                _write(connection, stream, entries)

    def _note_loss(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            logger.error("facts cannot be written to the database: %s", words(error))

    def _note_return(self) -> None:
        if self._lost:
            self._lost = False
            logger.info("facts are written to %s again", self._database.place)


_IS_MIGRATED = "SELECT FROM inbox, streams LIMIT 0"


def _write(connection: Connection, stream: Stream, entries: "Sequence[_Entry]") -> None:
    try:
        for shop, ours in groupby(sorted(entries, key=_shop), key=_shop):
            if rows := [entry.row for entry in ours if entry.row is not None]:
                stream.append(shop, rows)
            else:
                connection.execute("SELECT")
    except Exception as error:
        for entry in entries:
            entry.error = error
        raise
    finally:
        for entry in entries:
            entry.done.release()


class _Post:
    """Where entries are left for the writer while one connection lives."""

    def __init__(self) -> None:
        self.line: Line | None = None
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()

    def write(self, entry: "_Entry") -> bool:
        """Leave *entry* and wait for it; return whether it was answered in time."""
        self._queue.put(entry)
        return entry.done.acquire(timeout=PATIENCE.total_seconds())

    def gathered(self) -> "Iterator[list[_Entry]]":
        """Yield all that has gathered whenever there is something, until the end."""
        while (first := self._queue.get()) is not None:
            entries = [first]
            with suppress(Empty):
                while len(entries) < _MAX_GATHERED:
                    entry = self._queue.get_nowait()
                    if entry is None:
                        self._queue.put(None)
                        break
                    entries.append(entry)
            yield entries

    def end(self) -> None:
        """Let the writer end after what was left by now."""
        self._queue.put(None)

    def cut(self) -> None:
        """Let the writer end, also where it waits for the database."""
        self.end()
        if self.line is not None:
            self.line.cut()

    def fail(self) -> None:
        """Tell all who wait in vain."""
        with suppress(Empty):
            while True:
                if entry := self._queue.get_nowait():
                    entry.error = ConnectionError("the connection ended")
                    entry.done.release()


class _Entry:
    __slots__ = ("done", "error", "row", "shop")

    def __init__(self, shop: str, row: Row | None) -> None:
        self.shop = shop
        self.row = row
        self.error: Exception | None = None
        self.done = threading.Lock()
        self.done.acquire()


_shop = attrgetter("shop")
