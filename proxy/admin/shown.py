"""Shown: times, amounts and people as the pages show them."""

from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

from proxy.checkouts import Checkout
from proxy.identity import identify, masked
from proxy.money import Amount, rounded


def time(at: datetime | None) -> Markup | str:
    """Return *at* in UTC, to the second."""
    if at is None:
        return "–"
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S}"
    )


_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def span(length: timedelta | None) -> str:
    """Return *length* with two figures at most: 38 ms, 4.2 s, 35 s, 2 min 5 s, 3 h, 2 d 4 h."""
    if length is None:
        return "–"
    seconds = length.total_seconds()
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    for place, (size, name) in enumerate(_UNITS):
        if seconds >= size:
            smaller = (*_UNITS, (1, "s"))[place + 1]
            rest = int(seconds % size // smaller[0])
            return f"{seconds // size:.0f} {name}" + (f" {rest} {smaller[1]}" if rest else "")
    raise AssertionError(seconds)


def code(words: str) -> Markup:
    """Return *words* with what stands between backticks as code."""
    parts = enumerate(words.split("`"))
    pieces = (Markup("<code>{}</code>").format(p) if n % 2 else escape(p) for n, p in parts)
    return Markup("").join(pieces)


def amount(of: Amount | None) -> str:
    """Return an amount with its currency."""
    return "–" if of is None else f"{rounded(of.value, of.currency):,} {of.currency}"


_REFUSALS = {
    "token-forged": "Tokens that match no key",
    "token-expired": "Tokens that are too old",
    "token-from-the-future": "Tokens signed in the future",
    "token-malformed": "Tokens that are none",
    "token-of-another-shop": "Tokens of another shop",
    "token-of-another-origin": "Tokens of pages of another origin",
    "unauthorized": "Calls of /v1 without the shop's key",
    "origin-not-allowed": "Pages of origins that are not listed",
    "invalid": "Bodies that say what cannot be",
    "not-json": "Bodies that are no JSON",
    "not-found": "Paths that are not here",
    "unavailable": "Facts that could not be kept",
    "request-entity-too-large": "Bodies that are too large",
    "internal": "Mistakes of our own",
}


def refusal(code: str) -> str:
    """Return what requests were refused under *code*."""
    return _REFUSALS.get(code, code.replace("-", " ").capitalize())


def person(checkout: Checkout) -> str | None:
    """Return who *checkout* is about, told by who knows them already and nobody else."""
    return masked(checkout.addressee or identify(checkout.latest))
