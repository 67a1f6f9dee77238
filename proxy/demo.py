"""Demo: the whole product on one machine, with a shop to buy in and a Klaviyo that is none."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import click
import requests

from proxy import settings
from proxy.errors import Misconfigured
from proxy.sandbox import shop
from proxy.sandbox.klaviyo import Klaviyo
from proxy.server import check_free
from proxy.stopping import stop_on_signals
from proxy.store import Store
from proxy.story import tell

_SETTLE_SECONDS = 4
_PATIENCE_SECONDS = 60
# Everybody may know it: the demo listens to this machine alone, and ends with all it has.
_PASSWORD = "tea-for-operators"  # noqa: S105 - it is printed, and guards a demo


def run(port: int) -> None:
    """Run the demo shop at *port* until interrupted, on a store that is gone afterwards."""
    _check_free(port)
    stop = stop_on_signals()
    # All of it is on this machine: nothing for a company's proxy to fetch.
    os.environ["NO_PROXY"] = "127.0.0.1"
    shop_key, klaviyo_key = secrets.token_hex(16), f"pk_{secrets.token_hex(16)}"
    with (
        tempfile.TemporaryDirectory(prefix="checkout-proxy-demo-") as folder,
        Klaviyo(key=klaviyo_key).serve() as klaviyo,
    ):
        store = Store.of("shop", f"sqlite:///{folder}/store")
        store.migrate()
        environ = {
            "TOKEN_KEYS": secrets.token_hex(16),
            "SHOP_KEY": shop_key,
            "KLAVIYO_KEY": klaviyo_key,
            "KLAVIYO_URL": klaviyo.url,
            "STORE": f"sqlite:///{folder}/store",
            "SETTLE": str(_SETTLE_SECONDS),
            "ORIGINS": f"http://127.0.0.1:{port}",
            "ADMIN_PASSWORD": _PASSWORD,
            # Whoever tries it out makes up addresses, and more of them than a shopper has.
            "DNS": "off",
            "MOST_CHECKOUTS": "client=0 address=0",
        }
        with _proxy(environ, Path(folder) / "log") as proxy_url, closing(store.book()) as book:
            app = shop.create_shop(
                proxy_url=proxy_url,
                shop_key=shop_key,
                klaviyo_url=klaviyo.url,
                story=partial(tell, book, "shop"),
            )
            with shop.serve(app, port=port) as url:
                _welcome(url, proxy_url)
                stop.wait()


def _welcome(url: str, proxy_url: str) -> None:
    click.echo("\nThe demo shop is open:\n")
    click.secho(f"    {url}\n", bold=True)
    click.echo("Put some tea into the cart, go to the checkout and type an e-mail address.")
    click.echo(f"What its operator sees: {proxy_url}/admin/ (the password is {_PASSWORD}).")
    click.echo("Everything stays on this machine. Ctrl-C closes the shop.")


@contextmanager
def _proxy(environ: dict[str, str], log: Path) -> Iterator[str]:
    """Run ``checkout-proxy serve`` as an operator does, and yield its address."""
    address = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "proxy", "serve", "--bind", address]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, env=_with(environ), stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_until_ready(f"http://{address}", process, log)
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def _with(environ: dict[str, str]) -> dict[str, str]:
    """Return our environment with the demo's settings, and no other of the proxy's."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(settings.PREFIX)}
    return ours | {settings.variable(name): text for name, text in environ.items()}


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if requests.get(f"{url}/readyz", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise click.ClickException(f"the proxy did not come up:\n{log.read_text()}")


def _check_free(port: int) -> None:
    try:
        check_free("127.0.0.1", port)
    except Misconfigured as error:
        words = f"{error}. --port takes another; make demo PORT={port + 1}, say."
        raise click.ClickException(words) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
