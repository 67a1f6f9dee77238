"""Questions: what operators ask the sender, answered on lanes of their own beside the sending."""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import SimpleQueue

from proxy import facts, steps, trial
from proxy.carts.source import CartSource
from proxy.enrich import Account
from proxy.facts import QuestionAsked
from proxy.lanes import Lanes, gathered
from proxy.standing import Standing
from proxy.steps import Answer, stopped
from proxy.store.book import Book, Question
from proxy.store.received import Received
from proxy.trial import Known

logger = logging.getLogger(__name__)

# A source of carts that hangs does so for seconds, and holds up no more than the next questions.
_AT_ONCE = 2
_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Answered:
    question_id: str
    answer: bytes


class Desk:
    """Answer what operators ask of *account*: the questions, and then the answers, are in *book*.

    Carts are *source*'s. No checkout waits for an answer, nor a question for a backlog.
    """

    def __init__(
        self, account: Account, source: CartSource, book: Book, now: Callable[[], datetime]
    ) -> None:
        self._account = account
        self._source = source
        self._book = book
        self._now = now
        self._answered: SimpleQueue[_Answered] = SimpleQueue()
        self._lanes: Lanes[_Answered] = Lanes(_AT_ONCE, self._answered)
        self._in_hand: set[str] = set()
        self._may_be_asked = True
        self._tidied_at: datetime | None = None

    def hear(self, received: Sequence[Received]) -> None:
        """Hear what was received: there may be a question in it."""
        asked = any(item.kind == "question" for item in received)
        self._may_be_asked = self._may_be_asked or asked

    def look(self, standing: Standing) -> None:
        """Write down what was found out, and take up what is asked, a few at a time."""
        self._tidy()
        for answered in gathered(self._answered, timedelta(0)):
            self._in_hand.discard(answered.question_id)
            self._put(answered)
        if self._may_be_asked:
            self._take_up(standing)

    def close(self) -> None:
        """Let go of the lanes, whatever they are at."""
        self._lanes.close()

    def _tidy(self) -> None:
        now = self._now()
        # A clock that was set back must not end it.
        if self._tidied_at is None or abs(now - self._tidied_at) >= _EVERY:
            self._tidied_at = now
            self._book.forget_questions(self._account.shop, now)
            # What was salvaged out of a damaged inbox has come past :meth:`hear`.
            self._may_be_asked = True

    def _put(self, answered: _Answered) -> None:
        shop = self._account.shop
        self._book.put_answer(shop, answered.question_id, answered.answer, self._now())

    def _take_up(self, standing: Standing) -> None:
        open_ones = self._book.questions(self._account.shop, _AT_ONCE + len(self._in_hand) + 1)
        waiting = [each for each in open_ones if each.id not in self._in_hand]
        taken = waiting[: _AT_ONCE - len(self._in_hand)]
        for question in taken:
            self._in_hand.add(question.id)
            self._lanes.do(partial(_answered, question.id, self._work(question, standing)))
        self._may_be_asked = len(taken) < len(waiting)

    def _work(self, question: Question, standing: Standing) -> Callable[[], Answer]:
        """Return what finds the answer to *question*, once the book was asked for all it knows."""
        try:
            asked = facts.decode("question", question.body)
        except ValueError:
            return partial(_broken, "the question cannot be read")
        assert isinstance(asked, QuestionAsked)
        known = Known(
            checkouts=self._book.checkouts(self._account.shop, asked.cart_id),
            pushed=self._book.cart(self._account.shop, asked.cart_id),
            standing=standing,
        )
        return lambda: trial.answer(asked, known, self._source, self._account, self._now())


def _answered(question_id: str, work: Callable[[], Answer]) -> _Answered:
    """Return the answer that *work* finds; a bug of ours is an answer too."""
    try:
        answer = steps.encode(work())
    except Exception as error:
        # No message: it could carry what was pasted.
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("a question failed with %s, at\n%s", type(error).__name__, where)
        words = f"a bug in the proxy ({type(error).__name__}); the log has it"
        answer = steps.encode(_broken(words))
    return _Answered(question_id=question_id, answer=answer)


def _broken(words: str) -> Answer:
    return Answer(steps=(stopped("sender", words),))
