"""Values: what may be said of each kind of setting, and what it is read as.

Each raises :exc:`ValueError`, whose words go on from the setting's name.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import date, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from proxy import clients
from proxy.checkouts import LONGEST_WAIT
from proxy.regions import GROUPS, is_region
from proxy.store.seal import OFF


def seconds(text: str) -> timedelta:
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        raise ValueError("is a number of seconds, such as 30")
    return timedelta(seconds=float(text))


def period(text: str) -> timedelta:
    period = seconds(text)
    if not period:
        raise ValueError("is a number of seconds above zero, such as 86400")
    return period


def settle_time(text: str) -> timedelta:
    time = seconds(text)
    if time > LONGEST_WAIT:
        raise ValueError(f"is at most {LONGEST_WAIT.total_seconds():.0f} seconds")
    return time


def silence(text: str) -> timedelta:
    silence = seconds(text)
    # What is counted is counted by the minute, and such a time has three parts.
    if timedelta(0) < silence < _SHORTEST_SILENCE:
        raise ValueError("is 0, or a number of seconds from 600 on")
    return silence


_SHORTEST_SILENCE = timedelta(minutes=10)


def name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError("is 1 to 64 letters, digits, dots, dashes and underscores")
    if not text.strip("."):
        raise ValueError(f"is {text}, which is no name of a folder")
    return text


def keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    if not all(keys):
        raise ValueError("is a list with commas between, and one of its keys is empty")
    if any(re.search(r"\s", key) for key in keys):
        raise ValueError("is a list with commas between, and one of its keys has a space in it")
    return keys


def header_value(text: str) -> str:
    # A line break in the key makes Klaviyo's front answer 400 in HTML (klaviyo-api-ruby#39).
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("is one word of printable ASCII: a space or a line break crept in")
    return text


def password(text: str) -> str:
    if len(text) < _SHORTEST_PASSWORD:
        raise ValueError(
            f"has {_SHORTEST_PASSWORD} characters at least; `openssl rand -hex 16` makes a good one"
        )
    return text


_SHORTEST_PASSWORD = 12


def url(text: str) -> str:
    if not _is_address(text) or urlsplit(text).query:
        raise ValueError("is an address such as https://a.klaviyo.com")
    return text.rstrip("/")


def hook(text: str) -> str:
    # Unlike the others it may have a query: some receivers know by it whose it is.
    if not _is_address(text):
        raise ValueError("is an address such as https://ops.example.com/checkout-proxy")
    return text


def _is_address(text: str) -> bool:
    """Tell whether *text* is an address of the web's, with nobody's password in it."""
    parts = urlsplit(text)
    has_form = re.fullmatch(r"https?://[!-~]+", text) is not None
    more = parts.fragment or parts.username or parts.password
    return has_form and bool(parts.hostname) and not more and _has_port(parts)


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port, if there is one, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d+)?", origin):
            raise ValueError(
                f"is a list of origins such as https://shop.com, and {origin!r} is none"
            )
    return tuple(_without_usual_port(origin) for origin in origins)


def _without_usual_port(origin: str) -> str:
    """Return *origin* as browsers send it: without the port that its scheme has anyway."""
    usual = ":443" if origin.startswith("https:") else ":80"
    return origin.removesuffix(usual)


def file(text: str) -> Path:
    if not Path(text).is_file():
        raise ValueError(f"is {text}, and there is no such file")
    return Path(text)


def prefix(text: str) -> str:
    if not re.fullmatch(r"(/[a-z0-9_-]+)+", text):
        raise ValueError(
            "is a path such as /co: small letters, digits, dashes, no slash at its end"
        )
    if text.split("/")[1] in ("v1", "admin", "healthz", "readyz", "metrics"):
        raise ValueError(f"is {text}, where the proxy has something else; /co is free")
    return text


def revision(text: str) -> str:
    try:
        # Python reads 20260715 as a date too, and Klaviyo does not.
        revision = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        revision = None
    if revision is None:
        raise ValueError("is a date such as 2026-07-15")
    if revision < _FIRST_WITH_BACKFILL:
        raise ValueError(f"is {text}: from {_FIRST_WITH_BACKFILL} on an event can be a backfill")
    return text


# Earlier ones refuse an event that is late ("Create Event", Klaviyo's API reference).
_FIRST_WITH_BACKFILL = date(2026, 4, 15)


def store(text: str) -> str:
    if text.startswith("postgresql://"):
        _check_postgresql(text)
    elif not re.fullmatch(r"sqlite:///.+", text):
        raise ValueError(
            "is sqlite:/// and a folder, such as sqlite:////var/lib/checkout-proxy, "
            "or postgresql:// and a database, such as postgresql://proxy@db.internal/proxy"
        )
    return text


def _check_postgresql(url: str) -> None:
    # What libpq says of a URL it cannot read may have the password in it.
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ValueError(
            "is a PostgreSQL database: pip install 'checkout-proxy[postgres]'"
        ) from None
    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError(
            "cannot be read as a URI of PostgreSQL's; in a password @ / : are %40 %2F %3A"
        ) from None


def store_keys(text: str) -> tuple[str, ...]:
    said = keys(text)
    try:
        import cryptography.fernet  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        words = "wants a package: pip install 'checkout-proxy[encryption]'"
        raise ValueError(words) from None
    for place, key in enumerate(said, start=1):
        if key != OFF and not _is_store_key(key):
            raise ValueError(
                f"has a key, number {place}, that is none: `checkout-proxy key` makes one"
            )
    if OFF in said[:-1] or said == (OFF,):
        words = f"has {OFF} elsewhere than at the end, behind keys that open what lies there"
        raise ValueError(words)
    return said


def _is_store_key(key: str) -> bool:
    try:
        return len(urlsafe_b64decode(key)) == _STORE_KEY_BYTES
    except ValueError:
        return False


_STORE_KEY_BYTES = 32


def metric(text: str) -> str:
    # "Must be less than 128 characters" (Create Event, revision 2026-07-15).
    if len(text) >= 128:
        raise ValueError("is a name of fewer than 128 characters")
    return text


def networks(text: str) -> tuple[clients.Network, ...]:
    try:
        return clients.networks(text)
    except ValueError as error:
        raise ValueError(f"is a list of networks such as 198.51.100.0/24: {error}") from error


def dns(text: str) -> str:
    if text not in ("on", "off") and not _is_socket(text):
        raise ValueError("is on, off, or where a name server is, such as 192.0.2.53:53")
    return text


def _is_socket(text: str) -> bool:
    host, _, port = text.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return port.isascii() and port.isdecimal() and 0 < int(port) < 2**16


MODES = ("opt-out", "required", "off")


def regions(text: str) -> tuple[tuple[str, str], ...]:
    said = [entry.partition("=")[::2] for entry in re.split(r"[\s,]+", text) if entry]
    for region, mode in said:
        _check_region(region, mode)
    modes = dict(said)
    if len(modes) < len(said):
        raise ValueError("names a region twice")
    # What is more precise goes before what is less, whatever the order.
    groups = {country: modes[name] for name in GROUPS if name in modes for country in GROUPS[name]}
    return tuple((groups | {name: modes[name] for name in modes if name not in GROUPS}).items())


def _check_region(region: str, mode: str) -> None:
    if mode not in MODES:
        raise ValueError(
            f"is a list such as DE=required US-CA=opt-out, and in {f'{region}={mode}'!r:.60} the "
            f"mode is none of {', '.join(MODES)}"
        )
    if region not in GROUPS and not is_region(region):
        hint = ": the United Kingdom is GB" if region == "UK" else ""
        raise ValueError(
            f"has {region!r:.30}, which is neither a code of ISO 3166 such as DE or US-CA nor "
            f"{' or '.join(GROUPS)}{hint}"
        )


def header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", text):
        raise ValueError("is the name of a header such as CF-IPCountry")
    return text


def keep(text: str) -> timedelta:
    """Return for how long something is kept, or raise :exc:`ValueError`."""
    days = re.fullmatch(r"(\d{1,4})d", text)
    if days is None or not int(days[1]):
        raise ValueError("is a number of days, such as 30d, and one at least")
    return timedelta(days=int(days[1]))


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return text

    return parse
