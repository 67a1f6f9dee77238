"""Killed at any step: what was acknowledged arrives, and counts once.

One proxy lives through all of this, for it starts for longer than most tests take. A test speaks
of carts of its own, and leaves the proxy running.
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

from proxy.checkouts import Checkout, Status
from proxy.sandbox.faults import Answer, Cut, Fault, Hang
from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.crash.reckoning import Shoppers
from tests.running import TWO, Proxy
from tests.said import JANE, pushed, state


@dataclass(frozen=True)
class Scene:
    """A proxy with its store, and the Klaviyo it sends to."""

    klaviyo: Klaviyo
    store: Path
    proxy: Proxy

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, self.klaviyo)

    @property
    def inboxes(self) -> list[Path]:
        return sorted((self.store / "shop").glob("inbox-*.db"))

    def page(self, cart_id: str) -> Page:
        """Return the page of a checkout whose cart is known."""
        shop = Shop(self.proxy.url)
        shop.push(cart_id)
        return Page(self.proxy.url, shop.token(cart_id))

    def workers(self) -> list[psutil.Process]:
        """Return the web workers, once there are any."""
        return self._holders("inbox-*.lock")

    def sender(self) -> psutil.Process:
        """Return the sender, once it is at work."""
        until(lambda: Store.of("shop", f"sqlite:///{self.store}").exists)
        return self._holders("sender.lock")[0]

    def crash(self) -> None:
        """Kill everything at once and start again."""
        self.proxy.kill()
        self.proxy.start()

    def come_back(self) -> None:
        """Return once it answers again.

        Where the proxy gave up, because its workers died too often, it is started as systemd would.
        """

        def is_up() -> bool:
            if not is_alive(psutil.Process(self.proxy.pid)):
                self.crash()
            return self.proxy.is_up()

        until(is_up)

    def come_to_rest(self) -> None:
        """Return once nothing is left to be sent."""
        self.klaviyo.behave()
        self.come_back()
        with closing(Store.of("shop", f"sqlite:///{self.store}").book()) as book:
            until(lambda: not book.counts("shop")[Status.PENDING], timeout=60)

    def is_delivered_once(self, cart_id: str) -> bool:
        """Tell, once *cart_id* is delivered, whether it counts once."""
        self.ledger.wait(cart_id, Status.DELIVERED)
        return len(self.ledger.events(cart_id)) == 1

    def _holders(self, lock: str) -> list[psutil.Process]:
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = [child for child in children(self.proxy) if has_open(child, lock)]
            return bool(found)

        until(look)
        return found


@pytest.fixture(scope="module")
def one_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    store = tmp_path_factory.mktemp("kill") / "store"
    with judged_klaviyo() as klaviyo, Proxy(environment(store, klaviyo.url), *TWO) as proxy:
        yield Scene(klaviyo, store, proxy)


@pytest.fixture
def scene(one_scene: Scene) -> Iterator[Scene]:
    """Yield the scene in which no other test's cart waits: it would be tried before this one's."""
    until(lambda: Store.of("shop", f"sqlite:///{one_scene.store}").exists)
    one_scene.come_to_rest()
    yield one_scene
    one_scene.klaviyo.behave()


def children(proxy: Proxy) -> list[psutil.Process]:
    """Return the web workers and the sender of *proxy*."""
    below = psutil.Process(proxy.pid).children(recursive=True)
    return [child for child in below if is_ours(child)]


def is_ours(process: psutil.Process) -> bool:
    """Tell whether *process* is not Python's own helper beside spawned processes."""
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def is_alive(process: psutil.Process) -> bool:
    """Tell whether *process* still runs: one that only nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_open(process: psutil.Process, pattern: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(Path(file.path).match(pattern) for file in process.open_files())
    return False


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # It died of an earlier kill.
        process.kill()


@contextmanager
def written_by_another(*databases: Path) -> Iterator[None]:
    """Hold the write lock of *databases*."""
    with ExitStack() as stack:
        for database in databases:
            other = stack.enter_context(closing(sqlite3.connect(database, isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        yield


def waits_for_a_lock(process: psutil.Process) -> bool:
    """Tell whether a thread of *process* sleeps: here only SQLite does, while another one writes.

    All that is ours waits for somebody to wake it.
    """
    tasks = Path(f"/proc/{process.pid}/task")
    return any("nanosleep" in (task / "wchan").read_text() for task in tasks.iterdir())


def is_asked(process: psutil.Process) -> bool:
    """Tell whether a browser waits for *process*."""
    connections = process.net_connections("tcp")
    return any(connection.status == psutil.CONN_ESTABLISHED for connection in connections)


# -- the check itself --------------------------------------------------------------------


def test_a_loss_and_a_double_count_are_seen(scene: Scene) -> None:
    """The control of what follows: a proxy that forgets, and one that makes its ids anew."""
    sender = scene.sender()
    sender.suspend()
    with Shoppers(scene.proxy.url) as shoppers:
        shoppers.wait_for_more(10)
    forgotten, doubled = sorted(shoppers.reckoning(scene.klaviyo).acknowledged)[:2]

    forget(scene, forgotten)
    sender.resume()
    until(lambda: shoppers.reckoning(scene.klaviyo).lost == frozenset({forgotten}))
    count_again(scene.klaviyo, doubled)

    reckoning = shoppers.reckoning(scene.klaviyo)
    assert reckoning.lost == frozenset({forgotten})
    assert reckoning.twice == frozenset({doubled})
    assert not reckoning.is_even
    with pytest.raises(AssertionError):
        shoppers.assert_each_counts_once(scene.klaviyo, timeout=0.1)


def forget(scene: Scene, cart_id: str) -> None:
    """Remove what was acknowledged for *cart_id*, behind the proxy's back."""
    for path in scene.inboxes:
        with closing(sqlite3.connect(path)) as inbox, inbox:
            inbox.execute("DELETE FROM inbox WHERE cart_id = ?", (cart_id,))


def count_again(klaviyo: Klaviyo, cart_id: str) -> None:
    """Send the event of *cart_id* under another unique id."""
    (event,) = (event for event in klaviyo.events if cart_id.encode() in event.body)
    request = klaviyo.requests[-1]  # Maybe a bulk one: an event that counts has its body alone.
    body = event.body.replace(event.attributes["unique_id"].encode(), b"made-anew")
    headers = {
        name: request.headers[name] for name in ("Authorization", "Content-Type", "revision")
    }
    requests.post(f"{klaviyo.url}/api/events", data=body, headers=headers, timeout=5)


# -- at random ---------------------------------------------------------------------------

FAULTS: list[Fault] = [
    Hang(seconds=0.5),
    Hang(seconds=0.5, counted=True),
    Cut(),
    Cut(counted=True),
    Answer(429, retry_after=1),
    Answer(503, counted=True),
]


def soak(scene: Scene, *, seconds: float, seed: int, pause: float) -> str:
    """Kill and misbehave under load for *seconds*, and return the figures once all has settled."""
    chance, kills = random.Random(seed), 0
    end = time.monotonic() + seconds
    with Shoppers(scene.proxy.url, pause=pause) as shoppers:
        while time.monotonic() < end:
            wanted = shoppers.acknowledged + chance.randrange(5, 40)
            wait_for(scene, shoppers, wanted)
            scene.klaviyo.misbehave(chance.choice(FAULTS))
            kill_at_random(scene, chance)
            kills += 1

    scene.klaviyo.behave()
    final = shoppers.assert_each_counts_once(scene.klaviyo, timeout=180)
    return f"{kills} kills in {seconds:.0f} s; {shoppers.posts} posts; {final}"


def wait_for(scene: Scene, shoppers: Shoppers, acknowledged: int) -> None:
    """Return once so many checkouts are *acknowledged*."""

    def are_served() -> bool:
        scene.come_back()
        return shoppers.acknowledged >= acknowledged

    until(are_served, timeout=120)


def kill_at_random(scene: Scene, chance: random.Random) -> None:
    """Kill a web worker or the sender, or now and then the main process, or all at once."""
    match chance.randrange(8):
        case 0:
            scene.crash()
        case 1:
            below = children(scene.proxy)
            psutil.Process(scene.proxy.pid).kill()
            until(lambda: not any(map(is_alive, below)), timeout=10)
            scene.crash()
        case _:
            kill(chance.choice(children(scene.proxy)))


def test_whatever_is_killed_under_load_nothing_is_lost(scene: Scene) -> None:
    soak(scene, seconds=10, seed=7, pause=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_minutes_of_kills_lose_nothing(scene: Scene) -> None:
    figures = soak(scene, seconds=600, seed=random.randrange(10**6), pause=0.2)

    sys.stdout.write(figures)


# -- the web half at named steps ---------------------------------------------------------


def test_a_worker_killed_before_its_commit_has_promised_nothing(scene: Scene) -> None:
    with ThreadPoolExecutor() as browser:
        page, workers = scene.page("before"), scene.workers()

        with written_by_another(*scene.inboxes):
            posted = browser.submit(page.post, id="s-1", email=JANE)
            # One that prunes waits too, before anybody has asked it.
            until(lambda: any(waits_for_a_lock(worker) and is_asked(worker) for worker in workers))
            for worker in workers:
                kill(worker)

        assert isinstance(posted.exception(), requests.ConnectionError)
    scene.come_back()
    page.say(id="s-1", email=JANE)
    assert scene.is_delivered_once("before")


def test_a_worker_killed_after_its_commit_keeps_what_it_had_no_time_to_answer(
    scene: Scene,
) -> None:
    pages = {f"after-{number}": scene.page(f"after-{number}") for number in range(16)}
    workers = scene.workers()
    with ThreadPoolExecutor(16) as browsers:
        with written_by_another(*scene.inboxes):
            posted = {
                cart_id: browsers.submit(page.post, id=cart_id, email=JANE)
                for cart_id, page in pages.items()
            }
            until(lambda: all(map(waits_for_a_lock, workers)))
        while not committed(scene, "after-"):
            pass
        for worker in workers:
            kill(worker)

    scene.come_back()
    for cart_id, post in posted.items():
        if post.exception() is not None:
            pages[cart_id].say(id=cart_id, email=JANE)
    assert all(scene.is_delivered_once(cart_id) for cart_id in pages)


def committed(scene: Scene, prefix: str) -> int:
    """Return how many states of carts with *prefix* lie in the inboxes."""
    query = "SELECT count(*) FROM inbox WHERE kind = 'state' AND cart_id LIKE ? || '%'"
    count = 0
    for path in scene.inboxes:
        with closing(sqlite3.connect(path)) as inbox:
            count += inbox.execute(query, (prefix,)).fetchone()[0]
    return count


def test_a_worker_killed_while_it_prunes_loses_nothing(scene: Scene) -> None:
    scene.page("pruned").say(email=JANE)
    assert scene.is_delivered_once("pruned")
    workers = scene.workers()

    with written_by_another(*scene.inboxes):
        until(lambda: any(map(waits_for_a_lock, workers)))  # Nobody else writes now.
        for worker in workers:
            kill(worker)

    scene.come_back()
    scene.page("next").say(email=JANE)
    assert scene.is_delivered_once("next")
    assert scene.is_delivered_once("pruned")


# -- the sender at named steps -----------------------------------------------------------


def test_the_sender_killed_while_it_folds_folds_again(scene: Scene) -> None:
    sender = scene.sender()

    with written_by_another(scene.store / "shop" / "checkouts.db"):
        scene.page("folded").say(email=JANE)
        until(lambda: waits_for_a_lock(sender))
        sender.kill()

    assert scene.is_delivered_once("folded")


def test_the_sender_killed_again_and_again_reads_a_backlog_to_its_end(scene: Scene) -> None:
    carts = {f"backlog-{number}" for number in range(300)}
    with closing(Store.of("shop", f"sqlite:///{scene.store}").inbox()) as inbox:
        for cart_id in carts:
            inbox.append(pushed(0, cart_id=cart_id))
            inbox.append(state(1, cart_id, email=JANE))

    for share in (1, 60, 150):
        until(lambda share=share: counted(scene, "backlog-") >= share)  # type: ignore[misc]
        kill(scene.sender())

    until(lambda: counted(scene, "backlog-") >= len(carts))
    assert all(len(scene.ledger.events(cart_id)) == 1 for cart_id in carts)


def counted(scene: Scene, prefix: str) -> int:
    """Return how many events of carts with *prefix* count."""
    return sum(f'"{prefix}'.encode() in event.body for event in scene.klaviyo.events)


@pytest.mark.parametrize(
    "fault",
    [Hang(counted=True), pytest.param(Hang(), marks=pytest.mark.slow)],
    ids=["counted", "not-counted"],
)
def test_everything_killed_before_klaviyo_answers_counts_once(scene: Scene, fault: Hang) -> None:
    cart_id, asked = f"hang-{fault.counted}", len(scene.klaviyo.requests)
    scene.klaviyo.misbehave(fault)
    scene.page(cart_id).say(email=JANE)
    scene.klaviyo.wait_for_requests(asked + 1, timeout=15)

    scene.crash()

    assert scene.is_delivered_once(cart_id)


def test_the_sender_killed_between_klaviyos_yes_and_our_commit_counts_once(scene: Scene) -> None:
    sender = scene.sender()
    scene.klaviyo.misbehave(Hang())
    scene.page("yes").say(email=JANE)
    until(lambda: any(b"yes_" in request.body for request in scene.klaviyo.requests))

    with written_by_another(scene.store / "shop" / "checkouts.db"):
        scene.klaviyo.behave()
        until(lambda: scene.ledger.answered_yes("yes"))
        until(lambda: waits_for_a_lock(sender))
        sender.kill()

    assert scene.is_delivered_once("yes")
    assert scene.ledger.answered_yes("yes") == 2


@pytest.mark.slow
def test_everything_killed_while_a_retry_waits_waits_on(scene: Scene) -> None:
    scene.klaviyo.misbehave(Answer(503), times=1000)
    scene.page("retry").say(email=JANE)
    waiting = retrying(scene, "retry")
    scene.klaviyo.behave()

    scene.crash()

    assert scene.is_delivered_once("retry")
    *refused, taken = scene.ledger.attempts("retry")
    assert ({attempt.status for attempt in refused}, taken.status) == ({503}, 202)
    assert waiting.retry_at is not None
    assert taken.at >= waiting.retry_at


def retrying(scene: Scene, cart_id: str) -> Checkout:
    """Return the checkout of *cart_id* once it waits for another try."""
    until(lambda: scene.ledger.checkouts(cart_id) and scene.ledger.attempts(cart_id))
    (checkout,) = scene.ledger.checkouts(cart_id)
    return checkout


def test_a_correction_while_an_attempt_is_unanswered_does_not_count_for_two_people(
    scene: Scene,
) -> None:
    scene.klaviyo.misbehave(Cut(counted=True), times=1000)
    page = scene.page("corrected")
    page.say(email="jame@shop-demo.io")
    until(lambda: scene.ledger.answered_yes("corrected"))

    page.say(email=JANE)
    scene.klaviyo.behave()

    assert scene.is_delivered_once("corrected")
    assert scene.ledger.answered_yes("corrected") >= 2


# -- migrate -----------------------------------------------------------------------------

# How far it has come, as the files tell.
MIGRATING: dict[str, Callable[[Path], bool]] = {
    "begun": lambda database: database.exists(),
    "under-way": lambda database: size_of(f"{database}-wal") >= 0,
    "committed": lambda database: size_of(f"{database}-wal") > 0,
}


def size_of(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return -1


@pytest.mark.parametrize("step", MIGRATING.values(), ids=MIGRATING)
def test_migrate_killed_half_way_is_done_at_the_next_start(
    tmp_path: Path, step: Callable[[Path], bool]
) -> None:
    store = Store.of("shop", f"sqlite:///{tmp_path}/store")
    env = environment(tmp_path / "store", "http://127.0.0.1:9")
    migrate = subprocess.Popen([sys.executable, "-m", "proxy", "migrate"], env=os.environ | env)
    while not step(store.folder / "checkouts.db") and migrate.poll() is None:
        pass
    migrate.kill()
    # After its last commit it may be gone by itself before it is killed.
    assert migrate.wait(10) in (-signal.SIGKILL, 0)

    store.migrate()

    with closing(store.book()) as book:
        assert book.counts("shop")[Status.PENDING] == 0


# -- the end -----------------------------------------------------------------------------


def is_gone(processes: list[psutil.Process]) -> bool:
    return not any(map(is_alive, processes))


def test_the_sender_stops_within_ten_seconds_while_klaviyo_hangs(scene: Scene) -> None:
    asked = len(scene.klaviyo.requests)
    scene.klaviyo.misbehave(Hang())
    scene.page("hangs").say(email=JANE)
    scene.klaviyo.wait_for_requests(asked + 1, timeout=15)
    everything = [psutil.Process(scene.proxy.pid), *children(scene.proxy)]

    everything[0].terminate()

    until(partial(is_gone, everything), timeout=10)
    scene.crash()
    assert scene.is_delivered_once("hangs")


@pytest.mark.slow
def test_a_web_worker_that_hangs_does_not_hold_up_the_end(scene: Scene) -> None:
    everything = [psutil.Process(scene.proxy.pid), *children(scene.proxy)]
    for child in everything[1:]:
        child.suspend()

    everything[0].terminate()

    until(partial(is_gone, everything), timeout=10)
    scene.crash()


def test_nothing_outlives_the_main_process(scene: Scene) -> None:
    with socket.create_connection(("127.0.0.1", scene.proxy.port)) as half_a_request:
        half_a_request.sendall(b"POST /co/state HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        below = children(scene.proxy)

        psutil.Process(scene.proxy.pid).kill()

        until(partial(is_gone, below), timeout=10)
    scene.crash()


# -- the sender, otherwise ---------------------------------------------------------------


def test_only_one_sender_is_at_work_on_a_store(scene: Scene) -> None:
    carts = [f"alone-{number}" for number in range(20)]
    with Proxy(environment(scene.store, scene.klaviyo.url)):
        for cart_id in carts:
            scene.page(cart_id).say(email=JANE)

        assert all(scene.is_delivered_once(cart_id) for cart_id in carts)

    assert [scene.ledger.answered_yes(cart_id) for cart_id in carts] == [1] * 20


@pytest.mark.slow
def test_a_refused_key_burns_nothing(tmp_path: Path) -> None:
    with judged_klaviyo() as klaviyo:
        ledger = Ledger(tmp_path, klaviyo)
        with Proxy(environment(tmp_path, klaviyo.url, KLAVIYO_KEY="pk_wrong")) as proxy:
            Shop(proxy.url).push("c-1")
            Page(proxy.url, Shop(proxy.url).token("c-1")).say(email=JANE)
            klaviyo.wait_for_requests(1, timeout=15)

        with Proxy(environment(tmp_path, klaviyo.url)):
            (checkout,) = ledger.wait("c-1", Status.DELIVERED)

        assert len(ledger.events("c-1")) == 1
        assert checkout.attempts == 0
