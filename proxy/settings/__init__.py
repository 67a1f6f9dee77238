"""Settings: everything an operator may set, each once, read at the edge and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from proxy import budgets, clients, crowds
from proxy.budgets import Budget
from proxy.carts import presets
from proxy.config import Names
from proxy.crowds import Crowd
from proxy.settings import sources, values

PREFIX = "CHECKOUT_PROXY_"

# What each half cannot do without. Signed carts come in tokens, which a shop can mint without us.
WEB = ("token_keys", "shop_key")
SENDER = ("klaviyo_key", "carts_url", "carts_key", "carts_token_url")


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
        values.name,
        "the shop's name in tokens and in the store; tokens of another are refused",
        "shop",
    )
    token_keys: tuple[str, ...] = _setting(
        values.keys,
        "the keys that sign session tokens, comma-separated, oldest first: "
        "the last signs, all verify",
        secret=True,
    )
    token_age: timedelta = _setting(
        values.period, "how old a token may be, in seconds; also how old a state may be", "86400"
    )
    shop_key: str = _setting(
        values.header_value, "the bearer key with which the shop's server calls /v1", secret=True
    )
    klaviyo_key: str = _setting(
        values.header_value, "Klaviyo's private key, with the scope events:write", secret=True
    )
    klaviyo_url: str = _setting(values.url, "where Klaviyo's API is", "https://a.klaviyo.com")
    revision: str = _setting(values.revision, "the revision of Klaviyo's API", "2026-07-15")
    metric: str = _setting(values.metric, "the metric's name in Klaviyo", "Started Checkout")
    property_names: str = _setting(
        values.one_of("both", "klaviyo", "flat"),
        "the names of the event's properties: Klaviyo's own, flat ones that segment well, or both",
        "both",
    )
    origins: tuple[str, ...] = _setting(
        values.origins,
        "the origins of pages that may post, comma-separated; pages on the proxy's own host "
        "always may",
        "",
    )
    prefix: str = _setting(values.prefix, "the path of the browser's surface", "/co", shared=True)
    store: str = _setting(
        values.store,
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
    store_keys: tuple[str, ...] | None = _setting(
        values.store_keys,
        "the keys that encrypt what the store keeps about people, comma-separated, oldest first: "
        "the last encrypts, all decrypt; without them nothing is encrypted (docs/encryption.md)",
        secret=True,
    )
    carts: str = _setting(
        values.one_of(*sources.OURS, *sources.OWN, *presets.names()),
        "the source of totals: carts your server pushes, snapshots signed into the token, the "
        "platform whose API is asked, or http or sql, described in the file (docs/carts.md)",
        "push",
    )
    carts_url: str | None = _setting(
        values.url, "where the platform's API is, such as https://shop.example.com"
    )
    carts_key: str = _setting(
        values.header_value,
        "the credential that reads carts there; docs/carts.md says which",
        secret=True,
    )
    carts_token_url: str | None = _setting(
        values.url, "where the platform sells access tokens, if it wants one (commercetools)"
    )
    carts_ca: Path | None = _setting(
        values.file,
        "a file with the certificate that signed the platform's, if it is one of your own",
    )
    config: Path | None = _setting(
        Path,
        "a TOML file with a table for each shop, where there are several (docs/many-shops.md), or "
        "one describes its source of totals (docs/own-carts.md)",
        shared=True,
    )
    settle: timedelta = _setting(
        values.settle_time,
        "how long an event waits after the last state posted, in seconds, an hour at most",
        "30",
    )
    epoch: timedelta = _setting(
        values.period, "after how many seconds without activity a checkout begins anew", "86400"
    )
    keep: timedelta = _setting(
        values.keep,
        "for how many days it is kept what became of a checkout (docs/privacy.md), one at least",
        "30d",
    )
    late: timedelta = _setting(
        values.seconds, "from how many seconds on an event is sent without starting a flow", "43200"
    )
    consent: str = _setting(
        values.one_of(*values.MODES),
        "opt-out: send unless the shopper denied; required: only once granted; off: never ask",
        "opt-out",
    )
    consent_regions: tuple[tuple[str, str], ...] = _setting(
        values.regions,
        "where something else is asked of shoppers, by codes of ISO 3166, EU or EEA: "
        "EEA=required US=opt-out US-CA=required (docs/consent.md)",
        "",
    )
    region_header: str | None = _setting(
        values.header_name,
        "the header in which your CDN says where the shopper is, such as CF-IPCountry; the token's "
        "region goes before it",
        shared=True,
    )
    guests: str = _setting(
        values.one_of("off", "on"),
        "on: a page may ask for a session itself, where a cart's id cannot be guessed "
        "(docs/guests.md)",
        "off",
    )
    trusted_proxies: tuple[clients.Network, ...] = _setting(
        values.networks,
        "networks from which an X-Real-IP is believed, comma-separated, beside this machine's and "
        "private ones",
        "",
        shared=True,
    )
    budgets: Budget = _setting(
        budgets.parsed,
        "how many states may be posted in a minute under one token, for one cart, by one client, "
        "and by one with one address, in each web worker; 0: any number",
        "token=120 cart=120 address=60 client=600",
        shared=True,
    )
    most_checkouts: Crowd = _setting(
        crowds.parsed,
        "of how many checkouts by one client in an hour, and of one address in a day, it is "
        "believed that they are shoppers'; of more, none is sent; 0: of any number",
        "client=20 address=10",
    )
    dns: str = _setting(
        values.dns,
        "on: mail to an address is only sent for where its domain takes any, as name servers say; "
        "off: nobody is asked; or the IP address and port of a name server to ask",
        "on",
    )
    fast: str = _setting(
        values.one_of("on", "off"),
        "on: what the page usually posts is taken before Flask's dispatch, twice as many a second; "
        "off: everything goes through Flask",
        "on",
        shared=True,
    )
    log: str = _setting(
        values.one_of("console", "json"),
        "how the log is written: lines for people, or JSON for programs",
        "console",
        shared=True,
    )
    admin_password: str | None = _setting(
        values.password,
        "the password of the operator's pages under /admin; without it there are none",
        secret=True,
        shared=True,
    )
    alarm_url: str | None = _setting(
        values.hook, "where alarms are posted, signed with a key (docs/alarms.md)", secret=True
    )
    alarm_key: str = _setting(
        values.header_value, "the key that signs them, which the receiver knows too", secret=True
    )
    flat_after: timedelta = _setting(
        values.silence,
        "after how many seconds without a state from a page, while carts or sessions come, there "
        "is an alarm; 0: never",
        "21600",
    )
    audit: str = _setting(
        values.one_of("off", "on"),
        "on: an event a minute is looked for in Klaviyo an hour after it was taken, for which the "
        "key needs the scope events:read too (docs/monitoring.md)",
        "off",
    )
    # What the file says of the source of totals.
    described: Mapping[str, Any] = field(default_factory=dict, repr=False)


def items() -> list[Any]:
    """Return the fields that an operator sets."""
    return [item for item in fields(Settings) if item.metadata]


def variable(name: str) -> str:
    """Return the environment variable that sets *name*."""
    return PREFIX + name.upper()


def described() -> list[tuple[str, str, str]]:
    """Return the variable, the default and the meaning of every setting, in reading order."""
    return [
        (variable(item.name), item.metadata["default"] or "", item.metadata["meaning"])
        for item in items()
    ]


def names() -> Names:
    """Return what a shop's table in the file may say, and what it may not."""
    marked = {
        mark: frozenset(item.name for item in items() if item.metadata[mark])
        for mark in ("secret", "shared")
    }
    own = frozenset(item.name for item in items()) - marked["shared"] - {"shop"}
    return Names(own=own, **marked)
