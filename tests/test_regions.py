"""Regions: by which mode of consent a shopper is judged, and where the region comes from."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner

from proxy import outcomes, shops, story, visits, work
from proxy.checkouts import Checkout, Rules, Status
from proxy.cli import main
from proxy.consents import ConsentMode, Modes
from proxy.errors import Misconfigured
from proxy.facts import Consent, ConsentState, StatePosted
from proxy.identity import Profile
from proxy.regions import COUNTRIES, GROUPS
from proxy.settings import Settings
from proxy.store import Store
from proxy.store.book import Book, Change
from tests.books import lay_book, written
from tests.operator import PASSWORD, Operator
from tests.said import JANE, NOON, after, received, state
from tests.web import ORIGIN, Web, served, token

RULES = Rules(
    settle=timedelta(0),
    epoch=timedelta(hours=24),
    modes=Modes(ConsentMode.OPT_OUT, {"DE": ConsentMode.REQUIRED}),
)


def test_the_countries_are_all_there() -> None:
    # ISO 3166-1 has assigned 249 codes; Kosovo's is none of them.
    assert len(COUNTRIES - {"XK"}) == 249
    assert GROUPS["EEA"] < COUNTRIES


# -- the setting -------------------------------------------------------------------------


def modes(said: str, **more: str) -> Modes:
    return work.account(settings(CONSENT_REGIONS=said, **more)).rules.modes


def settings(**said: str) -> Settings:
    (settings,) = shops.read({f"CHECKOUT_PROXY_{name}": text for name, text in said.items()})
    return settings


@pytest.mark.parametrize(
    ("region", "mode"),
    [("DE", "off"), ("NO", "required"), ("FR", "opt-out"), ("US-CA", "required"), ("US", "off")],
)
@pytest.mark.parametrize("order", [1, -1])
def test_what_is_said_of_a_region_goes_before_what_is_said_of_more(
    region: str, mode: str, order: int
) -> None:
    said = ["EEA=required", "EU=opt-out,", "DE=off", "US=off", "US-CA=required"][::order]

    assert modes(" ".join(said), CONSENT="required").mode(region) == mode


def test_a_region_of_which_nothing_is_said_is_judged_as_the_shop_is() -> None:
    by_region = modes("EEA=required")

    assert {by_region.mode(region) for region in ("US", None, "GB")} == {ConsentMode.OPT_OUT}
    assert len(by_region.regions) == len(GROUPS["EEA"]) == 30


@pytest.mark.parametrize(
    ("said", "mistake"),
    [
        ("UK=required", "has 'UK', which is neither a code of ISO 3166"),
        ("ZZ=required", "has 'ZZ', which is neither"),
        ("de=required", "has 'de', which is neither"),
        ("US-CALI=required", "has 'US-CALI', which is neither"),
        ("DE=maybe", "in 'DE=maybe' the mode is none of opt-out, required, off"),
        ("DE", "in 'DE=' the mode is none of"),
        ("DE=off DE=required", "names a region twice"),
    ],
)
def test_a_region_that_is_none_is_a_mistake(said: str, mistake: str) -> None:
    with pytest.raises(Misconfigured, match="CHECKOUT_PROXY_CONSENT_REGIONS") as refused:
        settings(CONSENT_REGIONS=said)

    assert mistake in str(refused.value)


def test_each_shop_of_a_file_has_regions_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "shops.toml"
    file.write_text(
        '[shops.tea]\nconsent_regions = ["DE=required", "US-CA=required"]\n'
        '[shops.coffee]\nconsent = "required"\nconsent_regions = "US=off"\n'
    )

    tea, coffee = shops.read({"CHECKOUT_PROXY_CONFIG": str(file)})

    assert dict(tea.consent_regions) == {"DE": "required", "US-CA": "required"}
    assert dict(coffee.consent_regions) == {"US": "off"}


def test_a_header_that_can_be_none_is_a_mistake() -> None:
    with pytest.raises(Misconfigured, match="REGION_HEADER is the name of a header"):
        settings(REGION_HEADER="CF IPCountry")


# -- where it comes from -----------------------------------------------------------------


@pytest.fixture(scope="module")
def behind_a_cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("web")
    with served(folder, REGION_HEADER="CF-IPCountry", CARTS="medusa", GUESTS="on", **ASKED) as web:
        yield web


ASKED = {"CARTS_URL": "https://medusa.example", "CARTS_KEY": "pk_1"}


def post(web: Web, said: str, *, query: str = "", **headers: str | None) -> StatePosted:
    """Return what is kept of a state; with a query it does not go the fast way."""
    web = web.from_now_on()
    body = json.dumps({"token": said, "region": "FR", "region_seen": "FR"})
    answer = web.ask("POST", f"/co/state{query}", body, Content_Type="text/plain", **headers)
    assert answer.status == 202, answer.body
    (fact,) = web.facts()
    assert isinstance(fact, StatePosted)
    return fact


@pytest.mark.parametrize("query", ["", "?by=flask"])
@pytest.mark.parametrize(
    ("header", "seen"),
    [("DE", "DE"), ("de", "DE"), ("US-CA", "US-CA"), ("XX", None), ("T1", None), (None, None)],
)
def test_the_header_that_the_shop_names_says_where_the_shopper_is(
    behind_a_cdn: Web, query: str, header: str | None, seen: str | None
) -> None:
    fact = post(behind_a_cdn, token(), query=query, CF_IPCountry=header)

    assert (fact.region, fact.region_seen) == (None, seen)


def test_neither_the_body_nor_a_header_that_is_not_named_says_it(web: Web) -> None:
    fact = post(web, token(), CF_IPCountry="DE")

    assert (fact.region, fact.region_seen) == (None, None)


def test_a_session_carries_the_region_that_the_shops_server_says(behind_a_cdn: Web) -> None:
    body = {"cart_id": "c-1", "region": "US-CA"}
    signed = behind_a_cdn.call("POST", "/v1/sessions", body).json()["token"]

    fact = post(behind_a_cdn, signed, CF_IPCountry="DE")

    assert (fact.region, fact.region_seen) == ("US-CA", "DE")


@pytest.mark.parametrize("region", ["us", "UK", "USA", "US-", ""])
def test_a_session_of_nowhere_is_refused(web: Web, region: str) -> None:
    answer = web.call("POST", "/v1/sessions", {"cart_id": "c-1", "region": region})

    assert answer.status == 422


def test_a_guest_cannot_say_where_he_is(behind_a_cdn: Web) -> None:
    body = json.dumps({"cart_id": "cart_01HXV7T7W8Y6W3J6W5J6Z8Q0AB", "region": "US"})
    page: dict[str, str | None] = {"Content_Type": "text/plain", "Origin": ORIGIN}
    signed = behind_a_cdn.ask("POST", "/co/session", body, **page).json()["token"]

    fact = post(behind_a_cdn, signed, Origin=ORIGIN, CF_IPCountry="DE")

    assert (fact.region, fact.region_seen) == (None, "DE")


def test_the_command_signs_a_region_and_qa_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKOUT_PROXY_TOKEN_KEYS", "a-key-of-thirty-two-characters-x")

    signed = CliRunner().invoke(main, ["token", "c-1", "--region", "US-CA"])
    shown = CliRunner().invoke(main, ["qa", "--token", signed.output.strip()])
    refused = CliRunner().invoke(main, ["token", "c-1", "--region", "UK"])

    assert any(line.split()[1:] == ["region", "US-CA"] for line in shown.output.splitlines())
    assert (shown.exit_code, refused.exit_code) == (0, 2)


# -- what was decided is kept ------------------------------------------------------------


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    with store.account("shop", Event()) as book:
        assert book is not None
        yield book


BANNER = Consent(state=ConsentState.GRANTED, source="Our banner", evidence="c-4711")


def test_what_was_decided_on_what_evidence_is_there_after_the_body_was_erased(
    store: Store, book: Book
) -> None:
    said = state(0, email=JANE, consent=BANNER, gpc=True, region="DE", region_seen="US")
    book.take_in([received(said)], RULES)
    (checkout,) = book.checkouts("shop", "c-1")
    profile = Profile(email=JANE)

    book.change("shop", [_change(checkout, profile=profile)], NOON)
    book.take_in([received(state(5, consent=replace(BANNER, state=ConsentState.DENIED)), 2)], RULES)

    with closing(store.book()) as again:
        (after_all,) = again.checkouts("shop", "c-1")
    assert (after_all.status, after_all.latest.email) == (Status.DELIVERED, None)
    assert story.consent(after_all) == (
        "may be sent, by the mode required (DE, says the token), since 2026-11-22 12:00:00Z: "
        "granted (Our banner, c-4711), and the browser sends Global Privacy Control"
    )


def _change(checkout: Checkout, *, profile: Profile) -> Change:
    def send(seen: Checkout) -> Checkout:
        sent = outcomes.bound(seen, seen=seen, profile=profile)
        return outcomes.delivered(sent, after(1))

    return Change(checkout=checkout, apply=send)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "may be sent, by the mode opt-out (no region is known), since …: nothing was said"),
        ({"region_seen": "DE"}, "waits for consent, by the mode required (DE, says a header), "),
        ({"gpc": True}, "must not be sent, by the mode opt-out (no region is known), "),
    ],
)
def test_the_story_says_by_which_mode_and_why(said: dict[str, Any], words: str) -> None:
    (checkout,) = visits.fold([], state(0, email=JANE, **said), RULES)

    assert words.replace("…", "2026-11-22 12:00:00Z") in story.consent(checkout)


def test_trace_and_the_page_of_a_checkout_tell_it(
    serve: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = serve(ADMIN_PASSWORD=PASSWORD)
    lay_book(web.store)
    with closing(written(web.store)) as book:
        book.take_in([received(state(0, email=JANE, consent=BANNER, region="DE"))], RULES)
        (checkout,) = book.checkouts("shop", "c-1")
    monkeypatch.setenv("CHECKOUT_PROXY_STORE", f"sqlite:///{web.store.folder.parent}")
    operator = Operator(web.url)
    operator.sign_in()

    page = operator.page(f"shop/checkouts/{checkout.unique_id}")
    traced = CliRunner().invoke(main, ["trace", "c-1"]).output

    words = "may be sent, by the mode required (DE, says the token), since 2026-11-22 12:00:00Z: "
    assert f"<dd>{words}granted (Our banner, c-4711)</dd>" in page
    assert f"consent: {words}granted (Our banner, c-4711)" in traced
