"""The command line beside a proxy that is at work: one for many tests, each with its own carts."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from proxy.checkouts import Checkout, Status
from proxy.sandbox.faults import Answer
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo, until
from tests.commands import Done, run, run_apart
from tests.running import Proxy
from tests.said import JANE


@dataclass(frozen=True)
class Desk:
    """A proxy at work, and the operator who types commands beside it."""

    proxy: Proxy
    environ: dict[str, str]
    ledger: Ledger

    def run(self, *arguments: str) -> Done:
        return run(*arguments, **self.environ)

    def said(self, *arguments: str) -> str:
        return self.run(*arguments).stdout

    def check_out(self, cart_id: str, *statuses: Status, email: str = JANE) -> list[Checkout]:
        """Let somebody check out, and return the checkouts once they stand at *statuses*."""
        shop = Shop(self.proxy.url)
        shop.push(quote(cart_id, safe=""))
        Page(self.proxy.url, shop.token(cart_id)).say(email=email)
        return self.ledger.wait(cart_id, *statuses)


@contextmanager
def at_work(store: Path, **settings: str) -> Iterator[Desk]:
    with judged_klaviyo() as klaviyo:
        environ = environment(store, klaviyo.url, **settings)
        with Proxy(environ) as proxy:
            yield Desk(proxy, environ, Ledger(store, klaviyo))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with at_work(tmp_path_factory.mktemp("desk") / "store") as desk:
        yield desk


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Return one where a checkout waits for an hour for a change."""
    with at_work(tmp_path_factory.mktemp("patient") / "store", SETTLE="3000") as desk:
        yield desk


def test_no_second_proxy_shares_the_port_of_the_first(desk: Desk) -> None:
    refused = run_apart("serve", "--bind", desk.proxy.address, **desk.environ)

    assert "Address already in use" in refused.stderr


def test_a_printed_token_is_taken_by_the_proxy(desk: Desk) -> None:
    token = desk.said("token", "printed", "--email", "jane@shop-demo.io").strip()

    Shop(desk.proxy.url).push("printed")
    Page(desk.proxy.url, token).say()

    desk.ledger.wait("printed", Status.DELIVERED)
    (event,) = desk.ledger.events("printed")
    assert event["profile"]["data"]["attributes"]["email"] == "jane@shop-demo.io"


def test_the_story_of_a_cart_is_told_without_a_word_about_the_person(desk: Desk) -> None:
    desk.check_out("told", Status.DELIVERED)

    told = desk.said("trace", "told")

    lines = [r"cart pushed", r"state posted .*settling", r"sent to Klaviyo .*202", "", r"told_\d+"]
    assert re.search("\n".join(f".*{line}.*" for line in [*lines, "  delivered"]), told)
    assert "jane" not in told


# -- dead letters ------------------------------------------------------------------------


def test_a_dead_letter_is_replayed_under_its_unique_id(desk: Desk) -> None:
    desk.ledger.klaviyo.misbehave(Answer(400))
    (dead,) = desk.check_out("dead", Status.DEAD)
    counted = desk.said("status")

    replayed = desk.said("replay", "dead")

    desk.ledger.wait("dead", Status.DELIVERED)
    assert re.search(r"dead +1$", counted, re.M)
    assert replayed == "1 dead letter will be sent again.\n"
    assert [event["unique_id"] for event in desk.ledger.events("dead")] == [dead.unique_id]


def test_dead_letters_are_listed_and_replayed_by_reason_or_all(desk: Desk) -> None:
    for number, pointer in enumerate(["/data/a", "/data/b", "/data/b"]):
        desk.ledger.klaviyo.misbehave(Answer(400, pointer=pointer))
        desk.check_out(f"d-{number}", Status.DEAD)
    listed = desk.said("dead")
    listed_by_reason = desk.said("dead", "--reason", "/data/a")

    by_reason = desk.said("replay", "--reason", "/data/b")
    for cart_id in ("d-1", "d-2"):
        desk.ledger.wait(cart_id, Status.DELIVERED)
    left = desk.said("dead")
    everything = desk.said("replay", "--all")
    desk.ledger.wait("d-0", Status.DELIVERED)

    advice = r"        To do: Klaviyo refuses the event itself[^/]+replay\.\n"
    assert re.fullmatch(
        r" +2  Klaviyo answered 400.*/data/b\)\n +d-1_\d+ d-2_\d+\n"
        rf"{advice} +1  .*/data/a\)\n +d-0_\d+\n{advice}",
        listed,
    )
    assert listed_by_reason == left
    assert by_reason == "2 dead letters will be sent again.\n"
    assert everything == "1 dead letter will be sent again.\n"
    assert desk.said("dead") == "No dead letters.\n"


SECRET = "gid://shopify/Cart/c1-canary?key=0123456789abcdef"


def test_a_cart_whose_id_is_a_secret_is_found_by_its_event_in_every_command(desk: Desk) -> None:
    desk.ledger.klaviyo.misbehave(Answer(400))
    (letter,) = desk.check_out(SECRET, Status.DEAD)

    listed = desk.said("dead")
    read = desk.run("cart", letter.unique_id)
    hurried = desk.run("hurry", letter.unique_id)
    replayed = desk.run("replay", letter.unique_id)
    desk.ledger.wait(SECRET, Status.DELIVERED)
    story = desk.said("trace", letter.unique_id)
    again = desk.run("replay", letter.unique_id)

    assert letter.unique_id in listed
    assert "total in EUR" in read.stdout
    assert f"(try `checkout-proxy replay {letter.unique_id}`)" in hurried.stderr
    assert replayed.stdout == "1 dead letter will be sent again.\n"
    assert "replay asked" in story
    assert again.returncode == 1
    said = [listed, read.stdout, hurried.stderr, story, again.stderr]
    assert not any("canary" in each for each in said)


# -- quarantine --------------------------------------------------------------------------


def test_what_is_in_quarantine_is_listed_and_released_by_cart_or_reason_or_all(desk: Desk) -> None:
    for number in range(4):
        domain = "mailinator.com" if number else "test.com"
        desk.check_out(f"q-{number}", Status.QUARANTINED, email=f"jane{number}@{domain}")

    listed = desk.said("release")
    one = desk.said("release", "q-1")
    desk.ledger.wait("q-1", Status.DELIVERED)
    again = desk.run("release", "q-1")
    hurried = desk.run("hurry", "q-2").stderr
    by_reason = desk.said("release", "--reason", "thrown away")
    desk.ledger.wait("q-2", Status.DELIVERED)
    desk.ledger.wait("q-3", Status.DELIVERED)
    everything = desk.said("release", "--all")
    desk.ledger.wait("q-0", Status.DELIVERED)

    assert "3  the address is of a domain for addresses that are thrown away" in listed
    assert one == "1 checkout will be sent as if never suspected.\n"
    assert (again.returncode, "is not in quarantine" in again.stderr) == (1, True)
    assert re.search(r"thrown away \(try `checkout-proxy release q-2_\d+`\)", hurried)
    assert by_reason.startswith("2 checkouts will")
    assert everything.startswith("1 checkout will")
    assert [len(desk.ledger.events(f"q-{n}")) for n in range(1, 4)] == [1, 1, 1]
    assert desk.said("release") == "Nothing is in quarantine.\n"


# -- what waits --------------------------------------------------------------------------


def test_an_operator_hurries_one_checkout_and_calls_another_off(patient: Desk) -> None:
    for cart_id in ("hurried", "called-off"):
        patient.check_out(cart_id, Status.PENDING)

    assert patient.run("hurry", "hurried").returncode == 0
    assert patient.run("cancel", "called-off").returncode == 0

    (sent,) = patient.ledger.wait("hurried", Status.DELIVERED)
    patient.ledger.wait("called-off", Status.CANCELLED)
    told = patient.said("trace", sent.unique_id, "--event")
    refused = patient.run("hurry", "called-off")
    assert patient.ledger.events("called-off") == []
    assert "hurry asked" in told
    assert f'"unique_id": "{sent.unique_id}"' in told
    assert JANE not in told
    assert "called-off cannot be helped so: cancelled: an operator called it off" in refused.stderr


def test_a_cart_is_erased_by_the_command(patient: Desk) -> None:
    patient.check_out("erased", Status.PENDING)

    said = patient.said("erase", "--cart", "erased")

    (erased,) = patient.ledger.wait("erased", Status.CANCELLED)
    assert said == "It is to be erased. The sender does so within a moment.\n"
    assert (erased.reason, erased.addresses) == ("erased at the person's request", ())


def test_who_is_erased_by_the_command_lies_in_no_file_either(patient: Desk) -> None:
    canary = "erased-canary@shop-demo.io"
    patient.check_out("canary", Status.PENDING, email=canary)
    assert lies_there(patient, canary)

    run("erase", "--email", "-", stdin=f"{canary}\n", **patient.environ)

    patient.ledger.wait("canary", Status.CANCELLED)
    until(lambda: not lies_there(patient, canary), timeout=20)


def lies_there(desk: Desk, canary: str) -> bool:
    files = [path for path in desk.ledger.store.rglob("*") if path.is_file()]
    return any(canary.encode() in path.read_bytes() for path in files)
