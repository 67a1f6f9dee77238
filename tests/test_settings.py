"""Settings: read once, and everything that is wrong is said at once, without a secret."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy import shops
from proxy.budgets import Budget
from proxy.crowds import Crowd
from proxy.errors import Misconfigured
from proxy.settings import SENDER, WEB, Settings, described

SECRETS = {
    "CHECKOUT_PROXY_TOKEN_KEYS": "old-secret,new-secret",
    "CHECKOUT_PROXY_SHOP_KEY": "shop-secret",
    "CHECKOUT_PROXY_KLAVIYO_KEY": "pk_secret",
}


def read(*need: str, **said: str) -> Settings:
    environ = {f"CHECKOUT_PROXY_{name}": text for name, text in said.items()}
    (settings,) = shops.read(environ, need=need)
    return settings


def mistakes(*need: str, **settings: str) -> list[str]:
    with pytest.raises(Misconfigured) as error:
        read(*need, **settings)
    return list(error.value.mistakes)


# -- defaults ----------------------------------------------------------------------------


def test_everything_but_the_keys_has_a_default() -> None:
    (settings,) = shops.read(SECRETS, need=WEB + SENDER)

    assert {name: getattr(settings, name) for name in _DEFAULTS} == _DEFAULTS


_DEFAULTS: dict[str, Any] = {
    "shop": "shop",
    "admin_password": None,
    "log": "console",
    "token_age": timedelta(hours=24),
    "klaviyo_url": "https://a.klaviyo.com",
    "revision": "2026-07-15",
    "metric": "Started Checkout",
    "property_names": "both",
    "origins": (),
    "prefix": "/co",
    "store": "sqlite:///checkout-proxy-store",
    "store_keys": None,
    "spool": Path("checkout-proxy-spool"),
    "carts": "push",
    "carts_url": None,
    "carts_key": None,
    "carts_token_url": None,
    "carts_ca": None,
    "config": None,
    "settle": timedelta(seconds=30),
    "epoch": timedelta(hours=24),
    "late": timedelta(hours=12),
    "keep": timedelta(days=30),
    "consent": "opt-out",
    "consent_regions": (),
    "region_header": None,
    "guests": "off",
    "trusted_proxies": (),
    "budgets": Budget(token=120, cart=120, address=60, client=600),
    "most_checkouts": Crowd(client=20, address=10),
    "dns": "on",
    "fast": "on",
    "alarm_url": None,
    "alarm_key": None,
    "flat_after": timedelta(hours=6),
    "audit": "off",
}


def test_the_default_that_is_described_is_the_one_that_holds() -> None:
    said = {variable: default for variable, default, _ in described() if default}

    assert shops.read(SECRETS | said) == shops.read(SECRETS)


def test_every_setting_is_described() -> None:
    names = {variable for variable, _, meaning in described() if meaning}

    assert names == {f"CHECKOUT_PROXY_{name.upper()}" for name in _DEFAULTS} | set(SECRETS)


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert read(SHOP="", ORIGINS=" ", SETTLE="") == read()


def test_settle_may_be_zero() -> None:
    assert read(SETTLE="0").settle == timedelta(0)


def test_an_event_settles_for_an_hour_at_most() -> None:
    assert read(SETTLE="3600").settle == timedelta(hours=1)
    assert mistakes(SETTLE="3600.1") == ["CHECKOUT_PROXY_SETTLE is at most 3600 seconds"]


def test_the_last_of_the_keys_comes_last() -> None:
    assert read(TOKEN_KEYS=" old , new ").token_keys == ("old", "new")


def test_origins_are_compared_without_the_slash_at_their_end() -> None:
    settings = read(ORIGINS="https://shop.com/, https://www.shop.com:8443,")

    assert settings.origins == ("https://shop.com", "https://www.shop.com:8443")


def test_alarms_are_posted_to_an_address_and_signed_with_a_key_or_not_at_all() -> None:
    hook = "https://ops.example.com/hook?of=shop"

    assert read(ALARM_URL=hook, ALARM_KEY="canary").alarm_url == hook
    assert mistakes(ALARM_URL=hook) == [
        "CHECKOUT_PROXY_ALARM_KEY is not set: the key that signs them, which the receiver knows too"
    ]
    assert mistakes(ALARM_KEY="canary") == [
        "CHECKOUT_PROXY_ALARM_URL is not set: where alarms are posted, signed with a key "
        "(docs/alarms.md)"
    ]


def test_a_silence_is_long_or_nobody_minds_it() -> None:
    assert read(FLAT_AFTER="0").flat_after == timedelta(0)
    assert read(FLAT_AFTER="600").flat_after == timedelta(minutes=10)
    assert mistakes(FLAT_AFTER="599") == [
        "CHECKOUT_PROXY_FLAT_AFTER is 0, or a number of seconds from 600 on"
    ]


@pytest.mark.parametrize("hook", ["ops.example.com", "https://", "https://u:p@x.io/", "ftp://x.io"])
def test_what_is_no_address_of_a_receivers_is_not_told(hook: str) -> None:
    assert mistakes(ALARM_URL=hook, ALARM_KEY="a-key") == [
        "CHECKOUT_PROXY_ALARM_URL is an address such as https://ops.example.com/checkout-proxy"
    ]


# -- what cannot be done without ---------------------------------------------------------


def test_the_web_half_says_all_that_it_needs() -> None:
    assert mistakes(*WEB) == [
        "CHECKOUT_PROXY_TOKEN_KEYS is not set: the keys that sign session tokens, "
        "comma-separated, oldest first: the last signs, all verify",
        "CHECKOUT_PROXY_SHOP_KEY is not set: the bearer key with which the shop's server calls /v1",
    ]


def test_the_sender_says_all_that_it_needs() -> None:
    assert mistakes(*SENDER) == [
        "CHECKOUT_PROXY_KLAVIYO_KEY is not set: Klaviyo's private key, with the scope events:write"
    ]


def test_the_shops_key_is_not_needed_where_carts_come_signed() -> None:
    settings = read(*WEB, TOKEN_KEYS="secret", CARTS="signed")

    assert settings.shop_key is None


def test_the_shops_key_is_needed_where_carts_are_pushed() -> None:
    [mistake] = mistakes(*WEB, TOKEN_KEYS="secret", CARTS="push")

    assert mistake.startswith("CHECKOUT_PROXY_SHOP_KEY is not set")


def test_looking_at_the_store_needs_no_key() -> None:
    assert read().store == "sqlite:///checkout-proxy-store"


# -- mistakes ----------------------------------------------------------------------------


def test_all_mistakes_are_said_at_once() -> None:
    said = mistakes(*WEB, *SENDER, SETTLE="soon", CARTS="shopifi", ORIGINS="*", KLAVIO_KEY="pk_x")

    assert [mistake.split()[0] for mistake in said] == [
        "CHECKOUT_PROXY_ORIGINS",
        "CHECKOUT_PROXY_CARTS",
        "CHECKOUT_PROXY_SETTLE",
        "CHECKOUT_PROXY_TOKEN_KEYS",
        "CHECKOUT_PROXY_SHOP_KEY",
        "CHECKOUT_PROXY_KLAVIYO_KEY",
        "CHECKOUT_PROXY_KLAVIO_KEY",
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("SHOP", "my shop", "is 1 to 64 letters, digits, dots, dashes and underscores"),
        ("SHOP", "s" * 65, "is 1 to 64 letters"),
        ("SHOP", "..", "is .., which is no name of a folder"),
        ("TOKEN_KEYS", "old,,new", "one of its keys is empty"),
        ("TOKEN_KEYS", ",", "one of its keys is empty"),
        ("TOKEN_AGE", "1d", "is a number of seconds, such as 30"),
        ("TOKEN_AGE", "-1", "is a number of seconds"),
        ("TOKEN_AGE", "1e9", "is a number of seconds"),
        ("TOKEN_AGE", "inf", "is a number of seconds"),
        ("TOKEN_AGE", "9999999999", "is a number of seconds"),
        ("SHOP_KEY", "two words", "is one word of printable ASCII"),
        ("ADMIN_PASSWORD", "eleven-char", "has 12 characters at least"),
        ("KLAVIYO_KEY", "pk_1\npk_2", "a space or a line break crept in"),
        ("KLAVIYO_KEY", "pk_é", "is one word of printable ASCII"),
        ("KLAVIYO_URL", "a.klaviyo.com", "is an address such as https://a.klaviyo.com"),
        ("KLAVIYO_URL", "file:///etc/passwd", "is an address"),
        ("KLAVIYO_URL", "https://", "is an address"),
        ("REVISION", "latest", "is a date such as 2026-07-15"),
        ("REVISION", "20260715", "is a date such as 2026-07-15"),
        ("REVISION", "2026-W29-3", "is a date such as 2026-07-15"),
        ("REVISION", "2026-02-30", "is a date such as 2026-07-15"),
        ("REVISION", "2025-10-15", "from 2026-04-15 on an event can be a backfill"),
        ("EPOCH", "0", "is a number of seconds above zero"),
        ("TOKEN_AGE", "0.0", "is a number of seconds above zero"),
        ("PREFIX", "/v1", "where the proxy has something else"),
        ("KLAVIYO_URL", "https://a klaviyo.com", "is an address"),
        ("KLAVIYO_URL", "https://a.klaviyo.com:99999", "is an address"),
        ("METRIC", "m" * 128, "is a name of fewer than 128 characters"),
        ("PROPERTY_NAMES", "all", "is one of both, klaviyo, flat"),
        ("ORIGINS", "*", "and '*' is none"),
        ("ORIGINS", "null", "and 'null' is none"),
        ("ORIGINS", "shop.com", "and 'shop.com' is none"),
        ("ORIGINS", "https://shop.com/checkout", "is a list of origins such as https://shop.com"),
        ("ORIGINS", "https://*.shop.com", "is a list of origins"),
        ("ORIGINS", "https://shop.com,https://", "and 'https:' is none"),
        ("PREFIX", "co", "is a path such as /co"),
        ("PREFIX", "/", "is a path such as /co"),
        ("PREFIX", "/co/", "no slash at its end"),
        ("PREFIX", "/<x>", "small letters"),
        ("STORE", "/var/lib/checkout-proxy", "is sqlite:/// and a folder"),
        ("STORE", "postgres", "or postgresql:// and a database"),
        ("STORE", "postgresql://db?nonsense=1", "cannot be read as a URI of PostgreSQL's"),
        ("STORE", "sqlite:///", "is sqlite:/// and a folder"),
        ("CARTS", "Push", "is one of push, signed"),
        ("CONSENT", "optout", "is one of opt-out, required, off"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_it_should_be(
    name: str, text: str, words: str
) -> None:
    [mistake] = mistakes(**{name: text})

    assert mistake.startswith(f"CHECKOUT_PROXY_{name} ")
    assert words in mistake


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("TOKEN_KEY", "TOKEN_KEYS"),
        ("SHOPKEY", "SHOP_KEY"),
        ("KLAVIO_KEY", "KLAVIYO_KEY"),
        ("ORIGIN", "ORIGINS"),
        ("KLAVIYO_KEYFILE", "KLAVIYO_KEY_FILE"),
        ("CONCENT", "CONSENT"),
    ],
)
def test_a_misspelt_variable_is_met_with_the_one_that_was_meant(wrong: str, right: str) -> None:
    assert mistakes(**{wrong: "x"}) == [
        f"CHECKOUT_PROXY_{wrong} is no setting: did you mean CHECKOUT_PROXY_{right}?"
    ]


def test_the_variables_of_others_are_nobodys_mistake() -> None:
    assert shops.read({"PATH": "/bin", "CHECKOUTPROXY_SHOP": "x"}) == (read(),)


# -- secrets in files --------------------------------------------------------------------


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "klaviyo_key"
    path.write_text("pk_secret\n")

    assert read(*SENDER, KLAVIYO_KEY_FILE=str(path)).klaviyo_key == "pk_secret"


@pytest.mark.parametrize("name", ["TOKEN_KEYS", "SHOP_KEY", "KLAVIYO_KEY"])
def test_every_secret_may_lie_in_a_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "secret"
    path.write_text("a-secret")

    settings = read(**{f"{name}_FILE": str(path)})

    assert "a-secret" in (settings.klaviyo_key, settings.shop_key, *(settings.token_keys or ()))


def test_a_secret_that_is_set_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "klaviyo_key"
    path.write_text("pk_secret")

    assert mistakes(KLAVIYO_KEY="pk_other", KLAVIYO_KEY_FILE=str(path)) == [
        "CHECKOUT_PROXY_KLAVIYO_KEY and CHECKOUT_PROXY_KLAVIYO_KEY_FILE are both set: keep one"
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    [mistake] = mistakes(*SENDER, KLAVIYO_KEY_FILE=str(tmp_path / "missing"))

    assert mistake.startswith("CHECKOUT_PROXY_KLAVIYO_KEY_FILE cannot be read: ")
    assert str(tmp_path / "missing") in mistake


def test_a_file_with_nothing_in_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "klaviyo_key"
    path.write_text(" \n")

    assert mistakes(*SENDER, KLAVIYO_KEY_FILE=str(path)) == [
        f"CHECKOUT_PROXY_KLAVIYO_KEY_FILE is empty: {path}"
    ]


def test_a_secret_in_the_place_of_its_file_is_not_told() -> None:
    [mistake] = mistakes(*SENDER, KLAVIYO_KEY_FILE="pk_secret")

    assert "no file of that name" in mistake
    assert "pk_secret" not in mistake


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "klaviyo_key"
    path.write_bytes(b"\xff\xfe")

    [mistake] = mistakes(*SENDER, KLAVIYO_KEY_FILE=str(path))

    assert mistake.startswith("CHECKOUT_PROXY_KLAVIYO_KEY_FILE cannot be read: ")


def test_a_file_with_a_key_a_line_is_no_list_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "token_keys"
    path.write_text("old-secret\nnew-secret\n")

    [mistake] = mistakes(TOKEN_KEYS_FILE=str(path))

    assert mistake.startswith("CHECKOUT_PROXY_TOKEN_KEYS ")


# -- keeping secrets ---------------------------------------------------------------------


def test_secrets_stay_out_of_what_is_printed() -> None:
    (settings,) = shops.read(SECRETS)

    assert "secret" not in f"{settings} {settings!r}"


@pytest.mark.parametrize("name", ["TOKEN_KEYS", "SHOP_KEY", "KLAVIYO_KEY"])
def test_a_mistake_in_a_secret_does_not_tell_it(name: str) -> None:
    [mistake] = mistakes(**{name: "sec\nret,,"})

    assert "sec" not in mistake.removeprefix("CHECKOUT_PROXY_")


# -- the store ---------------------------------------------------------------------------


def test_a_database_is_taken_as_libpq_writes_it() -> None:
    url = "postgresql://proxy@one,two:5433/proxy?target_session_attrs=read-write"

    assert read(STORE=url).store == url


def test_the_password_of_a_database_may_lie_in_a_file_and_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text("postgresql://proxy:s3cret@db/proxy\n")

    settings = read(STORE_FILE=str(path))

    assert settings.store == "postgresql://proxy:s3cret@db/proxy"
    assert "s3cret" not in repr(settings)


def test_a_password_that_breaks_the_url_is_not_told_either() -> None:
    [mistake] = mistakes(STORE="postgresql://proxy:s3cret@s3cret@db:s3cret/x?s3cret")

    assert "s3cret" not in mistake


def test_where_psycopg_is_missing_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('as if it were not installed')")
    ours = {name: text for name, text in os.environ.items() if "CHECKOUT_PROXY" not in name}
    environ = {"PYTHONPATH": f"{tmp_path}", "CHECKOUT_PROXY_STORE": "postgresql://db/proxy"}

    said = subprocess.run(
        [sys.executable, "-m", "proxy", "status"],
        env=ours | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert said.returncode == 1
    assert "pip install 'checkout-proxy[postgres]'" in said.stderr
    assert "Traceback" not in said.stderr
