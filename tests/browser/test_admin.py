"""The operator's pages in a real Chromium: at every width and in both schemes, for everybody."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from proxy import outcomes, steps
from proxy.alarms import Alarm, Name, News, State
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.facts import QuestionAsked, StatePosted
from proxy.standing import Standing
from proxy.steps import Answer, Step, Verdict
from proxy.store import Store
from proxy.store.book import Book, Change, Seen
from tests.books import lay_book, written
from tests.operator import PASSWORD
from tests.said import JANE, received
from tests.web import served

RULES = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
PATHS = ("", "?period=hour", "checkouts", "dead", "quarantine", "qa")
PHONE, DESK = (390, 844), (1280, 900)


@dataclass(frozen=True)
class Scene:
    """An operator's pages, and where one checkout of them is."""

    url: str
    name: str

    def paths(self) -> list[str]:
        one = (
            []
            if self.name == "nothing yet"
            else ["checkouts/c-0", "checkouts/c-1", "qa?question=q-1"]
        )
        return [*PATHS, *one]


@pytest.fixture(scope="module", params=["nothing yet", "a busy hour", "an outage"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("operators")
    with served(folder, ADMIN_PASSWORD=PASSWORD) as web:
        lay_book(web.store)
        if request.param != "nothing yet":
            _happen(web.store, outage=request.param == "an outage")
        yield Scene(f"{web.url}/admin/", request.param)


def _happen(store: Store, *, outage: bool) -> None:
    now = datetime.now(UTC)
    with closing(written(store)) as book:
        for number in range(60):
            _leave(book, number, now - timedelta(minutes=60 - number), outage=outage)
        alarm = Alarm(name=Name.BACKLOG, words="It has been due since 12:00.", remedy="Look.")
        news = [News(alarm=alarm, state=State.RAISED)] if outage else []
        book.note("shop", Seen(at=now, revision="2026-07-15"), news, to_tell=False)
        _ask(book, now)
        if outage:
            why = "no answer from Klaviyo: no connection"
            until = now + timedelta(minutes=9)
            standing = Standing(paused_at=now, paused_until=until, reason=why, failures=9)
            book.set_standing("shop", standing)


_SUSPICIONS = (
    "more than 20 checkouts of one client within an hour",
    "a bot's user agent",
    "the address is of a domain for addresses that are thrown away",
    "the address is of a domain kept for examples, which Klaviyo drops",
    "the address is of a domain that takes no mail",
)


def _leave(book: Book, number: int, at: datetime, *, outage: bool) -> None:
    cart_id = f"c-{number}"
    said = StatePosted(
        id=cart_id, shop="shop", cart_id=cart_id, received_at=at, acted_at=at, email=JANE
    )
    book.take_in([received(said, number)], RULES)
    (checkout,) = book.checkouts("shop", cart_id)
    suspect = partial(outcomes.quarantined, reason=_SUSPICIONS[number % len(_SUSPICIONS)])
    refuse = partial(outcomes.refused, reason="no cart was pushed (PUT /v1/carts/{cart_id})")
    deliver = partial(outcomes.delivered, at=at + timedelta(seconds=31))
    if number % 20 == 1:
        book.change("shop", [Change(checkout=checkout, apply=refuse)], at)
    elif number % 12 == 2:
        book.change("shop", [Change(checkout=checkout, apply=suspect)], at)
    elif not outage or number < 30:
        event = b'{"value":19.9,"properties":{"Items":[]}}'
        book.change("shop", [Change(checkout=checkout, apply=deliver, event=event)], at)


def _ask(book: Book, now: datetime) -> None:
    asked = QuestionAsked(id="q-1", shop="shop", cart_id="c-1", received_at=now)
    book.take_in([received(asked, 60)], RULES)
    verdicts = [Step(name=verdict, verdict=verdict, words="why") for verdict in Verdict]
    answer = steps.encode(Answer(steps=tuple(verdicts), event='{"value":19.9}'))
    book.put_answer("shop", asked.id, answer, now)


ON_PHONE = pytest.param((PHONE, "dark"), id="phone")


def seen(name: str, size: Any, scheme: str, *, slow: bool = False) -> Any:
    """Return a scene and the screen it is looked at on."""
    marks = [pytest.mark.slow] if slow else []
    screen = "phone" if size == PHONE else "desk"
    return pytest.param(name, (size, scheme), id=f"{name} by {screen}", marks=marks)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser, scene: Scene) -> Iterator[Page]:
    (width, height), scheme = request.param
    size = {"width": width, "height": height}
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(scene.url)
    page.fill("#password", PASSWORD)
    page.click("main button")
    yield page
    context.close()


@pytest.mark.parametrize(
    ("scene", "page"),
    [
        seen("nothing yet", PHONE, "dark"),
        seen("a busy hour", DESK, "light"),
        seen("an outage", PHONE, "dark"),
        seen("nothing yet", DESK, "light", slow=True),
        seen("a busy hour", PHONE, "dark", slow=True),
        seen("an outage", DESK, "light", slow=True),
    ],
    indirect=True,
)
def test_nobody_is_kept_out_and_nothing_is_cut_off(page: Page, scene: Scene) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.extend(_foreign(request.url, scene.url)))
    for path in scene.paths():
        page.goto(f"{scene.url}shop/{path}" if "/c-" not in path else _of_cart(page, scene, path))

        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(each["id"], path) for each in serious] == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert page.viewport_size is not None
        assert width <= page.viewport_size["width"], path
    assert said == []


def _foreign(url: str, ours: str) -> list[str]:
    return [] if url.startswith(ours) else [url]


def _of_cart(page: Page, scene: Scene, path: str) -> str:
    """Return where the page of a cart's checkout is, found as an operator finds it."""
    page.goto(f"{scene.url}shop/checkouts")
    page.fill("#words", path.removeprefix("checkouts/"))
    page.click("form.search button")
    return page.url


@pytest.mark.parametrize("page", [ON_PHONE], indirect=True)
def test_without_scripts_all_can_be_done(browser: Browser, scene: Scene) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(scene.url)
    page.fill("#password", PASSWORD)
    page.click("main button")

    page.click("text=Dead letters >> nth=0")

    if scene.name == "nothing yet":
        assert page.locator("text=There are none.").is_visible()
    else:
        page.click("text=Send these again")
        assert page.locator("text=3 are to be sent again").is_visible()
    page.click("text=Sign out")
    assert page.locator("#password").is_visible()
    context.close()
