"""Shops: the settings of all shops of one proxy, from the environment and from the file."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

from proxy import config
from proxy.config import File, Section
from proxy.errors import Misconfigured
from proxy.settings import Settings, names, reading, variable
from proxy.store import Store
from proxy.store.seal import Seal

logger = logging.getLogger(__name__)

Read = Callable[[], tuple[Settings, ...]]

# What tells shops, or accounts of Klaviyo's, from each other.
_DIFFERENT = {
    "shop_key": "by its key it is known which shop calls /v1",
    "klaviyo_key": "an account has one sender, and one budget",
}


def read(
    environ: Mapping[str, str], *, need: tuple[str, ...] = (), judge: reading.Judge | None = None
) -> tuple[Settings, ...]:
    """Return the settings of each shop, or raise :exc:`Misconfigured` with every mistake.

    Where no file is named there is one shop, the environment's. Of a file's shops the environment
    may name one; then that is the only one.
    """
    file = sections(environ)
    mistakes, shops = list(file.mistakes), []
    for section in file.sections.values():
        try:
            settings = reading.read(environ, section, need=need, judge=judge)
            shops.append((settings, section))
        except Misconfigured as error:
            mistakes += error.mistakes
    mistakes += _clashes(shops)
    if mistakes:
        raise Misconfigured(*dict.fromkeys(mistakes))
    return tuple(settings for settings, _ in shops)


def read_again(read: Read, before: Sequence[Settings]) -> tuple[Settings, ...] | None:
    """Return what *read* finds now, or ``None`` where it cannot work: the log has the mistakes.

    It has also which of the shops that were served *before* are no more.
    """
    try:
        served = read()
        prepare(served)
    except Misconfigured as error:
        for mistake in error.mistakes:
            logger.error("the settings cannot work: %s", mistake)
        logger.error("all goes on under the settings from before")
        return None
    logger.info("the settings were read again: %s", in_words(served))
    there = {settings.shop for settings in served}
    for gone in [settings for settings in before if settings.shop not in there]:
        where = store(gone).place
        logger.warning("%s is served no more: what is pending waits in %s", gone.shop, where)
    return served


def in_words(served: Sequence[Settings]) -> str:
    """Return the names of the shops *served*."""
    return f"shop{'s' if len(served) > 1 else ''} {', '.join(each.shop for each in served)}"


def store(settings: Settings) -> Store:
    """Return the store of a shop."""
    seal = Seal(settings.store_keys or ())
    return Store.of(settings.shop, settings.store, settings.spool, seal)


def prepare(served: Sequence[Settings]) -> None:
    """Make the folders of the shops *served*, or raise :exc:`Misconfigured` where that fails."""
    for settings in served:
        store(settings).prepare()


def sections(environ: Mapping[str, str]) -> File:
    """Return what is said of each shop that *environ* speaks of: all, or the one it names."""
    path = environ.get(variable("config"), "").strip()
    if not path:
        return File(sections={"": Section()})
    file = config.read(path, names())
    shop = environ.get(variable("shop"), "").strip()
    wanted = {name: file.sections[name] for name in file.sections if shop in ("", name)}
    mistakes = list(file.mistakes)
    if not wanted and not mistakes:
        has = ", ".join(f"[shops.{name}]" for name in sorted(file.sections)) or "no shop at all"
        mistakes.append(f"{path} has no [shops.{shop or 'NAME'}]: it has {has}")
    return File(sections=wanted, mistakes=tuple(mistakes))


_Shop = tuple[Settings, Section]


def _clashes(shops: Sequence[_Shop]) -> Iterator[str]:
    """Yield what two shops may not have in common."""
    for (one, _), (other, section) in combinations(shops, 2):
        for name, why in _DIFFERENT.items():
            if getattr(other, name) is not None and getattr(other, name) == getattr(one, name):
                where = f"{reading.place(section, name)}: {other.shop} has the key of {one.shop}"
                yield f"{where}, and {why}"
        shared = set(one.origins) & set(other.origins)
        if shared and one.guests == other.guests == "on":
            where = f"{reading.place(section, 'origins')} has {', '.join(sorted(shared))}"
            yield f"{where}, as {one.shop} has: a guest's shop is known by the page's origin"
