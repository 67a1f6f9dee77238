"""Fixtures: a served proxy that takes what the examples push, and what its operator sees of it."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.klaviyo import Klaviyo
from proxy.store import Store
from tests import commands
from tests.actors import SHOP_KEY, TOKEN_KEYS, environment, judged_klaviyo, until
from tests.books import lay_book
from tests.running import Proxy


@dataclass(frozen=True)
class Pushed:
    """The proxy at *url*, and the carts that were pushed to it, as its operator asks for them."""

    url: str
    settings: Mapping[str, str]

    @property
    def shop_settings(self) -> dict[str, str]:
        """What the shop's server is set up with."""
        return {
            "CHECKOUT_PROXY_URL": self.url,
            "CHECKOUT_PROXY_SHOP_KEY": SHOP_KEY,
            "CHECKOUT_PROXY_TOKEN_KEY": TOKEN_KEYS.rpartition(",")[2],
        }

    def cart(self, cart_id: str) -> dict[str, Any] | None:
        """Return the cart as ``checkout-proxy cart`` prints it, or ``None`` where there is none."""
        done = commands.run("cart", cart_id, "--json", **self.settings)
        assert done.returncode in {0, 1}, done.stderr
        return None if done.returncode else dict(json.loads(done.stdout))

    def wait(self, cart_id: str, total: str) -> dict[str, Any]:
        """Return the cart once it has *total*."""
        until(lambda: self._total(cart_id) == Decimal(total))
        cart = self.cart(cart_id)
        assert cart is not None
        assert cart["total"] == total
        return cart

    def wait_for_none(self, cart_id: str) -> None:
        """Return once there is no such cart."""
        until(lambda: self._total(cart_id) is None)
        assert self.cart(cart_id) is None

    def story(self, cart_id: str) -> str:
        """Return what ``checkout-proxy trace`` tells."""
        return commands.run("trace", cart_id, **self.settings).stdout

    def _total(self, cart_id: str) -> Decimal | None:
        with closing(Store.of("shop", self.settings["CHECKOUT_PROXY_STORE"]).book()) as book:
            cart = book.cart("shop", cart_id)
            return None if cart is None else cart.total


@pytest.fixture(scope="session")
def klaviyo() -> Iterator[Klaviyo]:
    """Serve a stand-in Klaviyo to the proxy."""
    with judged_klaviyo() as klaviyo:
        yield klaviyo


@pytest.fixture(scope="session")
def pushed(klaviyo: Klaviyo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """Serve a proxy to many tests, each with carts of its own."""
    settings = environment(tmp_path_factory.mktemp("push") / "store", klaviyo.url)
    lay_book(Store.of("shop", settings["CHECKOUT_PROXY_STORE"]))
    with Proxy(settings) as proxy:
        yield Pushed(proxy.url, settings)


def run(command: list[str], stdin: object, env: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """Return what *command* printed, given *stdin* as JSON, and what it complained about."""
    done = subprocess.run(
        command,
        input=json.dumps(stdin).encode(),
        env={**os.environ, **env},
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode(), done.stderr.decode()
