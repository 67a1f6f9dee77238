"""Examination: every check at once, none of which hides another, or keeps one waiting."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread

from proxy.doctor import (
    carts,
    clock,
    configuration,
    klaviyo,
    prefix,
    revision,
    sender,
    site,
    store,
    tokens,
    trial,
)
from proxy.doctor.finding import Finding, skipped, wrong
from proxy.doctor.setup import Setup

_SECONDS = 18.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What *run* finds, which cannot do without the settings that it *needs*.

    It has so many *seconds*: a name server alone may keep one waiting for longer.
    """

    name: str
    run: Callable[[Setup], Iterator[Finding]]
    needs: tuple[str, ...] = ()
    seconds: float = _SECONDS


_KLAVIYO = ("klaviyo_key", "klaviyo_url", "revision")

CHECKS = (
    Check(name="settings", run=configuration.findings),
    Check(name="store", run=store.findings, needs=("store", "spool")),
    Check(name="sender", run=sender.findings, needs=("store", "shop")),
    Check(name="tokens", run=tokens.findings, needs=("token_keys", "token_age", "shop")),
    Check(name="carts", run=carts.findings, needs=("carts",)),
    Check(name="klaviyo", run=klaviyo.findings, needs=_KLAVIYO),
    Check(name="revision", run=revision.findings, needs=("klaviyo_url", "revision")),
    Check(name="clock", run=clock.findings, needs=_KLAVIYO),
    Check(name="prefix", run=prefix.findings, needs=("prefix",)),
    Check(name="site", run=site.findings, needs=("prefix",)),
    Check(name="trial", run=trial.findings, needs=(*_KLAVIYO, "metric"), seconds=80.0),
)


def names() -> list[str]:
    """Return what the checks are called, in their order."""
    return [check.name for check in CHECKS]


def examine(
    setup: Setup, only: Collection[str] = (), checks: Sequence[Check] = CHECKS
) -> Iterator[tuple[str, list[Finding]]]:
    """Yield each check's name and what it found, in order; those of *only*, where it names any."""
    runs = [_Run(check, setup) for check in checks if not only or check.name in only]
    for run in runs:
        run.start()
    for run in runs:
        yield run.name, run.findings()


class _Run(Thread):
    """One check at work; whoever has lost patience leaves it behind."""

    def __init__(self, check: Check, setup: Setup) -> None:
        super().__init__(name=check.name, daemon=True)
        self._check = check
        self._setup = setup
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
