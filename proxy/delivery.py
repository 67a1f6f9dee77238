"""Delivery: the one sender of an account takes facts in, and sends what is due."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue

from proxy import checkouts, payload
from proxy.carts.cart import Cart
from proxy.carts.source import CartRef, CartSource
from proxy.checkouts import Checkout, Rules, Trouble, public_id
from proxy.errors import CartError, CartGone, CartNotReady
from proxy.identity import Profile, identify
from proxy.klaviyo import Answer, Klaviyo, Verdict
from proxy.latest import value
from proxy.payload import Event, PropertyNames
from proxy.store import Attempt, Book, Change, Inboxes, Standing

logger = logging.getLogger(__name__)

_Apply = Callable[[Checkout], Checkout]

_TICK = timedelta(milliseconds=100)
_BATCH = 500
# A long backlog must hold up neither what is due nor the end.
_MAX_BATCHES = 10
_PRUNE_EVERY = timedelta(seconds=60)

# What is in flight is in memory only, so this is the most that a crash sends twice (Klaviyo counts
# it once, by its unique id).
_LANES = 8

# A refused key burns nothing, so asking again now and then costs nothing, and a scope that was
# added at Klaviyo is noticed without a restart.
_STOPPED_FOR = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One shop's account: how its checkouts are judged and how its events look."""

    shop: str
    rules: Rules
    late: timedelta
    metric: str
    property_names: PropertyNames


class Sender:
    """Fold *inboxes* into *book*, and send what is due to *klaviyo* with carts of *source*.

    One thread decides and writes; a few lanes wait for carts and for Klaviyo. Nothing here is
    remembered that a new sender would not find in the book.
    """

    def __init__(
        self,
        account: Account,
        *,
        inboxes: Inboxes,
        book: Book,
        source: CartSource,
        klaviyo: Klaviyo,
        now: Callable[[], datetime],
    ) -> None:
        self._account = account
        self._inboxes = inboxes
        self._book = book
        self._source = source
        self._klaviyo = klaviyo
        self._now = now
        self._lanes = Lanes(_LANES)
        self._in_flight: set[tuple[str, datetime]] = set()
        self._found: list[_Result] = []
        self._marks = book.marks()
        self._pruned_at = now()

    def run(self, stop: threading.Event) -> None:
        """Work until *stop* is set, then wait a few seconds for what is in flight."""
        self._try_again_if_stopped()
        while not stop.is_set():
            try:
                self.step()
            except Exception:
                # A full disk or a bug must not end the sender: everything is in the store, and
                # the next round begins from there.
                logger.exception("a round of the sender failed; it goes on with the next")
                stop.wait(1)
        self._finish(timedelta(seconds=5))

    def step(self) -> None:
        """Do one round: take facts in, send what is due, write down what became of it."""
        self._dispatch(self._take_in())
        self._gather(_TICK)
        self._prune()

    def _finish(self, patience: timedelta) -> None:
        until = self._now() + patience
        while self._in_flight and self._now() < until:
            self._gather(_TICK, send=False)

    # -- facts --

    def _take_in(self) -> datetime:
        """Take in what was received, and return the moment up to which nothing is unread."""
        now = self._now()
        for _ in range(_MAX_BATCHES):
            received = self._inboxes.after(self._marks, _BATCH)
            if received:
                self._book.take_in(received, self._account.rules)
                self._marks = self._book.marks()
            if len(received) < _BATCH:
                return now
        return min(now, received[-1].received_at)

    def _prune(self) -> None:
        if self._now() - self._pruned_at > _PRUNE_EVERY:
            self._pruned_at = self._now()
            self._inboxes.prune_orphans(self._marks)

    # -- one checkout: cart, event, answer --

    def _dispatch(self, until: datetime) -> None:
        """Take up what is due by *until*: for what comes after, an order may lie unread."""
        free = _LANES - len(self._in_flight)
        if free <= 0 or self._is_paused():
            return
        due = self._book.due(self._account.shop, until, limit=_LANES + free)
        waiting = [checkout for checkout in due if _key(checkout) not in self._in_flight]
        for checkout in waiting[:free]:
            self._in_flight.add(_key(checkout))
            self._lanes.do(Job(checkout, partial(self._read_cart, checkout)))

    def _try_again_if_stopped(self) -> None:
        # Somebody who starts the sender may have given it another key.
        if self._book.standing(self._account.shop).stopped:
            self._book.set_standing(self._account.shop, Standing())

    def _is_paused(self) -> bool:
        return self._book.standing(self._account.shop).waits(self._now())

    def _read_cart(self, checkout: Checkout) -> "_Result":
        if checkouts.judged_again(checkout, self._account.rules).due_at is None:
            return _found(checkout, partial(checkouts.judged_again, rules=self._account.rules))
        ref = CartRef(
            shop=checkout.shop, cart_id=checkout.cart_id, snapshot=value(checkout.latest.cart)
        )
        try:
            cart = self._source.fetch(ref)
        except CartError as error:
            return self._cartless(checkout, error)
        return self._ready(checkout, cart)

    def _cartless(self, checkout: Checkout, error: CartError) -> "_Result":
        if not isinstance(error, CartGone | CartNotReady):
            return _found(checkout, partial(checkouts.refused, reason=str(error)))
        trouble = Trouble.CART_GONE if isinstance(error, CartGone) else Trouble.NO_CART
        wait = checkouts.cart_wait(trouble, checkouts.tries(checkout, trouble))
        postpone = partial(
            checkouts.postponed, trouble=trouble, reason=str(error), now=self._now(), wait=wait
        )
        return _found(checkout, postpone)

    def _ready(self, checkout: Checkout, cart: Cart) -> "_Result":
        profile = checkout.addressee or identify(checkout.latest, cart_email=cart.email)
        if profile.is_nobody:
            return _found(checkout, partial(checkouts.waiting, reason="waiting for an address"))
        if profile.is_reserved:
            reason = "the address is of a domain kept for examples, which Klaviyo drops"
            return _found(checkout, partial(checkouts.quarantined, reason=reason))
        event = self._event(checkout, cart, profile)
        address = partial(checkouts.addressed, seen=checkout, profile=profile)
        return _Result(checkout, address, event=event)

    def _event(self, checkout: Checkout, cart: Cart, profile: Profile) -> Event:
        return Event(
            metric=self._account.metric,
            profile=profile,
            cart=cart,
            cart_id=public_id(checkout.cart_id),
            checkout_url=cart.checkout_url or value(checkout.latest.checkout_url),
            unique_id=checkout.unique_id,
            time=checkout.acted_at,
            backfill=self._now() - checkout.acted_at > self._account.late,
        )

    def _send(self, checkout: Checkout, event: Event, *, was_bound: bool) -> "_Result":
        answers = self._post(event)
        answer, now = answers[-1], self._now()
        apply = self._consequence(checkout, answer, now)
        # A lost answer may have been a yes; but what Klaviyo refuses now it has never taken.
        if answer.verdict is Verdict.NEVER or not (answer.maybe_received or was_bound):
            apply = partial(_unbound_after, apply)
        attempts = tuple(_attempt(answer, now) for answer in answers)
        return _Result(checkout, apply, attempts=attempts, standing=_standing(answer, now))

    def _post(self, event: Event) -> list[Answer]:
        """Return Klaviyo's answer, and a second one where it refused only the telephone number."""
        answer = self._klaviyo.create_event(self._body(event))
        spared = payload.without_phone_number(event)
        if not answer.blames_phone_number or spared.profile.is_nobody:
            return [answer]
        return [answer, self._klaviyo.create_event(self._body(spared))]

    def _body(self, event: Event) -> bytes:
        return payload.encode(event, self._account.property_names)

    def _consequence(self, checkout: Checkout, answer: Answer, now: datetime) -> _Apply:
        match answer.verdict:
            case Verdict.DELIVERED:
                return checkouts.delivered
            case Verdict.NEVER:
                refuse = partial(checkouts.refused, reason=answer.reason)
                return partial(checkouts.unless_changed, seen=checkout, apply=refuse)
            case Verdict.ACCOUNT_STOPPED:
                return checkouts.held
        tries = checkouts.tries(checkout, Trouble.KLAVIYO)
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        wait = answer.wait if answer.wait is not None else checkouts.backoff(tries + 1, jitter)
        return partial(
            checkouts.postponed, trouble=Trouble.KLAVIYO, reason=answer.reason, now=now, wait=wait
        )

    # -- what became of it --

    def _gather(self, patience: timedelta, *, send: bool = True) -> None:
        """Write down in one commit what the lanes found out, and only then send what is ready."""
        self._found += self._lanes.results(patience)
        if not self._found:
            return
        if not send or self._is_paused():
            self._found = self._without_ready(self._found)
        if any(result.event is not None for result in self._found):
            self._take_in()  # Perhaps the order was told while the cart was read.
        after = self._book.change([result.change for result in self._found])
        found, self._found = self._found, []
        for result, checkout in zip(found, after, strict=True):
            self._go_on(result, checkout)
        for result in found:
            self._note(result)

    def _without_ready(self, found: "list[_Result]") -> "list[_Result]":
        """Return what was found out, but for what was ready to be sent: it stays as it was, due."""
        for result in found:
            if result.event is not None:
                self._in_flight.discard(_key(result.checkout))
        return [result for result in found if result.event is None]

    def _go_on(self, result: "_Result", checkout: Checkout) -> None:
        """Send what is ready and still as it was; what changed meanwhile is taken up anew."""
        if result.event is None or checkout != result.expected:
            self._in_flight.discard(_key(checkout))
            return
        was_bound = result.checkout.addressee is not None
        send = partial(self._send, checkout, result.event, was_bound=was_bound)
        self._lanes.do(Job(checkout, send))

    def _note(self, result: "_Result") -> None:
        for attempt in result.attempts:
            logger.info("%s: %s", result.checkout.unique_id, attempt.reason)
        if result.standing is not None:
            logger.error("%s: sending waits: %s", self._account.shop, result.standing.reason)
            self._book.set_standing(self._account.shop, result.standing)


@dataclass(frozen=True, slots=True)
class _Result:
    """What a lane found out about a checkout; with an event, that it is ready to be sent."""

    checkout: Checkout
    apply: _Apply
    event: Event | None = None
    attempts: tuple[Attempt, ...] = ()
    standing: Standing | None = None

    @property
    def change(self) -> Change:
        return Change(checkout=self.checkout, apply=self.apply, attempts=self.attempts)

    @property
    def expected(self) -> Checkout:
        """The checkout as it stands now, where nothing came in while the lane worked."""
        return self.apply(self.checkout)


def _found(checkout: Checkout, apply: _Apply) -> _Result:
    """Return what was found out before anything was sent: it holds while nothing else comes in."""
    return _Result(checkout, partial(checkouts.unless_changed, seen=checkout, apply=apply))


def _attempt(answer: Answer, at: datetime) -> Attempt:
    return Attempt(at=at, status=answer.status, request_id=answer.request_id, reason=answer.reason)


def _unbound_after(apply: _Apply, checkout: Checkout) -> Checkout:
    return checkouts.unbound(apply(checkout))


def _key(checkout: Checkout) -> tuple[str, datetime]:
    return checkout.cart_id, checkout.epoch


def _standing(answer: Answer, now: datetime) -> Standing | None:
    match answer.verdict:
        case Verdict.ACCOUNT_WAITS:
            wait = answer.wait if answer.wait is not None else timedelta(seconds=1)
            return Standing(paused_at=now, paused_until=now + wait, reason=answer.reason)
        case Verdict.ACCOUNT_STOPPED:
            until = now + _STOPPED_FOR
            return Standing(paused_at=now, paused_until=until, reason=answer.reason, stopped=True)
    return None


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do about a checkout that makes a lane wait."""

    checkout: Checkout
    work: Callable[[], _Result]

    def done(self) -> _Result:
        """Return what came out; a bug makes this one checkout a dead letter, and stops no other."""
        try:
            return self.work()
        except Exception as error:
            logger.exception("%s cannot be sent", self.checkout.unique_id)
            reason = f"a bug in the proxy ({type(error).__name__}); the log has it"
            return _Result(self.checkout, partial(checkouts.refused, reason=reason))


class Lanes:
    """A few daemon threads that do jobs and keep what came out until it is asked for.

    Daemons, unlike an executor's threads: one that waits for Klaviyo must not hold up the end.
    """

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._results: SimpleQueue[_Result] = SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._work, daemon=True).start()

    def do(self, job: Job) -> None:
        """Do *job* on a lane that is free."""
        self._jobs.put(job)

    def results(self, patience: timedelta) -> list[_Result]:
        """Return what was done, after waiting *patience* at most for the first."""
        done: list[_Result] = []
        try:
            done.append(self._results.get(timeout=patience.total_seconds()))
            while True:
                done.append(self._results.get_nowait())
        except Empty:
            return done

    def _work(self) -> None:
        while True:
            self._results.put(self._jobs.get().done())
