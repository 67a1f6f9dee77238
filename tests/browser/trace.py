"""Trace: what the browser's own profiler says a script took."""

import json
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Browser, Page

Event = dict[str, Any]

CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "v8"]

# A task that takes longer than this keeps the shopper waiting (Long Tasks API).
LONG = 50.0


class Trace:
    """What happened in a page between :func:`start` and :func:`stop`, in milliseconds."""

    def __init__(self, raw: bytes) -> None:
        events: list[Event] = json.loads(raw)["traceEvents"]
        self._spans = sorted(
            (event for event in events if event["ph"] == "X"), key=lambda event: int(event["ts"])
        )

    def evaluation(self, url: str) -> float:
        """Return the processor's time for compiling *url* and running it once."""
        spans = [span for span in self._of(url) if span["name"] != "FunctionCall"]
        return sum(_processor(span) for span in _outermost(spans))

    def blocking(self, url: str) -> float:
        """Return by how much *url* alone made tasks too long, in the processor's time."""
        own = _outermost(self._of(url))
        tasks = [span for span in self._spans if span["name"] == "RunTask"]
        took = (sum(_processor(span) for span in own if _holds(task, span)) for task in tasks)
        return sum(max(0.0, ms - LONG) for ms in took)

    def calls(self, url: str) -> int:
        """Return how often the browser ran something of *url*."""
        return len(_outermost(self._of(url)))

    def _of(self, url: str) -> list[Event]:
        names = ("v8.compile", "EvaluateScript", "FunctionCall")
        return [
            span
            for span in self._spans
            if span["name"] in names and span["args"].get("data", {}).get("url") == url
        ]


def start(browser: Browser, page: Page) -> None:
    """Have *browser* write down what happens in *page*."""
    browser.start_tracing(page=page, categories=CATEGORIES)


def stop(browser: Browser) -> Trace:
    """Return what was written down."""
    return Trace(browser.stop_tracing())


def _outermost(spans: Sequence[Event]) -> list[Event]:
    """Return those of *spans* that lie in no other; they come in the order of their start."""
    found: list[Event] = []
    for span in spans:
        if not any(_holds(outer, span) for outer in found[-1:]):
            found.append(span)
    return found


def _holds(outer: Event, inner: Event) -> bool:
    is_of_thread = (outer["pid"], outer["tid"]) == (inner["pid"], inner["tid"])
    return is_of_thread and outer["ts"] <= inner["ts"] < outer["ts"] + outer["dur"]


def _processor(span: Event) -> float:
    """Return the time that the thread ran: others may have had the processor meanwhile."""
    return float(span["tdur"]) / 1000
