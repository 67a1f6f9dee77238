"""A damaged inbox: set aside at once, salvaged page by page, and reported once."""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from uuid import uuid4

import msgspec
import pytest

from proxy.carts.cart import Cart
from proxy.facts import StatePosted
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import salvage
from proxy.store.inbox import Inbox
from tests.actors import CART, judged_klaviyo, until
from tests.crash import harm
from tests.crash.harm import Hurt, outside
from tests.crash.pages import carts, check_each_arrives_once
from tests.crash.sender import sending, state
from tests.web import Web, served, token

# Done to a file while its worker lives: the header would be written anew with the next page.
ALIVE = [harm.in_the_middle, harm.at_the_root, harm.at_the_end, harm.in_the_log, harm.everywhere]


# -- who posts meanwhile -----------------------------------------------------------------


@dataclass
class Scene:
    """A web half whose one inbox comes to harm while nobody has read it yet."""

    web: Web
    acknowledged: set[str] = field(default_factory=set)

    @property
    def inbox(self) -> Path:
        return self.web.store.folder / "inbox-0.db"

    def post(self, count: int) -> None:
        """Post checkouts that must be taken; every fourth fills several pages."""
        for number in range(count):
            name = uuid4().hex
            cart = msgspec.convert(
                CART | {"coupons": [name] * (300 if number % 4 == 0 else 3)}, Cart, strict=False
            )
            body = {"id": name, "token": token(name, cart=cart), "email": f"{name}@shop-demo.io"}
            assert self.web.post_state(json.dumps(body)).status == 202
            self.acknowledged.add(name)

    def come_to(self, hurt: Hurt) -> set[str]:
        """Hurt the inbox, half of which is in its log; return what is whole afterwards."""
        self.post(20)
        outside(harm.checkpoint, self.inbox)
        self.post(20)
        before = harm.pages(self.inbox)
        outside(hurt, self.inbox)
        left = set(harm.pages(self.inbox))
        gone = b"".join(page for page in before if page not in left)
        return {name for name in self.acknowledged if name.encode() not in gone}


def unread(store: Path, count: int) -> list[StatePosted]:
    """Return *count* facts that a worker left in its inbox when it ended."""
    left = [state() for _ in range(count)]
    with closing(Inbox.in_free_slot(store)) as inbox:
        for fact in left:
            inbox.append(fact)
    return left


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("proxy.store.sqlite._PRUNE_SECONDS", 0.1)
    with served(tmp_path / "store") as web:
        yield Scene(web)


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


# -- what is promised --------------------------------------------------------------------


@pytest.mark.parametrize("hurt", ALIVE)
def test_what_is_whole_in_a_damaged_inbox_arrives_once_and_it_is_said_once(
    scene: Scene, klaviyo: Klaviyo, caplog: pytest.LogCaptureFixture, hurt: Hurt
) -> None:
    whole = scene.come_to(hurt)
    before = set(scene.acknowledged)
    scene.post(5)
    since = scene.acknowledged - before

    with sending(scene.web.store.folder.parent, klaviyo.url):
        check_each_arrives_once(klaviyo, whole | since)
        until(lambda: reports(caplog))
        scene.post(5)
        check_each_arrives_once(klaviyo, whole | since)

    assert len(reports(caplog)) == 1
    assert not [text for text in caplog.messages if "@" in text]
    assert [path.name.split("-2")[0] for path in scene.web.store.damaged] == ["inbox-0.db.salvaged"]


@pytest.mark.parametrize("hurt", [harm.in_the_header, harm.everywhere])
def test_an_inbox_that_is_damaged_before_the_start_is_set_aside_with_the_first_post(
    tmp_path: Path, klaviyo: Klaviyo, caplog: pytest.LogCaptureFixture, hurt: Hurt
) -> None:
    store = tmp_path / "store"
    left = unread(store / "shop", 20)
    hurt(store / "shop" / "inbox-0.db")

    with served(store) as web, sending(store, klaviyo.url):
        scene = Scene(web)
        scene.post(2)
        until(lambda: reports(caplog))
        whole: set[str] = set() if hurt is harm.everywhere else {fact.cart_id for fact in left}
        check_each_arrives_once(klaviyo, scene.acknowledged | whole)

    assert f"{len(whole)} facts were salvaged" in reports(caplog)[0]
    assert len(reports(caplog)) == 1


def test_what_lies_behind_a_damaged_page_of_the_log_is_not_forgotten_with_the_start(
    tmp_path: Path, klaviyo: Klaviyo, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    with served(tmp_path / "killed") as web:
        killed = Scene(web)
        whole = killed.come_to(harm.in_the_log)
        copytree(killed.inbox.parent, store / "shop", ignore=ignore_patterns("*-shm"))

    with served(store) as web, sending(store, klaviyo.url):
        Scene(web).post(1)
        check_each_arrives_once(klaviyo, whole)

    assert len(reports(caplog)) == 1


def test_commits_that_a_kill_kept_out_of_the_logs_index_are_no_damage(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with closing(Inbox.in_free_slot(tmp_path / "store")) as inbox:
        for _ in range(4):
            inbox.append(state())
        copy(tmp_path / "store" / "inbox-0.db-wal", log)

    seen_to_its_third_page = salvage.is_cut_short(log, 3)
    harm.scribble(log, 32 + 4 * harm.FRAME, 1)

    assert not seen_to_its_third_page
    assert salvage.is_cut_short(log, 3)


@pytest.mark.parametrize(
    "nonsense",
    ["received_at = 'soon'", "cart_id = CAST(x'ff' AS TEXT)", "body = x'00'", "id = 'another'"],
)
def test_a_row_of_nonsense_in_a_damaged_inbox_costs_none_of_the_others(
    tmp_path: Path, klaviyo: Klaviyo, caplog: pytest.LogCaptureFixture, nonsense: str
) -> None:
    store = tmp_path / "store"
    left = unread(store / "shop", 3)
    with closing(sqlite3.connect(store / "shop" / "inbox-0.db")) as connection:
        connection.execute(f"UPDATE inbox SET {nonsense} WHERE seq = 2")
        connection.commit()
    harm.in_the_header(store / "shop" / "inbox-0.db")

    with sending(store, klaviyo.url):
        until(lambda: reports(caplog))
        check_each_arrives_once(klaviyo, {left[0].cart_id, left[2].cart_id})

    assert "2 facts were salvaged" in reports(caplog)[0]
    assert left[1].cart_id not in carts(klaviyo)


@pytest.mark.parametrize("nonsense", ["received_at = 'soon'", "cart_id = CAST(x'ff' AS TEXT)"])
def test_a_row_that_cannot_be_read_stops_nothing(
    tmp_path: Path, klaviyo: Klaviyo, nonsense: str
) -> None:
    store = tmp_path / "store"
    left = unread(store / "shop", 3)
    with closing(sqlite3.connect(store / "shop" / "inbox-0.db")) as connection:
        connection.execute(f"UPDATE inbox SET {nonsense} WHERE seq = 2")
        connection.commit()

    with sending(store, klaviyo.url):
        check_each_arrives_once(klaviyo, {left[0].cart_id, left[2].cart_id})


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.ERROR and "facts were salvaged" in record.getMessage()
    ]


def test_a_salvage_that_finds_nothing_is_found_out(
    scene: Scene,
    klaviyo: Klaviyo,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.store.salvage.rows", lambda *_: iter(()))
    whole = scene.come_to(harm.at_the_root)

    with sending(scene.web.store.folder.parent, klaviyo.url):
        until(lambda: reports(caplog))

    assert whole - set(carts(klaviyo))
