"""Spool: a remote inbox with a local one behind it, which is shipped when the database is back."""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg

from proxy.errors import StoreAway, Unavailable
from proxy.facts import Fact
from proxy.store.database import Database, words
from proxy.store.inbox import Inbox
from proxy.store.received import Received
from proxy.store.remote_inbox import RemoteInbox
from proxy.store.seal import PLAIN, Seal
from proxy.store.streams import Stream

logger = logging.getLogger(__name__)

_SHIP_SECONDS = 1.0
_BATCH = 500


class Spool:
    """Append facts to *remote*, or to a local inbox in *folder* while that is away."""

    def __init__(
        self, remote: RemoteInbox, folder: Path, database: Database, seal: Seal = PLAIN
    ) -> None:
        self._remote = remote
        self._local = Inbox.in_free_slot(folder, seal)
        self._shipping = Shipping(self._local, folder, database)

    def append(self, fact: Fact) -> None:
        """Return once *fact* is in the database or on the disk, or raise :exc:`Unavailable`."""
        try:
            self._remote.append(fact)
        except Unavailable:
            self._local.append(fact)

    def probe(self) -> None:
        """Return once one of the two could have kept a fact, or raise :exc:`Unavailable`."""
        try:
            self._remote.probe()
        except Unavailable:
            self._local.probe()

    def close(self) -> None:
        """Take nothing more, and leave what is not shipped to the next; twice does no harm."""
        self._remote.close()
        self._shipping.stop()
        self._local.close()


class Shipping:
    """A thread that brings to *database* what lies in *local*, and what the dead left in *folder*.

    What was brought and not removed before a crash is brought again: facts are known by their ids.
    """

    def __init__(self, local: Inbox, folder: Path, database: Database) -> None:
        self._local = local
        self._folder = folder
        self._database = database
        self._stopped = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopped.set()
        self._thread.join(_SHIP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(_SHIP_SECONDS):
            try:
                self._ship_all()
                self._trouble = ""
            except (StoreAway, psycopg.Error, Unavailable, sqlite3.Error, OSError) as error:
                self._say(f"facts in {self._folder} cannot be shipped: {words(error)}")

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:  # once, and not every second
            logger.warning("%s", trouble)
            self._trouble = trouble

    def _ship_all(self) -> None:
        self._ship(self._local)
        for path in sorted(self._folder.glob("inbox-*.db")):
            if orphan := Inbox.unless_held(path):
                with closing(orphan):
                    self._ship(orphan)

    def _ship(self, inbox: Inbox) -> None:
        if not inbox.oldest(1):
            return
        shipped = 0
        with closing(self._database.connect()) as connection:
            stream = Stream(connection, delayed=True)
            while not self._stopped.is_set() and (batch := inbox.oldest(_BATCH)):
                _append(stream, batch)
                inbox.prune({batch[-1].inbox: batch[-1].seq})
                shipped += len(batch)
        logger.info("%d facts were shipped from %s to the database", shipped, self._folder)


def _append(stream: Stream, batch: list[Received]) -> None:
    for shop in {item.shop for item in batch}:
        ours = [item for item in batch if item.shop == shop]
        stream.append(
            shop, [(item.id, item.kind, item.cart_id, item.received_at, item.body) for item in ours]
        )
