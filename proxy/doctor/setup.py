"""Setup: what is examined, the settings as far as they can be read, and what the operator named."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from proxy import keyfiles, shops
from proxy.config import Section
from proxy.errors import Misconfigured
from proxy.settings import PREFIX, SENDER, WEB, Settings, reading, variable
from proxy.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the operator named beside the settings; :exc:`ValueError` says what is no address.

    ``url`` is where pages reach the proxy, and ``address`` whom the test event is about. Where
    there are several shops, ``shop`` is the only one that is examined.
    """

    shop: str | None = None
    url: str | None = None
    origins: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    cart_id: str | None = field(default=None, repr=False)
    ref: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)

    @property
    def is_of_one(self) -> bool:
        """Whether a cart or an account was named, which can be but one shop's."""
        return any(each is not None for each in (self.token, self.cart_id, self.address))

    def __post_init__(self) -> None:
        for text in (self.url, *self.origins):
            if text is not None and not _is_origin(text):
                raise ValueError(f"{text!r} is no address such as https://shop.example.com")


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The *settings* of a shop that can be read; *doubtful* names those that cannot.

    *mistakes* says why, of this shop; *all_mistakes* of the whole proxy, which serves *beside* this
    shop others. *key_files* are files with secrets in them, each by the place that names it.
    """

    settings: Settings
    asked: Asked
    environ: Mapping[str, str] = field(repr=False)
    mistakes: tuple[str, ...] = ()
    all_mistakes: tuple[str, ...] = ()
    doubtful: frozenset[str] = frozenset()
    key_files: Mapping[str, str] = field(default_factory=dict, repr=False)
    beside: tuple["Setup", ...] = ()

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

    @property
    def shops(self) -> tuple["Setup", ...]:
        """All shops that the proxy serves, this one first."""
        return (self, *self.beside)

    @property
    def store(self) -> Store:
        """The shop's store, or :exc:`Misconfigured` where an earlier version left one."""
        return shops.store(self.settings)


def read(environ: Mapping[str, str], asked: Asked, judge: reading.Judge) -> tuple[Setup, ...]:
    """Return the set-up of each shop that *environ* describes, whatever is wrong with it.

    :exc:`ValueError` says which shops there are, where the one that is meant is not known.
    """
    mistakes = _mistakes(environ, judge)
    setups = [
        replace(setup, all_mistakes=mistakes)
        for setup in _setups(environ, asked, judge)
        if asked.shop in (None, setup.settings.shop)
    ]
    if not setups or (asked.is_of_one and len(setups) > 1):
        listed = ", ".join(each.settings.shop for each in _setups(environ, asked, judge))
        raise ValueError(
            f"Which of the shops {listed}? Say it with --shop."
            if setups
            else f"There is no shop {asked.shop}: there is {listed}."
        )
    return tuple(setups)


def _mistakes(environ: Mapping[str, str], judge: reading.Judge) -> tuple[str, ...]:
    try:
        shops.read(environ, need=WEB + SENDER, judge=judge)
    except Misconfigured as error:
        return error.mistakes
    return ()


def _setups(environ: Mapping[str, str], asked: Asked, judge: reading.Judge) -> list[Setup]:
    found = shops.sections(environ).sections
    if not found:
        # The file cannot be read: what does not depend on it is examined all the same.
        shop = set() if environ.get(variable("shop")) else {"shop"}
        return [_setup(environ, Section(), asked, judge, doubtful={"carts", *shop})]
    return [_setup(environ, section, asked, judge) for section in found.values()]


def _setup(
    environ: Mapping[str, str],
    section: Section,
    asked: Asked,
    judge: reading.Judge,
    doubtful: Collection[str] = (),
) -> Setup:
    mistakes: tuple[str, ...] = ()
    try:
        reading.read(environ, section, need=WEB + SENDER, judge=judge)
    except Misconfigured as error:
        mistakes = error.mistakes
    settings, more = _readable(environ, section, judge)
    return Setup(
        settings=settings,
        asked=asked,
        environ=environ,
        mistakes=mistakes,
        doubtful=more | frozenset(doubtful),
        key_files=dict(keyfiles.named(environ, section)),
    )


# -- without what cannot be read ---------------------------------------------------------


def _readable(
    environ: Mapping[str, str], section: Section, judge: reading.Judge
) -> tuple[Settings, frozenset[str]]:
    """Return the settings without what cannot be read, and the names of that."""
    # What the table itself refused is not among its texts, and a default would stand for it.
    doubtful = {_member(section, mistake) for mistake in section.mistakes}
    left, section = dict(environ), replace(section, mistakes=())
    while True:
        try:
            return reading.read(left, section, judge=judge), frozenset(doubtful)
        except Misconfigured as error:
            blamed = _blamed(error.mistakes, section)
            doubtful |= {_name(blame) for blame in blamed}
            left, section = _without(blamed, left, section)


def _member(section: Section, mistake: str) -> str:
    """Return the setting that *mistake* is about, which says where in the file it stands."""
    table = section.place().rpartition(": ")[2]
    member = mistake.rpartition(f": {table}.")[2].partition(" ")[0]
    return _name(member.replace("carts.source", "carts").replace(".", "_"))


def _blamed(mistakes: tuple[str, ...], section: Section) -> set[str]:
    """Return the variables, and the names of the file's texts, that *mistakes* begin with.

    What begins with neither is about the description of where carts come from.
    """
    blamed = set()
    for mistake in mistakes:
        variables = re.match(rf"{PREFIX}\w+", mistake)
        texts = {name for name, place in section.at.items() if mistake.startswith(f"{place} ")}
        blamed |= {variables[0]} if variables else texts or {"carts"}
    return blamed


def _without(
    blamed: set[str], environ: dict[str, str], section: Section
) -> tuple[dict[str, str], Section]:
    described = {} if "carts" in {_name(name) for name in blamed} else section.described
    texts = {name: text for name, text in section.texts.items() if name not in blamed}
    left = {name: text for name, text in environ.items() if name not in blamed}
    if "carts" in blamed:
        left.pop(variable("carts"), None)
    shop = None if "shop" in blamed else section.shop
    without = replace(section, shop=shop, texts=texts, described=described)
    if (left, without) == (environ, section):
        return {name: text for name, text in left.items() if not name.startswith(PREFIX)}, Section()
    return left, without


def _name(blamed: str) -> str:
    """Return the setting's name of a variable, or of the file's text."""
    name = blamed.removeprefix(PREFIX).lower()
    return name.removesuffix("_file").removesuffix("_env")
