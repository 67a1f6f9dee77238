"""Prefix: whether the path of the browser's surface is one that ad blockers let pass."""

import re
from collections.abc import Iterator

from proxy.doctor.finding import Finding, warning, well
from proxy.doctor.setup import Setup
from proxy.settings import variable

# What EasyPrivacy's general rules (easylist/easylist, easyprivacy/easyprivacy_general.txt) take for
# tracking in a path of the shop's own, as its README sorts them: analytics, telemetry, pixels,
# beacons, the logging of events; and the names of senders whose files are listed by themselves.
# The lists change each day: a path without these words is safer, and never safe for good.
_WORDS = frozenset(
    {
        *("ad", "ads", "advert", "analytic", "analytics", "beacon", "beacons", "collect"),
        *("collector", "event", "events", "fingerprint", "ga", "gtm", "impression", "klaviyo"),
        *("log", "logger", "matomo", "metric", "metrics", "pageview", "piwik", "pixel", "pixels"),
        *("plausible", "segment", "snowplow", "stat", "statistics", "stats", "telemetry", "track"),
        *("tracker", "tracking", "umami", "utm"),
    }
)


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield which words of the prefix are on such lists."""
    prefix = setup.settings.prefix
    listed = sorted(_WORDS.intersection(re.split("[/_-]", prefix)))
    if not listed:
        yield well("prefix", f"{prefix} has no word in it that filter lists go by")
        return
    yield warning(
        "prefix",
        f"{prefix} has {', '.join(listed)} in it, by which filter lists block",
        f"Set {variable('prefix')} to a word of the shop's own, such as /co or /till, and rename "
        "it in nginx and in the tag.",
    )
