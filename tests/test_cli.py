"""The command line, as a user types it."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from proxy import facts, outcomes
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.facts import Asked, ErasureAsked
from proxy.sandbox.klaviyo import Klaviyo
from proxy.settings import described
from proxy.store import Store
from proxy.store.book import Change
from tests.actors import CART, Page, Shop, environment, judged_klaviyo, marks, until
from tests.books import lay_book, written
from tests.commands import run, run_apart
from tests.platform import KEY, Platform, recorded
from tests.running import ROOT, Proxy, ours
from tests.said import JANE, NOON, state


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_every_setting_is_printed() -> None:
    printed = run_apart("settings").stdout

    for variable, default, _ in described():
        assert (f"{variable} = {default}" if default else variable) in printed


def test_the_status_names_a_damaged_inbox_that_was_set_aside(store: Path) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    run("migrate", **environ)
    salvaged = store / "shop" / "inbox-0.db.salvaged-20260101T120000.000000"
    salvaged.touch()
    Path(f"{salvaged}-wal").touch()

    said = run("status", **environ).stdout.splitlines()[-1]

    assert said == (
        "1 set aside as damaged, see the log, then delete: "
        "inbox-0.db.salvaged-20260101T120000.000000"
    )


def test_all_mistakes_are_said_at_once() -> None:
    refused = run_apart("serve", CHECKOUT_PROXY_SETTLE="soon", CHECKOUT_PROXY_CONSNT="required")

    assert refused.returncode == 1
    assert "CHECKOUT_PROXY_TOKEN_KEYS is not set" in refused.stderr
    assert "CHECKOUT_PROXY_KLAVIYO_KEY is not set" in refused.stderr
    assert "CHECKOUT_PROXY_SETTLE is a number of seconds" in refused.stderr
    assert "did you mean CHECKOUT_PROXY_CONSENT?" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_that_is_taken_is_said_before_anything_starts(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        refused = run_apart("serve", "--bind", address, **environment(store, "http://127.0.0.1:1"))

    assert refused.returncode == 1
    assert f"{address} cannot be had: Address already in use" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_folder_that_cannot_be_entered_is_said(store: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    env = ours(environment(store, "http://127.0.0.1:1")) | {"PYTHONPATH": f"{ROOT}"}
    command = ["sh", "-c", f"cd {gone} && rmdir {gone} && exec {sys.executable} -m proxy serve"]

    refused = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    assert refused.returncode == 1
    assert "cannot be started here: No such file or directory." in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "bind", ["8000", "localhost:8000", "127.0.0.1:99999", "127.0.0.1:²", "[::1]"]
)
def test_an_address_that_is_none_is_said(store: Path, bind: str) -> None:
    refused = run_apart("serve", "--bind", bind, **environment(store, "http://127.0.0.1:1"))

    assert refused.returncode == 2
    assert "is no IP address and port, such as 127.0.0.1:8000 or [::1]:8000." in refused.stderr


@pytest.mark.parametrize("command", ["serve", "work", "migrate"])
def test_a_store_that_cannot_be_written_is_said_before_anything_starts(command: str) -> None:
    refused = run_apart(command, **environment("/proc/nope", "http://127.0.0.1:1"))

    assert refused.returncode == 1
    assert "CHECKOUT_PROXY_STORE cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_tag_waits_for_a_yes_where_the_proxy_does() -> None:
    required = run("tag", CHECKOUT_PROXY_CONSENT="required").stdout
    usual = run("tag").stdout

    assert 'data-consent="required"' in required
    assert "data-consent" not in usual


def test_a_demo_whose_port_is_taken_says_how_to_have_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        refused = run("demo", "--port", f"{port}")

    assert refused.returncode == 1
    assert f"127.0.0.1:{port} cannot be had: Address already in use" in refused.stderr
    assert f"--port takes another; make demo PORT={port + 1}, say." in refused.stderr


def test_the_tag_is_printed_with_a_place_for_the_token() -> None:
    printed = run("tag", "--consent", "required", "--debug", CHECKOUT_PROXY_PREFIX="/till").stdout

    assert re.fullmatch(
        r'<script defer src="/till/checkout\.[0-9a-f]{16}\.js" integrity="sha384-[\w+/=]{64}" '
        r'data-token="{{ token }}" data-debug="" data-consent="required"></script>\n',
        printed,
    )


def test_a_tag_for_a_strict_policy_and_a_consent_tool_is_printed() -> None:
    printed = run("tag", "--consent-tool", "tcf", "--nonce", "{{ nonce }}").stdout.splitlines()

    names = [tag.partition('src="/co/')[2].partition(".")[0] for tag in printed]
    assert names == ["checkout", "consent-tcf"]
    assert all(' nonce="{{ nonce }}"' in tag for tag in printed)


@pytest.mark.parametrize("cart_id", ["", "two words", "c" * 256])
def test_no_token_is_printed_that_the_proxy_would_refuse(store: Path, cart_id: str) -> None:
    refused = run("token", cart_id, **environment(store, "http://127.0.0.1:1"))

    assert refused.returncode == 2
    assert "cart_id" in refused.stderr
    assert not refused.stdout


def test_who_is_erased_is_named_on_standard_input_or_asked_for(store: Path) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    run("migrate", **environ)

    piped = run("erase", "--email", "-", stdin="jane@shop-demo.io\n", **environ)
    asked_for = run("erase", "--phone", stdin="+49 30 123456\n", **environ)
    cart = run("erase", "--cart", "c-1", **environ)

    assert [each.returncode for each in (piped, asked_for, cart)] == [0, 0, 0], asked_for.stderr
    assert "jane" not in piped.stdout + piped.stderr
    assert piped.stdout == (
        "It is to be erased. No sender is at work for shop: it is done once one is.\n"
    )
    with closing(Store.of("shop", f"sqlite:///{store}").inboxes("shop")) as inboxes:
        kept = [facts.decode(item.kind, item.body) for item in inboxes.after({}, 10)]
    named = [(f.email, f.phone_number, f.cart_id) for f in kept if isinstance(f, ErasureAsked)]
    assert named == [
        ("jane@shop-demo.io", None, ""),
        (None, "+4930123456", ""),
        (None, None, "c-1"),
    ]


@pytest.mark.parametrize(
    "asked", [[], ["--email", "jane"], ["--phone", "030"], ["--email", "a@b.io", "--cart", "c"]]
)
def test_an_erasure_of_nobody_is_refused(store: Path, asked: list[str]) -> None:
    refused = run("erase", *asked, **environment(store, "http://127.0.0.1:1"))

    assert refused.returncode == 2
    assert not refused.stdout


def test_nobody_is_erased_where_there_is_no_store_and_none_is_made(
    store: Path, tmp_path: Path
) -> None:
    config = tmp_path / "shops.toml"
    config.write_text("[shops.shop]\n[shops.tea]\n")
    one = {"CHECKOUT_PROXY_STORE": f"sqlite:///{store}"}
    several = one | {"CHECKOUT_PROXY_CONFIG": f"{config}"}

    alone = run("erase", "--cart", "c-1", **one)
    is_made = store.exists()
    run("migrate", **one)
    one_of_two = run("erase", "--cart", "c-1", **several)

    assert (alone.returncode, alone.stdout, is_made) == (1, "", False)
    assert f"there is no store at {store}/shop yet" in alone.stderr
    assert one_of_two.returncode == 1
    assert one_of_two.stdout.startswith("It is to be erased. ")
    assert f"tea: there is no store at {store}/tea yet" in one_of_two.stderr
    assert not (store / "tea").exists()


def test_what_is_old_is_removed_by_the_command(klaviyo: Klaviyo, store: Path) -> None:
    environ = environment(store, klaviyo.url)
    lay_dead(store, {"c-1", "c-2"}, at=datetime.now(UTC) - timedelta(days=8))
    lay_dead(store, {"c-3"}, at=datetime.now(UTC) - timedelta(days=6))

    idle = run("prune", "--older-than", "9d", **environ).stdout
    unheard = run("prune", "--older-than", "7d", **environ).stdout
    with Proxy(environ):
        until(lambda: run("trace", "c-1", **environ).returncode == 1)
        until(lambda: run("trace", "c-2", **environ).returncode == 1)
        heard = run("prune", "--older-than", "5d", **environ).stdout
        until(lambda: run("trace", "c-3", **environ).returncode == 1)
        nonsense = run("prune", "--older-than", "soon", **environ)

    assert idle == "shop: 0 rows were removed.\n"
    assert re.fullmatch(
        r"shop: [1-9]\d* rows are to be removed. No sender is at work for shop: it is .*\n", unheard
    )
    assert re.fullmatch(r"shop: [1-9]\d* rows are to be removed. The sender does so .*\n", heard)
    assert (nonsense.returncode, "--older-than" in nonsense.stderr) == (2, True)


# -- another user ------------------------------------------------------------------------


is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
NOBODY = 65534


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """Return a store of the user nobody's, who can reach it."""
    with TemporaryDirectory() as name:
        store = Path(name)
        run("migrate", **environment(store, "http://127.0.0.1:1"))
        for path in [store, *store.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield store


@is_root
@pytest.mark.parametrize(
    "command", [("erase", "--cart", "c-1"), ("replay", "--all"), ("release", "--all"), ("prune",)]
)
def test_root_is_told_as_whom_to_wish_something_of_a_store_of_somebody_else(
    of_nobody: Path, command: tuple[str, ...]
) -> None:
    environ = environment(of_nobody, "http://127.0.0.1:1")

    refused = run(*command, **environ)
    looked = run("release", **environ)
    inboxes = list((of_nobody / "shop").glob("inbox-*"))

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Ask as that user: runuser -u nobody -- checkout-proxy" in refused.stderr
    assert looked.stdout == "Nothing is in quarantine.\n"
    assert inboxes == []


@is_root
def test_a_slot_that_is_another_user_s_is_left_out(of_nobody: Path) -> None:
    (of_nobody / "shop" / "inbox-0.lock").touch(mode=0o600)
    (of_nobody / "shop" / "inbox-0.db").touch(mode=0o600)

    tried = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, f"{NOBODY}", f"{of_nobody}"],
        env=ours({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert tried.returncode == 0, tried.stderr
    assert (of_nobody / "shop" / "inbox-1.db").stat().st_uid == NOBODY
    assert tried.stderr.count("inbox-0.db belongs to another user, and is left out") == 2


# The interpreter itself may lie where another user cannot go.
AS_ANOTHER = """
import os, sys
from proxy.store import Store

store = Store.of("shop", f"sqlite:///{sys.argv[2]}")
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
store.inbox().probe()
store.inboxes("shop").prune_orphans({})
"""


def test_why_nothing_can_be_kept_is_said_where_there_is_no_log(store: Path) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    run("migrate", **environ)
    (store / "shop" / "inbox-0.db").mkdir()

    refused = run("erase", "--cart", "c-1", **environ)

    assert refused.returncode == 1
    assert refused.stderr == (
        "Error: The store cannot write just now: unable to open database file\n"
    )


def test_nothing_received_is_said_so(klaviyo: Klaviyo, store: Path) -> None:
    environ = environment(store, klaviyo.url)
    run("migrate", **environ)

    asked = run("trace", "no-such-cart", **environ)

    assert asked.returncode == 1
    assert "nothing was received for the cart no-such-cart" in asked.stderr


def test_without_a_store_it_is_said_where_one_was_looked_for(store: Path) -> None:
    asked = run("status", **environment(store, "http://127.0.0.1:1"))

    assert asked.returncode == 1
    assert str(store) in asked.stderr


def test_many_dead_letters_are_told_in_short_and_all_replayed(store: Path) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    carts = {f"c-{number}" for number in range(200)}
    lay_dead(store, carts)

    listed = run("dead", **environ).stdout
    replayed = run("replay", "--all", **environ).stdout

    assert re.match(r"   200  no such metric\n        c-0_\d+ c-1_\d+\s", listed)
    assert re.search(r" and\s+180 more\n        To do: ", listed)
    assert replayed == "200 dead letters will be sent again.\n"
    opened = Store.of("shop", f"sqlite:///{store}")
    with closing(opened.inboxes("shop")) as inboxes:
        asked = inboxes.after(marks(opened), 1_000)
    assert {fact.cart_id for fact in asked} == carts
    assert {fact.kind for fact in asked} == {"replay"}


@pytest.mark.parametrize(
    ("command", "label"), [(["replay", "--all"], "Dead letters"), (["migrate"], "Stores")]
)
def test_who_waits_at_a_terminal_sees_how_far_it_is(
    store: Path, command: list[str], label: str
) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    lay_dead(store, {f"c-{number}" for number in range(100)})

    shown = at_a_terminal(*command, **environ)
    quiet = run(*command, **environ)

    assert label in shown
    assert "100%" in shown
    assert quiet.stderr == ""


def test_an_event_s_id_means_one_checkout_of_a_cart(store: Path) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    lay_dead(store, {"c-1"}, at=datetime.now(UTC) - timedelta(days=9))
    lay_dead(store, {"c-1"}, at=datetime.now(UTC) - timedelta(days=6))
    opened = Store.of("shop", f"sqlite:///{store}")
    with closing(opened.book()) as book:
        first, _ = book.checkouts("shop", "c-1")

    replayed = run("replay", first.unique_id, **environ).stdout
    both = run("replay", "c-1", **environ).stdout
    cancelled = run("cancel", first.unique_id, **environ)

    assert replayed == "1 dead letter will be sent again.\n"
    assert both == "2 dead letters will be sent again.\n"
    assert cancelled.returncode == 0, cancelled.stderr
    with closing(opened.inboxes("shop")) as inboxes:
        asked = [facts.decode(item.kind, item.body) for item in inboxes.after(marks(opened), 10)]
    wished = [fact for fact in asked if isinstance(fact, Asked)]
    assert [fact.epoch == first.epoch for fact in wished].count(True) == 3


def at_a_terminal(*arguments: str, **environ: str) -> str:
    """Run the command with standard error on a terminal, and return what that shows."""
    our_end, its_end = pty.openpty()
    command = [sys.executable, "-m", "proxy", *arguments]
    with os.fdopen(our_end, "rb", buffering=0) as terminal:
        subprocess.run(
            command,
            env=ours(environ),
            stdout=subprocess.DEVNULL,
            stderr=its_end,
            timeout=60,
            check=True,
        )
        os.close(its_end)
        shown = []
        with suppress(OSError):  # That is how a terminal ends.
            while piece := terminal.read(4096):
                shown.append(piece)
    return b"".join(shown).decode()


def lay_dead(folder: Path, carts: Collection[str], at: datetime = NOON) -> None:
    """Leave a dead letter of each of *carts*, begun at *at*, in the store."""
    store = Store.of("shop", f"sqlite:///{folder}")
    lay_book(store)
    rules = Rules(settle=timedelta(0), epoch=timedelta(hours=24), modes=Modes(ConsentMode.OPT_OUT))
    refuse = partial(outcomes.refused, reason="no such metric")
    with closing(written(store)) as book, closing(store.inbox()) as inbox:
        for number, cart_id in enumerate(sorted(carts, key=lambda name: int(name[2:]))):
            said = state(number, cart_id, email=JANE)
            inbox.append(
                replace(
                    said,
                    acted_at=said.acted_at + (at - NOON),
                    received_at=said.received_at + (at - NOON),
                )
            )
        with closing(store.inboxes("shop")) as inboxes:
            book.take_in(inboxes.after({}, 1_000), rules)
        changes = [
            Change(checkout=checkout, apply=refuse)
            for cart_id in carts
            for checkout in book.checkouts("shop", cart_id)
        ]
        book.change("shop", changes, datetime.now(UTC))


def test_what_nobody_heard_of_cannot_be_hurried(store: Path) -> None:
    environ = environment(store, "http://127.0.0.1:1")
    run("migrate", **environ)

    refused = run("hurry", "c-9", **environ)

    assert refused.returncode == 1
    assert "c-9 cannot be helped so: nothing was received for it" in refused.stderr


def test_replay_wants_to_know_what(store: Path) -> None:
    asked = run("replay", **environment(store, "http://127.0.0.1:1"))

    assert asked.returncode == 2
    assert "Name a CART_ID, or give --reason, or --all." in asked.stderr


@pytest.mark.slow
def test_web_half_and_sender_run_apart(klaviyo: Klaviyo, store: Path) -> None:
    environ = environment(store, klaviyo.url)
    with Proxy(environ, "--web-only") as proxy:
        Shop(proxy.url).push("c-1", CART)
        Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
    assert not klaviyo.requests

    command = [sys.executable, "-m", "proxy", "work"]
    with subprocess.Popen(command, env=os.environ | environ) as worker:
        until(lambda: klaviyo.events or worker.poll() is not None)
        worker.terminate()

    assert worker.returncode == 0
    assert len(klaviyo.events) == 1


def test_a_refused_key_is_said_by_status(klaviyo: Klaviyo, store: Path) -> None:
    environ = environment(store, klaviyo.url, KLAVIYO_KEY="pk_wrong")
    with Proxy(environ) as proxy:
        Shop(proxy.url).push("c-1")
        Page(proxy.url, Shop(proxy.url).token("c-1")).say(email="jane@shop-demo.io")
        klaviyo.wait_for_requests(1, timeout=15)

        until(lambda: "sending waits until" in run("status", **environ).stdout)

        said = run("status", **environ).stdout
    assert "Klaviyo answered 401" in said
    assert re.search(r"pending +1$", said, re.M)
    assert "pk_wrong" not in said + proxy.log


# -- a cart, as it is understood ---------------------------------------------------------


MEDUSA_CART = "cart_01M82D2SFH33B1SN426B380WC9"


@pytest.fixture
def medusa() -> Iterator[Platform]:
    with Platform(answer=recorded("medusa_eur")).serve() as platform:
        yield platform


def cart(platform: Platform, *options: str) -> subprocess.CompletedProcess[str]:
    return run(
        "cart",
        MEDUSA_CART,
        *options,
        CHECKOUT_PROXY_CARTS="medusa",
        CHECKOUT_PROXY_CARTS_URL=platform.url,
        CHECKOUT_PROXY_CARTS_KEY=KEY,
    )


def test_a_cart_is_printed_as_it_is_understood(medusa: Platform) -> None:
    said = cart(medusa).stdout.splitlines()

    assert re.fullmatch(r" +3 x Blue Tee +80\.97", said[0])
    assert re.fullmatch(r" +total in EUR +175\.83", said[-2])
    assert said[-1] == "Coupons: SAVE10"


def test_a_cart_is_printed_for_a_program(medusa: Platform) -> None:
    said = json.loads(cart(medusa, "--json").stdout)

    assert (said["cart_id"], said["completed"], said["warnings"]) == (MEDUSA_CART, False, [])
    assert (said["currency"], said["total"]) == ("EUR", "175.828")
    assert said["items"][0]["unit_price"] == "29.99"


@pytest.mark.parametrize(
    ("status", "error"), [(404, "CartGone"), (503, "SourceDown"), (401, "SourceRefused")]
)
def test_a_cart_that_cannot_be_trusted_is_an_error_with_a_name(
    medusa: Platform, status: int, error: str
) -> None:
    medusa.status = status

    failed = cart(medusa)

    assert failed.returncode == 1
    assert failed.stderr == f"Error: {error}: the shop answered {status}\n"


def test_a_platform_without_address_or_key_is_said() -> None:
    failed = run("cart", "c-1", CHECKOUT_PROXY_CARTS="medusa")

    assert failed.returncode == 1
    assert "CHECKOUT_PROXY_CARTS_URL is not set" in failed.stderr
    assert "CHECKOUT_PROXY_CARTS_KEY is not set" in failed.stderr
