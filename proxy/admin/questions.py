"""Questions: what an operator asks the sender, and how the page shows what it answers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from flask import g, request

from proxy.admin.surface import Shop
from proxy.facts import QuestionAsked
from proxy.steps import Answer

if TYPE_CHECKING:
    from proxy.store.reader import Reader

_PATIENCE = timedelta(seconds=15)
_KEPT = timedelta(hours=1)
# An event may have five million bytes; the command prints all of them.
_LONGEST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Shown:
    """A question as its page shows it: with its *answer*, or with why there is none."""

    answer: Answer | None = None
    event: str | None = None
    is_waited_for: bool = False
    excuse: str = ""


def put(shop: Shop, cart_id: str, **asked: Any) -> str:
    """Ask the sender, and return the id of the question, which says when it was asked."""
    name = f"{g.now:{_TIME}}-{uuid4().hex}"
    question = QuestionAsked(id=name, shop=shop.name, cart_id=cart_id, received_at=g.now, **asked)
    shop.append(question)
    return name


_TIME = "%Y%m%dT%H%M%S"


def shown(reader: "Reader", shop: str) -> Shown | None:
    """Return the question that the request is about, if it is about one."""
    name = request.args.get("question")
    if name is None:
        return None
    answer = reader.answer(shop, name)
    return _unanswered(name) if answer is None else of(answer)


def of(answer: Answer) -> Shown:
    """Return *answer* to be shown."""
    if answer.event is None:
        return Shown(answer=answer)
    event = msgspec.json.format(answer.event, indent=2)
    if len(event) > _LONGEST:
        event = f"{event[:_LONGEST]}\n… and {len(event) - _LONGEST:,} characters more"
    return Shown(answer=answer, event=event)


def _unanswered(name: str) -> Shown:
    age = g.now - _asked_at(name)
    if age > _KEPT:
        return Shown(excuse="What was answered is erased after an hour. Ask again.")
    if age > _PATIENCE:
        return Shown(excuse="No answer came. Is the sender at work?")
    return Shown(is_waited_for=True)


def _asked_at(name: str) -> datetime:
    try:
        return datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
