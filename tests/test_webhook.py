"""Webhook: who knows the key is told of each alarm, at least once, and can tell that it is us."""

import json
import logging
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.alarms import Name
from proxy.checkouts import Status
from proxy.sandbox.faults import Answer
from tests.actors import KLAVIYO_KEY, Page, Shop, environment, judged_klaviyo, until
from tests.commands import run
from tests.platform import Asked
from tests.running import NODE, ROOT, Proxy
from tests.said import NOON, pushed, replay, state
from tests.test_alarms import CLEARED, RAISED, Watched, die, watched_shop
from tests.watching import KEY, is_ours, receiver


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_shop(tmp_path) as watched:
        yield watched


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_receiver_that_does_not_take_it_gets_it_again(watched: Watched, status: int) -> None:
    watched.receiver.statuses = [status, status]
    die(watched, "c-1")

    until(lambda: watched.look(5) and len(watched.receiver.posted) >= 3)
    for _ in range(3):
        watched.look(5)

    first, *again = watched.receiver.posted
    assert again == [first, first]
    assert {asked.path for asked in watched.receiver.platform.asked} == {"/alarms"}


def test_what_is_posted_says_all_there_is_to_know(watched: Watched) -> None:
    die(watched, "c-1")
    watched.wait_for((Name.DEAD_LETTERS, RAISED))

    (posted,) = watched.receiver.posted

    assert posted.pop("id")
    assert posted == {
        "shop": "shop",
        "alarm": "dead letters",
        "state": "raised",
        "words": "1 new dead letter, most of them: Klaviyo answered 400; 1 in all",
        "remedy": "checkout-proxy dead lists them by reason; mend the cause, then checkout-proxy "
        "replay sends them again",
        "at": "2026-11-22T12:00:30Z",
    }


def test_an_alarm_and_its_end_come_in_order(watched: Watched) -> None:
    watched.receiver.statuses = [500]
    die(watched, "c-1")
    until(lambda: watched.receiver.posted)
    (letter,) = watched.scene.book.dead("shop")
    watched.scene.hear(replay(watched.scene.clock.minute, "c-1", epoch=letter.epoch))
    watched.look()
    assert watched.standing == []

    until(lambda: watched.look(1) and len(watched.receiver.posted) >= 3)

    states = [each["state"] for each in watched.receiver.posted]
    assert states == [RAISED, RAISED, CLEARED]


def test_a_receiver_that_hangs_delays_nothing(watched: Watched) -> None:
    watched.receiver.platform.open.clear()
    die(watched, "c-1")
    until(lambda: watched.receiver.platform.asked)

    watched.scene.hear_of(*(f"d-{number}" for number in range(20)), minute=1)
    watched.look(1)

    assert watched.scene.count(Status.DELIVERED) == 20
    assert watched.scene.book.untold("shop", NOON)


def test_after_a_day_nobody_is_told_any_more(watched: Watched) -> None:
    watched.receiver.statuses = [500] * 1_000
    die(watched, "c-1")
    until(lambda: watched.receiver.posted)
    for _ in range(20):
        watched.look(60 * 1.3)
    tried = len(watched.receiver.posted)

    for _ in range(5):
        watched.look(60)

    assert len(watched.receiver.posted) == tried
    assert watched.standing == [Name.DEAD_LETTERS]


def test_neither_a_secret_nor_an_address_is_told(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "proxy")
    watched.receiver.statuses = [500]
    watched.scene.klaviyo.misbehave(Answer(400))
    watched.scene.hear(pushed(0), state(0, email="canary@shop-demo.io", phone_number="+4930123456"))
    watched.look()
    watched.scene.klaviyo.misbehave(Answer(401), times=1_000)
    watched.scene.hear_of("c-2", minute=1)
    for _ in range(4):
        watched.look(5)
    until(lambda: watched.look(1) and len(watched.receiver.told) >= 3)

    bodies = b"".join(asked.body for asked in watched.receiver.platform.asked).decode()
    kept = f"{watched.scene.book.alarms('shop')}"
    secrets = ("canary", "4930123456", KLAVIYO_KEY, KEY, watched.receiver.url)
    for place in (bodies, kept, caplog.text):
        assert [secret for secret in secrets if secret in place] == []


# -- the examples ------------------------------------------------------------------------

DOCUMENT = (ROOT / "docs" / "alarms.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE))


def in_python(asked: Asked, headers: dict[str, str], key: str, now: float, folder: Path) -> bool:
    names: dict[str, Any] = {}
    exec(EXAMPLES["python"], names)
    titled = {name.title(): text for name, text in headers.items()}
    return bool(names["is_ours"](titled, asked.body, key, now))


def in_node(asked: Asked, headers: dict[str, str], key: str, now: float, folder: Path) -> bool:
    program = folder / "example.mjs"
    program.write_text(
        EXAMPLES["js"] + 'import { readFileSync } from "node:fs";\n'
        "const [headers, body, key, now] = JSON.parse(readFileSync(0));\n"
        "console.log(isOurs(headers, Buffer.from(body), key, now));\n"
    )
    given = json.dumps([headers, asked.body.decode(), key, now])
    said = subprocess.run(
        [NODE, program], input=given, capture_output=True, text=True, timeout=60, check=True
    )
    return said.stdout == "true\n"


@pytest.mark.parametrize("example", [in_python, in_node])
def test_the_examples_tell_our_requests_from_others(
    watched: Watched, tmp_path: Path, example: Any
) -> None:
    die(watched, "c-1")
    until(lambda: watched.receiver.platform.asked)
    (asked,) = watched.receiver.platform.asked
    headers, now, folder = asked.headers, time.time(), tmp_path
    forged = headers | {"x-checkout-proxy-signature": "sha256=" + 64 * "0"}
    short = headers | {"x-checkout-proxy-signature": "sha256="}

    assert is_ours(headers, asked.body)
    assert example(asked, headers, KEY, now, folder)
    assert not example(asked, headers, "another", now, folder)
    assert not example(asked, headers, KEY, now + 301, folder)
    assert not example(asked, forged, KEY, now, folder)
    assert not example(asked, short, KEY, now, folder)


# -- as an operator has it ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_refused_key_is_told_in_the_log_in_the_status_and_to_the_webhook(
    url: str, tmp_path: Path
) -> None:
    with judged_klaviyo() as klaviyo, receiver() as told:
        klaviyo.misbehave(Answer(401), times=1_000)
        more = {"ALARM_URL": told.url, "ALARM_KEY": KEY, "STORE": url}
        more |= {"SPOOL": f"{tmp_path}/spool"}
        environ = environment(tmp_path / "store", klaviyo.url, **more)
        with Proxy(environ) as proxy:
            Shop(proxy.url).push("c-1")
            Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
            until(lambda: told.posted, timeout=60)
            status = run("status", **environ).stdout
            log = proxy.log

    assert told.told == [("key refused", "raised")]
    assert re.search(r"^alarm since 20.*Z: key refused: Klaviyo refuses us, .* 401$", status, re.M)
    assert "  correct CHECKOUT_PROXY_KLAVIYO_KEY (a private key" in status
    assert log.count("shop: alarm: key refused") == 1
    assert KEY not in log + status
    assert told.url not in log + status
