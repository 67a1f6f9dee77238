"""What the store keeps about people is encrypted, under keys that come and go, and never lost."""

import logging
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet, InvalidToken
from psycopg import sql

from proxy import shops, story, work
from proxy.checkouts import Checkout, Status
from proxy.cli import main
from proxy.errors import Misconfigured, StoreSealed
from proxy.facts import Consent, ConsentState, QuestionAsked
from proxy.sandbox.faults import Hang
from proxy.sandbox.klaviyo import Klaviyo
from proxy.settings import Settings
from proxy.store import Store
from proxy.store.seal import Seal, mark
from tests import postgres
from tests.actors import CART, KLAVIYO_KEY, Page, environment, until
from tests.books import lay_book
from tests.commands import run, run_apart
from tests.operator import PASSWORD, Operator
from tests.running import Proxy
from tests.said import pushed, received, state
from tests.tables import Tables
from tests.test_personkey import hashes
from tests.test_reload import SIGNED, Shoppers, _hangs_up, carts, reload
from tests.test_shops import environ as shops_environ
from tests.test_shops import stall
from tests.web import SHOP_KEY, TOKEN_KEY, Web, served

__all__ = ["_hangs_up"]

OLD, NEW, OTHER = (urlsafe_b64encode(each * 32).decode() for each in (b"o", b"n", b"x"))

TYPED: dict[str, Any] = {
    "email": "canary.typed@shop-demo.io",
    "phone_number": "+4930123456789",
    "first_name": "Canaryfirst",
    "last_name": "Canarylast",
    "checkout_url": "https://shop.example/checkout?canary-of-the-link",
    "consent": {"state": "granted", "source": "tcf", "evidence": "evidence-of-the-canary"},
}
CUSTOMER = {"email": "canary.customer@shop-demo.io", "external_id": "canary-of-the-customer"}
STORE_KEYS = "CHECKOUT_PROXY_STORE_KEYS"
CANARIES = [b"canary", b"Canary", b"4930123456789"]
EVIDENCE = b"evidence-of-the-canary"


@dataclass
class Scene:
    """A store on either engine, and what an outsider can do with it."""

    url: str
    folder: Path
    klaviyo: Klaviyo
    stack: ExitStack = field(repr=False)

    def environ(self, *keys: str, **more: str) -> dict[str, str]:
        usual = {"TOKEN_KEYS": TOKEN_KEY, "SHOP_KEY": SHOP_KEY, "SPOOL": f"{self.folder}/spool"}
        if keys:
            usual["STORE_KEYS"] = ",".join(keys)
        return environment("", self.klaviyo.url, **(usual | {"STORE": self.url} | more))

    def settings(self, *keys: str) -> Settings:
        (settings,) = shops.read(self.environ(*keys))
        return settings

    def store(self, *keys: str) -> Store:
        return shops.store(self.settings(*keys))

    def web(self, *keys: str) -> Web:
        prefix = len("CHECKOUT_PROXY_")
        environ = self.environ(*keys, ADMIN_PASSWORD=PASSWORD, ORIGINS="https://shop.example")
        said = {name[prefix:]: text for name, text in environ.items()}
        return self.stack.enter_context(served(self.folder, **said))

    @contextmanager
    def sender(self, *keys: str) -> Iterator[None]:
        """Let the sender of the shop work, in a thread."""
        stop = Event()
        thread = Thread(target=work.work, args=([self.settings(*keys)], stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def kept(self) -> bytes:
        """Return all that lies there: each byte of each file, each column of each table."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        kept = b"\n".join(path.read_bytes() for path in sorted(files))
        return kept if self.url.startswith("sqlite") else kept + b"\n".join(self._columns())

    def _columns(self) -> Iterator[bytes]:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        with psycopg.connect(self.url) as connection:
            for (name,) in connection.execute(query).fetchall():
                rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
                for value in (value for row in rows for value in row):
                    yield value if isinstance(value, bytes) else str(value).encode()

    def canaries(self) -> set[bytes]:
        kept = self.kept()
        return {canary for canary in CANARIES if canary in kept}

    def checkout(self, cart_id: str, *keys: str) -> Checkout | None:
        store = self.store(*keys)
        if not store.exists:
            return None
        with closing(store.book()) as book:
            return next(iter(book.checkouts("shop", cart_id)), None)

    def is_at(self, status: Status, cart_id: str, *keys: str) -> bool:
        found = self.checkout(cart_id, *keys)
        return found is not None and found.status is status

    @property
    def tables(self) -> Tables:
        return Tables(f"{self.url}/shop" if self.url.startswith("sqlite") else self.url)

    def decided(self) -> list[bytes]:
        """Return what was decided about consent, as it lies there."""
        return [value for (value,) in self.tables.ask("SELECT consent FROM checkouts")]

    def in_book(self) -> list[bytes]:
        """Return what the tables have of people, as it lies there."""
        found = self.tables.ask("SELECT latest, addresses FROM checkouts")
        found += self.tables.ask("SELECT body FROM facts WHERE body IS NOT NULL")
        found += self.tables.ask("SELECT cart FROM carts")
        return [value for row in found for value in row]

    def locks(self) -> list[bytes]:
        """Return the locks on what addresses are hashed with, as they lie there."""
        return [lock for (lock,) in self.tables.ask("SELECT lock FROM locks ORDER BY place")]

    def book_files(self) -> bytes:
        """Return each byte of the book, its log included; nothing where it is PostgreSQL's."""
        return b"".join(path.read_bytes() for path in self.folder.glob("shop/checkouts.db*"))

    def reseal(self, *keys: str) -> None:
        """Go through the book as the sender does, a few rows each time."""
        with self.store(*keys).account("shop", Event()) as book:
            assert book is not None
            resealing = book.resealing("shop")
            while not resealing.is_done:
                resealing.go_on(3)

    def sealed_under(self) -> dict[str, int]:
        """Return how many values of the book lie under which mark; those that say something."""
        with closing(self.store(OLD, NEW).book()) as book:
            return {each: many for each, many in book.sealed_under("shop").items() if many}


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    folder = tmp_path / "store"
    url = f"sqlite:///{folder}"
    if request.param == "postgresql":
        url = postgres.emptied(request.getfixturevalue("server"))
    with Klaviyo(key=KLAVIYO_KEY).serve() as klaviyo, ExitStack() as stack:
        store = Store.of("shop", url, folder / "spool")
        if request.param == "sqlite":
            lay_book(store)
        yield Scene(url, folder, klaviyo, stack)


def say(web: Web, cart_id: str = "c-1", **typed: Any) -> None:
    """Let the shop push a cart with an address in it, and the page post what was typed."""
    cart = CART | {"email": "canary.cart@shop-demo.io"}
    assert web.call("PUT", f"/v1/carts/{cart_id}", cart).status == 204
    asked = web.call("POST", "/v1/sessions", {"cart_id": cart_id, "customer": CUSTOMER})
    Page(web.url, asked.json()["token"]).say(**(TYPED | typed))


# -- nothing is found --------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[OLD], []], ids=["with_a_key", "without"])
def test_while_a_checkout_is_pending_nothing_of_the_person_lies_there_to_be_read(
    scene: Scene, keys: list[str]
) -> None:
    scene.klaviyo.misbehave(Hang())
    say(scene.web(*keys))
    in_inbox = scene.canaries()

    with scene.sender(*keys):
        scene.klaviyo.wait_for_requests(1, timeout=30)
        until(lambda: scene.is_at(Status.PENDING, "c-1", *keys))
        in_book = scene.canaries()
        scene.klaviyo.release()
        scene.klaviyo.behave()
        (event,) = scene.klaviyo.wait_for_events(1, timeout=30)
        until(lambda: scene.is_at(Status.DELIVERED, "c-1", *keys))
    delivered = scene.checkout("c-1", *keys)

    profile = event.attributes["profile"]["data"]["attributes"]
    assert (profile["email"], profile["first_name"]) == (TYPED["email"], "Canaryfirst")
    assert event.attributes["properties"]["CheckoutURL"] == TYPED["checkout_url"]
    # The control: without keys the same search finds them.
    found = set() if keys else set(CANARIES)
    assert (in_inbox, in_book) == (found, found)
    # On what it was decided is kept beyond that.
    assert delivered is not None
    assert EVIDENCE.decode() in story.consent(delivered)
    assert (EVIDENCE in scene.kept()) == (keys == [])


@pytest.mark.parametrize("keys", [[OLD], []], ids=["with_a_key", "without"])
def test_what_an_operator_asks_is_encrypted_and_so_is_the_answer(
    scene: Scene, keys: list[str]
) -> None:
    about = state(0, email="canary.asked@shop-demo.io")
    question = QuestionAsked(
        id="q-1", shop="shop", cart_id="c-1", received_at=datetime.now(UTC), state=about
    )
    store = scene.store(*keys)

    with closing(store.inbox()) as inbox, scene.sender(*keys):
        inbox.append(pushed(0))
        inbox.append(question)
        with closing(store.book()) as book:
            until(lambda: book.answer("shop", "q-1"))
            answer = book.answer("shop", "q-1")
        found = b"canary.asked" in scene.kept()

    assert answer is not None
    assert "canary.asked@shop-demo.io" in str(answer.event)
    # The control: without keys it is found.
    assert found == (keys == [])


def test_an_address_in_a_sealed_cart_is_erased_once_nothing_will_be_sent(scene: Scene) -> None:
    web = scene.web(OLD)

    with scene.sender(OLD):
        say(web)
        until(lambda: scene.is_at(Status.DELIVERED, "c-1", OLD))

    with closing(scene.store(OLD).book()) as book:
        cart = book.cart("shop", "c-1")
    assert cart is not None
    assert cart.email is None


def test_what_is_set_aside_as_damaged_is_encrypted_and_salvaged(tmp_path: Path) -> None:
    store = Store.of("shop", f"sqlite:///{tmp_path}", seal=Seal([OLD]))
    lay_book(store)
    with closing(store.inbox()) as inbox:
        for minute in range(20):
            inbox.append(state(minute, f"c-{minute}", email="canary@shop-demo.io"))
        inbox.set_aside("as if it were damaged")  # type: ignore[attr-defined]

    (aside,) = store.folder.glob("inbox-0.db.corrupt-*[0-9]")
    taken: list[str] = []
    with closing(store.inboxes("shop")) as inboxes:
        inboxes.salvage({}, lambda some: taken.extend(item.cart_id for item in some))

    assert sorted(taken) == sorted(f"c-{minute}" for minute in range(20))
    assert not aside.exists()
    assert not any(b"canary" in path.read_bytes() for path in store.folder.iterdir())


# -- on, off, and half ------------------------------------------------------------------


def test_what_lay_there_before_it_was_switched_on_is_read_and_encrypted(scene: Scene) -> None:
    scene.klaviyo.misbehave(Hang(), times=2)
    web = scene.web()
    say(web, "before")
    with scene.sender():
        until(lambda: scene.is_at(Status.PENDING, "before"))
        scene.klaviyo.wait_for_requests(1, timeout=30)
    plain = scene.sealed_under()
    say(web, "between")

    scene.klaviyo.behave()
    say(scene.web(OLD), "after")
    with scene.sender(OLD):
        until(lambda: len(scene.klaviyo.events) == 3)
        until(lambda: set(scene.sealed_under()) == {mark(OLD)})

    assert set(plain) == {""}
    assert sorted(carts(scene.klaviyo)) == ["after", "before", "between"]


def test_switched_off_with_the_keys_still_given_all_is_read_and_lies_open_again(
    scene: Scene,
) -> None:
    lay(scene, "c-1", OLD)
    sealed = scene.sealed_under()

    scene.reseal(OLD, "off")

    assert set(sealed) == {mark(OLD)}
    assert set(scene.sealed_under()) == {""}
    found = scene.checkout("c-1", OLD, "off")
    assert found is not None
    assert "canary" in str(found.addresses)


def command(*arguments: str, **environ: str) -> Result:
    """Run the command in this process, which is sooner."""
    return CliRunner().invoke(main, arguments, env=environ)


def lay(scene: Scene, cart_id: str, *keys: str, minute: float = 0, **said: Any) -> None:
    """Lay a checkout in the book, and in the inbox what it was made from."""
    rules = work.account(scene.settings(*keys)).rules
    store = scene.store(*keys)
    with (
        closing(store.inbox()) as inbox,
        closing(store.inboxes("shop")) as inboxes,
        store.account("shop", Event()) as book,
    ):
        assert book is not None
        inbox.append(pushed(minute, cart_id=cart_id))
        inbox.append(state(minute, cart_id, email="canary@a.io", **said))
        book.take_in(inboxes.after(book.marks(), 100), rules)


# -- keys that are not there ---------------------------------------------------------------


@pytest.mark.parametrize("given", [[], [OTHER]], ids=["no_key", "another_key"])
def test_without_the_key_all_sending_waits_says_why_and_goes_on_with_it(
    scene: Scene, given: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    say(scene.web(OLD))

    with caplog.at_level(logging.INFO), scene.sender(*given):
        until(lambda: mark(OLD) in caplog.text)
        until(
            lambda: "CHECKOUT_PROXY_STORE_KEYS" in command("status", **scene.environ(*given)).output
        )
    before = len(scene.klaviyo.requests)
    set_aside = scene.store().damaged
    with scene.sender(OLD, *given):
        scene.klaviyo.wait_for_events(1, timeout=40)

    assert f"sealed under the key with the mark {mark(OLD)}" in caplog.text
    assert "2 values in the store cannot be opened" in caplog.text
    assert (before, set_aside) == (0, [])
    assert carts(scene.klaviyo) == ["c-1"]
    assert not any(key in caplog.text for key in (OLD, OTHER))


def test_without_the_key_the_pages_and_the_commands_say_so(scene: Scene) -> None:
    lay(scene, "c-1", OLD)
    environ = scene.environ(OTHER)
    operator = Operator(scene.web(OTHER).url)
    operator.sign_in()

    doctor = command("doctor", "--only", "store", **environ)
    trace = command("trace", "c-1", **environ)
    page = operator.post("shop/search", words="c-1")

    assert (doctor.exit_code, trace.exit_code, page.status_code) == (1, 1, 503)
    assert "values in the store cannot be opened" in " ".join(doctor.output.split())
    for said in (doctor.output, trace.output, page.text):
        assert mark(OLD) in said
        assert "Traceback" not in said
        assert OLD not in said


def test_with_the_key_the_pages_and_the_commands_tell_all(scene: Scene) -> None:
    lay(scene, "c-1", OLD)
    environ = scene.environ(OLD)
    operator = Operator(scene.web(OLD).url)
    operator.sign_in()

    doctor = command("doctor", "--only", "store", **environ)
    trace = command("trace", "c-1", **environ)
    page = operator.page(operator.search("c-1"))

    assert f"all lies under the last key, {mark(OLD)}" in " ".join(doctor.output.split())
    assert "pending" in trace.output
    assert "c-1" in page


def test_a_value_that_is_damaged_is_told_from_one_whose_key_is_not_there() -> None:
    sealed = Seal([OLD]).sealed(b'{"email": "canary@a.io"}')

    with pytest.raises(ValueError, match="damaged"):
        Seal([OLD]).opened(sealed[:-9] + b"x" * 9)
    with pytest.raises(StoreSealed, match=mark(OLD)):
        Seal([OTHER]).opened(sealed)


def test_one_fact_that_is_damaged_is_not_taken_in_and_stops_no_other(scene: Scene) -> None:
    store, broken = scene.store(OLD), received(state(0, "c-1", email="canary@a.io"), 1)
    body = Seal([OLD]).sealed(broken.body)[:-9] + b"x" * 9
    sound = received(state(0, "c-2", email="canary@a.io"), 2)
    rules = work.account(scene.settings(OLD)).rules

    with store.account("shop", Event()) as book:
        assert book is not None
        book.take_in([replace(broken, body=body), sound], rules)
        decisions = [book.received("shop", cart_id)[0].decision for cart_id in ("c-1", "c-2")]

    assert decisions[0].startswith("cannot be taken in")
    assert decisions[1].startswith("pending")


def test_what_addresses_are_hashed_with_is_encrypted_and_waits_for_its_key(scene: Scene) -> None:
    with scene.sender(OLD):
        until(scene.locks)
    before = scene.locks()

    with scene.sender(OTHER):
        until(lambda: "put that key back" in command("status", **scene.environ(OTHER)).output)
    doctor = command("doctor", "--only", "store", **scene.environ(OTHER))
    meanwhile = scene.locks()
    with scene.sender(OLD, NEW):
        until(lambda: scene.locks() != before)

    assert all(opens(OLD, lock) for lock in before)
    assert meanwhile == before
    assert "skipped" in doctor.output
    assert all(opens(NEW, lock) for lock in scene.locks())
    with closing(scene.store(NEW).book()) as book:
        assert {number for number, _ in book.locks("shop")} == {1}


def test_the_locks_alone_keep_the_doctor_from_saying_that_a_store_key_can_go(scene: Scene) -> None:
    with scene.sender(OLD):
        until(scene.locks)

    doctor = command("doctor", "--only", "store", "--json", **scene.environ(NEW))

    # Nothing else is in the store yet.
    assert scene.sealed_under() == {mark(OLD): len(scene.locks())}
    assert f"the key with the mark {mark(OLD)}" in doctor.output


def test_a_lock_that_is_damaged_stops_no_sending_and_is_made_anew(scene: Scene) -> None:
    with scene.sender(OLD):
        until(scene.locks)
    scene.tables.ask(f"{CUT_OFF} WHERE place = 0")

    say(scene.web(OLD))
    with scene.sender(OLD):
        until(lambda: scene.is_at(Status.DELIVERED, "c-1", OLD))

    # The other lock had the same key in it.
    assert [opens(OLD, lock) for lock in scene.locks()] == [True, True]
    assert hashes(scene.environ(OLD))["verdict"] == "well"


def test_where_all_locks_are_damaged_another_key_is_made_and_the_doctor_says_so(
    scene: Scene,
) -> None:
    with scene.sender(OLD):
        until(scene.locks)
    scene.tables.ask(CUT_OFF)
    damaged = scene.locks()

    say(scene.web(OLD))
    with scene.sender(OLD):
        until(lambda: scene.is_at(Status.DELIVERED, "c-1", OLD))

    assert "none of the secrets opens number 1" in hashes(scene.environ(OLD))["words"]
    assert scene.locks()[:2] == damaged
    assert [opens(OLD, lock) for lock in scene.locks()[2:]] == [True, True]


CUT_OFF = "UPDATE locks SET lock = substr(lock, 1, 99)"


# -- rotation ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_key_is_changed_under_traffic_and_nothing_is_lost(tmp_path: Path) -> None:
    keys = tmp_path / "store-keys"
    keys.write_text(OLD)
    with stall("tea", tmp_path) as tea:
        keyed = replace(tea, table=f'{tea.table}store_keys_file = "{keys}"\n')
        with Proxy(shops_environ(tmp_path, keyed) | SIGNED) as proxy:
            with Shoppers(proxy, tea) as shoppers:
                shoppers.wait_for_more(10)
                keys.write_text(f"{OLD},{NEW}")
                reload(proxy)
                early = set(shoppers.answers)
                until(lambda: early <= set(carts(tea.klaviyo)))
                until(lambda: marks_of(tmp_path) <= {mark(NEW)})
                keys.write_text(NEW)
                reload(proxy)
                shoppers.wait_for_more(10)
            until(lambda: len(carts(tea.klaviyo)) >= len(shoppers.answers))
        log = proxy.log

    assert set(shoppers.answers.values()) == {202}
    assert sorted(carts(tea.klaviyo)) == sorted(shoppers.answers)
    assert "cannot be opened" not in log
    assert OLD not in log


def marks_of(folder: Path) -> set[str]:
    """Return under which keys lies what the book of tea has."""
    seal = Seal([OLD, NEW])
    with closing(Store.of("tea", f"sqlite:///{folder}/store", seal=seal).book()) as book:
        return {each for each, many in book.sealed_under("tea").items() if many}


def test_once_all_lies_under_the_new_key_the_old_one_opens_nothing(scene: Scene) -> None:
    for number in range(10):
        lay(scene, f"c-{number}", OLD, minute=number)
    before = scene.in_book()

    scene.reseal(OLD, NEW)

    assert mark(OLD).encode() not in scene.book_files()
    after = scene.in_book()
    assert len(before) == len(after) == 4 * 10
    assert all(opens(OLD, each) for each in before)
    assert not any(opens(OLD, each) for each in after)
    assert all(opens(NEW, each) for each in after)


def test_what_consent_was_decided_on_is_read_as_it_lay_before_and_encrypted(scene: Scene) -> None:
    denied = Consent(state=ConsentState.DENIED, source="tcf", evidence=EVIDENCE.decode())
    lay(scene, "c-1", consent=denied)
    before = scene.decided()

    scene.reseal(OLD)

    (after,) = scene.decided()
    kept = scene.checkout("c-1", OLD)
    assert [EVIDENCE in each for each in before] == [True]
    assert opens(OLD, after)
    assert kept is not None
    assert EVIDENCE.decode() in story.consent(kept)


def opens(key: str, sealed: bytes) -> bool:
    """Tell whether who has nothing but *key* and the Fernet recipe reads what is *sealed*."""
    try:
        Fernet(key).decrypt(sealed.partition(b":")[2].partition(b":")[2])
    except InvalidToken:
        return False
    return True


# -- settings --------------------------------------------------------------------------------


def test_a_key_is_made_and_is_one() -> None:
    made = run("key").stdout.strip()

    assert Seal([made]).opened(Seal([made]).sealed(b"what was said")) == b"what was said"
    assert Fernet(made)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (f"{OLD},canary", "has a key, number 2, that is none: `checkout-proxy key` makes one"),
        ("off", "has off elsewhere than at the end, behind keys that open what lies there"),
        (f"off,{OLD}", "has off elsewhere than at the end, behind keys that open what lies there"),
    ],
)
def test_what_is_no_key_is_told_without_it(said: str, words: str) -> None:
    with pytest.raises(Misconfigured) as error:
        shops.read({"CHECKOUT_PROXY_STORE_KEYS": said})

    assert error.value.mistakes == (f"CHECKOUT_PROXY_STORE_KEYS {words}",)


def test_a_key_is_in_no_repr() -> None:
    (settings,) = shops.read({"CHECKOUT_PROXY_STORE_KEYS": OLD})

    assert settings.store_keys == (OLD,)
    assert OLD not in repr([settings, shops.store(settings), Seal([OLD]), vars(Seal([OLD]))])


def test_keys_without_the_package_are_a_mistake_that_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError('as if it were not installed')")

    said = run_apart("status", CHECKOUT_PROXY_STORE_KEYS=OLD, PYTHONPATH=f"{tmp_path}")

    assert said.returncode == 1
    assert "pip install 'checkout-proxy[encryption]'" in said.stderr
    assert "Traceback" not in said.stderr
