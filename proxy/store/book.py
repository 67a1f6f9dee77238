"""Book: what the sender has taken in and decided, written by it alone, read by anybody."""

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from functools import partial
from itertools import chain, starmap
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import DataError, IntegrityError

from proxy import decisions, tallies
from proxy.alarms import News, State
from proxy.checkouts import LONGEST_WAIT, Checkout, Rules, Status
from proxy.crowds import Crowd
from proxy.outcomes import given_up_waiting, refused
from proxy.setbacks import INBOXES_APART, brought_back
from proxy.standing import Standing
from proxy.store import crowding, log, retention, rows, schema
from proxy.store.folding import Folding
from proxy.store.reader import Attempt, Reader
from proxy.store.received import Received, unsealed
from proxy.store.resealing import Resealing
from proxy.store.rows import CartKey, cart_key
from proxy.tallies import EVER, Count, Sight, Tally, What

logger = logging.getLogger(__name__)

CheckoutKey = tuple[str, datetime]


def checkout_key(checkout: Checkout) -> CheckoutKey:
    """Return what tells *checkout* from the others of its shop."""
    return checkout.cart_id, checkout.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What attempts did to a checkout, told as a function of how the checkout stands by then."""

    checkout: Checkout
    apply: Callable[[Checkout], Checkout]
    attempts: tuple[Attempt, ...] = ()
    event: bytes | None = None
    """What Klaviyo took, without what is about a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """That a sender was at work at *at*, and when Klaviyo said that *revision* is retired."""

    at: datetime
    revision: str
    retires_on: date | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """What an operator asked, as it came in."""

    id: str
    body: bytes


QUESTIONS_KEPT = timedelta(hours=1)


# Those from which something is erased, or removed.
_TOUCHED = ("attempts", "carts", "checkouts", "facts", "inbox", "questions", "sent")


class Book(Reader):
    """The same to be written.

    Who writes it is alone, so what was handed out to be sent is remembered, and need not be read
    again for each thing that becomes of it.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._known: dict[CartKey, list[Checkout]] = {}

    # -- facts --

    def take_in(
        self, received: Sequence[Received], rules: Rules, person_keys: Sequence[bytes] = ()
    ) -> None:
        """Fold *received* into their checkouts, once each, and move the marks, in one commit.

        Who is erased is known by *person_keys* afterwards, the newest last. Raise
        :exc:`StoreSealed`, and leave all as it is, where one is sealed under a lost key.
        """
        self._forget((item.shop, item.cart_id) for item in received)
        opened = unsealed(received, schema.seal_of(self._engine.dialect))
        with self._engine.begin() as connection:
            folding = Folding(connection, opened, rules, person_keys)
            folding.take_in()
            folding.write()
            for shop, before in folding.to_prune.items():
                _put_account(connection, {"shop": shop, "prune_before": before})
        self._forget(folding.carts)
        decisions.tell(folding.steps)

    # -- sending --

    def due(
        self, shop: str, now: datetime, limit: int, *, without: Collection[CheckoutKey] = ()
    ) -> list[Checkout]:
        """Return at most *limit* checkouts of *shop* that may go by *now*, longest due first.

        Those *without* which the caller can do, say because it has them in hand, are left out.
        """
        with self._engine.connect() as connection:
            is_due = schema.checkouts.c.due_at <= now
            keys = _pending(connection, shop, is_due, limit + len(without))
            keys = [key for key in keys if key not in without][:limit]
            loaded = rows.loaded(connection, {(shop, cart_id) for cart_id, _ in keys})
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update(loaded)
        return _picked(loaded, keys)

    def crowded(self, shop: str, due: Sequence[Checkout], crowd: Crowd) -> dict[CheckoutKey, str]:
        """Return which of *due* came among more of *crowd* than are believed, and why."""
        found: dict[CheckoutKey, str] = {}
        with self._engine.connect() as connection:
            for limit in crowd.limits():
                doubted = [each for each in due if not (each.released or each.is_bound)]
                for checkout in crowding.crowded(connection, shop, doubted, limit):
                    found.setdefault(checkout_key(checkout), limit.reason)
        return found

    def bring_back(self, shop: str, now: datetime) -> None:
        """Make due what is due later than anything waits: a clock that was ahead said so.

        It was said before all that is on its way into the book.
        """
        with self._engine.begin() as connection:
            is_ahead = schema.checkouts.c.due_at > now + LONGEST_WAIT
            keys = _pending(connection, shop, is_ahead, _AT_ONCE)
            if keys:
                carts = {(shop, cart_id) for cart_id, _ in keys}
                self._forget(carts)
                ahead = _picked(rows.loaded(connection, carts), keys)
                rows.save(connection, [brought_back(each, now - INBOXES_APART) for each in ahead])

    def change(
        self, shop: str, changes: Sequence[Change], now: datetime, more: Iterable[Count] = ()
    ) -> list[Checkout]:
        """Apply *changes* to *shop*'s checkouts as they stand, in one commit; return them after it.

        What that comes to is counted as of *now*, and *more* with it.
        """
        carts = {cart_key(change.checkout) for change in changes}
        known = {key: self._known[key] for key in carts if key in self._known}
        self._forget(carts)
        with self._engine.begin() as connection:
            before = known | rows.loaded(connection, carts - known.keys())
            after = {key: list(checkouts) for key, checkouts in before.items()}
            changed = [_apply(after, change) for change in changes]
            each = (zip(before[key], after[key], strict=True) for key in carts)
            pairs = list(chain.from_iterable(each))
            rows.update_changed(connection, pairs)
            rows.erase_closed(connection, after)
            rows.add_up(connection, shop, _counted(changes, pairs, now, more))
            events = [row for change in changes for row in _event_rows(change)]
            if events:
                connection.execute(rows.replacing(schema.sent, connection), events)
            attempts = [row for change in changes for row in _attempt_rows(change)]
            if attempts:
                connection.execute(insert(schema.attempts), attempts)
        decisions.tell(pairs)
        self._known.update((key, of) for key, of in after.items() if not rows.is_closed(of))
        return changed

    def change_what_goes(
        self, shop: str, changes: Sequence[Change], now: datetime, more: Iterable[Count] = ()
    ) -> None:
        """Do the same as :meth:`change`; what the database refuses to keep holds up no other.

        It is kept without the attempts, or else given up. Others' words are in it, and nobody
        foresees all that a database refuses.
        """
        counts = list(more)
        try:
            self.change(shop, changes, now, counts)
        except _REFUSED:
            self.change(shop, [], now, counts)
            for change in changes:
                self._change_somehow(shop, change, now)

    def _change_somehow(self, shop: str, change: Change, now: datetime) -> None:
        told = replace(change, attempts=(), event=None)
        for each in (change, told, replace(told, apply=_given_up)):
            try:
                self.change(shop, [each], now)
            except _REFUSED as error:
                kind = type(error.orig).__name__
                logger.error("%s: the book refuses a change (%s)", change.checkout.unique_id, kind)
            else:
                return

    def _forget(self, carts: Iterable[CartKey]) -> None:
        for key in carts:
            self._known.pop(key, None)

    # -- what is not to be kept --

    def give_up_waiting(self, shop: str, now: datetime, rules: Rules) -> int:
        """Close some of those who said nothing more for an epoch; return how many."""
        with self._engine.connect() as connection:
            keys = retention.waiting(connection, shop, now - rules.epoch)
            loaded = rows.loaded(connection, {(shop, cart_id) for cart_id, _ in keys})
        apply = partial(given_up_waiting, now=now, rules=rules)
        changes = [Change(checkout=each, apply=apply) for each in _picked(loaded, keys)]
        if changes:
            self.change(shop, changes, now)
        return len(changes)

    def prune(self, shop: str, before: datetime, now: datetime) -> bool:
        """Remove some of what was *before*, or before what was asked; return if more may be."""
        asked = self.prune_before(shop)
        before = max(before, min(asked or before, now))
        with self._engine.begin() as connection:
            gone = retention.prune(connection, shop, before)
            if not gone and asked is not None:
                _put_account(connection, {"shop": shop, "prune_before": None})
        bite = self._oldest_bite(shop, before)
        if bite is not None:
            with self._engine.begin() as connection:
                gone += connection.execute(delete(schema.tallies).where(bite)).rowcount
        return gone > 0

    def empty_log(self) -> bool:
        """Empty the write-ahead log, where there is one of ours; return whether it is empty."""
        if self._engine.dialect.name != "sqlite":
            return True
        with closing(self._engine.raw_connection()) as connection:
            return log.emptied(cast(sqlite3.Connection, connection.driver_connection))

    def vacuum(self) -> None:
        """Let PostgreSQL clear away dead rows of what was erased, which it does late by itself."""
        if self._engine.dialect.name != "postgresql":
            return
        with self._engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            # A table that is in use waits for PostgreSQL's own round.
            alone.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {', '.join(_TOUCHED)}")

    def set_standing(self, shop: str, standing: Standing) -> None:
        """Write down whether *shop*'s account may be sent to."""
        with self._engine.begin() as connection:
            _put_account(connection, {"shop": shop, **asdict(standing)})

    def keep_locks(self, shop: str, locks: Sequence[tuple[int, bytes]]) -> None:
        """Keep *locks*, and no others, on the keys that *shop*'s addresses are hashed with."""
        table = schema.locks
        rows = [
            {"shop": shop, "place": place, "number": number, "lock": lock}
            for place, (number, lock) in enumerate(locks)
        ]
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.shop == shop))
            connection.execute(insert(table), rows)

    # -- what Klaviyo has --

    def looked_for(self, shop: str, cart_id: str, sight: Sight, words: str, now: datetime) -> None:
        """Count what was seen of an event of *cart_id*'s in Klaviyo, in one commit with its story.

        Without *words* the story has nothing of it.
        """
        tally = Tally()
        tally.add(now, [Count(What.AUDITED, sight)])
        with self._engine.begin() as connection:
            rows.add_up(connection, shop, tally)
            if words:
                seen = {"kind": "looked for", "received_at": now, "decision": words}
                about = {"shop": shop, "cart_id": cart_id, "id": uuid4().hex}
                connection.execute(insert(schema.facts), [about | seen])

    def resealing(self, shop: str) -> Resealing:
        """Return what brings all that the book says of *shop* under the newest key."""
        return Resealing(self._engine, shop)

    # -- questions --

    def questions(self, shop: str, limit: int) -> list[Question]:
        """Return at most *limit* of the questions that nobody has answered, oldest first."""
        table = schema.questions
        query = (
            select(table.c.id, table.c.body)
            .where(table.c.shop == shop, table.c.body.is_not(None))
            .order_by(table.c.asked_at)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [Question(*row) for row in connection.execute(query)]

    def put_answer(self, shop: str, question_id: str, answer: bytes, now: datetime) -> None:
        """Write down the *answer* to a question, and erase what was asked."""
        table = schema.questions
        which = (table.c.shop == shop) & (table.c.id == question_id)
        answered = {"answer": answer, "answered_at": now, "body": None}
        with self._engine.begin() as connection:
            connection.execute(update(table).where(which).values(answered))

    def forget_questions(self, shop: str, now: datetime) -> None:
        """Erase the questions that were asked more than an hour ago, and their answers."""
        table = schema.questions
        # What seems to come from the future was asked under a clock that was set back since.
        is_over = (table.c.asked_at < now - QUESTIONS_KEPT) | (
            table.c.asked_at > now + QUESTIONS_KEPT
        )
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.shop == shop, is_over))

    # -- alarms --

    def note(self, shop: str, seen: Seen, news: Sequence[News], *, to_tell: bool) -> None:
        """Write down that *shop* was looked after, and what is new about alarms, in one commit.

        Where it is *to_tell*, somebody is going to tell what :meth:`untold` returns. What is over
        for a week is forgotten.
        """
        account = {"seen_at": seen.at, "revision": seen.revision, "retires_on": seen.retires_on}
        with self._engine.begin() as connection:
            _put_account(connection, {"shop": shop, **account})
            for each in news:
                _put_alarm(connection, shop, each, seen.at)
            if news and to_tell:
                notices = [_notice_row(shop, each, seen.at) for each in news]
                connection.execute(insert(schema.notices), notices)
            _forget_alarms(connection, shop, seen.at - _ALARMS_KEPT)

    def told(self, shop: str, ids: Collection[str], now: datetime) -> None:
        """Write down that the notices with *ids* were told."""
        table = schema.notices
        ours = (table.c.shop == shop) & table.c.id.in_(ids)
        with self._engine.begin() as connection:
            connection.execute(update(table).where(ours).values(told_at=now))

    def tidy(self, shop: str, now: datetime) -> None:
        """Remove one hour of what was counted more than eight days ago, where there is one.

        What was ever counted stays. Of ended sessions those are forgotten that are over by now.
        """
        ends = schema.sign_outs.c
        over = (ends.shop == shop) & (ends.session != "") & (ends.at < now - _SIGN_OUTS_KEPT)
        with self._engine.begin() as connection:
            connection.execute(delete(schema.sign_outs).where(over))
        bite = self._oldest_bite(shop, now - _TALLIES_KEPT)
        if bite is not None:
            with self._engine.begin() as connection:
                connection.execute(delete(schema.tallies).where(bite))

    def _oldest_bite(self, shop: str, before: datetime) -> Any:
        """Return the condition for the oldest hour, where all of it is *before* that."""
        table = schema.tallies
        ours = (table.c.shop == shop) & (table.c.minute > EVER)
        query = select(table.c.minute).where(ours).order_by(table.c.minute).limit(1)
        with self._engine.connect() as connection:
            oldest = connection.execute(query).scalar()
        if oldest is None or oldest + _BITE > before:
            return None
        return ours & (table.c.minute < oldest + _BITE)


_TALLIES_KEPT = timedelta(days=8)
_ALARMS_KEPT = timedelta(days=7)
# Twice as long as a session lasts.
_SIGN_OUTS_KEPT = timedelta(days=1)
_BITE = timedelta(hours=1)


def _put_account(connection: Connection, row: Mapping[str, Any]) -> None:
    """Write down what *row* says of an account, and leave the rest as it is."""
    putting = rows.replacing(schema.accounts, connection, row.keys())
    connection.execute(putting, [{"reason": "", "stopped": False, **row}])


def _forget_alarms(connection: Connection, shop: str, before: datetime) -> None:
    alarms, notices = schema.alarms, schema.notices
    for table, over_at in ((alarms, alarms.c.cleared_at), (notices, notices.c.at)):
        connection.execute(delete(table).where(table.c.shop == shop, over_at < before))


def _put_alarm(connection: Connection, shop: str, news: News, now: datetime) -> None:
    table, alarm = schema.alarms, news.alarm
    stands = (table.c.shop == shop) & (table.c.name == alarm.name) & table.c.cleared_at.is_(None)
    if news.state is State.CLEARED:
        connection.execute(update(table).where(stands).values(cleared_at=now))
        return
    said = {"words": alarm.words, "remedy": alarm.remedy, "grade": alarm.grade, "said_at": now}
    if not connection.execute(update(table).where(stands).values(said)).rowcount:
        row = {"shop": shop, "name": alarm.name, "raised_at": now, **said}
        connection.execute(insert(table), [row])


def _notice_row(shop: str, news: News, now: datetime) -> dict[str, Any]:
    alarm = news.alarm
    said = {"words": alarm.words, "remedy": alarm.remedy}
    about = {"shop": shop, "name": alarm.name, "state": news.state, "at": now}
    return {"id": uuid4().hex, **about, **said}


def _pending(connection: Connection, shop: str, which: Any, limit: int) -> list[CheckoutKey]:
    table = schema.checkouts
    query = (
        select(table.c.cart_id, table.c.epoch)
        .where(table.c.shop == shop, table.c.status == Status.PENDING, which)
        .order_by(table.c.due_at)
        .limit(limit)
    )
    return [(row.cart_id, row.epoch) for row in connection.execute(query)]


def _picked(
    loaded: Mapping[CartKey, Sequence[Checkout]], keys: Iterable[CheckoutKey]
) -> list[Checkout]:
    known = {checkout_key(each): each for of in loaded.values() for each in of}
    return [known[key] for key in keys]


_REFUSED = (DataError, IntegrityError)
_given_up = partial(refused, reason="what became of it cannot be written down; the log has it")

_AT_ONCE = 100
_MOST_KNOWN = 10_000
_ATTEMPT = [field.name for field in fields(Attempt)]


def _apply(standing: dict[CartKey, list[Checkout]], change: Change) -> Checkout:
    """Return the checkout that *change* is about after it, and put it among those *standing*."""
    checkouts = standing[cart_key(change.checkout)]
    place = next(n for n, each in enumerate(checkouts) if each.epoch == change.checkout.epoch)
    checkouts[place] = change.apply(checkouts[place])
    return checkouts[place]


def _counted(
    changes: Sequence[Change],
    pairs: Iterable[tuple[Checkout, Checkout]],
    now: datetime,
    more: Iterable[Count],
) -> Tally:
    tally = Tally()
    tally.add(now, more)
    tally.add(now, chain.from_iterable(starmap(tallies.of_step, pairs)))
    for attempt in chain.from_iterable(change.attempts for change in changes):
        tally.add(attempt.at, tallies.of_answer(attempt.status))
    return tally


def _event_rows(change: Change) -> Iterator[dict[str, Any]]:
    if change.event is not None:
        about = change.checkout
        row = {"shop": about.shop, "cart_id": about.cart_id, "epoch": about.epoch}
        yield row | {"event": change.event}


def _attempt_rows(change: Change) -> Iterator[dict[str, Any]]:
    about = change.checkout
    row = {"shop": about.shop, "cart_id": about.cart_id, "epoch": about.epoch}
    for attempt in change.attempts:
        yield row | {name: getattr(attempt, name) for name in _ATTEMPT}
