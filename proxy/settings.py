"""Settings: everything an operator may set, each once, read at the edge and nowhere else."""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from proxy.carts import presets
from proxy.checkouts import LONGEST_WAIT
from proxy.config import Names, Section
from proxy.errors import Misconfigured

PREFIX = "CHECKOUT_PROXY_"

# What finds mistakes in the description of a source of carts, and in the key for it.
Judge = Callable[[str, Mapping[str, Any], str], Collection[str]]

# What each half cannot do without. Signed carts come in tokens, which a shop can mint without us.
WEB = ("token_keys", "shop_key")
SENDER = ("klaviyo_key", "carts_url", "carts_key", "carts_token_url")

# The sources of carts that nobody is asked for.
OURS = ("push", "signed")
# Those that a shop describes itself, in the settings file.
OWN = ("http", "sql")


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


def _silence(text: str) -> timedelta:
    silence = _seconds(text)
    # What is counted is counted by the minute, and such a time has three parts.
    if timedelta(0) < silence < _SHORTEST_SILENCE:
        raise ValueError("is 0, or a number of seconds from 600 on")
    return silence


_SHORTEST_SILENCE = timedelta(minutes=10)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError("is 1 to 64 letters, digits, dots, dashes and underscores")
    if not text.strip("."):
        raise ValueError(f"is {text}, which is no name of a folder")
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


def _password(text: str) -> str:
    if len(text) < _SHORTEST_PASSWORD:
        raise ValueError(
            f"has {_SHORTEST_PASSWORD} characters at least; `openssl rand -hex 16` makes a good one"
        )
    return text


_SHORTEST_PASSWORD = 12


def _url(text: str) -> str:
    parts = urlsplit(text)
    has_form = re.fullmatch(r"https?://[!-~]+", text)
    more = parts.query or parts.fragment or parts.username or parts.password
    if not has_form or not parts.hostname or more or not _has_port(parts):
        raise ValueError("is an address such as https://a.klaviyo.com")
    return text.rstrip("/")


def _hook(text: str) -> str:
    # Unlike the others it may have a query: some receivers know by it whose it is.
    parts = urlsplit(text)
    has_form = re.fullmatch(r"https?://[!-~]+", text)
    more = parts.fragment or parts.username or parts.password
    if not has_form or not parts.hostname or more or not _has_port(parts):
        raise ValueError("is an address such as https://ops.example.com/checkout-proxy")
    return text


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


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise ValueError(f"is {text}, and there is no such file")
    return Path(text)


def _prefix(text: str) -> str:
    if not re.fullmatch(r"(/[a-z0-9_-]+)+", text):
        raise ValueError(
            "is a path such as /co: small letters, digits, dashes, no slash at its end"
        )
    if text.split("/")[1] in ("v1", "admin", "healthz", "readyz", "metrics"):
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
    parse: Callable[[str], Any],
    meaning: str,
    default: str | None = None,
    *,
    secret: bool = False,
    shared: bool = False,
) -> Any:
    """Declare a setting; one that is *shared* is the same for all shops of a proxy."""
    return field(
        default=None if default is None else parse(default),
        repr=not secret,
        metadata={
            "parse": parse,
            "meaning": meaning,
            "default": default,
            "secret": secret,
            "shared": shared,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one shop, parsed. Secrets stay out of ``repr``.

    Those that all shops of a proxy share are the same in each.
    """

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
    prefix: str = _setting(_prefix, "the path of the browser's surface", "/co", shared=True)
    store: str = _setting(
        _store,
        "where facts and checkouts are kept: a folder of this machine, or a PostgreSQL database "
        "for many machines",
        "sqlite:///checkout-proxy-store",
        secret=True,
        shared=True,
    )
    spool: Path = _setting(
        Path,
        "the folder where facts are kept while PostgreSQL is away; unused with SQLite",
        "checkout-proxy-spool",
        shared=True,
    )
    carts: str = _setting(
        _one_of(*OURS, *OWN, *presets.names()),
        "the source of totals: carts your server pushes, snapshots signed into the token, the "
        "platform whose API is asked, or http or sql, described in the file (docs/carts.md)",
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
    carts_token_url: str | None = _setting(
        _url, "where the platform sells access tokens, if it wants one (commercetools)"
    )
    carts_ca: Path | None = _setting(
        _file, "a file with the certificate that signed the platform's, if it is one of your own"
    )
    config: Path | None = _setting(
        Path,
        "a TOML file with a table for each shop, where there are several (docs/many-shops.md), or "
        "one describes its source of totals (docs/own-carts.md)",
        shared=True,
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

    guests: str = _setting(
        _one_of("off", "on"),
        "on: a page may ask for a session itself, where a cart's id cannot be guessed "
        "(docs/guests.md)",
        "off",
    )
    fast: str = _setting(
        _one_of("on", "off"),
        "on: what the page usually posts is taken before Flask's dispatch, twice as many a second; "
        "off: everything goes through Flask",
        "on",
        shared=True,
    )
    log: str = _setting(
        _one_of("console", "json"),
        "how the log is written: lines for people, or JSON for programs",
        "console",
        shared=True,
    )
    admin_password: str | None = _setting(
        _password,
        "the password of the operator's pages under /admin; without it there are none",
        secret=True,
        shared=True,
    )
    alarm_url: str | None = _setting(
        _hook, "where alarms are posted, signed with a key (docs/alarms.md)", secret=True
    )
    alarm_key: str = _setting(
        _header_value, "the key that signs them, which the receiver knows too", secret=True
    )
    flat_after: timedelta = _setting(
        _silence,
        "after how many seconds without a state from a page, while carts or sessions come, there "
        "is an alarm; 0: never",
        "21600",
    )
    # What the file says of the source of totals.
    described: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        section: Section,
        *,
        need: tuple[str, ...] = (),
        judge: Judge | None = None,
    ) -> "Settings":
        """Return what *section* of the file says, and *environ* of what that leaves open.

        Raise :exc:`Misconfigured` with every mistake. *need* names the settings without default
        that the caller cannot do without; *judge* knows what may be said of a source of carts.
        """
        reading = _Reading(environ, section)
        values = {item.name: reading.value(item) for item in _items()}
        values["described"] = reading.described(values["carts"], values["carts_key"] or "", judge)
        if values["guests"] == "on":
            reading.check_guests(values["carts"])
        reading.check_alarms(values["alarm_url"], values["alarm_key"])
        for name in need:
            if not _can_do_without(name, values["carts"], values["described"]):
                reading.demand(name, values[name])
        reading.find_typing_errors()
        if reading.mistakes:
            raise Misconfigured(*reading.mistakes)
        return cls(**{name: value for name, value in values.items() if value is not None})


def _items() -> list[Any]:
    """Return the fields that an operator sets."""
    return [item for item in fields(Settings) if item.metadata]


def _can_do_without(name: str, carts: str | None, described: Mapping[str, Any]) -> bool:
    """Tell whether nothing needs the setting *name* where *carts* is the source of totals."""
    if not name.startswith("carts_"):
        return name == "shop_key" and carts == "signed"
    if carts in (None, *OURS) or (carts in OWN and not described):
        return True
    return name.removeprefix("carts_") not in _demands(str(carts), described)


def variable(name: str) -> str:
    """Return the environment variable that sets *name*."""
    return PREFIX + name.upper()


def described() -> list[tuple[str, str, str]]:
    """Return the variable, the default and the meaning of every setting, in reading order."""
    return [
        (variable(item.name), item.metadata["default"] or "", item.metadata["meaning"])
        for item in _items()
    ]


def names() -> Names:
    """Return what a shop's table in the file may say, and what it may not."""
    marked = {
        mark: frozenset(item.name for item in _items() if item.metadata[mark])
        for mark in ("secret", "shared")
    }
    own = frozenset(item.name for item in _items()) - marked["shared"] - {"shop"}
    return Names(own=own, **marked)


def place(section: Section, name: str) -> str:
    """Return where the setting *name* is said: in the file, or else in the environment."""
    ways = (name, f"{name}_file", f"{name}_env")
    return next((section.at[way] for way in ways if way in section.at), variable(name))


def guest_pattern(carts: str | None, described: Mapping[str, Any]) -> str:
    """Return the form of cart ids that nobody guesses; it is empty where there is none."""
    if carts in (None, *OURS):
        return ""
    return str(presets.read(str(carts), described).get("guest_pattern", ""))


def is_pattern(text: str) -> bool:
    """Tell whether *text* is a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _demands(carts: str, described: Mapping[str, Any]) -> set[str]:
    """Return what it takes to ask for carts, of ``url``, ``key`` and ``token_url``."""
    if carts == "sql":
        return {"key"}  # The database's address, with the password in it.
    recipe = presets.read(carts, described)
    places = {"key": "{key}" in str(recipe), "token_url": "oauth" in recipe}
    return {"url"} | {name for name, is_there in places.items() if is_there}


class _Reading:
    """One pass over a section and the environment that collects mistakes and goes on."""

    def __init__(self, environ: Mapping[str, str], section: Section) -> None:
        self._environ = environ
        self._section = section
        self.mistakes = list(section.mistakes)
        self._wrong: set[str] = set()

    def value(self, item: Any) -> Any:
        text = self._secret(item.name) if item.metadata["secret"] else self._plain(item.name)
        if not text:
            return None
        try:
            return item.metadata["parse"](text)
        except ValueError as error:
            self._note(item.name, f"{self._place(item.name)} {error}")
            return None

    def described(self, carts: str | None, key: str, judge: Judge | None) -> Mapping[str, Any]:
        """Return what describes the source *carts*, after *judge* has had a look."""
        described = self._section.described
        if carts in OWN and not described:
            where = f"[shops.NAME.carts] in the file that {variable('config')} names"
            self.mistakes.append(f"{self._place('carts')} is {carts}: describe it under {where}")
        elif described and (carts in OURS or not self._plain("carts")):
            names = ", ".join(sorted(described))
            place = self._section.place("carts")
            self.mistakes.append(f"{place} has {names}: nobody is asked, under {carts or 'push'}")
        elif carts not in (None, *OURS) and judge is not None:
            self.mistakes += [
                f"{self._described_at(carts, wrong)}: {wrong}"
                for wrong in judge(carts, described, key)
            ]
        return described

    def _described_at(self, carts: str, wrong: str) -> str:
        """Return where in the file stands what is *wrong*, by the name with which that begins."""
        if not self._section.described:
            return self._section.place("carts") or carts
        member = wrong.partition(" ")[0].strip("[]")
        line, _, _ = self._section.place("carts", *member.split(".")).rpartition(": ")
        return f"{line}: {self._section.place('carts').rpartition(': ')[2]}"

    def check_guests(self, carts: str | None) -> None:
        """Note where guests could name the cart of somebody else."""
        pattern = guest_pattern(carts, self._section.described)
        if not is_pattern(pattern):
            self.mistakes.append(f"guest_pattern is no regular expression: {pattern}")
        if not pattern:
            self.mistakes.append(
                f"{self._place('guests')} is on, and the totals come from {carts or 'push'}, where "
                "a cart's id can be guessed or nobody can be asked about it"
            )

    def check_alarms(self, url: str | None, key: str | None) -> None:
        """Note where there is one and not the other of what it takes to tell of alarms."""
        if url and not key:
            self.demand("alarm_key", key)
        if key and not url:
            self.demand("alarm_url", url)

    def demand(self, name: str, value: Any) -> None:
        if value is None and name not in self._wrong:
            meaning = next(item.metadata["meaning"] for item in _items() if item.name == name)
            table = ("carts",) if name.startswith("carts_") else ()
            place = self._section.place(*table)
            where = f"{place} does not say it, and " if place else ""
            self.mistakes.append(f"{where}{variable(name)} is not set: {meaning}")

    def find_typing_errors(self) -> None:
        known = {variable(item.name) for item in _items()}
        known |= {f"{variable(item.name)}_FILE" for item in _items() if item.metadata["secret"]}
        for name in sorted(self._environ):
            if name.startswith(PREFIX) and name not in known:
                self._suggest(name, known)

    def _suggest(self, name: str, known: set[str]) -> None:
        for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            self.mistakes.append(f"{name} is no setting: did you mean {meant}?")

    def _note(self, name: str, mistake: str) -> None:
        self.mistakes.append(mistake)
        self._wrong.add(name)

    def _place(self, name: str) -> str:
        return place(self._section, name)

    def _plain(self, name: str) -> str:
        """Return the setting's text: the file's, also where that is empty, or else the variable's.

        A section's name is the shop's.
        """
        if name == "shop" and self._section.shop is not None:
            return self._section.shop
        return self._section.texts.get(name, self._variable(variable(name)))

    def _variable(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def _secret(self, name: str) -> str | None:
        """Return the text of a secret, from where the file or else the environment has it."""
        file, other = f"{name}_file", f"{name}_env"
        said = self._section.texts
        if file in said and other in said:
            self._note(name, f"{self._section.at[file]} and {other} are both said: keep one")
        if file in said:
            return self._file(name, self._section.at[file], said[file])
        if other in said:
            return self._named(name, self._section.at[other], said[other])
        text, path = self._variable(variable(name)), self._variable(f"{variable(name)}_FILE")
        if text and path:
            self._note(name, f"{variable(name)} and {variable(name)}_FILE are both set: keep one")
        return self._file(name, f"{variable(name)}_FILE", path) if path else text

    def _named(self, name: str, place: str, other: str) -> str:
        text = self._variable(other)
        if not text:
            # What is no variable's name may be the secret itself, put into the wrong place.
            what = other if re.fullmatch(r"[A-Z][A-Z0-9_]*", other) else "no variable of that name"
            self._note(name, f"{place} cannot be read: {what} is not set")
        return text

    def _file(self, name: str, place: str, path: str) -> str | None:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            # What is no path may be the secret itself, put into the wrong variable.
            what = path if path.startswith("/") else "no file of that name"
            self._note(name, f"{place} cannot be read: {what} ({error.strerror})")
            return None
        except ValueError:
            self._note(name, f"{place} cannot be read: it is no text")
            return None
        if not text:
            self._note(name, f"{place} is empty: {path}")
        return text or None
