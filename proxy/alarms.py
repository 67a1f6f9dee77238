"""Alarms: what somebody must look at, as pure functions from the signs that were seen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from proxy import revision
from proxy.revision import Stage


class Name(StrEnum):
    """What there are alarms about."""

    DEAD_LETTERS = "dead letters"
    FLAT_LINE = "flat line"
    RETIREMENT_NEAR = "retirement near"
    KEY_REFUSED = "key refused"
    SOURCE_REFUSED = "source refused"
    DISK_NEARLY_FULL = "disk nearly full"
    BACKLOG = "backlog"
    EVENTS_MISSING = "events missing"
    KEPT_BACK = "kept back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that is wrong, in words, and what to do about it.

    Where its *grade* is another than when it was told last, it is told anew.
    """

    name: Name
    words: str
    remedy: str
    grade: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RaisedAlarm(Alarm):
    """An alarm as the book has it; it stands as long as it is not cleared.

    ``said_at`` is when it was told last.
    """

    raised_at: datetime
    said_at: datetime
    cleared_at: datetime | None = None


class State(StrEnum):
    """What happened to an alarm."""

    RAISED = "raised"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """That an alarm was raised or cleared."""

    alarm: Alarm
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """News as they are told to others: *id* is the same however often they are."""

    id: str
    shop: str
    name: Name
    state: State
    words: str
    remedy: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What was seen at one moment.

    ``standing`` has the alarms that stand, with the grade that was told. What is not known, say
    because nothing was sent since the start, raises no alarm and clears none.
    """

    now: datetime
    standing: Mapping[Name, int] = field(default_factory=dict)

    dead: int = 0
    died_ever: int = 0
    why_dead: str = ""
    """What most of those that were not told yet have died of."""

    flat_after: timedelta = timedelta(0)
    """For how long no state must come while the shop is heard, or zero: that is not looked at."""
    states_came: bool = False
    shop_heard: Sequence[datetime] = ()
    """When carts or sessions came in the last ``flat_after``."""

    revision: date | None = None
    retires_on: date | None = None
    """What Klaviyo said of that, where it did."""

    key_refused: str = ""
    key_works: bool = False

    source_refused: str = ""
    source_refused_at: datetime | None = None
    source_answered_at: datetime | None = None

    free: int = 0
    size: int = 0
    """Of the disk that the store is on, in bytes; zero where that is not known."""

    at_work: timedelta = timedelta(0)
    oldest_due: datetime | None = None
    held_up: str = ""

    looked_for: int = 0
    """How many events of which it is known whether Klaviyo has them, in the last day."""
    missing: int = 0
    last_missing: str = ""
    """The unique_id of the last one that it had not, where that is remembered."""

    kept_back: Mapping[str, int] = field(default_factory=dict)
    """How many checkouts came into quarantine in the last hour, by reason."""


def alarms(signs: Signs) -> list[Alarm]:
    """Return the alarms that *signs* call for, one of a name at most."""
    return [alarm for rule in _RULES if (alarm := rule(signs)) is not None]


def news(known: Iterable[RaisedAlarm], there: Sequence[Alarm], now: datetime) -> list[News]:
    """Return what is new about the alarms that are *there* to those that are *known* to stand."""
    standing = {alarm.name: alarm for alarm in known}
    raised = [alarm for alarm in there if _is_news(alarm, standing.get(alarm.name), now)]
    names = {alarm.name for alarm in there}
    cleared = [alarm for alarm in standing.values() if alarm.name not in names]
    return [
        *(News(alarm=alarm, state=State.RAISED) for alarm in raised),
        *(News(alarm=alarm, state=State.CLEARED) for alarm in cleared),
    ]


def _is_news(alarm: Alarm, known: RaisedAlarm | None, now: datetime) -> bool:
    if known is None:
        return True
    # Dead letters may come by the minute, and who is told of each stops reading.
    return alarm.grade != known.grade and abs(now - known.said_at) >= AGAIN_AFTER


AGAIN_AFTER = timedelta(hours=1)


# -- the rules ---------------------------------------------------------------------------


def _dead_letters(signs: Signs) -> Alarm | None:
    if not signs.dead:
        return None
    told = signs.standing.get(Name.DEAD_LETTERS, signs.died_ever - signs.dead)
    most = f", most of them: {signs.why_dead}" if signs.why_dead else ""
    new = signs.died_ever - told
    return Alarm(
        name=Name.DEAD_LETTERS,
        words=f"{new} new dead letter{'' if new == 1 else 's'}{most}; {signs.dead} in all",
        remedy="checkout-proxy dead lists them by reason; mend the cause, then checkout-proxy "
        "replay sends them again",
        grade=signs.died_ever,
    )


def _flat_line(signs: Signs) -> Alarm | None:
    stands = Name.FLAT_LINE in signs.standing
    if not signs.flat_after or signs.states_came or not (stands or _is_lively(signs)):
        return None
    hours = signs.flat_after / timedelta(hours=1)
    return Alarm(
        name=Name.FLAT_LINE,
        words=f"the shop is at work, and no page has posted a state for {hours:.3g} hours",
        remedy="is the tag on the page of the checkout, with a token? data-debug on it tells the "
        "browser's console what happens",
    )


_PARTS = 3


def _is_lively(signs: Signs) -> bool:
    """Tell whether the shop was heard at the beginning, in the middle and at the end.

    A morning's first cart says nothing about the silence of the night.
    """
    began = signs.now - signs.flat_after
    parts = {int((at - began) / signs.flat_after * _PARTS) for at in signs.shop_heard}
    return parts >= set(range(_PARTS))


def _retirement(signs: Signs) -> Alarm | None:
    if signs.revision is None:
        return None
    retires_on = revision.retirement(signs.revision, signs.retires_on)
    stage = revision.stage(retires_on, signs.now.date())
    if stage is Stage.STABLE:
        return None
    return Alarm(
        name=Name.RETIREMENT_NEAR,
        words=_RETIREMENT[stage].format(revision=signs.revision, day=retires_on),
        remedy="upgrade checkout-proxy, or set CHECKOUT_PROXY_REVISION to a newer revision",
        grade=stage,
    )


_RETIREMENT = {
    Stage.DEPRECATED: "Klaviyo has deprecated the revision {revision}, and retires it on {day}",
    Stage.ENDING: "Klaviyo retires the revision {revision} soon, on {day}; after that it may "
    "refuse all events",
    Stage.RETIRED: "Klaviyo has retired the revision {revision} on {day}, and may refuse "
    "all events",
}


def _key(signs: Signs) -> Alarm | None:
    # Whoever starts the sender anew may have changed the key: that is seen when an event is taken.
    doubted = Name.KEY_REFUSED in signs.standing and not signs.key_works
    if not signs.key_refused and not doubted:
        return None
    return Alarm(
        name=Name.KEY_REFUSED,
        words=f"Klaviyo refuses us, and nothing is sent: {signs.key_refused}",
        remedy="correct CHECKOUT_PROXY_KLAVIYO_KEY (a private key with the scope events:write) and "
        "let the proxy read it again; nothing is lost",
    )


def _source(signs: Signs) -> Alarm | None:
    refused_at, answered_at = signs.source_refused_at, signs.source_answered_at
    refused = refused_at is not None and signs.now - refused_at < _ASKED_AGAIN_WITHIN
    answers = answered_at is not None and (refused_at is None or answered_at > refused_at)
    doubted = Name.SOURCE_REFUSED in signs.standing and not answers
    if not refused and not doubted:
        return None
    return Alarm(
        name=Name.SOURCE_REFUSED,
        words=f"the source of carts refuses us, and what needs it waits: {signs.source_refused}",
        remedy="correct CHECKOUT_PROXY_CARTS_KEY, or what that key may do; checkout-proxy cart "
        "CART_ID tries it",
    )


# What was refused is asked again five minutes later.
_ASKED_AGAIN_WITHIN = timedelta(minutes=6)


def _disk(signs: Signs) -> Alarm | None:
    # What hovers about the limit is no news every time.
    slack = 1.2 if Name.DISK_NEARLY_FULL in signs.standing else 1
    if not signs.size or signs.free >= slack * max(_LEAST_FREE, signs.size * _LEAST_PART):
        return None
    return Alarm(
        name=Name.DISK_NEARLY_FULL,
        words=f"the disk of the store has {signs.free / 1e9:.3g} GB free of {signs.size / 1e9:.3g}",
        remedy="make room: where nothing can be written, pages are answered 503",
    )


_LEAST_FREE = 1e9
_LEAST_PART = 0.05


def _backlog(signs: Signs) -> Alarm | None:
    stands = Name.BACKLOG in signs.standing
    # Who has only just begun again finds what has become due since.
    begins = not stands and signs.at_work < _SETTLED_IN
    overdue = _NEARLY_ON_TIME if stands else _OVERDUE
    if signs.oldest_due is None or begins or signs.now - signs.oldest_due <= overdue:
        return None
    return Alarm(
        name=Name.BACKLOG,
        words=f"a checkout has been due since {signs.oldest_due:%Y-%m-%d %H:%MZ}: "
        f"{signs.held_up or 'the sender does not keep up'}",
        remedy="checkout-proxy status says how much waits; where Klaviyo is away it is sent later",
    )


_SETTLED_IN = timedelta(minutes=1)
_OVERDUE, _NEARLY_ON_TIME = timedelta(minutes=15), timedelta(minutes=5)


def _missing(signs: Signs) -> Alarm | None:
    if not signs.missing:
        return None
    last = f"; the last is {signs.last_missing}" if signs.last_missing else ""
    return Alarm(
        name=Name.EVENTS_MISSING,
        words=f"of {signs.looked_for} events that were looked for in the last day, an hour after "
        f"Klaviyo took them, {signs.missing} were not there{last}",
        # What Klaviyo's pages name, and the proxy cannot have seen.
        remedy="look at the profile in Klaviyo: it drops what has an address of a test domain, and "
        "a unique_id that is there already; another identifier is another profile. Klaviyo's "
        "support wants its unique_id, and when it was sent: checkout-proxy trace shows both",
    )


def _kept_back(signs: Signs) -> Alarm | None:
    many = sum(signs.kept_back.values())
    if many < _MANY_KEPT_BACK:
        return None
    most = max(signs.kept_back, key=signs.kept_back.__getitem__)
    return Alarm(
        name=Name.KEPT_BACK,
        words=f"{many} checkouts were kept back in the last hour, most of them: {most}",
        remedy="somebody tries out cards or addresses, or nginx does not tell shoppers apart, who "
        "behind a CDN need set_real_ip_from there; checkout-proxy release lets go whom you believe",
    )


_MANY_KEPT_BACK = 50

_RULES = (
    *(_dead_letters, _flat_line, _retirement, _key, _source, _disk, _backlog, _missing),
    _kept_back,
)
