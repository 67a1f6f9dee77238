"""Watch: looks at the signs now and then, and raises and clears alarms in the book."""

import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

from proxy import alarms, tallies
from proxy.alarms import Alarm, Name, News, RaisedAlarm, Signs, State
from proxy.audit import Audit
from proxy.enrich import NotReady, Ready
from proxy.klaviyo import Verdict
from proxy.post import Posted
from proxy.standing import Standing
from proxy.store.book import Book, Seen
from proxy.tallies import Sight, What
from proxy.telling import Telling
from proxy.webhook import Webhook

logger = logging.getLogger(__name__)

_EVERY = timedelta(seconds=15)
# Longer ago than that, no dead letter is news any more.
_NEWS = 2 * alarms.AGAIN_AFTER
_A_DAY = timedelta(days=1)
_AN_HOUR = timedelta(hours=1)


class Watch:
    """Watch over *shop*'s account, which *book* is about, and the disk that *folder* is on.

    *revision* is that of Klaviyo's API. With *flat_after* at zero nobody minds that no states come.
    What it finds out is told once: in the log, in the book and to *webhook*, if there is one. Where
    there is an *audit*, it is kept going.
    """

    def __init__(
        self,
        shop: str,
        book: Book,
        *,
        folder: Path,
        revision: str,
        flat_after: timedelta,
        webhook: Webhook | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._shop = shop
        self._book = book
        self._folder = folder
        self._revision = revision
        self._flat_after = flat_after
        self._telling = None if webhook is None else Telling(webhook, book, shop)
        self._audit = audit
        self._retires_on = book.retires_on(shop, revision)
        self._seen_at = book.seen_at(shop)
        self._began_at: datetime | None = None
        self._looked_at: datetime | None = None
        self._key_works = False
        self._source_refused = ""
        self._source_refused_at: datetime | None = None
        self._source_answered_at: datetime | None = None

    def hear_answer(self, posted: Posted, now: datetime) -> None:
        """Hear what Klaviyo said."""
        answer = posted.answer
        if self._audit is not None:
            self._audit.hear(posted, now)
        self._retires_on = answer.retires_on or self._retires_on
        match answer.verdict:
            case Verdict.DELIVERED | Verdict.NEVER:
                self._key_works = True
            case Verdict.ACCOUNT_STOPPED:
                self._key_works = False

    def hear_source(self, enriched: Iterable[Ready | NotReady], now: datetime) -> None:
        """Hear what the source of carts had for some checkouts."""
        for each in enriched:
            if isinstance(each, Ready):
                self._source_answered_at = now
            elif each.refusal:
                self._source_refused, self._source_refused_at = each.refusal, now

    def look(self, now: datetime, standing: Standing, *, unread: bool) -> None:
        """Look at the signs, if it is time for that; *unread* says that an inbox cannot be read."""
        # A clock that was set back must not end the watch.
        if self._looked_at is not None and abs(now - self._looked_at) < _EVERY:
            return
        self._looked_at = now
        self._began_at = self._began_at or now
        if self._audit is not None:
            self._audit.go_on(now)
        known = [alarm for alarm in self._book.alarms(self._shop) if alarm.cleared_at is None]
        there = alarms.alarms(self._signs(now, known, standing, unread=unread))
        self._write(alarms.news(known, there, now), now)
        if self._telling is not None:
            self._telling.go_on(now)
        self._book.tidy(self._shop, now)

    def finish(self, now: datetime) -> None:
        """Write down what the webhook took in the end."""
        if self._telling is not None:
            self._telling.note(now)

    def close(self) -> None:
        """Let go of the threads that tell the webhook and ask Klaviyo."""
        if self._telling is not None:
            self._telling.close()
        if self._audit is not None:
            self._audit.close()

    def _write(self, news: list[News], now: datetime) -> None:
        seen = Seen(at=now, revision=self._revision, retires_on=self._retires_on)
        self._book.note(self._shop, seen, news, to_tell=self._telling is not None)
        self._seen_at = now
        for each in news:
            _log(self._shop, each)

    # -- the signs --

    def _signs(
        self, now: datetime, known: list[RaisedAlarm], standing: Standing, *, unread: bool
    ) -> Signs:
        dead, died_ever, why_dead = self._dead(now, known)
        states_came, shop_heard = self._heard(now)
        free, size = _space(self._folder)
        arrived, missing = self._looked_for(now)
        return Signs(
            now=now,
            standing={alarm.name: alarm.grade for alarm in known},
            dead=dead,
            died_ever=died_ever,
            why_dead=why_dead,
            flat_after=self._flat_after,
            states_came=states_came,
            shop_heard=shop_heard,
            revision=date.fromisoformat(self._revision),
            retires_on=self._retires_on,
            key_refused=tallies.why(standing.reason) if standing.stopped else "",
            key_works=self._key_works,
            source_refused=tallies.why(self._source_refused),
            source_refused_at=self._source_refused_at,
            source_answered_at=self._source_answered_at,
            free=free,
            size=size,
            at_work=now - (self._began_at or now),
            oldest_due=self._book.oldest_due(self._shop),
            held_up=_held_up(standing, now, unread=unread),
            looked_for=arrived + missing,
            missing=missing,
            last_missing="" if self._audit is None else self._audit.last_missing,
            kept_back=self._book.by_detail(self._shop, What.QUARANTINED, now - _AN_HOUR, now),
        )

    def _dead(self, now: datetime, known: list[RaisedAlarm]) -> tuple[int, int, str]:
        """Return how many dead letters lie there, how many ever died, and of what the last did."""
        dead = self._book.dead_letters(self._shop)
        if not dead:
            return 0, 0, ""
        said_at = {alarm.name: alarm.said_at for alarm in known}.get(Name.DEAD_LETTERS)
        since = max(said_at or self._seen_at or now - _NEWS, now - _NEWS)
        died_ever = self._book.ever(self._shop, What.DEAD)
        return dead, died_ever, self._book.commonest(self._shop, What.DEAD, since)

    def _heard(self, now: datetime) -> tuple[bool, list[datetime]]:
        """Return whether states came of late, and if not, when carts or sessions did."""
        if not self._flat_after:
            return False, []
        # What came under a clock that was far ahead is not of late: it would count until then.
        minutes = partial(self._book.minutes, self._shop, now - self._flat_after, until=now)
        if minutes([(What.RECEIVED, "state")], limit=1):
            return True, []
        return False, minutes([(What.RECEIVED, "cart"), (What.SESSIONS, None)])

    def _looked_for(self, now: datetime) -> tuple[int, int]:
        """Return how many events Klaviyo was seen to have in the last day, and not to have."""
        if self._audit is None:
            return 0, 0
        seen = self._book.by_detail(self._shop, What.AUDITED, now - _A_DAY, now)
        return seen.get(Sight.ARRIVED, 0), seen.get(Sight.MISSING, 0)


def _held_up(standing: Standing, now: datetime, *, unread: bool) -> str:
    if unread:
        return "an inbox cannot be read, and an order may lie in it"
    return f"sending waits: {tallies.why(standing.reason)}" if standing.waits(now) else ""


def _space(folder: Path) -> tuple[int, int]:
    """Return how many bytes are free where *folder* is, or will be, and how many there are."""
    for place in (folder, *folder.absolute().parents):
        with suppress(OSError):
            usage = shutil.disk_usage(place)
            return usage.free, usage.total
    return 0, 0


def _log(shop: str, news: News) -> None:
    alarm: Alarm = news.alarm
    if news.state is State.RAISED:
        logger.error("%s: alarm: %s: %s (%s)", shop, alarm.name, alarm.words, alarm.remedy)
    else:
        logger.info("%s: the alarm is over: %s", shop, alarm.name)
