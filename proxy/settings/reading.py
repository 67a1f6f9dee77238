"""Reading: what the file and the environment say of one shop, and all that is wrong with it."""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from proxy.config import Section
from proxy.errors import Misconfigured
from proxy.settings import PREFIX, Settings, items, sources, variable

# What finds mistakes in the description of a source of carts, and in the key for it.
Judge = Callable[[str, Mapping[str, Any], str], Collection[str]]


def read(
    environ: Mapping[str, str],
    section: Section,
    *,
    need: tuple[str, ...] = (),
    judge: Judge | None = None,
) -> Settings:
    """Return what *section* of the file says, and *environ* of what that leaves open.

    Raise :exc:`Misconfigured` with every mistake. *need* names the settings without default
    that the caller cannot do without; *judge* knows what may be said of a source of carts.
    """
    reading = _Reading(environ, section)
    values = {item.name: reading.value(item) for item in items()}
    values["described"] = reading.described(values["carts"], values["carts_key"] or "", judge)
    if values["guests"] == "on":
        reading.check_guests(values["carts"])
    reading.check_alarms(values["alarm_url"], values["alarm_key"])
    for name in need:
        if not sources.can_do_without(name, values["carts"], values["described"]):
            reading.demand(name, values[name])
    reading.find_typing_errors()
    if reading.mistakes:
        raise Misconfigured(*reading.mistakes)
    return Settings(**{name: value for name, value in values.items() if value is not None})


def place(section: Section, name: str) -> str:
    """Return where the setting *name* is said: in the file, or else in the environment."""
    ways = (name, f"{name}_file", f"{name}_env")
    return next((section.at[way] for way in ways if way in section.at), variable(name))


def _is_near_a_file(path: str) -> bool:
    """Tell whether *path* leads into a folder that is there: so does no secret that begins so."""
    folder = Path(path).parent
    try:
        return path.startswith("/") and folder != Path("/") and folder.is_dir()
    except (OSError, ValueError):
        return False


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
        if carts in sources.OWN and not described:
            where = f"[shops.NAME.carts] in the file that {variable('config')} names"
            self.mistakes.append(f"{self._place('carts')} is {carts}: describe it under {where}")
        elif described and (carts in sources.OURS or not self._plain("carts")):
            names = ", ".join(sorted(described))
            place = self._section.place("carts")
            self.mistakes.append(f"{place} has {names}: nobody is asked, under {carts or 'push'}")
        elif carts not in (None, *sources.OURS) and judge is not None:
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
        pattern = sources.guest_pattern(carts, self._section.described)
        if not _is_pattern(pattern):
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
            meaning = next(item.metadata["meaning"] for item in items() if item.name == name)
            table = ("carts",) if name.startswith("carts_") else ()
            place = self._section.place(*table)
            where = f"{place} does not say it, and " if place else ""
            self.mistakes.append(f"{where}{variable(name)} is not set: {meaning}")

    def find_typing_errors(self) -> None:
        known = {variable(item.name) for item in items()}
        known |= {f"{variable(item.name)}_FILE" for item in items() if item.metadata["secret"]}
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
            what = path if _is_near_a_file(path) else "no file of that name"
            self._note(name, f"{place} cannot be read: {what} ({error.strerror})")
            return None
        except ValueError:
            self._note(name, f"{place} cannot be read: it is no text")
            return None
        if not text:
            self._note(name, f"{place} is empty: {path}")
        return text or None


def _is_pattern(text: str) -> bool:
    """Tell whether *text* is a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True
