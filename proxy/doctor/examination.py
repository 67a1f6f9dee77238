"""Examination: every check at once, none of which hides another, or keeps one waiting."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Thread

from proxy.doctor import (
    carts,
    clock,
    configuration,
    disk,
    klaviyo,
    prefix,
    revision,
    sender,
    site,
    store,
    tokens,
    trial,
)
from proxy.doctor.finding import Examined, Finding, skipped, wrong
from proxy.doctor.setup import Setup

_SECONDS = 18.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What *run* finds, which cannot do without the settings that it *needs*.

    One that is *shared* is about what all shops have in common. It has so many *seconds*: a name
    server alone may keep one waiting for longer.
    """

    name: str
    run: Callable[[Setup], Iterator[Finding]]
    needs: tuple[str, ...] = ()
    shared: bool = False
    seconds: float = _SECONDS


_KLAVIYO = ("klaviyo_key", "klaviyo_url", "revision")

CHECKS = (
    Check(name="settings", run=configuration.findings, shared=True),
    Check(name="disk", run=disk.findings, needs=("store", "spool"), shared=True),
    Check(name="clock", run=clock.findings, needs=_KLAVIYO, shared=True),
    Check(name="prefix", run=prefix.findings, needs=("prefix",), shared=True),
    Check(name="site", run=site.findings, needs=("prefix",), shared=True),
    Check(name="store", run=store.findings, needs=("store", "spool", "shop")),
    Check(name="sender", run=sender.findings, needs=("store", "shop")),
    Check(name="tokens", run=tokens.findings, needs=("token_keys", "token_age", "shop")),
    Check(name="carts", run=carts.findings, needs=("carts",)),
    Check(name="klaviyo", run=klaviyo.findings, needs=_KLAVIYO),
    Check(name="revision", run=revision.findings, needs=("klaviyo_url", "revision")),
    Check(name="trial", run=trial.findings, needs=(*_KLAVIYO, "metric"), seconds=80.0),
)


def names() -> list[str]:
    """Return what the checks are called, in their order."""
    return [check.name for check in CHECKS]


def examine(
    setups: Sequence[Setup], only: Collection[str] = (), checks: Sequence[Check] = CHECKS
) -> Iterator[Examined]:
    """Yield what each check found, what the shops share first; those of *only*, if it names any."""
    wanted = [check for check in checks if not only or check.name in only]
    runs = [_Run(check, _together(setups, check)) for check in wanted if check.shared]
    runs += [_Run(each, setup) for setup in setups for each in wanted if not each.shared]
    for run in runs:
        run.start()
    for run in runs:
        yield Examined(check=run.name, shop=run.shop, findings=run.findings())


def _together(setups: Sequence[Setup], check: Check) -> Setup:
    """Return a shop's set-up in which *check* finds what it needs, and the others beside it."""
    one = next((each for each in setups if not each.lacks(*check.needs)), setups[0])
    return replace(one, beside=tuple(each for each in setups if each is not one))


class _Run(Thread):
    """One check at work; whoever has lost patience leaves it behind."""

    def __init__(self, check: Check, setup: Setup) -> None:
        super().__init__(name=check.name, daemon=True)
        self._check = check
        self._setup = setup
        self.shop = None if check.shared else setup.settings.shop
        self._found: list[Finding] = []
        self._until = time.monotonic() + check.seconds

    def run(self) -> None:
        missing = self._setup.lacks(*self._check.needs)
        if missing:
            names = " and ".join(missing)
            self._found.append(skipped(self.name, f"not without {names}: see the check `settings`"))
            return
        try:
            # One by one: of a check that is left behind, what it found by then is told.
            self._found.extend(self._check.run(self._setup))
        except Exception as error:
            # Of whatever kind: the others go on. Its words may be about a person, its name is not.
            words = f"this check itself failed: {_kind(error)}"
            self._found.append(wrong(self.name, words, "Mend what it names, or report it to us."))

    def findings(self) -> list[Finding]:
        """Return what was found until the time was over."""
        self.join(max(0.0, self._until - time.monotonic()))
        found = list(self._found)
        if self.is_alive():
            words = f"no answer within {self._check.seconds:.0f} s; the rest was not examined"
            remedy = "Something does not answer, often a name server: try it alone with --only."
            found.append(wrong(self.name, words, remedy))
        return found


def _kind(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}, {error.strerror}"
    return type(error).__name__
