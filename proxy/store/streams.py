"""Streams: what came over one connection each, numbered, so that it is seen in order or not yet."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from uuid import uuid4

from proxy.store import days
from proxy.store.database import Connection, Database
from proxy.store.received import Received, in_order

# id, kind, cart id, when it was received, body
Row = tuple[str, str, str, datetime, bytes]


class Stream:
    """Append facts over *connection*, a commit after the other, under numbers of its own.

    Its names are new ones, and end with it. So whatever became of a commit that was not answered,
    no number stands for two facts, and who has read up to a number has read all that is below.
    """

    def __init__(self, connection: Connection, *, delayed: bool = False) -> None:
        self._connection = connection
        self._delayed = delayed
        self._heads: dict[str, tuple[str, int]] = {}

    def append(self, shop: str, rows: Sequence[Row]) -> None:
        """Return once *rows* are committed, or raise :exc:`psycopg.Error`."""
        inbox, head = self._heads.get(shop) or (uuid4().hex, 0)
        ids, kinds, cart_ids, times, bodies = (list(column) for column in zip(*rows, strict=True))
        self._connection.execute(
            _APPEND,
            {
                "shop": shop,
                "inbox": inbox,
                "head": head,
                "count": len(rows),
                "delayed": self._delayed,
                "ids": ids,
                "kinds": kinds,
                "cart_ids": cart_ids,
                "times": times,
                "bodies": bodies,
            },
            binary=True,
        )
        self._heads[shop] = inbox, head + len(rows)


# One statement is one way there and back. Rows and head are one commit, so that a sender who sees
# the head finds the rows.
_APPEND = """
WITH appended AS (
    INSERT INTO inbox (shop, inbox, seq, id, kind, cart_id, received_at, delayed, body)
    SELECT %(shop)s, %(inbox)s, %(head)s::bigint + n, id, kind, cart_id, at, %(delayed)s, body
    FROM unnest(
        %(ids)b::text[], %(kinds)b::text[], %(cart_ids)b::text[],
        %(times)b::timestamptz[], %(bodies)b::bytea[]
    ) WITH ORDINALITY AS fact (id, kind, cart_id, at, body, n)
)
INSERT INTO streams (shop, inbox, head)
VALUES (%(shop)s, %(inbox)s, %(head)s::bigint + %(count)s::bigint)
ON CONFLICT (shop, inbox) DO UPDATE SET head = excluded.head
"""


class Streams:
    """All streams of *shop*, as the sender reads them."""

    def __init__(self, database: Database, shop: str) -> None:
        self._database = database
        self._shop = shop
        self._connection: Connection | None = None

    def after(self, marks: dict[str, int], limit: int) -> list[Received]:
        """Return at most *limit* facts of each stream that lie after its mark, oldest first."""
        with self._database.reached():
            connection = self._connected()
            heads = connection.execute(_HEADS, {"shop": self._shop}).fetchall()
            news = [(s, i, marks.get(i, 0)) for s, i, head in heads if head > marks.get(i, 0)]
            return self._read(connection, news, limit) if news else []

    def _read(
        self, connection: Connection, news: list[tuple[str, str, int]], limit: int
    ) -> list[Received]:
        shops, inboxes, seqs = (list(column) for column in zip(*news, strict=True))
        asked = {"shops": shops, "inboxes": inboxes, "seqs": seqs, "limit": limit}
        received = [_received(row) for row in connection.execute(_READ, asked)]
        each = groupby(received, key=lambda item: item.inbox)
        return in_order([list(items) for _, items in each], limit)

    @property
    def is_complete(self) -> bool:
        """Whether all could be read: PostgreSQL reads all, or raises."""
        return True

    def salvage(
        self, marks: dict[str, int], take_in: Callable[[Sequence[Received]], object]
    ) -> None:
        """Do nothing: what is damaged here is PostgreSQL's to mend."""

    def prune_orphans(self, marks: dict[str, int]) -> None:
        """Drop the days that were taken in, and forget the streams that came to their end."""
        with self._database.reached():
            connection = self._connected()
            days.make_ahead(connection)
            days.drop_finished(connection)
            connection.execute(_FORGET, {"shop": self._shop})

    def tidy(self) -> None:
        """Remove what was taken in: until its day is dropped it would lie there."""
        with self._database.reached():
            self._connected().execute(_REMOVE, {"shop": self._shop})

    def forget_salvaged(self) -> None:
        """Do nothing: what was damaged lies on the machines of web halves."""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return self._connection


_HEADS = "SELECT shop, inbox, head FROM streams WHERE shop = %(shop)s"
_READ = """
SELECT fact.inbox, seq, id, fact.shop, kind, cart_id, received_at, body, delayed
FROM unnest(%(shops)s::text[], %(inboxes)s::text[], %(seqs)s::bigint[]) AS news (shop, inbox, mark)
CROSS JOIN LATERAL (
    SELECT * FROM inbox
    WHERE inbox.shop = news.shop AND inbox.inbox = news.inbox AND seq > mark
    ORDER BY seq LIMIT %(limit)s
) AS fact
ORDER BY fact.inbox, seq
"""
_REMOVE = """
DELETE FROM inbox USING marks
WHERE marks.inbox = inbox.inbox AND inbox.seq <= marks.seq
    AND inbox.shop = %(shop)s
"""
# A stream that moves on at this very moment is left as it is: the row is looked at again under its
# lock. One that moves on later begins where it was, and nothing below is left to be read.
_FORGET = """
WITH ended AS (
    DELETE FROM streams USING marks
    WHERE marks.inbox = streams.inbox AND streams.head <= marks.seq
        AND streams.shop = %(shop)s
        AND NOT EXISTS (
            SELECT FROM inbox WHERE inbox.shop = streams.shop AND inbox.inbox = streams.inbox
        )
    RETURNING streams.inbox
)
DELETE FROM marks USING ended WHERE marks.inbox = ended.inbox
"""


def _received(row: tuple[str, int, str, str, str, str, datetime, bytes, bool]) -> Received:
    inbox, seq, fact_id, shop, kind, cart_id, at, body, delayed = row
    return Received(
        inbox=inbox,
        seq=seq,
        id=fact_id,
        shop=shop,
        kind=kind,
        cart_id=cart_id,
        received_at=at,
        body=body,
        delayed=delayed,
    )
