"""Metrics: what Prometheus reads is what happened, from every process the same."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from proxy.checkouts import Status
from proxy.tallies import Sight
from tests.actors import SHOP_KEY, Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.books import lay_book, written
from tests.running import Proxy
from tests.said import JANE, NOON
from tests.web import Web, served

_OURS = "checkout_proxy_"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(url: str) -> Samples:
    answer = requests.get(f"{url}/metrics", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (
            sample.name.removeprefix("checkout_proxy_"),
            frozenset(sample.labels.items()),
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset({"shop": "shop", **labels}.items())), 0)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with served(tmp_path) as web:
        yield web


def test_before_a_sender_ran_there_is_nothing_to_count(web: Web) -> None:
    assert samples(web.url) == {}


def test_a_new_store_has_every_gauge(web: Web) -> None:
    lay_book(web.store)

    found = samples(web.url)

    assert of(found, "stopped") == of(found, "overdue_seconds") == 0
    assert found["checkouts", frozenset({"shop": "shop", "status": "pending"}.items())] == 0


def test_what_was_looked_for_is_told_by_what_was_seen(web: Web) -> None:
    lay_book(web.store)
    with closing(written(web.store)) as book:
        for sight in (Sight.ARRIVED, Sight.ARRIVED, Sight.MISSING):
            book.looked_for("shop", "c-1", sight, "", NOON)

    found = samples(web.url)

    assert of(found, "audited_total", sight="arrived") == 2
    assert of(found, "audited_total", sight="missing") == 1
    assert of(found, "audited_total", sight="unknown") == 0


def test_what_happens_is_counted_across_processes(tmp_path: Path) -> None:
    with judged_klaviyo() as klaviyo, Proxy(environment(tmp_path, klaviyo.url)) as proxy:
        shop, ledger = Shop(proxy.url), Ledger(tmp_path, klaviyo)
        for number in range(3):
            shop.push(f"c-{number}")
            Page(proxy.url, shop.token(f"c-{number}")).say(email=JANE)
        for number in range(3):
            ledger.wait(f"c-{number}", Status.DELIVERED)
        Page(proxy.url, "a.b.c").post()
        until(lambda: of(samples(proxy.url), "refused_total", code="token-forged") == 1)
        until(lambda: of(samples(proxy.url), "sessions_total", to="shop") == 3)

        found = samples(proxy.url)

    assert of(found, "received_total", kind="state") == 3
    assert of(found, "delivered_total") == of(found, "settled_total") == 3
    assert of(found, "sent_total", status="202") == 3
    assert of(found, "delivered_minor_units_total", currency="EUR") > 0
    assert of(found, "checkouts", status="delivered") == 3
    for name in ("accept_seconds", "delay_seconds", "send_seconds"):
        assert of(found, f"{name}_count") == of(found, f"{name}_bucket", le="+Inf") >= 1
        assert of(found, f"{name}_sum") > 0
    assert of(found, "accept_seconds_count") == 3
    assert of(found, "sender_seen_timestamp_seconds") > 0
    assert of(found, "alarm", alarm="key refused") == 0


def test_the_store_that_is_away_is_an_outage_and_no_zero(tmp_path: Path) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    with served(tmp_path, STORE=away, SPOOL=f"{tmp_path}/spool") as web:
        assert web.ask("GET", "/metrics").status == 503


def test_no_metric_tells_who_or_a_secret(tmp_path: Path) -> None:
    with judged_klaviyo() as klaviyo, Proxy(environment(tmp_path, klaviyo.url)) as proxy:
        shop = Shop(proxy.url)
        shop.push("canary-cart")
        Page(proxy.url, shop.token("canary-cart")).say(email="canary@shop-demo.io")
        Ledger(tmp_path, klaviyo).wait("canary-cart", Status.DELIVERED)
        said = requests.get(f"{proxy.url}/metrics", timeout=30).text

    assert re.search("canary", said) is None
    assert SHOP_KEY not in said
