"""Clock: this machine's beside Klaviyo's."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.klaviyo import SMALLEST, client
from proxy.doctor.setup import Setup
from proxy.klaviyo import Told

_WARNING = timedelta(seconds=2)
# A token may be signed two minutes ahead: two servers that are each a minute off are at the edge.
_WRONG = timedelta(minutes=1)

_REMEDY = "Let the machine keep its time: `timedatectl set-ntp true`, or install chrony."


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield by how much the clock differs, as far as one request can tell."""
    with closing(client(setup)) as klaviyo:
        # The first one connects, which takes longer and says less.
        klaviyo.ask("GET", SMALLEST)
        before = datetime.now(UTC)
        told = klaviyo.ask("GET", SMALLEST)
        took = datetime.now(UTC) - before
    theirs = date(told)
    if theirs is None:
        yield skipped("clock", "Klaviyo did not say what time it is")
    else:
        yield _judged(before + took / 2 - theirs, took)


def date(told: Told) -> datetime | None:
    """Return when Klaviyo answered, by its own clock, in the middle of the second that it names."""
    try:
        # RFC 9110, 5.6.7: to the second, and always of Greenwich.
        return parsedate_to_datetime(told.headers.get("Date", "")) + timedelta(seconds=0.5)
    except ValueError:
        return None


def _judged(ahead: timedelta, took: timedelta) -> Finding:
    off, margin = abs(ahead), _WARNING + took / 2
    which = "ahead of" if ahead > timedelta(0) else "behind"
    words = f"this machine's clock is {off.total_seconds():.1f} s {which} Klaviyo's"
    if off >= _WRONG:
        words += ": tokens will be refused, and events carry the wrong time"
        return wrong("clock", words, _REMEDY)
    if off > margin:
        return warning("clock", words, _REMEDY)
    agreed = f"this machine's clock agrees with Klaviyo's, within {margin.total_seconds():.1f} s"
    return well("clock", agreed)
