"""Secrets: who may read them, where they are never seen, and what a key signed that is gone."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from psutil import Process

from proxy.cli import main
from proxy.sandbox.klaviyo import Klaviyo
from tests.actors import (
    CART,
    KLAVIYO_KEY,
    SHOP_KEY,
    Ledger,
    Page,
    Shop,
    environment,
    judged_klaviyo,
    until,
)
from tests.operator import PASSWORD, Operator
from tests.running import TWO, Proxy, hang_ups
from tests.test_reload import reload

OLD, NEW = "a-leaked-key-0123456789", "a-new-key-of-today-0123456789"
SECRETS = (OLD, NEW, SHOP_KEY, KLAVIYO_KEY, PASSWORD)


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[Klaviyo]:
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def proxy(folder: Path, klaviyo: Klaviyo) -> Iterator[Proxy]:
    """Serve under an umask that closes nothing, with token keys in a file."""
    keys = folder / "token-keys"
    keys.write_text(f"{OLD},{NEW}\n")
    keys.chmod(0o600)
    env = environment(
        folder / "new" / "store",
        klaviyo.url,
        ADMIN_PASSWORD=PASSWORD,
        CARTS="signed",
        TOKEN_KEYS_FILE=str(keys),
    )
    del env["CHECKOUT_PROXY_TOKEN_KEYS"]
    before = os.umask(0)
    try:
        with hang_ups(signal.SIG_DFL), Proxy(env, *TWO) as proxy:
            yield proxy
    finally:
        os.umask(before)


def seen_in(words: bytes) -> list[str]:
    """Return the secrets that *words* tell."""
    return [secret for secret in SECRETS if secret.encode() in words]


def test_no_secret_is_in_the_arguments_of_any_process_or_in_the_log(
    proxy: Proxy, folder: Path, klaviyo: Klaviyo
) -> None:
    Operator(proxy.url).sign_in("a-wrong-password-canary")
    Operator(proxy.url).sign_in()
    Page(proxy.url, Shop(proxy.url).token("c-1", cart=CART)).say(email="jane@shop-demo.io")
    until(lambda: Ledger(folder / "new" / "store", klaviyo).events("c-1"))

    running = [proxy.pid, *(child.pid for child in Process(proxy.pid).children(recursive=True))]
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in running]

    assert len(arguments) >= 4  # The main process, two web workers and the sender.
    assert seen_in(b"\n".join(arguments)) == []
    assert seen_in(proxy.log.encode()) == []
    assert "canary" not in proxy.log


def test_a_secret_in_an_argument_would_be_seen() -> None:
    assert seen_in(f"serve\0--key\0{KLAVIYO_KEY}\0".encode()) == [KLAVIYO_KEY]


def test_what_the_proxy_makes_is_its_owners_alone_whatever_the_umask(
    proxy: Proxy, folder: Path
) -> None:
    Page(proxy.url, Shop(proxy.url).token("c-2", cart=CART)).say(email="jane@shop-demo.io")
    made = [folder / "new", *(folder / "new").rglob("*")]

    open_to_others = {
        str(path.relative_to(folder)): stat.filemode(path.stat().st_mode)
        for path in made
        if path.exists() and path.stat().st_mode & 0o077
    }

    assert len([path for path in made if path.is_file()]) >= 3
    assert open_to_others == {}


def test_tokens_of_a_key_that_was_taken_away_are_refused_and_others_go_on(
    proxy: Proxy, folder: Path
) -> None:
    env = environment("unused", "http://127.0.0.1:9")
    leaked = signed(env | {"CHECKOUT_PROXY_TOKEN_KEYS": OLD})
    good = signed(env | {"CHECKOUT_PROXY_TOKEN_KEYS": NEW})
    before = [Page(proxy.url, each).post().status_code for each in (leaked, good)]

    (folder / "token-keys").write_text(NEW)
    reload(proxy)

    # Often enough to meet both web workers.
    refused = [Page(proxy.url, leaked).post() for _ in range(12)]
    taken = {Page(proxy.url, good).post().status_code for _ in range(12)}
    assert before == [202, 202]
    assert {(each.status_code, each.json()["type"]) for each in refused} == {
        (401, "urn:checkout-proxy:token-forged")
    }
    assert taken == {202}


def signed(env: dict[str, str]) -> str:
    """Return a token that the command signs."""
    done = CliRunner().invoke(main, ["token", "c-3"], env=env)
    assert done.exit_code == 0, done.output
    return done.output.strip()


# -- files -------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "warns"), [(0o644, True), (0o600, False), (0o400, False)])
def test_a_key_that_everybody_may_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, warns: bool
) -> None:
    for each in (tmp_path, *tmp_path.parents):
        if not each.stat().st_mode & stat.S_IXOTH:
            each.chmod(each.stat().st_mode | stat.S_IXOTH)
    key = tmp_path / "klaviyo-key"
    key.write_text(KLAVIYO_KEY)
    key.chmod(mode)
    monkeypatch.setenv("CHECKOUT_PROXY_KLAVIYO_KEY_FILE", str(key))

    said = CliRunner().invoke(main, ["settings"]).output

    words = "everybody on this machine may read the file that CHECKOUT_PROXY_KLAVIYO_KEY_FILE names"
    assert (words in said, f"chmod o-rwx {key}" in said) == (warns, warns)
    assert KLAVIYO_KEY not in said


@pytest.mark.parametrize("secret", ["/pk_0123456789abcdef", "/pk_0123/456789/abcdef=="])
def test_a_secret_that_looks_like_a_path_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("CHECKOUT_PROXY_TOKEN_KEYS_FILE", secret)

    said = CliRunner().invoke(main, ["token", "c-1"]).output

    assert "CHECKOUT_PROXY_TOKEN_KEYS_FILE cannot be read: no file of that name" in said
    assert "pk_" not in said
