"""Klaviyo: whether it is reached, takes the key, and lets it write events; nothing is sent."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.klaviyo import Klaviyo, Told
from proxy.settings import variable

# With ten seconds at most to connect, this leaves a check of two requests well under twenty.
_EXCHANGE = timedelta(seconds=4)

# An event without a metric and a profile, which Klaviyo refuses ("Create Event", revision
# 2026-07-15: both are required): no way leads from it to an event that counts.
_NO_EVENT = b'{"data":{"type":"event","attributes":{}}}'

# The least that one may ask for, and nothing about anybody.
SMALLEST = "/api/events?page[size]=1&fields[event]=datetime"


def client(setup: Setup) -> Klaviyo:
    """Return the client that the sender has, with less patience."""
    settings = setup.settings
    return Klaviyo(
        url=settings.klaviyo_url,
        key=settings.klaviyo_key,
        revision=settings.revision,
        exchange=_EXCHANGE,
    )


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield what the key may do."""
    with closing(client(setup)) as klaviyo:
        written = klaviyo.ask("POST", "/api/events", _NO_EVENT)
        yield _written(written, setup.settings.klaviyo_key)
        if written.answer.status in (400, 403) and written.is_document:
            yield _read(klaviyo.ask("GET", SMALLEST), is_audited=setup.settings.audit == "on")


def _written(told: Told, key: str) -> Finding:
    """Return what the refusal of an event that is none says of the key and its scope.

    A refusal of the event itself comes last: before a body is looked at, Django REST framework,
    whose names Klaviyo's errors have, asks who it is from (401) and what they may do (403). That
    Klaviyo goes about it in this order is not documented.
    """
    reason = told.answer.reason
    match told.answer.status:
        case None:
            return wrong("reached", reason, _UNREACHED)
        case 401:
            return wrong("key", f"the key is refused: {reason}", _key_remedy(key))
        case 403 if told.is_document:
            return wrong("scope", f"the key is known, and may not: {reason}", _NO_SCOPE)
        case 400 if told.is_document:
            return well("key", "Klaviyo knows the key, and it may write events")
        case status:
            return _odd(told, status)


def _odd(told: Told, status: int) -> Finding:
    """Return what an answer means that says nothing of the key."""
    reason = told.answer.reason
    if status == 429:
        return warning("key", reason, "The account is at its limit: try again later.")
    if status >= 500:
        return warning("key", reason, "Klaviyo is in trouble: see status.klaviyo.com.")
    if told.is_document:
        remedy = f"See the check `revision`. Is {variable('klaviyo_url')} Klaviyo's own?"
        return wrong("key", reason, remedy)
    return wrong("key", f"not Klaviyo itself answered, but a page ({status})", _A_FRONT)


_UNREACHED = (
    f"May this machine speak HTTPS to {variable('klaviyo_url')}? Look at the firewall, the name "
    "server, and HTTPS_PROXY where there is one."
)
_NO_SCOPE = (
    "The key itself is right. In Klaviyo, Settings > API keys, make a private key with full access "
    f"to Events (the scope events:write), and put it into {variable('klaviyo_key')}."
)
_NO_READING = (
    "In Klaviyo, Settings > API keys, make a private key that may read events, too (the scopes "
    f"events:write and events:read), or set {variable('audit')} to off."
)
_A_FRONT = (
    "Klaviyo's front may take this machine for a robot, or something between answers instead: try "
    "again, and from another address."
)


def _key_remedy(key: str) -> str:
    where = f"In Klaviyo, Settings > API keys, make one, and put it into {variable('klaviyo_key')}."
    if key.startswith("pk_"):
        return f"It was deleted, or belongs to nobody. {where}"
    # "Private keys will have the prefix pk_" ("Obtain API credentials", developers.klaviyo.com).
    return f"It is no private key: those begin with pk_, public ones have six letters. {where}"


def _read(told: Told, *, is_audited: bool) -> Finding:
    """Return whether an event that was sent could be seen again, as --send-test and an audit do."""
    if told.answer.status == 200:
        return well("reading", "the key may read events too: --send-test can see one arrive")
    words = "the key may not read events (events:read)"
    if told.answer.status == 403 and told.is_document:
        if is_audited:
            return warning("reading", f"{words}, so the audit sees nothing", _NO_READING)
        return skipped("reading", f"{words}: the proxy does not need it, only --send-test does")
    return skipped("reading", f"whether the key may read events is not known: {told.answer.reason}")
