"""Whether a checkout may be sent, by the mode of where the shopper is and their word."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from proxy import checkouts, consents, outcomes
from proxy.checkouts import Checkout, Status
from proxy.consents import ConsentMode, Decided, Modes, Permission
from proxy.facts import Consent, ConsentState, StatePosted
from proxy.identity import Profile
from proxy.latest import Word, value
from tests.folded import OFF, REQUIRED, RULES, SETTLE, delivered, folded, one, statuses, to
from tests.said import DENIED, GRANTED, JANE, JOHN, NOON, after, pushed, state

BY_REGION = replace(
    RULES,
    modes=Modes(
        ConsentMode.OPT_OUT,
        {
            "DE": ConsentMode.REQUIRED,
            "US": ConsentMode.OFF,
            "US-CA": ConsentMode.REQUIRED,
        },
    ),
)
SAID: dict[str, dict[str, Any]] = {
    "nothing": {},
    "granted": {"consent": GRANTED},
    "denied": {"consent": DENIED},
    "GPC": {"gpc": True},
    "GPC and granted": {"gpc": True, "consent": GRANTED},
    "GPC and denied": {"gpc": True, "consent": DENIED},
}


@pytest.mark.parametrize(
    ("mode", "said", "status", "reason"),
    [
        ("off", "nothing", "pending", "settling"),
        ("off", "granted", "pending", "settling"),
        ("off", "denied", "pending", "settling"),
        ("off", "GPC", "pending", "settling"),
        ("off", "GPC and granted", "pending", "settling"),
        ("off", "GPC and denied", "pending", "settling"),
        ("opt-out", "nothing", "pending", "settling"),
        ("opt-out", "granted", "pending", "settling"),
        ("opt-out", "denied", "cancelled", "the shopper denied consent"),
        ("opt-out", "GPC", "cancelled", "the browser sends Global Privacy Control"),
        ("opt-out", "GPC and granted", "pending", "settling"),
        ("opt-out", "GPC and denied", "cancelled", "the shopper denied consent"),
        ("required", "nothing", "pending", "waiting for consent"),
        ("required", "granted", "pending", "settling"),
        ("required", "denied", "cancelled", "the shopper denied consent"),
        ("required", "GPC", "cancelled", "the browser sends Global Privacy Control"),
        ("required", "GPC and granted", "pending", "settling"),
        ("required", "GPC and denied", "cancelled", "the shopper denied consent"),
    ],
)
def test_consent_decides_as_the_shop_asked(mode: str, said: str, status: str, reason: str) -> None:
    rules = replace(RULES, modes=Modes(ConsentMode(mode)))

    checkout = one(state(0, email=JANE, **SAID[said]), rules=rules)

    assert (checkout.status, checkout.reason) == (Status(status), reason)
    assert (checkout.due_at is not None) == (reason == "settling")


def test_who_waits_for_consent_goes_once_it_is_granted() -> None:
    checkout = one(state(0, email=JANE), state(5, consent=GRANTED), rules=REQUIRED)

    assert checkout.due_at == after(5) + SETTLE
    assert value(checkout.latest.email) == JANE


def test_a_cart_that_comes_does_not_stand_for_consent() -> None:
    checkout = one(state(0, email=JANE), pushed(1), rules=REQUIRED)

    assert checkout.due_at is None


def test_a_withdrawal_cancels_what_is_pending() -> None:
    checkout = one(state(0, email=JANE, consent=GRANTED), state(1, consent=DENIED))

    assert checkout.status is Status.CANCELLED
    assert checkout.due_at is None


def test_consent_given_again_opens_the_same_checkout_again() -> None:
    checkout = one(
        state(0, email=JANE, consent=GRANTED),
        state(1, consent=DENIED),
        state(2, email=JANE, consent=GRANTED),
    )

    assert checkout.status is Status.PENDING
    assert checkout.unique_id == f"c-1_{NOON.timestamp():.0f}"
    assert value(checkout.latest.email) == JANE


def test_a_consent_from_before_the_withdrawal_that_comes_late_opens_nothing() -> None:
    checkout = one(state(5, consent=DENIED), state(0, late=10, email=JANE, consent=GRANTED))

    assert checkout.status is Status.CANCELLED
    assert checkout.latest.email is None


def test_a_shop_that_asks_for_consent_from_today_on_asks_for_what_is_pending_too() -> None:
    checkout = one(state(0, email=JANE), rules=OFF)

    judged = checkouts.judged_again(checkout, REQUIRED, after(9))

    assert (judged.reason, judged.due_at) == ("waiting for consent", None)
    assert checkouts.judged_again(checkout, OFF, after(9)) == checkout


def test_a_shop_that_asks_for_consent_no_more_opens_nothing_that_was_denied() -> None:
    cancelled = one(state(0, email=JANE, consent=DENIED))

    assert checkouts.judged_again(cancelled, OFF, after(9)) == cancelled


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ({}, "opt-out"),
        ({"region": "FR"}, "opt-out"),
        ({"region": "DE"}, "required"),
        ({"region": "DE-BY"}, "required"),
        ({"region": "US-CA"}, "required"),
        ({"region": "US-TX"}, "off"),
        ({"region_seen": "DE"}, "required"),
        ({"region": "US", "region_seen": "DE"}, "off"),
        ({"region": "ZZ"}, "opt-out"),
    ],
    ids=str,
)
def test_a_region_is_judged_by_the_mode_it_has_and_else_by_the_shops(
    said: dict[str, Any], mode: str
) -> None:
    checkout = one(state(0, email=JANE, **said), rules=BY_REGION)

    assert checkout.consent is not None
    assert checkout.consent.mode == mode
    assert (checkout.due_at is None) == (mode == "required")


def test_where_the_token_said_once_where_the_shopper_is_no_later_header_counts() -> None:
    facts = state(0, email=JANE, region="DE"), state(1, region_seen="US")

    checkout = one(*facts, rules=BY_REGION)

    assert checkout.reason == "waiting for consent"


def test_who_turns_out_to_be_where_consent_is_required_is_waited_for() -> None:
    facts = state(0, email=JANE, region_seen="US"), state(0.1, region_seen="DE")

    checkout = one(*facts, rules=BY_REGION)

    assert (checkout.status, checkout.due_at) == (Status.PENDING, None)


def test_what_was_decided_on_what_evidence_and_when_outlives_the_delivery_and_a_later_no() -> None:
    said = Consent(state=ConsentState.GRANTED, source="Our banner", evidence="c-4711")
    known = one(state(0, email=JANE, consent=said, gpc=True, region="DE"), rules=BY_REGION)

    delivered = outcomes.delivered(to(known, Profile(email=JANE)), after(2))
    checkout = one(state(3, consent=DENIED), rules=BY_REGION, onto=[delivered])

    assert checkout.latest.email is None
    assert checkout.consent == Decided(
        permission=Permission.GIVEN,
        mode=ConsentMode.REQUIRED,
        at=after(0),
        consent=said,
        gpc=True,
        region="DE",
        region_by="token",
    )


def test_a_decision_is_as_old_as_it_is_the_same() -> None:
    asked, again = one(state(0, email=JANE)), one(state(0, email=JANE), state(1, email=JOHN))
    granted = one(state(0, email=JANE), state(1, consent=GRANTED))

    assert asked.consent == again.consent
    assert granted.consent is not None
    assert granted.consent.at == after(1)


def test_what_is_sent_under_other_rules_than_it_came_under_says_so() -> None:
    checkout = one(state(0, email=JANE, consent=GRANTED), rules=OFF)
    consent = consents.decided(checkout.latest, REQUIRED.modes, after(5), checkout.consent)

    sent = outcomes.bound(checkout, seen=checkout, profile=Profile(email=JANE), consent=consent)

    assert sent.consent is not None
    assert (sent.consent.mode, sent.consent.at) == (ConsentMode.REQUIRED, after(5))


def test_an_earlier_consent_outlives_global_privacy_control() -> None:
    checkout = one(state(0, email=JANE, consent=GRANTED), state(1, gpc=True))

    assert checkout.status is Status.PENDING


@pytest.mark.parametrize(
    "said",
    [
        [state(0, email=JANE, gpc=True), state(1, email=JANE)],
        [state(1, email=JANE), state(0, late=5, email=JANE, gpc=True)],
    ],
    ids=["in order", "late"],
)
def test_global_privacy_control_holds_until_there_is_an_express_yes(
    said: list[StatePosted],
) -> None:
    known = folded(*said)
    assert [each.reason for each in known] == ["the browser sends Global Privacy Control"]

    assert one(state(6, email=JANE, consent=GRANTED), onto=known).status is Status.PENDING


# -- a withdrawal, and what earlier visits left open -------------------------------------

NEXT_DAY = 25 * 60
OPEN: dict[str, Callable[[Checkout], Checkout]] = {
    "pending": lambda checkout: checkout,
    "waiting": lambda checkout: outcomes.waiting(checkout, "waiting for an address"),
    "dead": lambda checkout: outcomes.refused(checkout, "Klaviyo answered 400"),
    "quarantined": lambda checkout: outcomes.quarantined(checkout, "reserved"),
}


@pytest.mark.parametrize("said", ["denied", "GPC and denied"])
@pytest.mark.parametrize("left", OPEN)
def test_a_denial_reaches_what_earlier_visits_left_open(left: str, said: str) -> None:
    granted = OPEN[left](one(state(0, email=JANE, consent=GRANTED), rules=REQUIRED))

    known = folded(state(NEXT_DAY, **SAID[said]), onto=[granted], rules=REQUIRED)

    assert statuses(known) == [Status.CANCELLED, Status.CANCELLED]
    assert known[0].reason == "the shopper denied consent"
    assert value(known[0].latest.email) is None


def test_a_silence_that_was_kept_as_a_word_takes_no_gpc_back_that_comes_late() -> None:
    """Checkouts of before have one: who posted without the signal was taken to say that."""
    known = one(state(1, email=JANE))
    silence = Word(value=False, at=after(1), by="before")
    of_before = msgspec.structs.replace(
        known, latest=msgspec.structs.replace(known.latest, gpc=silence)
    )

    late = one(state(0, late=5, gpc=True), onto=[of_before])

    assert late.status is Status.CANCELLED


def test_a_browser_that_begins_to_send_gpc_is_heard_for_earlier_visits_too() -> None:
    known = folded(state(0, email=JANE), state(NEXT_DAY, gpc=True))

    assert statuses(known) == [Status.CANCELLED, Status.CANCELLED]


def test_a_denial_leaves_what_was_sent_as_it_is() -> None:
    sent = delivered(one(state(0, email=JANE, consent=GRANTED), rules=REQUIRED))

    known = folded(state(NEXT_DAY, consent=DENIED), onto=[sent], rules=REQUIRED)

    assert known[0] is sent


def test_whoever_grants_again_after_a_denial_grants_for_the_visit_that_goes_on() -> None:
    known = folded(
        state(0, email=JANE, consent=GRANTED),
        state(NEXT_DAY, email=JANE, consent=DENIED),
        state(NEXT_DAY + 1, email=JANE, consent=GRANTED),
        rules=REQUIRED,
    )

    assert statuses(known) == [Status.CANCELLED, Status.PENDING]


@pytest.mark.parametrize(
    ("minute", "first"), [(-10, Status.PENDING), (60, Status.CANCELLED)], ids=["before", "after"]
)
def test_a_denial_that_comes_late_takes_no_later_word_back(minute: int, first: Status) -> None:
    known = folded(
        state(0, email=JANE, consent=GRANTED),
        state(NEXT_DAY, email=JANE, consent=GRANTED),
        state(minute, late=NEXT_DAY + 10, consent=DENIED),
        rules=REQUIRED,
    )

    assert statuses(known) == [first, Status.PENDING]


def test_where_nobody_is_asked_a_denial_changes_nothing() -> None:
    kept_back = outcomes.quarantined(one(state(0, email=JANE), rules=OFF), "reserved")

    known = folded(state(NEXT_DAY, consent=DENIED), onto=[kept_back], rules=OFF)

    assert statuses(known) == [Status.QUARANTINED, Status.PENDING]
