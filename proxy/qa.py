"""Qa: what the operator's page says of a token, a state or a checkout, for a terminal."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import click
import msgspec

from proxy import inspection, shops, states, trial, work
from proxy.facts import Fact, QuestionAsked
from proxy.inspection import Page
from proxy.settings import Settings
from proxy.steps import Answer, Verdict
from proxy.tokens import Tokens
from proxy.trial import Known


def token(settings: Settings, text: str) -> Answer:
    """Return what becomes of a token."""
    return inspection.token(_shop(settings), text.strip(), _now()).answer


def state(settings: Settings, body: bytes, origin: str) -> Answer:
    """Return what would become of a state, were a page of *origin* to post it now."""
    now = _now()
    inspected = inspection.state(_shop(settings), body, Page(origin=origin), now)
    said = inspected.state
    if said is None:
        return inspected.answer
    asked = _question(settings, said.cart_id, now, state=said, before=inspected.steps)
    return _answer(settings, asked)


def checkout(settings: Settings, cart_id: str) -> Answer | None:
    """Return what would be sent now of the last checkout of *cart_id*, which may be an event's id.

    ``None`` says that there is none.
    """
    with closing(shops.store(settings).book()) as book:
        found = book.checkout(settings.shop, cart_id)
        last = found or next(iter(book.checkouts(settings.shop, cart_id)[::-1]), None)
    if last is None:
        return None
    return _answer(settings, _question(settings, last.cart_id, _now(), epoch=last.epoch))


def in_words(answer: Answer) -> Iterator[str]:
    """Yield a line for each step, and the event."""
    for step in answer.steps:
        verdict = click.style(f"{step.verdict:<8}", fg=_COLOURS[step.verdict])
        yield f"{verdict} {step.name:<16} {step.words}"
    if answer.event is not None:
        yield ""
        yield msgspec.json.format(answer.event, indent=2)


_COLOURS = {
    Verdict.PASSED: "green",
    Verdict.STOPPED: "red",
    Verdict.WARNED: "yellow",
    Verdict.UNKNOWN: None,
}


def as_json(answer: Answer) -> str:
    """Return the same for a program."""
    event = None if answer.event is None else msgspec.Raw(answer.event.encode())
    said = {"steps": msgspec.to_builtins(answer.steps), "event": event}
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode()


def _answer(settings: Settings, asked: QuestionAsked) -> Answer:
    """Answer by the sender's own code, in this process: no sender is needed."""
    known = _known(settings, asked.cart_id)
    with work.source(settings) as carts:
        return trial.answer(asked, known, carts, work.account(settings), _now())


def _known(settings: Settings, cart_id: str) -> Known:
    store = shops.store(settings)
    if not store.exists:
        return Known()
    with closing(store.book()) as book:
        return Known(
            checkouts=book.checkouts(settings.shop, cart_id),
            pushed=book.cart(settings.shop, cart_id),
            standing=book.standing(settings.shop),
        )


def _question(settings: Settings, cart_id: str, now: datetime, **asked: Any) -> QuestionAsked:
    name = uuid4().hex
    return QuestionAsked(id=name, shop=settings.shop, cart_id=cart_id, received_at=now, **asked)


def _shop(settings: Settings) -> states.Shop:
    tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
    return states.Shop(
        name=settings.shop,
        tokens=tokens,
        origins=settings.origins,
        oldest=settings.token_age,
        append=_keep_nothing,
        took=_keep_nothing,
    )


def _keep_nothing(_: Fact | float) -> None:
    raise AssertionError("what is tried is not kept")


def _now() -> datetime:
    return datetime.now(UTC)
