"""Setup: what is examined, the settings as far as they can be read, and what the operator named."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from proxy.errors import Misconfigured
from proxy.settings import PREFIX, SENDER, WEB, Judge, Settings, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the operator named beside the settings; :exc:`ValueError` says what is no address.

    ``url`` is where pages reach the proxy, and ``address`` whom the test event is about.
    """

    url: str | None = None
    origins: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    cart_id: str | None = field(default=None, repr=False)
    ref: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for text in (self.url, *self.origins):
            if text is not None and not _is_origin(text):
                raise ValueError(f"{text!r} is no address such as https://shop.example.com")


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The *settings* that can be read; *doubtful* names those that cannot, *mistakes* says why."""

    settings: Settings
    asked: Asked
    environ: Mapping[str, str] = field(repr=False)
    mistakes: tuple[str, ...] = ()
    doubtful: frozenset[str] = frozenset()

    def lacks(self, *names: str) -> list[str]:
        """Return the variables of those of the settings *names* that cannot be gone by."""
        return [
            variable(name)
            for name in names
            if name in self.doubtful or getattr(self.settings, name) is None
        ]

    def blames(self, name: str) -> bool:
        """Tell whether a mistake is about a setting whose name begins with *name*."""
        return any(variable(name) in mistake for mistake in self.mistakes)


def read(environ: Mapping[str, str], asked: Asked, judge: Judge) -> Setup:
    """Return the set-up that *environ* describes, whatever is wrong with it."""
    mistakes: tuple[str, ...] = ()
    try:
        Settings.read(environ, need=WEB + SENDER, judge=judge)
    except Misconfigured as error:
        mistakes = error.mistakes
    settings, doubtful = _readable(environ, judge)
    return Setup(
        settings=settings, asked=asked, environ=environ, mistakes=mistakes, doubtful=doubtful
    )


def _readable(environ: Mapping[str, str], judge: Judge) -> tuple[Settings, frozenset[str]]:
    """Return the settings without what cannot be read, and the names of that."""
    left, doubtful = dict(environ), set[str]()
    while True:
        try:
            return Settings.read(left, judge=judge), frozenset(doubtful)
        except Misconfigured as error:
            blamed = _blamed(error.mistakes) & left.keys() or _ours(left)
            doubtful |= {_name(blame) for blame in blamed}
            left = {name: text for name, text in left.items() if name not in blamed}


def _blamed(mistakes: tuple[str, ...]) -> set[str]:
    """Return the variables that *mistakes* begin with; the file stands behind all others."""
    found = [re.match(rf"{PREFIX}\w+", mistake) for mistake in mistakes]
    blamed = {match[0] for match in found if match}
    return blamed if all(found) else blamed | {variable("config"), variable("carts")}


def _ours(environ: Mapping[str, str]) -> set[str]:
    return {name for name in environ if name.startswith(PREFIX)}


def _name(blamed: str) -> str:
    """Return the setting's name; what the file says is all about where carts come from."""
    name = blamed.removeprefix(PREFIX).removesuffix("_FILE").lower()
    return "carts" if name == "config" else name
