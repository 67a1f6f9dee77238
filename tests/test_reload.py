"""The settings are read again under way: nothing is lost, and with mistakes nothing changes."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Self

import pytest
import requests

from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import CART, Page, until
from tests.crash.test_kill import children, is_alive
from tests.running import TWO, Program, Proxy, hang_ups, ours
from tests.said import JANE
from tests.test_shops import Stall, environ, stall

SIGNED = {"CHECKOUT_PROXY_CARTS": "signed"}


class Shoppers:
    """Pages of *stall*, each with a cart of its own, fifty of which post in a second."""

    def __init__(self, proxy: Proxy, stall: Stall) -> None:
        self._proxy = proxy
        self._stall = stall
        self._numbers = count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post_each_tenth) for _ in range(5)]
        self.answers: dict[str, int | str] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, more: int) -> None:
        wanted = len(self.answers) + more
        until(lambda: len(self.answers) >= wanted)

    def _post_each_tenth(self) -> None:
        while not self._stop.wait(0.1):
            cart_id = f"c-{next(self._numbers)}"
            page = Page(self._proxy.url, self._stall.sign(self._stall.name, cart_id, CART))
            try:
                self.answers[cart_id] = page.post(email=f"{cart_id}@shop-demo.io").status_code
            except requests.RequestException as error:
                self.answers[cart_id] = repr(error)


def carts(klaviyo: Klaviyo) -> list[str]:
    return [event.attributes["properties"]["cart_id"] for event in klaviyo.events]


@pytest.fixture(autouse=True)
def _hangs_up() -> Iterator[None]:
    """Have hang-ups heard, also where the tests themselves are run under nohup."""
    with hang_ups(signal.SIG_DFL):
        yield


def reload(proxy: Proxy) -> None:
    """Return once all processes but the main one are others."""
    before = children(proxy)
    os.kill(proxy.pid, signal.SIGHUP)
    until(lambda: not any(map(is_alive, before)))
    until(proxy.is_up)


def test_a_shop_is_added_while_fifty_requests_a_second_are_answered(tmp_path: Path) -> None:
    with (
        stall("tea", tmp_path) as tea,
        stall("coffee", tmp_path) as coffee,
        Proxy(environ(tmp_path, tea) | SIGNED, *TWO) as proxy,
    ):
        with Shoppers(proxy, tea) as shoppers:
            shoppers.wait_for_more(25)
            environ(tmp_path, tea, coffee)

            reload(proxy)
            token = coffee.shop(proxy.url).token("first", cart=CART)
            first = Page(proxy.url, token).post(email=JANE)

            shoppers.wait_for_more(25)
        until(lambda: len(carts(tea.klaviyo)) >= len(shoppers.answers))
        until(lambda: carts(coffee.klaviyo))

    assert set(shoppers.answers.values()) == {202}
    assert sorted(carts(tea.klaviyo)) == sorted(shoppers.answers)
    assert (first.status_code, carts(coffee.klaviyo)) == (202, ["first"])


def test_a_mistake_is_said_and_changes_nothing_also_for_a_worker_that_begins_later(
    tmp_path: Path,
) -> None:
    with stall("tea", tmp_path) as tea, Proxy(environ(tmp_path, tea) | SIGNED, *TWO) as proxy:
        before = children(proxy)
        config = tmp_path / "shops.toml"
        config.write_text(config.read_text() + 'consent = "maybe"\nconcent = "off"\n')

        os.kill(proxy.pid, signal.SIGHUP)

        until(lambda: "all goes on under the settings from before" in proxy.log)
        assert f"{config}:9: shops.tea.consent is one of opt-out, required, off" in proxy.log
        assert f"{config}:10: shops.tea.concent is no setting: did you mean" in proxy.log
        assert all(map(is_alive, before))
        for worker in before:
            worker.kill()
        until(lambda: len(children(proxy)) == len(before))
        Page(proxy.url, tea.sign("tea", "c-1", CART)).say(email=JANE)
        until(lambda: carts(tea.klaviyo))


@pytest.mark.slow
def test_a_shop_that_is_served_no_more_is_told(tmp_path: Path) -> None:
    with (
        stall("tea", tmp_path) as tea,
        stall("coffee", tmp_path) as coffee,
        Proxy(environ(tmp_path, tea, coffee) | SIGNED) as proxy,
    ):
        environ(tmp_path, tea)

        reload(proxy)

    assert "coffee is served no more: what is pending waits in" in proxy.log
    assert "tea is served no more" not in proxy.log


class Sender(Program):
    """``python -m proxy work``."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__("sender", sys.executable, "-m", "proxy", "work", env=ours(env))

    def is_up(self) -> bool:
        return "the sender is at work" in self.log


def test_a_sender_that_runs_alone_reads_them_again_as_well(tmp_path: Path) -> None:
    with stall("tea", tmp_path) as tea, stall("coffee", tmp_path) as coffee:
        (tmp_path / "web").mkdir()
        store = f"sqlite:///{tmp_path}/store"
        web = environ(tmp_path / "web", tea, coffee, store=store) | SIGNED
        alone = environ(tmp_path, tea, store=store) | SIGNED
        with Proxy(web, "--web-only", *TWO) as proxy, Sender(alone) as sender:
            for each in (tea, coffee):
                Page(proxy.url, each.sign(each.name, "c-1", CART)).say(email=JANE)
            until(lambda: carts(tea.klaviyo))
            environ(tmp_path, tea, coffee, store=store)

            os.kill(sender.pid, signal.SIGHUP)

            until(lambda: carts(coffee.klaviyo))
            assert sender.stop() == 0
