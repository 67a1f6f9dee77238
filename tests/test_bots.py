"""Bots: who says that it is a program is kept back, and a person's browser or app never."""

import json
import re

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from proxy.bots import is_bot
from proxy.facts import StatePosted
from tests.web import Web, token

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)
PEOPLE = [
    CHROME,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Mobile/15E148 Instagram 300.0.0",
    "okhttp/4.12.0",
    "Dart/3.4 (dart:io)",
    "python-requests/2.32.3",
    "",
]


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_browsers_apps_and_shops_are_no_bots(user_agent: str) -> None:
    assert not is_bot(user_agent)


def test_whoever_is_listed_is_found_as_by_the_list_itself() -> None:
    meant = [each for each in CRAWLER_USER_AGENTS_DATA if "http-library" not in each["tags"]]
    patterns = re.compile("|".join(each["pattern"] for each in meant))
    listed = [name for each in CRAWLER_USER_AGENTS_DATA for name in each["instances"]]

    assert len(listed) > 1_000
    assert [name for name in listed if is_bot(name) != bool(patterns.search(name[:512]))] == []


def test_what_stands_far_behind_in_a_user_agent_is_not_read() -> None:
    assert is_bot("x" * 500 + "Googlebot/2.1")
    assert not is_bot("x" * 600 + "Googlebot/2.1")


def test_a_bots_state_is_kept_with_a_word_on_that(web: Web) -> None:
    driven = CHROME.replace("Chrome/", "HeadlessChrome/")
    for user_agent in (CHROME, driven):
        web.post_state(json.dumps({"token": token()}), User_Agent=user_agent)

    states = [fact for fact in web.facts() if isinstance(fact, StatePosted)]
    assert [state.automated for state in states] == [None, True]
