"""Running: the commands that start what runs, or get ready for it."""

import logging
import os
from collections.abc import Sequence
from ipaddress import ip_address

import click

from proxy import logs, shops
from proxy.cli import chosen, progress
from proxy.settings import SENDER, WEB, Settings
from proxy.settings.reading import Judge
from proxy.tokens import SHORTEST_KEY

logger = logging.getLogger(__name__)


@click.command()
@click.option("--bind", default="127.0.0.1:8000", show_default=True, help="IP address and port.")
@click.option("--workers", default=2, show_default=True, help="Web worker processes.")
@click.option("--web-only", is_flag=True, help="Leave the sender to `checkout-proxy work`.")
def serve(bind: str, workers: int, web_only: bool) -> None:
    """Run the web half and the sender."""
    from proxy import server

    host, port = _address(bind)
    _check_folder()
    logs.configure()
    read = _reading(WEB) if web_only else _reading(WEB + SENDER, judge=chosen.judge)
    server.serve(read, host=host, port=port, workers=workers, web_only=web_only)


def _check_folder() -> None:
    """Fail where the processes that are started here could not enter the folder they start in."""
    try:
        os.chdir(os.getcwd())  # noqa: PTH109 - Path.cwd() is the same, and this says what is meant
    except OSError as error:
        words = f"cannot be started here: {error.strerror}. Start it from another folder, say /."
        raise click.ClickException(words) from error


def _reading(need: tuple[str, ...], judge: Judge | None = None) -> shops.Read:
    """Return what reads the settings, now and when they are to be read again."""

    def read() -> tuple[Settings, ...]:
        served = shops.read(os.environ, need=need, judge=judge)
        _warn_of_short_keys(served)
        for words in dict.fromkeys(chosen.open_files()):
            logger.warning("%s", words)
        return served

    return read


def _address(bind: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        if not 0 < int(port) < 2**16:
            raise ValueError(port)
    except ValueError as error:
        words = f"{bind!r} is no IP address and port, such as 127.0.0.1:8000 or [::1]:8000."
        raise click.BadParameter(words, param_hint="--bind") from error
    return str(address), int(port)


def _warn_of_short_keys(served: Sequence[Settings]) -> None:
    if any(len(key) < SHORTEST_KEY for settings in served for key in settings.token_keys or ()):
        logger.warning(
            "a key of CHECKOUT_PROXY_TOKEN_KEYS has fewer than %d characters: it can be guessed, "
            "and carts be forged; `openssl rand -hex 32` makes a good one",
            SHORTEST_KEY,
        )


@click.command()
def work() -> None:
    """Run the sender alone."""
    from proxy import work

    logs.configure()
    work.work_alone(_reading(SENDER, judge=chosen.judge))


@click.command()
def migrate() -> None:
    """Bring the store's tables up to date (the sender does so when it starts)."""
    found = [shops.store(settings) for settings in shops.read(os.environ)]
    stores = {store.place: store for store in found}
    with progress.shown("Stores", len(stores)) as done:
        for store in stores.values():
            store.migrate()
            done(1)
    for place in stores:
        click.echo(f"{place} is up to date.")


@click.command()
@click.option("--port", default=8080, show_default=True, help="Where the demo shop is served.")
def demo(port: int) -> None:
    """Run a demo shop, the proxy, the sender and a stand-in Klaviyo."""
    from proxy import demo

    demo.run(port)
