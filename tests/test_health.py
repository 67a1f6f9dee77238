"""Health: whether the process lives, and what everybody is told while nothing can be kept."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from proxy.facts import StatePosted
from tests.web import Answer, Web, token

Serve = Callable[..., Web]


def test_a_process_that_can_keep_what_it_is_told_is_ready(web: Web) -> None:
    assert web.ask("GET", "/healthz").json() == {"status": "ok"}
    assert web.ask("GET", "/readyz").json() == {"status": "ready"}


def test_asking_whether_it_is_ready_leaves_no_fact(web: Web) -> None:
    web.ask("GET", "/readyz")

    assert web.facts() == []


def test_while_the_disk_is_held_up_nothing_is_accepted_and_it_passes(serve: Serve) -> None:
    web = serve()
    post(web, "before")

    with disk_held_up(web), ThreadPoolExecutor() as clients:
        state = clients.submit(post, web, "during")
        order = clients.submit(web.call, "POST", "/v1/orders", {"cart_id": "c-1", "order_id": "1"})
        ready = clients.submit(web.ask, "GET", "/readyz")
        alive = clients.submit(web.ask, "GET", "/healthz")
    after = post(web, "after")

    for answer in (state.result(), order.result(), ready.result()):
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.code == "unavailable"
    assert alive.result().status == 200
    assert after.status == 202
    assert web.ask("GET", "/readyz").status == 200
    assert [fact.id for fact in web.facts() if isinstance(fact, StatePosted)][-1] == "after"


def test_a_shopper_is_not_told_where_the_store_is(serve: Serve) -> None:
    web = serve()
    post(web, "before")

    with disk_held_up(web):
        answer = post(web, "during")

    assert answer.status == 503
    assert str(web.store.folder) not in answer.body.decode()


def post(web: Web, name: str) -> Answer:
    return web.post_state(json.dumps({"id": name, "token": token()}))


@contextmanager
def disk_held_up(web: Web) -> Iterator[None]:
    """Hold the one inbox so that nobody else can write to it."""
    path = web.store.folder / "inbox-0.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
