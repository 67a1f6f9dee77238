"""Scene: the served proxy between a live shop and the played Klaviyo."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.checkouts import Status
from tests.actors import Ledger, Page, Shop, environment, judged_klaviyo
from tests.commands import Done, run
from tests.running import Proxy


@dataclass(frozen=True)
class Scene:
    """A proxy at *url* that reads its carts from a live shop, and what comes of them."""

    url: str
    ledger: Ledger

    def page(self, cart_id: str) -> Page:
        """Return a page at which somebody checks out."""
        return Page(self.url, Shop(self.url).token(cart_id))

    def was_asked_in_vain(self, cart_id: str) -> bool:
        """Tell whether the shop has not answered us when the event was due."""
        return any("does not answer" in each.reason for each in self.ledger.checkouts(cart_id))

    def event(self, cart_id: str, timeout: float = 30) -> dict[str, Any]:
        """Return the properties of the one event that comes for *cart_id*."""
        self.ledger.wait(cart_id, Status.DELIVERED, timeout=timeout)
        (event,) = self.ledger.events(cart_id)
        properties: dict[str, Any] = event["properties"]
        return properties


@contextmanager
def staged(folder: Path, carts: Mapping[str, str], settle: str = "0") -> Iterator[Scene]:
    """Serve a proxy with the settings *carts*."""
    store = folder / "store"
    with judged_klaviyo() as klaviyo:
        settings = environment(store, klaviyo.url, SETTLE=settle, **carts)
        with Proxy(settings) as proxy:
            yield Scene(proxy.url, Ledger(store, klaviyo))


def read(cart_id: str, carts: Mapping[str, str]) -> Done:
    """Run ``checkout-proxy cart --json`` with the settings *carts*."""
    environ = {f"CHECKOUT_PROXY_{name}": text for name, text in carts.items()}
    return run("cart", cart_id, "--json", **environ)
