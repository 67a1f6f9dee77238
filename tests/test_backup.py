"""A backup that is taken under traffic loses nothing that was there, and counts nothing twice."""

import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from proxy.sandbox.faults import Answer
from tests.actors import Page, environment, judged_klaviyo, until
from tests.crowd import Crowd, assert_each_counts_once, token
from tests.running import ROOT, Proxy

SCRIPT = ROOT / "docs" / "running" / "backup"
SQLITE = shutil.which("sqlite3")

# The command itself, which comes to the book only when the test has seen to it.
HELD_UP = """\
#!/bin/sh
case "$1" in *checkouts.db) while [ ! -e "{folder}/go-on" ]; do sleep 0.05; done ;; esac
exec {sqlite} "$@"
"""


class Backup:
    """The script of docs/running.md at work, held up between the inboxes and the book."""

    def __init__(self, store: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "sqlite3").write_text(HELD_UP.format(folder=folder, sqlite=SQLITE))
        (folder / "sqlite3").chmod(0o755)
        self._folder = folder
        self._process = subprocess.Popen(
            ["sh", f"{SCRIPT}", f"{store}", f"{folder}/copies"],
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
        )

    def has_inboxes(self) -> bool:
        """Tell whether the inbox of the one web worker was copied, and what comes with that."""
        copies = list(self._folder.glob("copies/*/shop/inbox-0.db"))
        return bool(copies) and not list(copies[0].parent.glob("*-journal"))

    def finish(self) -> Path:
        """Let it go on, and return the copy."""
        (self._folder / "go-on").touch()
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return Path(said.strip())


@pytest.mark.slow
@pytest.mark.skipif(SQLITE is None, reason="sqlite3 is missing: apt-get install sqlite3")
def test_what_was_acknowledged_before_a_backup_is_in_it(tmp_path: Path) -> None:
    store, restored = tmp_path / "store", tmp_path / "restored"
    later = {f"later-{number}" for number in range(20)}
    with judged_klaviyo() as klaviyo:
        with Proxy(environment(store, klaviyo.url, CARTS="signed"), "--workers", "1") as proxy:
            with Crowd(proxy.url, count=1) as crowd:
                klaviyo.wait_for_events(5, timeout=30)
                # What waits in the backup is sent from here, too.
                klaviyo.misbehave(Answer(429, retry_after=2))
                crowd.wait_for_more(5)
                before = set(crowd.acknowledged)
                backup = Backup(store, tmp_path / "backup")
                until(backup.has_inboxes)
                crowd.wait_for_more(10)
            until(lambda: crowd.acknowledged <= carts(store))
            copy = backup.finish()
            assert_each_counts_once(crowd, klaviyo)

        subprocess.run(["cp", "-a", f"{copy}", f"{restored}"], check=True)
        environ = environment(restored, klaviyo.url, CARTS="signed")
        with Proxy(environ, "--workers", "1") as proxy:
            for cart_id in later:
                Page(proxy.url, token(cart_id)).say(email="jane@shop-demo.io")
            until(lambda: before | later <= carts(restored, "delivered"))

    counted = Counter(event.attributes["properties"]["cart_id"] for event in klaviyo.events)
    assert before | later <= set(counted)
    assert set(counted.values()) == {1}
    assert len(klaviyo.accepted) > len(klaviyo.events)


def carts(store: Path, status: str = "%") -> set[str]:
    """Return the carts in the book of *store* that stand at *status*."""
    book = f"file:{store}/shop/checkouts.db?mode=ro"
    with closing(sqlite3.connect(book, uri=True)) as connection:
        query = "SELECT cart_id FROM checkouts WHERE status LIKE ?"
        return {cart_id for (cart_id,) in connection.execute(query, [status])}
