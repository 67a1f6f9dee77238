"""Steps: what each step of a state's journey said, and the event at its end, if there is one."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from proxy.wire import Discreet


class Verdict(StrEnum):
    """What a step said."""

    PASSED = "passed"
    STOPPED = "stopped"
    WARNED = "warned"
    UNKNOWN = "unknown"


class Step(Discreet, frozen=True, kw_only=True):
    """One step: its name, its verdict, and why, in words without a whole address."""

    name: str
    verdict: Verdict
    words: str


class Answer(Discreet, frozen=True, kw_only=True):
    """The steps of a journey in their order; *event* is what would be sent at its end, as JSON."""

    steps: tuple[Step, ...] = ()
    event: str | None = None

    @property
    def stopped_by(self) -> Step | None:
        """The first step that ends the journey."""
        stops = (step for step in self.steps if step.verdict is Verdict.STOPPED)
        return next(stops, None)

    def after(self, before: Iterable[Step]) -> "Answer":
        """Return the same journey with the steps *before* it."""
        return Answer(steps=(*before, *self.steps), event=self.event)


def passed(name: str, words: str) -> Step:
    """Return a step that lets the journey go on."""
    return Step(name=name, verdict=Verdict.PASSED, words=words)


def warned(name: str, words: str) -> Step:
    """Return a step that lets it go on, and has something to say."""
    return Step(name=name, verdict=Verdict.WARNED, words=words)


def stopped(name: str, words: str) -> Step:
    """Return a step that ends the journey."""
    return Step(name=name, verdict=Verdict.STOPPED, words=words)


def unknown(name: str, words: str) -> Step:
    """Return a step of which nobody can say."""
    return Step(name=name, verdict=Verdict.UNKNOWN, words=words)


def encode(answer: Answer) -> bytes:
    """Return *answer* as the JSON that :func:`decode` reads back."""
    return msgspec.json.encode(answer)


def decode(body: bytes) -> Answer:
    """Return the answer written in *body*, or raise :exc:`ValueError`."""
    return _DECODER.decode(body)


_DECODER = msgspec.json.Decoder(Answer)
