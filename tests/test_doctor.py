"""The doctor names what is wrong with a set-up, and what to do about it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import adblock
import msgspec
import pytest
from click.testing import CliRunner

from proxy.carts.cart import Cart
from proxy.cli import main
from proxy.doctor import examination, mount, trial
from proxy.doctor.examination import Check
from proxy.doctor.finding import Finding, well
from proxy.doctor.setup import Asked, Setup, read
from proxy.sandbox.faults import Answer, Challenge, Cut, Hang
from proxy.sandbox.klaviyo import SCOPES, Klaviyo
from proxy.standing import Standing
from proxy.store import Store
from proxy.tokens import Session, Tokens
from tests import running
from tests.actors import KLAVIYO_KEY, SHOP_KEY, TOKEN_KEYS, Page, Shop, environment
from tests.books import lay_book, lay_old_book
from tests.browser.test_reach import RULES
from tests.crash.test_clock_jumps import LIBRARIES, Clock
from tests.platform import KEY, Platform, changed, recorded
from tests.postgres import Postgres, fresh, unprivileged
from tests.running import Nginx, Proxy, free_port, ours
from tests.test_nginx import Recorder

JANE = "jane@shop-demo.io"
PASSWORD = "s3cret-of-the-database"
# None of these may ever be told.
CANARIES = (*TOKEN_KEYS.split(","), SHOP_KEY, KLAVIYO_KEY, KEY, JANE, PASSWORD)

NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor said, for a program."""

    status: int
    findings: list[dict[str, str]]

    def of(self, check: str, name: str) -> dict[str, str]:
        """Return the one finding of that name."""
        (found,) = [f for f in self.findings if (f["check"], f["name"]) == (check, name)]
        return found

    def verdict(self, check: str, name: str) -> str:
        return self.of(check, name)["verdict"]

    @property
    def wrong(self) -> list[str]:
        """What is wrong, each as the check and the thing."""
        return [f"{f['check']}/{f['name']}" for f in self.findings if f["verdict"] == "wrong"]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    stdout: str
    stderr: str

    def __post_init__(self) -> None:
        said = self.stdout + self.stderr
        assert not [canary for canary in CANARIES if canary in said]
        assert "Traceback" not in said


def run(environ: Mapping[str, str], *arguments: str) -> Said:
    """Run the command in this very process, in which it costs but a moment."""
    foreign = {name: None for name in os.environ if name.startswith("CHECKOUT_PROXY_")}

    done = CliRunner().invoke(main, ["doctor", *arguments], env={**foreign, **environ})

    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(status=done.exit_code, stdout=done.stdout, stderr=done.stderr)


def run_apart(environ: Mapping[str, str], *arguments: str) -> Said:
    """Run it as a process, where its terminal, its clock or its user matter."""
    command = [sys.executable, "-m", "proxy", "doctor", *arguments]
    return said_by(command, environ)


def said_by(command: Sequence[str], environ: Mapping[str, str]) -> Said:
    done = subprocess.run(
        command, env=ours(environ), capture_output=True, text=True, timeout=60, check=False
    )
    return Said(status=done.returncode, stdout=done.stdout, stderr=done.stderr)


def examined(environ: Mapping[str, str], *arguments: str) -> Diagnosis:
    return diagnosed(run(environ, "--json", *arguments))


def diagnosed(done: Said) -> Diagnosis:
    said = json.loads(done.stdout)
    diagnosis = Diagnosis(status=done.status, findings=said["findings"])
    assert (diagnosis.status == 0) == said["well"] == (not diagnosis.wrong)
    return diagnosis


def finding(environ: Mapping[str, str], check: str, name: str, *arguments: str) -> dict[str, str]:
    """Return the finding *name* of the one *check* that is run."""
    return examined(environ, "--only", check, *arguments).of(check, name)


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    with Klaviyo(key=KLAVIYO_KEY).serve() as klaviyo:
        yield klaviyo


@pytest.fixture
def environ(klaviyo: Klaviyo, tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "store", klaviyo.url)


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    with running.logs_shown():
        yield


# -- the whole of it ---------------------------------------------------------------------


def test_a_set_up_before_its_first_start_is_well(environ: dict[str, str]) -> None:
    diagnosis = examined(environ)

    assert (diagnosis.status, diagnosis.wrong) == (0, [])
    assert list(dict.fromkeys(f["check"] for f in diagnosis.findings)) == examination.names()


def test_all_mistakes_are_shown_and_what_can_be_run_is_run(environ: dict[str, str]) -> None:
    environ |= {
        "CHECKOUT_PROXY_SETTLE": "soon",
        "CHECKOUT_PROXY_STORE": f"postgres://jane:{PASSWORD}@db/proxy",
        "CHECKOUT_PROXY_CONSNT": "required",
        "CHECKOUT_PROXY_SHOP_KEY_FILE": "/nope",
    }

    diagnosis = examined(environ)

    mistakes = [f["words"] for f in diagnosis.findings if f["check"] == "settings"]
    assert diagnosis.status == 1
    for said in ("SETTLE is a number", "STORE is sqlite:///", "CONSENT?", "SHOP_KEY_FILE"):
        assert [words for words in mistakes if said in words], said
    assert (
        "CHECKOUT_PROXY_STORE: see the check `settings`" in diagnosis.of("store", "store")["words"]
    )
    assert diagnosis.verdict("klaviyo", "key") == "well"
    assert diagnosis.verdict("tokens", "keys") == "well"


@pytest.mark.parametrize("text", ["[shops.shop.carts\n", "[shops.tea.carts]\nsource = 'http'\n"])
def test_a_settings_file_that_cannot_be_read_hides_nothing_else(
    environ: dict[str, str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "shops.toml").write_text(text)

    diagnosis = examined(environ | {"CHECKOUT_PROXY_CONFIG": f"{tmp_path}/shops.toml"})

    assert diagnosis.wrong == ["settings/settings"]
    assert diagnosis.verdict("carts", "carts") == "skipped"


def test_nothing_set_at_all_is_told_and_no_more(tmp_path: Path) -> None:
    diagnosis = examined({"CHECKOUT_PROXY_STORE": f"sqlite:///{tmp_path}/store"})

    assert set(diagnosis.wrong) == {"settings/settings"}
    assert "not without CHECKOUT_PROXY_KLAVIYO_KEY" in diagnosis.of("klaviyo", "klaviyo")["words"]


@pytest.mark.parametrize(
    ("setting", "key", "said"),
    [
        ("TOKEN_KEYS", "short", "a key of CHECKOUT_PROXY_TOKEN_KEYS can be guessed"),
        ("SHOP_KEY", "a" * 20, "SHOP_KEY can be"),
        ("SHOP_KEY", TOKEN_KEYS.split(",")[1], "also signs tokens"),
    ],
)
def test_a_weak_key_is_told(environ: dict[str, str], setting: str, key: str, said: str) -> None:
    found = finding(environ | {f"CHECKOUT_PROXY_{setting}": key}, "settings", "keys")

    assert found["verdict"] == "warning"
    assert said in found["words"]
    assert "openssl rand -hex 32" in found["remedy"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder into which everybody may look: pytest's own lie where nobody else may."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_key_that_everybody_may_read_is_told(environ: dict[str, str], open_folder: Path) -> None:
    path = open_folder / "shop-key"
    path.write_text(environ.pop("CHECKOUT_PROXY_SHOP_KEY"))
    path.chmod(0o644)

    found = finding(environ | {"CHECKOUT_PROXY_SHOP_KEY_FILE": f"{path}"}, "settings", "keys")

    assert "everybody on this machine may read" in found["words"]
    assert found["remedy"] == f"chmod o-rwx {path}"


def test_a_key_in_a_folder_of_ours_is_not_open(environ: dict[str, str], open_folder: Path) -> None:
    # As the README makes it: the folder is closed, what lies in it is as the shell's umask has it.
    path = open_folder / "shop-key"
    path.write_text(environ.pop("CHECKOUT_PROXY_SHOP_KEY"))
    path.chmod(0o644)
    open_folder.chmod(0o750)

    keys = environ | {"CHECKOUT_PROXY_SHOP_KEY_FILE": f"{path}"}

    assert "everybody" not in str(examined(keys, "--only", "settings").findings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nonsense"], "nonsense: there are settings, disk,"),
        (["--url", "shop.example.com"], "is no address such as https://shop.example.com"),
        (["--origin", "https://shop.example.com/co"], "is no address such as"),
    ],
)
def test_what_cannot_be_examined_is_said(
    environ: dict[str, str], arguments: list[str], said: str
) -> None:
    refused = run(environ, *arguments)

    assert refused.status == 2
    assert said in refused.stderr


# -- one check does not hide another -----------------------------------------------------


def setup_of(environ: Mapping[str, str], **asked: Any) -> Setup:
    (setup,) = read(environ, Asked(**asked), lambda *_: ())
    return setup


def test_a_check_that_fails_or_hangs_hides_no_other(environ: dict[str, str]) -> None:
    def fails(_: Setup) -> Iterator[Finding]:
        yield well("first", "this much was found")
        raise RuntimeError(JANE)

    def hangs(_: Setup) -> Iterator[Finding]:
        yield well("first", "this much was found")
        Event().wait(60)

    def passes(_: Setup) -> Iterator[Finding]:
        yield well("all", "is well")

    checks = [
        Check(name="fails", run=fails),
        Check(name="hangs", run=hangs, seconds=0.2),
        Check(name="passes", run=passes),
    ]

    examined = examination.examine([setup_of(environ)], checks=checks)
    found = {each.check: each.findings for each in examined}

    assert [each.verdict for each in found["fails"]] == ["well", "wrong"]
    assert found["fails"][1].words == "this check itself failed: RuntimeError"
    assert [each.verdict for each in found["hangs"]] == ["well", "wrong"]
    assert "no answer within 0 s" in found["hangs"][1].words
    assert [each.verdict for each in found["passes"]] == ["well"]


def test_a_book_that_is_none_hides_no_other_check(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "store" / "shop" / "checkouts.db").mkdir(parents=True)

    diagnosis = examined(environ)

    assert diagnosis.wrong == ["store/tables"]
    assert "see the check `store`" in diagnosis.of("sender", "sender")["words"]
    assert "see the check `store`" in diagnosis.of("carts", "carts")["words"]
    assert diagnosis.verdict("klaviyo", "key") == "well"


@pytest.mark.slow
def test_a_klaviyo_that_says_nothing_keeps_nobody_waiting(
    klaviyo: Klaviyo, environ: dict[str, str]
) -> None:
    klaviyo.misbehave(Hang(), times=10)
    began = time.monotonic()

    diagnosis = examined(environ)

    assert time.monotonic() - began < 20
    assert diagnosis.wrong == ["klaviyo/reached"]
    assert diagnosis.verdict("clock", "clock") == "skipped"


# -- several shops -----------------------------------------------------------------------


@pytest.fixture
def shops(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the settings of a proxy with a shop that is well, and one with another's key."""
    keys = {name: tmp_path / f"{name}-key" for name in ("tea", "coffee")}
    for name, text in {"tea": KLAVIYO_KEY, "coffee": "pk_wrong"}.items():
        keys[name].write_text(text)
        keys[name].chmod(0o600)
    tables = [
        f"[shops.{name}]\nklaviyo_key_file = '{path}'\nshop_key_env = '{name}'"
        for name, path in keys.items()
    ]
    (tmp_path / "shops.toml").write_text("\n".join(tables))
    config = {"CHECKOUT_PROXY_CONFIG": f"{tmp_path}/shops.toml"}
    return environ | config | {"tea": f"{SHOP_KEY}-tea", "coffee": f"{SHOP_KEY}-coffee"}


def test_each_shop_is_examined_and_what_they_share_once(shops: dict[str, str]) -> None:
    diagnosis = examined(shops)

    checks = [(f["shop"], f["check"]) for f in diagnosis.findings]
    shared = ["settings", "disk", "clock", "prefix", "site"]
    of_each = ["store", "sender", "tokens", "carts", "klaviyo", "revision", "trial"]
    assert list(dict.fromkeys(checks)) == [
        *((None, check) for check in shared),
        *(("tea", check) for check in of_each),
        *(("coffee", check) for check in of_each),
    ]
    assert [(f["shop"], f["name"]) for f in diagnosis.findings if f["verdict"] == "wrong"] == [
        ("coffee", "key")
    ]
    assert " of 2 shops" in diagnosis.of("settings", "settings")["words"]


def test_a_shop_s_sections_have_its_name(shops: dict[str, str]) -> None:
    said = run(shops, "--only", "klaviyo", "--only", "prefix")

    sections = [line for line in said.stdout.splitlines() if line and not line.startswith(" ")]
    assert sections[:3] == ["prefix", "tea: klaviyo", "coffee: klaviyo"]


def test_one_shop_of_several_is_examined_alone(shops: dict[str, str]) -> None:
    diagnosis = examined(shops, "--shop", "tea")

    assert diagnosis.wrong == []
    assert {f["shop"] for f in diagnosis.findings} == {None, "tea"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shop", "milk"], "There is no shop milk: there is tea, coffee."),
        (["--cart", "c-1"], "Which of the shops tea, coffee? Say it with --shop."),
        (["--send-test", JANE], "Which of the shops tea, coffee? Say it with --shop."),
    ],
)
def test_a_shop_that_is_not_known_is_asked_for(
    shops: dict[str, str], arguments: list[str], said: str
) -> None:
    refused = run(shops, *arguments)

    assert refused.status == 2
    assert said in refused.stderr


@pytest.mark.parametrize(
    ("table", "mistake", "checks"),
    [
        ("settle = 'soon'", "shops.tea.settle is a number", []),
        ("revision = 2020", "shops.tea.revision is a date", ["klaviyo", "revision", "trial"]),
        ("token_age = {}", "shops.tea.token_age is a text", ["tokens"]),
        ("tokn_age = 5", "shops.tea.tokn_age is no setting: did you mean token_age?", []),
        ("carts = 'http'", "shops.tea.carts is http: describe it", ["carts"]),
        ("carts.source = 'nope'", "shops.tea.carts.source is one of", ["carts"]),
    ],
)
def test_a_mistake_in_one_shop_s_table_hides_nothing_else(
    shops: dict[str, str], table: str, mistake: str, checks: list[str]
) -> None:
    path = Path(shops["CHECKOUT_PROXY_CONFIG"])
    path.write_text(path.read_text().replace("[shops.tea]", f"[shops.tea]\n{table}"))

    diagnosis = examined(shops)

    (told,) = [f["words"] for f in diagnosis.findings if f["check"] == "settings"]
    hidden = [
        (f["shop"], f["check"])
        for f in diagnosis.findings
        if "see the check `settings`" in f["words"]
    ]
    assert mistake in told
    assert hidden == [("tea", check) for check in checks]


@pytest.mark.parametrize("revision", ["0001", "0013"])
def test_tables_of_an_earlier_version_are_told_and_nothing_is_wrong_with_them(
    environ: dict[str, str], tmp_path: Path, revision: str
) -> None:
    lay_old_book(Store.of("shop", f"sqlite:///{tmp_path}/store"), revision)

    diagnosis = examined(environ)

    told = diagnosis.of("store", "tables")
    assert diagnosis.wrong == []
    assert (told["verdict"], told["remedy"].split()[0]) == ("warning", "`checkout-proxy")
    assert "are those of another version" in told["words"]
    assert diagnosis.verdict("sender", "sender") == "skipped"
    assert "see the check `store`" in diagnosis.of("carts", "carts")["words"]


def test_files_of_an_earlier_version_are_told(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "checkouts.db").touch()

    diagnosis = examined(environ)

    assert diagnosis.wrong == ["store/folder"]
    assert "mkdir -m 700" in diagnosis.of("store", "folder")["words"]
    assert "see the check `store`" in diagnosis.of("sender", "sender")["words"]


# -- the store ---------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_is_told(environ: dict[str, str]) -> None:
    environ["CHECKOUT_PROXY_STORE"] = "sqlite:////proc/nope"

    found = finding(environ, "store", "folder")

    assert found["verdict"] == "wrong"
    assert "/proc/nope/shop cannot be written" in found["words"]
    assert "set CHECKOUT_PROXY_STORE to a folder on a disk" in found["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_s_store_is_told(environ: dict[str, str], store: Store) -> None:
    store.folder.parent.chmod(0o700)
    command = unprivileged(sys.executable, "-m", "proxy", "doctor", "--json")

    diagnosis = diagnosed(said_by(command, environ))

    found = diagnosis.of("store", "folder")
    assert "cannot be written: Permission denied" in found["words"]
    assert "as the user that the proxy runs as" in found["remedy"]
    assert diagnosis.verdict("sender", "sender") == "skipped"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 64 KiB at *folder*."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", f"{folder}"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", f"{folder}"], check=True, capture_output=True)


def test_a_full_disk_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    with small_disk(tmp_path / "store"):
        (tmp_path / "store" / "shop").mkdir()
        filler = (tmp_path / "store" / "filler").open("wb", buffering=0)
        with filler, suppress(OSError):
            filler.write(bytes(64 * 1024))

        diagnosis = examined(environ, "--only", "store", "--only", "disk")

    found = diagnosis.of("store", "folder")
    assert "cannot be written: No space left on device" in found["words"]
    assert "Make room on that disk" in found["remedy"]
    assert diagnosis.of("disk", "space")["words"].startswith("0.0 GB are free, 0%")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be told that it is")
def test_root_is_told_whose_the_files_are(environ: dict[str, str], store: Store) -> None:
    os.chown(store.folder, 65_534, -1)

    found = finding(environ, "store", "owner")

    assert found["verdict"] == "warning"
    assert "-- checkout-proxy doctor" in found["remedy"]


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="/dev/shm is no memory here")
def test_a_store_in_memory_is_told(environ: dict[str, str]) -> None:
    environ["CHECKOUT_PROXY_STORE"] = "sqlite:////dev/shm"

    found = finding(environ, "disk", "fsync")

    assert found["verdict"] == "wrong"
    assert "tmpfs is memory: what is acknowledged would not survive a power cut" in found["words"]
    assert found["remedy"].startswith("Set CHECKOUT_PROXY_STORE to a folder on a disk")


@pytest.mark.parametrize(
    ("line", "forgets", "container"),
    [
        ("30 1 0:27 / / rw - ext4 /dev/sda rw", "", False),
        ("30 1 0:27 / / rw - ext4 /dev/sda rw,nobarrier", "it is mounted with nobarrier", False),
        ("30 1 0:27 / / rw shared:1 - tmpfs none rw,size=4k", "tmpfs is memory", False),
        ("30 1 0:27 / / rw - overlay overlay rw,lowerdir=/a", "", True),
        ("30 1 0:27 / / rw - overlay o rw,volatile", "it is mounted with volatile", True),
    ],
)
def test_a_file_system_is_known_by_its_mount(
    monkeypatch: pytest.MonkeyPatch, line: str, forgets: str, container: bool
) -> None:
    monkeypatch.setattr(
        Path, "read_text", lambda *_, **__: f"29 1 0:1 / /a\\040b rw - xfs x rw\n{line}"
    )

    found = mount.of(Path("/var"))

    assert found is not None
    assert (found.forgets, found.goes_with_its_container) == (forgets, container)


def test_a_database_that_does_not_sync_is_told(
    environ: dict[str, str], server: Postgres, tmp_path: Path
) -> None:
    # The server of the tests runs with fsync=off.
    url = fresh(server)
    environ |= {"CHECKOUT_PROXY_STORE": url, "CHECKOUT_PROXY_SPOOL": f"{tmp_path}/spool"}

    diagnosis = examined(environ, "--only", "store")

    told = [f["words"] for f in diagnosis.findings if f["verdict"] == "wrong"]
    assert "fsync=off in PostgreSQL: what is acknowledged would not survive a power cut" in told
    assert "Set fsync = on in postgresql.conf, and reload it." in [
        f["remedy"] for f in diagnosis.findings
    ]
    assert diagnosis.verdict("store", "tables") == "warning"
    assert "synchronous_commit=on" in diagnosis.findings[0]["words"]


def test_a_database_that_is_away_is_told_without_its_password(
    environ: dict[str, str], tmp_path: Path
) -> None:
    url = f"postgresql://jane:{PASSWORD}@127.0.0.1:{free_port()}/proxy"
    environ |= {"CHECKOUT_PROXY_STORE": url, "CHECKOUT_PROXY_SPOOL": f"{tmp_path}/spool"}

    found = finding(environ, "store", "database")

    assert found["verdict"] == "wrong"
    assert "postgresql://127.0.0.1/proxy cannot be reached" in found["words"]
    assert "Is it running, and is CHECKOUT_PROXY_STORE right?" in found["remedy"]


# -- the sender --------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.of("shop", f"sqlite:///{tmp_path}/store")
    lay_book(store)
    return store


def test_a_sender_that_is_not_at_work_is_told(environ: dict[str, str], store: Store) -> None:
    found = finding(environ, "sender", "sender")

    assert found["verdict"] == "warning"
    assert "no sender is at work" in found["words"]
    assert "systemctl status checkout-proxy" in found["remedy"]


def test_a_sender_that_klaviyo_stopped_is_told(environ: dict[str, str], store: Store) -> None:
    with store.account("shop", Event()) as book:
        assert book is not None
        refused = Standing().after_refusal("Klaviyo answered 401", now=datetime.now(UTC))
        book.set_standing("shop", refused)

        diagnosis = examined(environ, "--only", "sender")

    assert diagnosis.verdict("sender", "sender") == "well"
    assert diagnosis.of("sender", "sending")["words"] == "sending is stopped: Klaviyo answered 401"


# -- the clock and the revision ----------------------------------------------------------


@contextmanager
def account(tmp_path: Path, **klaviyo: Any) -> Iterator[dict[str, str]]:
    """Yield the settings for a Klaviyo that is odd."""
    with Klaviyo(key=KLAVIYO_KEY, **klaviyo).serve() as served:
        yield environment(tmp_path / "store", served.url)


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [
        (0, "well", "agrees with Klaviyo's, within 2."),
        (30, "warning", " s behind Klaviyo's"),
        (-30, "warning", " s ahead of Klaviyo's"),
        (90, "wrong", "tokens will be refused"),
    ],
)
def test_a_clock_that_is_off_is_told(
    tmp_path: Path, ahead: float, verdict: str, words: str
) -> None:
    with account(tmp_path, ahead=timedelta(seconds=ahead)) as environ:
        found = finding(environ, "clock", "clock")

    assert found["verdict"] == verdict
    assert words in found["words"]
    assert verdict == "well" or "timedatectl set-ntp true" in found["remedy"]


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is missing: apt-get install faketime")
def test_this_machine_s_own_clock_is_the_one_that_is_judged(
    environ: dict[str, str], tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    clock.set(timedelta(hours=1))

    done = run_apart(environ | clock.environment, "--json", "--only", "clock")

    found = diagnosed(done).of("clock", "clock")

    assert found["verdict"] == "wrong"
    assert "clock is 3" in found["words"]
    assert "ahead of Klaviyo's" in found["words"]


@pytest.mark.parametrize(
    ("months", "verdict", "words"),
    [
        (11, "well", "11 months old"),
        (12, "warning", "it is deprecated, and retired on 20"),
        (21, "warning", "IT IS RETIRED ON 20"),
        (24, "wrong", "Klaviyo has retired it"),
    ],
)
def test_the_age_of_the_revision_is_told(
    tmp_path: Path, months: int, verdict: str, words: str
) -> None:
    then = datetime(2026 + (6 + months) // 12, (6 + months) % 12 + 1, 20, tzinfo=UTC)

    with account(tmp_path, ahead=then - datetime.now(UTC)) as environ:
        found = finding(environ, "revision", "age")

    assert found["verdict"] == verdict
    assert words in found["words"]
    assert verdict == "well" or "CHECKOUT_PROXY_REVISION" in found["remedy"]


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [(100, "warning", "that it is retired on"), (-1, "wrong", "that it was retired on")],
)
def test_the_end_that_an_answer_announces_is_told(
    tmp_path: Path, days: int, verdict: str, words: str
) -> None:
    end = date.today() + timedelta(days=days)  # noqa: DTZ011 - a day either way changes nothing
    with account(tmp_path, retires=end) as environ:
        found = finding(environ, "revision", "retirement")

    assert (found["verdict"], found["words"]) == (verdict, f"Klaviyo says {words} {end}")
    assert "CHECKOUT_PROXY_REVISION" in found["remedy"]


def test_a_revision_that_is_gone_is_told(klaviyo: Klaviyo, environ: dict[str, str]) -> None:
    klaviyo.misbehave(Answer(410))

    found = finding(environ, "revision", "served")

    assert found["verdict"] == "wrong"
    assert "it is not served: Klaviyo answered 410" in found["words"]
    (asked,) = klaviyo.requests
    assert asked.headers["X-Klaviyo-Revision-Fall-Forward-Opt-Out"] == "1"


# -- the key -----------------------------------------------------------------------------


def test_no_examination_sends_an_event(klaviyo: Klaviyo, environ: dict[str, str]) -> None:
    examined(environ)

    assert {request.status for request in klaviyo.requests} == {200, 400}
    assert not klaviyo.accepted


@pytest.mark.parametrize(
    ("key", "remedy"),
    [("pk_wrong", "It was deleted, or belongs to nobody."), ("AB12CD", "It is no private key")],
)
def test_a_key_that_klaviyo_does_not_know_is_told(
    environ: dict[str, str], key: str, remedy: str
) -> None:
    diagnosis = examined(environ | {"CHECKOUT_PROXY_KLAVIYO_KEY": key}, "--only", "klaviyo")

    found = diagnosis.of("klaviyo", "key")
    assert found["words"].startswith("the key is refused: Klaviyo answered 401")
    assert remedy in found["remedy"]
    assert key not in str(diagnosis.findings)


def test_a_scope_that_is_missing_is_no_bad_key(tmp_path: Path) -> None:
    with account(tmp_path, scopes=SCOPES - {"events:write"}) as environ:
        found = finding(environ, "klaviyo", "scope")

    assert found["verdict"] == "wrong"
    assert "the key is known, and may not: Klaviyo answered 403" in found["words"]
    assert "The key itself is right." in found["remedy"]
    assert "events:write" in found["remedy"]


def test_a_key_that_may_only_write_is_well(tmp_path: Path) -> None:
    with account(tmp_path, scopes={"events:write"}) as environ:
        diagnosis = examined(environ, "--only", "klaviyo")

    assert diagnosis.verdict("klaviyo", "key") == "well"
    assert diagnosis.verdict("klaviyo", "reading") == "skipped"


def test_an_audit_wants_a_key_that_may_read(tmp_path: Path) -> None:
    with account(tmp_path, scopes={"events:write"}) as environ:
        environ["CHECKOUT_PROXY_AUDIT"] = "on"
        found = finding(environ, "klaviyo", "reading")

    assert found["verdict"] == "warning"
    assert "(events:read), so the audit sees nothing" in found["words"]
    assert "events:read" in found["remedy"]
    assert "CHECKOUT_PROXY_AUDIT" in found["remedy"]


@pytest.mark.parametrize(
    ("fault", "name", "verdict", "words"),
    [
        (Challenge(), "key", "wrong", "not Klaviyo itself answered, but a page (403)"),
        (Answer(503), "key", "warning", "Klaviyo answered 503"),
        (Answer(429, retry_after=1), "key", "warning", "Klaviyo answered 429"),
        (Cut(), "reached", "wrong", "no answer from Klaviyo"),
    ],
    ids=repr,
)
def test_what_stands_between_us_and_klaviyo_is_told_apart(
    klaviyo: Klaviyo, environ: dict[str, str], fault: Any, name: str, verdict: str, words: str
) -> None:
    klaviyo.misbehave(fault)

    found = finding(environ, "klaviyo", name)

    assert found["verdict"] == verdict
    assert words in found["words"]


# -- tokens ------------------------------------------------------------------------------


def signed(*keys: str, shop: str = "shop", **more: Any) -> str:
    tokens = Tokens(keys, shop=shop, max_age=timedelta(days=1))
    return tokens.sign(Session(shop=shop, cart_id="c-1", **more))


@pytest.mark.parametrize(
    ("token", "words", "remedy"),
    [
        (signed("another-key-0123456789"), "matches no key", "server has another key"),
        (signed("a-new-key-0123456789\n"), "matches no key", "the line break at the end of"),
        (signed(TOKEN_KEYS), "matches no key", "the whole list of keys as if it were one"),
        (signed(SHOP_KEY), "matches no key", "with the shop's key instead"),
        (signed(TOKEN_KEYS[-20:], shop="tea"), "is of the shop 'tea'", "CHECKOUT_PROXY_SHOP"),
        ("nonsense", "This is no token", "as it stands in data-token"),
    ],
    ids=["another key", "line break", "list of keys", "shop's key", "another shop", "no token"],
)
def test_why_a_token_would_be_refused_is_told(
    environ: dict[str, str], token: str, words: str, remedy: str
) -> None:
    found = finding(environ, "tokens", "token", "--token", token)

    assert found["verdict"] == "wrong"
    assert words in found["words"]
    assert remedy in found["remedy"]
    assert token not in str(found)


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is missing: apt-get install faketime")
@pytest.mark.parametrize(
    ("hours", "words", "remedy"),
    [
        (-1, "signed in the future", "Compare `date -u` there and here"),
        (25, "s old and may be 86400 s", "let no cache keep the page"),
    ],
)
def test_a_token_of_another_time_is_told(
    environ: dict[str, str], tmp_path: Path, hours: float, words: str, remedy: str
) -> None:
    clock = Clock(tmp_path / "clock")
    clock.set(timedelta(hours=hours))

    token = signed(TOKEN_KEYS[-20:])
    asked = ("--json", "--only", "tokens", "--token", token)
    found = diagnosed(run_apart(environ | clock.environment, *asked)).of("tokens", "token")

    assert words in found["words"]
    assert remedy in found["remedy"]


def test_a_token_that_is_taken_is_told_without_whom_it_is_about(environ: dict[str, str]) -> None:
    token = signed(TOKEN_KEYS[-20:], customer={"email": JANE}, ref="a-ref")

    found = finding(environ, "tokens", "token", "--token", token)

    assert found["words"] == "it is taken; beside the cart's id it carries customer and ref"


# -- carts -------------------------------------------------------------------------------


MEDUSA_CART = "cart_01M82D2SFH33B1SN426B380WC9"


@pytest.fixture
def medusa() -> Iterator[Platform]:
    with Platform(answer=recorded("medusa_eur")).serve() as platform:
        yield platform


def with_medusa(environ: Mapping[str, str], platform: Platform) -> dict[str, str]:
    return {
        **environ,
        "CHECKOUT_PROXY_CARTS": "medusa",
        "CHECKOUT_PROXY_CARTS_URL": platform.url,
        "CHECKOUT_PROXY_CARTS_KEY": KEY,
    }


def test_a_cart_is_told_as_it_is_understood(environ: dict[str, str], medusa: Platform) -> None:
    asked = with_medusa(environ, medusa)

    found = finding(asked, "carts", "cart", "--cart", MEDUSA_CART)

    assert found["verdict"] == "well"
    assert found["words"].startswith("understood: 2 lines, 4 pieces, total 175.83 EUR")


@pytest.mark.parametrize(
    ("answer", "error", "remedy"),
    [
        (404, "CartGone: the shop answered 404", "Is it a cart that is open now"),
        (503, "SourceDown: the shop answered 503", "Is CHECKOUT_PROXY_CARTS_URL right"),
        (401, "SourceRefused: the shop answered 401", "Is CHECKOUT_PROXY_CARTS_KEY right"),
        (changed("medusa_eur", "cart.total", ...), "CartInvalid: ", "compare it with the mapping"),
    ],
)
def test_what_is_wrong_with_a_cart_is_told_by_the_error_s_name(
    environ: dict[str, str], medusa: Platform, answer: int | bytes, error: str, remedy: str
) -> None:
    if isinstance(answer, int):
        medusa.status = answer
    else:
        medusa.answer = answer

    found = finding(with_medusa(environ, medusa), "carts", "cart", "--cart", MEDUSA_CART)

    assert found["verdict"] == "wrong"
    assert found["words"].startswith(error)
    assert remedy in found["remedy"]


def test_a_shop_that_is_not_there_is_told(environ: dict[str, str], medusa: Platform) -> None:
    asked = with_medusa(environ, medusa)
    asked["CHECKOUT_PROXY_CARTS_URL"] = f"http://127.0.0.1:{free_port()}"

    found = finding(asked, "carts", "cart", "--cart", MEDUSA_CART)

    assert found["words"].startswith("SourceDown: ")


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ('total = "sum"', 'total = "total"', "CartInvalid: "),
        ('id = "number"', 'id = "id"', "CartGone: the shop answered with another cart"),
    ],
)
def test_a_mapping_that_is_wrong_is_told(
    environ: dict[str, str], tmp_path: Path, right: str, wrong: str, error: str
) -> None:
    (tmp_path / "shops.toml").write_text(MAPPING.replace(right, wrong))
    with Platform(answer=ANSWER).serve() as platform:
        asked = environ | {
            "CHECKOUT_PROXY_CARTS": "http",
            "CHECKOUT_PROXY_CARTS_URL": platform.url,
            "CHECKOUT_PROXY_CONFIG": f"{tmp_path}/shops.toml",
        }

        found = finding(asked, "carts", "cart", "--cart", "c-1")

    assert found["words"].startswith(error)
    assert "docs/own-carts.md" in found["remedy"]


LINE = {"sku": "T-1", "title": "Tea", "count": 2, "price": "4.95"}
ANSWER = json.dumps({"number": "c-1", "currency": "EUR", "sum": "9.90", "lines": [LINE]}).encode()
MAPPING = """
[shops.shop.carts]
id_pattern = "c-[0-9]+"
[shops.shop.carts.request]
path = "/{cart_id}"
[shops.shop.carts.money]
unit = "major"
[shops.shop.carts.cart]
root = "@"
id = "number"
currency = "currency"
total = "sum"
items = "lines"
[shops.shop.carts.item]
product_id = "sku"
name = "title"
quantity = "count"
unit_price = "price"
"""


def test_without_a_cart_it_is_said_how_to_name_one(
    environ: dict[str, str], medusa: Platform
) -> None:
    found = finding(with_medusa(environ, medusa), "carts", "cart")

    assert found["verdict"] == "skipped"
    assert "--cart CART_ID" in found["remedy"]
    assert not medusa.asked


def test_a_source_that_is_not_set_up_is_not_asked(environ: dict[str, str]) -> None:
    diagnosis = examined(environ | {"CHECKOUT_PROXY_CARTS": "medusa"}, "--cart", "c-1")

    assert set(diagnosis.wrong) == {"settings/settings"}
    assert diagnosis.verdict("carts", "cart") == "skipped"


def test_a_cart_in_a_token_is_read(environ: dict[str, str]) -> None:
    item = {"product_id": "tea", "name": "Tea", "quantity": 2, "unit_price": "1.20"}
    cart = {"currency": "EUR", "total": "2.40", "items": [item]}
    environ["CHECKOUT_PROXY_CARTS"] = "signed"
    token = signed(TOKEN_KEYS[-20:], cart=msgspec.convert(cart, Cart))

    with_it = finding(environ, "carts", "cart", "--token", token)
    without = finding(environ, "carts", "cart", "--token", signed(TOKEN_KEYS[-20:]))

    assert "2 pieces, total 2.40 EUR" in with_it["words"]
    assert without["words"].startswith("CartInvalid: the token carries no cart")


# -- the path ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "verdict"),
    [
        *(("/co", "well"), ("/till", "well"), ("/checkout-state", "well"), ("/catalog", "well")),
        *(("/analytics", "warning"), ("/shop/tracking", "warning"), ("/telemetry", "warning")),
        *(("/tracker", "warning"), ("/co/events", "warning"), ("/klaviyo-proxy", "warning")),
    ],
)
def test_a_prefix_that_ad_blockers_may_block_is_told(
    environ: dict[str, str], prefix: str, verdict: str
) -> None:
    rules = adblock.FilterSet()
    rules.add_filter_list(RULES + "/analytics/\n")
    blocks = adblock.Engine(rules).check_network_urls
    host = "https://shop.example.com"

    found = finding(environ | {"CHECKOUT_PROXY_PREFIX": prefix}, "prefix", "prefix")

    assert found["verdict"] == verdict
    assert verdict == "well" or "CHECKOUT_PROXY_PREFIX" in found["remedy"]
    is_blocked = blocks(f"{host}{prefix}/state", f"{host}/checkout", "xmlhttprequest").matched
    assert not (is_blocked and verdict == "well")


# -- the site, behind nginx --------------------------------------------------------------


behind_nginx = pytest.mark.skipif(
    running.nginx() is None and not os.environ.get("CI"),
    reason="there is no nginx: apt-get install nginx-light, or set NGINX",
)
PAGES = "https://tea-shop.example.com"
INCLUDED = "location ^~ /co/ {"


@dataclass(frozen=True)
class Served:
    """A proxy that is served, with the settings of those who serve it."""

    proxy: Proxy
    environ: dict[str, str]

    @contextmanager
    def behind(self, folder: Path, *edits: tuple[str, str]) -> Iterator["Site"]:
        """Put an nginx before it, in which what is the first of a pair is the second."""
        shop = Recorder("<title>Shop</title>", headers={"Content-Type": "text/html"})
        with (
            shop,
            Nginx(folder, proxy=self.proxy.address, shop=shop.address, edits=dict(edits)) as nginx,
        ):
            yield Site(nginx, self.environ | {"REQUESTS_CA_BUNDLE": f"{nginx.certificate}"})


@dataclass(frozen=True)
class Site:
    """What pages reach."""

    nginx: Nginx
    environ: dict[str, str]

    def finding(self, name: str, *arguments: str) -> dict[str, str]:
        return finding(self.environ, "site", name, "--url", self.nginx.url, *arguments)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with Klaviyo(key=KLAVIYO_KEY).serve() as klaviyo:
        environ = environment(folder / "store", klaviyo.url, ORIGINS=PAGES)
        with Proxy(environ, "--workers", "1") as proxy:
            Shop(proxy.url).push("c-1")
            Page(proxy.url, Shop(proxy.url).token("c-1")).say(email=JANE)
            klaviyo.wait_for_events(1, timeout=30)
            yield Served(proxy, environ)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, served: Served) -> Iterator[Site]:
    with served.behind(tmp_path_factory.mktemp("nginx")) as site:
        yield site


@behind_nginx
def test_all_that_is_as_the_readme_says_is_well(served: Served, site: Site) -> None:
    token = Shop(served.proxy.url).token("c-1", customer={"email": JANE})

    diagnosis = examined(
        *(site.environ, "--url", site.nginx.url, "--token", token, "--cart", "c-1"),
        *("--send-test", JANE),
    )

    odd = [f for f in diagnosis.findings if f["verdict"] != "well"]
    assert (diagnosis.status, diagnosis.wrong) == (0, [])
    # A certificate of this hour, and what a machine of tests may be short of.
    assert {f"{f['check']}/{f['name']}" for f in odd} <= {"site/tls", "disk/space", "disk/fsync"}
    assert diagnosis.of("carts", "cart")["words"].startswith("understood: 1 line, 2 pieces")
    assert diagnosis.verdict("sender", "sender") == "well"


@behind_nginx
def test_a_terminal_of_eighty_columns_shows_it_in_words_and_signs(site: Site) -> None:
    said = run_apart(site.environ, "--url", site.nginx.url, "--origin", "https://evil.example.com")

    lines = said.stdout.splitlines()
    assert said.status == 1
    # One long word, the path of a folder say, is not broken: it is there to be copied.
    assert max(len(line) for line in lines if " " in line.strip()) < 80
    assert [line for line in lines if line and not line.startswith(" ")] == [
        *examination.names(),
        lines[-1],
    ]
    assert "  ✓ well     snippet: /co/checkout.js is this version's" in lines
    assert any(line.startswith("  ✗ wrong    origin: pages of https://evil") for line in lines)
    assert lines[-1].startswith("1 thing wrong; ")


@behind_nginx
def test_a_terminal_without_such_letters_has_others(site: Site) -> None:
    environ = site.environ | {"PYTHONIOENCODING": "ascii", "CHECKOUT_PROXY_ORIGINS": "“tea”"}

    said = run_apart(environ, "--only", "prefix", "--only", "settings")

    assert "  + well     prefix: /co has no word" in said.stdout


@behind_nginx
def test_an_origin_that_is_missing_is_told(site: Site) -> None:
    diagnosis = examined(
        *(site.environ, "--only", "site", "--url", site.nginx.url),
        *("--origin", "https://headless.example.com"),
    )

    told = [f for f in diagnosis.findings if f["name"] == "origin"]
    assert [f["verdict"] for f in told] == ["well", "wrong"]
    assert told[0]["words"] == f"pages of {PAGES} may post"
    assert "the preflight is refused" in told[1]["words"]
    assert told[1]["remedy"].startswith(
        "Add https://headless.example.com to CHECKOUT_PROXY_ORIGINS"
    )


@behind_nginx
def test_a_proxy_that_was_not_restarted_is_told(site: Site) -> None:
    environ = site.environ | {"CHECKOUT_PROXY_ORIGINS": "https://new.example.com"}

    found = finding(environ, "site", "origin", "--url", site.nginx.url)

    assert "may not post, although CHECKOUT_PROXY_ORIGINS has it" in found["words"]
    assert found["remedy"].startswith("Restart the proxy")


@behind_nginx
def test_a_certificate_that_nobody_signed_is_told(site: Site) -> None:
    environ = {n: text for n, text in site.environ.items() if n != "REQUESTS_CA_BUNDLE"}

    diagnosis = examined(environ, "--only", "site", "--url", site.nginx.url)

    assert diagnosis.of("site", "tls")["words"].startswith("the certificate is not believed: self")
    assert "fullchain.pem" in diagnosis.of("site", "tls")["remedy"]


@behind_nginx
@pytest.mark.parametrize(
    ("old", "new", "name", "words", "remedy"),
    [
        (
            *("client_max_body_size 16k;", "client_max_body_size 4k;"),
            *("size", "a state of 12 KiB is refused with 413", "client_max_body_size 16k;"),
        ),
        (
            *(INCLUDED, "location ^~ /elsewhere/ {"),
            *("states", "a state posted to /co/state is answered 200", "as nginx/checkout-proxy"),
        ),
        (
            *("proxy_set_header Host $http_host;", "proxy_set_header Host proxy.internal;"),
            *("host", "the proxy is told another Host", "proxy_set_header Host $http_host;"),
        ),
        (
            *("    proxy_set_header X-Real-IP $remote_addr;\n", ""),
            *("client", "nginx does not pass the address", "X-Real-IP $remote_addr;"),
        ),
        (
            *("proxy_hide_header Set-Cookie;", "proxy_hide_header X-Content-Type-Options;"),
            *("headers", "without X-Content-Type-Options: nosniff", "nginx/checkout-proxy.conf"),
        ),
        (
            *("zone=checkout_proxy_states burst=40", "zone=checkout_proxy_states burst=1"),
            *("rate", "a state is answered 429", "set_real_ip_from"),
        ),
        (
            *("location ^~ /v1/ {\n    # The key", "location ^~ /v2/ {\n    # The key"),
            *("/v1", "/v1 is not reached here", ""),
        ),
    ],
)
def test_what_is_wrong_with_nginx_is_told(
    served: Served, tmp_path: Path, old: str, new: str, name: str, words: str, remedy: str
) -> None:
    # However long the doctor takes to ask twice.
    slow = ("states:10m rate=10r/s", "states:10m rate=1r/m")
    with served.behind(tmp_path, (old, new), slow) as site:
        found = site.finding(name)

    assert words in found["words"]
    assert remedy in found["remedy"]


@behind_nginx
def test_a_location_that_is_missing_is_told(served: Served, tmp_path: Path) -> None:
    environ = {"CHECKOUT_PROXY_PREFIX": "/till"}

    with served.behind(tmp_path) as site:
        asked = (site.environ | environ, "site", "snippet", "--url", site.nginx.url)
        found = finding(*asked)

    assert found["verdict"] == "wrong"
    assert "answers 200, and not from the proxy: nothing leads there" in found["words"]
    assert "Include nginx/checkout-proxy.conf" in found["remedy"]
    assert "location ^~ /till/" in found["remedy"]


@behind_nginx
def test_a_proxy_that_does_not_run_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", proxy=f"127.0.0.1:{free_port()}") as nginx:
        environ["REQUESTS_CA_BUNDLE"] = f"{nginx.certificate}"

        found = finding(environ, "site", "snippet", "--url", nginx.url)

    assert "answers 502: what stands before the proxy is there, the proxy is not" in found["words"]
    assert "Is `checkout-proxy serve` running" in found["remedy"]


@behind_nginx
def test_an_address_that_leads_elsewhere_is_told(site: Site) -> None:
    found = finding(site.environ, "site", "snippet", "--url", site.nginx.plain_url)

    assert "/co/checkout.js answers 308: it sends one elsewhere" in found["words"]
    assert "https://" in found["remedy"]


def test_what_is_open_and_should_not_be_is_told(served: Served) -> None:
    found = finding(served.environ, "site", "inside", "--url", served.proxy.url)

    assert found["verdict"] == "warning"
    assert "/healthz, /readyz" in found["words"]
    assert "Pass on /co/ and /v1/ alone" in found["remedy"]


def test_operators_pages_that_everybody_sees_are_told(
    served: Served, environ: dict[str, str]
) -> None:
    closed = finding(served.environ, "site", "operators", "--url", served.proxy.url)
    env = environ | {"CHECKOUT_PROXY_ADMIN_PASSWORD": "a-password-of-twelve"}
    with Proxy(env, "--web-only") as proxy:
        seen = finding(env, "site", "operators", "--url", proxy.url)

    assert closed["verdict"] == "well"
    assert (seen["verdict"], seen["words"]) == (
        "warning",
        "the operator's pages are seen outside: the password alone keeps others out",
    )


def test_a_site_that_is_not_there_is_told(environ: dict[str, str]) -> None:
    url = f"https://127.0.0.1:{free_port()}"

    found = finding(environ, "site", "reached", "--url", url)

    assert found["words"] == "no answer: connection error"


# -- one event of one's own --------------------------------------------------------------


def test_a_test_event_is_sent_once_and_seen(klaviyo: Klaviyo, environ: dict[str, str]) -> None:
    diagnosis = examined(environ, "--only", "trial", "--send-test", JANE)

    (event,) = klaviyo.accepted
    assert event.profile == f"email:{JANE}"
    assert event.attributes["properties"]["cart_id"].startswith("checkout-proxy-test-")
    assert event.attributes["unique_id"] in diagnosis.of("trial", "sent")["words"]
    assert diagnosis.of("trial", "arrived")["words"].startswith("it was seen in Klaviyo after")


def test_a_test_event_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    with account(tmp_path, lag=timedelta(seconds=1)) as environ:
        found = finding(environ, "trial", "arrived", "--send-test", JANE)

    assert found["words"] == "it was seen in Klaviyo after 2 s"


def test_a_test_event_that_does_not_arrive_is_given_up_in_time(tmp_path: Path) -> None:
    waits: list[float] = []
    with account(tmp_path, lag=timedelta(hours=1)) as environ:
        setup = setup_of(environ, address=JANE)

        found = list(trial.findings(setup, clock=lambda: sum(waits), wait=waits.append))

    assert [each.verdict for each in found] == ["well", "warning"]
    assert sum(waits) == 60
    assert "it was not seen within 60 s" in found[1].words
    assert "Analytics > Metrics > Started Checkout" in found[1].remedy


def test_without_the_scope_it_is_said_how_to_look_by_hand(tmp_path: Path) -> None:
    with account(tmp_path, scopes={"events:write"}) as environ:
        found = finding(environ, "trial", "arrived", "--send-test", JANE)

    assert found["verdict"] == "skipped"
    assert "events:read" in found["words"]
    assert "Analytics > Metrics > Started Checkout" in found["remedy"]


@pytest.mark.parametrize(
    ("address", "words"),
    [("jane@example.com", "kept for examples"), ("jane", "that is no e-mail address")],
)
def test_an_address_to_which_nothing_arrives_is_refused(
    klaviyo: Klaviyo, environ: dict[str, str], address: str, words: str
) -> None:
    found = finding(environ, "trial", "sent", "--send-test", address)

    assert found["verdict"] == "wrong"
    assert words in found["words"]
    assert not klaviyo.requests


def test_a_test_event_that_is_refused_is_told(environ: dict[str, str]) -> None:
    environ["CHECKOUT_PROXY_KLAVIYO_KEY"] = "pk_wrong"

    diagnosis = examined(environ, "--only", "trial", "--send-test", JANE)

    assert diagnosis.wrong == ["trial/sent"]
    assert "Klaviyo answered 401" in diagnosis.of("trial", "sent")["words"]
