"""Settings: everything an operator may set, each once, read at the edge and nowhere else."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from proxy.carts import presets
from proxy.checkouts import LONGEST_WAIT
from proxy.errors import Misconfigured

PREFIX = "CHECKOUT_PROXY_"

# What each half cannot do without. Signed carts come in tokens, which a shop can mint without us.
WEB = ("token_keys", "shop_key")
SENDER = ("klaviyo_key", "carts_url", "carts_key")

# The sources of carts that nobody is asked for.
OURS = ("push", "signed")


def _seconds(text: str) -> timedelta:
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        raise ValueError("is a number of seconds, such as 30")
    return timedelta(seconds=float(text))


def _period(text: str) -> timedelta:
    period = _seconds(text)
    if not period:
        raise ValueError("is a number of seconds above zero, such as 86400")
    return period


def _settle_time(text: str) -> timedelta:
    time = _seconds(text)
    if time > LONGEST_WAIT:
        raise ValueError(f"is at most {LONGEST_WAIT.total_seconds():.0f} seconds")
    return time


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError("is 1 to 64 letters, digits, dots, dashes and underscores")
    return text


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    if not all(keys):
        raise ValueError("is a list with commas between, and one of its keys is empty")
    if any(re.search(r"\s", key) for key in keys):
        raise ValueError("is a list with commas between, and one of its keys has a space in it")
    return keys


def _header_value(text: str) -> str:
    # A line break in the key makes Klaviyo's front answer 400 in HTML (klaviyo-api-ruby#39).
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("is one word of printable ASCII: a space or a line break crept in")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    has_form = re.fullmatch(r"https?://[!-~]+", text)
    if not has_form or not parts.hostname or parts.query or not _has_port(parts):
        raise ValueError("is an address such as https://a.klaviyo.com")
    return text.rstrip("/")


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port, if there is one, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _origins(text: str) -> tuple[str, ...]:
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


def _prefix(text: str) -> str:
    if not re.fullmatch(r"(/[a-z0-9_-]+)+", text):
        raise ValueError(
            "is a path such as /co: small letters, digits, dashes, no slash at its end"
        )
    if text.split("/")[1] in ("v1", "healthz", "readyz"):
        raise ValueError(f"is {text}, where the proxy has something else; /co is free")
    return text


def _revision(text: str) -> str:
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


def _store(text: str) -> str:
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


def _metric(text: str) -> str:
    # "Must be less than 128 characters" (Create Event, revision 2026-07-15).
    if len(text) >= 128:
        raise ValueError("is a name of fewer than 128 characters")
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return text

    return parse


def _setting(
    parse: Callable[[str], Any], meaning: str, default: str | None = None, secret: bool = False
) -> Any:
    return field(
        default=None if default is None else parse(default),
        repr=not secret,
        metadata={"parse": parse, "meaning": meaning, "default": default, "secret": secret},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one shop, parsed. Secrets stay out of ``repr``."""

    shop: str = _setting(
        _name, "the shop's name in tokens and in the store; tokens of another are refused", "shop"
    )
    token_keys: tuple[str, ...] = _setting(
        _keys,
        "the keys that sign session tokens, comma-separated, oldest first: "
        "the last signs, all verify",
        secret=True,
    )
    token_age: timedelta = _setting(
        _period, "how old a token may be, in seconds; also how old a state may be", "86400"
    )
    shop_key: str = _setting(
        _header_value, "the bearer key with which the shop's server calls /v1", secret=True
    )
    klaviyo_key: str = _setting(
        _header_value, "Klaviyo's private key, with the scope events:write", secret=True
    )
    klaviyo_url: str = _setting(_url, "where Klaviyo's API is", "https://a.klaviyo.com")
    revision: str = _setting(_revision, "the revision of Klaviyo's API", "2026-07-15")
    metric: str = _setting(_metric, "the metric's name in Klaviyo", "Started Checkout")
    property_names: str = _setting(
        _one_of("both", "klaviyo", "flat"),
        "the names of the event's properties: Klaviyo's own, flat ones that segment well, or both",
        "both",
    )
    origins: tuple[str, ...] = _setting(
        _origins,
        "the origins of pages that may post, comma-separated; pages on the proxy's own host "
        "always may",
        "",
    )
    prefix: str = _setting(_prefix, "the path of the browser's surface", "/co")
    store: str = _setting(
        _store,
        "where facts and checkouts are kept: a folder of this machine, or a PostgreSQL database "
        "for many machines",
        "sqlite:///checkout-proxy-store",
        secret=True,
    )
    spool: Path = _setting(
        Path,
        "the folder where facts are kept while PostgreSQL is away; unused with SQLite",
        "checkout-proxy-spool",
    )
    carts: str = _setting(
        _one_of(*OURS, *presets.names()),
        "the source of totals: carts your server pushes, snapshots signed into the token, or the "
        "platform whose API is asked (docs/carts.md)",
        "push",
    )
    carts_url: str | None = _setting(
        _url, "where the platform's API is, such as https://shop.example.com"
    )
    carts_key: str = _setting(
        _header_value,
        "the credential that reads carts there; docs/carts.md says which",
        secret=True,
    )
    carts_ca: Path | None = _setting(
        Path, "a file with the certificate that signed the platform's, if it is one of your own"
    )
    settle: timedelta = _setting(
        _settle_time,
        "how long an event waits after the last state posted, in seconds, an hour at most",
        "30",
    )
    epoch: timedelta = _setting(
        _period, "after how many seconds without activity a checkout begins anew", "86400"
    )
    late: timedelta = _setting(
        _seconds, "from how many seconds on an event is sent without starting a flow", "43200"
    )
    consent: str = _setting(
        _one_of("opt-out", "required", "off"),
        "opt-out: send unless the shopper denied; required: only once granted; off: never ask",
        "opt-out",
    )

    fast: str = _setting(
        _one_of("on", "off"),
        "on: what the page usually posts is taken before Flask's dispatch, twice as many a second; "
        "off: everything goes through Flask",
        "on",
    )

    @classmethod
    def read(cls, environ: Mapping[str, str], *, need: tuple[str, ...] = ()) -> "Settings":
        """Return the settings in *environ*, or raise :exc:`Misconfigured` with every mistake.

        *need* names the settings without default that the caller cannot do without.
        """
        reading = _Reading(environ)
        values = {item.name: reading.value(item) for item in fields(cls)}
        for name in need:
            if not _can_do_without(name, values["carts"]):
                reading.demand(name, values[name])
        reading.find_typing_errors(cls)
        if reading.mistakes:
            raise Misconfigured(*reading.mistakes)
        return cls(**{name: value for name, value in values.items() if value is not None})


def _can_do_without(name: str, carts: str | None) -> bool:
    """Tell whether nothing needs the setting *name* where *carts* is the source of totals."""
    if name == "shop_key":
        return carts == "signed"
    if carts in (None, *OURS):
        return name.startswith("carts_")
    return name == "carts_key" and "{key}" not in presets.text(carts)


def variable(name: str) -> str:
    """Return the environment variable that sets *name*."""
    return PREFIX + name.upper()


def described() -> list[tuple[str, str, str]]:
    """Return the variable, the default and the meaning of every setting, in reading order."""
    return [
        (variable(item.name), item.metadata["default"] or "", item.metadata["meaning"])
        for item in fields(Settings)
    ]


class _Reading:
    """One pass over the environment that collects mistakes and goes on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.mistakes: list[str] = []

    def value(self, item: Any) -> Any:
        text = self._text(variable(item.name), item.metadata["secret"])
        if text is None:
            return None
        try:
            return item.metadata["parse"](text)
        except ValueError as error:
            self.mistakes.append(f"{variable(item.name)} {error}")
            return None

    def demand(self, name: str, value: Any) -> None:
        said = any(mistake.startswith(variable(name)) for mistake in self.mistakes)
        if value is None and not said:
            meaning = next(f.metadata["meaning"] for f in fields(Settings) if f.name == name)
            self.mistakes.append(f"{variable(name)} is not set: {meaning}")

    def find_typing_errors(self, cls: type[Settings]) -> None:
        known = {variable(item.name) for item in fields(cls)}
        known |= {f"{variable(item.name)}_FILE" for item in fields(cls) if item.metadata["secret"]}
        for name in sorted(self._environ):
            if name.startswith(PREFIX) and name not in known:
                self._suggest(name, known)

    def _suggest(self, name: str, known: set[str]) -> None:
        for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            self.mistakes.append(f"{name} is no setting: did you mean {meant}?")

    def _text(self, name: str, secret: bool) -> str | None:
        """Return the setting's text, or ``None`` where it is unset or empty."""
        text = self._environ.get(name, "").strip()
        path = self._environ.get(f"{name}_FILE", "").strip() if secret else ""
        if text and path:
            self.mistakes.append(f"{name} and {name}_FILE are both set: keep one")
        if path:
            return self._file(name, path)
        return text or None

    def _file(self, name: str, path: str) -> str | None:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            # What is no path may be the secret itself, put into the wrong variable.
            what = path if path.startswith("/") else "no file of that name"
            self.mistakes.append(f"{name}_FILE cannot be read: {what} ({error.strerror})")
            return None
        except ValueError:
            self.mistakes.append(f"{name}_FILE cannot be read: it is no text")
            return None
        if not text:
            self.mistakes.append(f"{name}_FILE is empty: {path}")
        return text or None
