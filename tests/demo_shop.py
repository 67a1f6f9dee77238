"""Demo shop: the one that ``checkout-proxy demo`` opens, and a shopper who visits it over HTTP."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from proxy.carts.cart import Cart
from proxy.sandbox.klaviyo import Klaviyo
from proxy.sandbox.shop import create_shop, serve
from proxy.store import Store
from proxy.story import tell
from tests.actors import SHOP_KEY, environment, judged_klaviyo, until
from tests.books import lay_book
from tests.running import Proxy

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Demo:
    """The shop, the proxy, the stand-in Klaviyo and the store, as they run."""

    url: str
    proxy_url: str
    klaviyo: Klaviyo
    store: Store

    def cart(self, cart_id: str) -> Cart | None:
        """Return the cart as the proxy has it."""
        with closing(self.store.book()) as book:
            return book.cart("shop", cart_id)


@contextmanager
def opened(folder: Path, *, settle: float) -> Iterator[Demo]:
    """Open the shop, with everything behind it and its store in *folder*."""
    store = Store.of("shop", f"sqlite:///{folder}")
    lay_book(store)
    with (
        judged_klaviyo() as klaviyo,
        Proxy(environment(folder, klaviyo.url, SETTLE=f"{settle}"), "--workers", "1") as proxy,
        closing(store.book()) as book,
    ):
        shop = create_shop(
            proxy_url=proxy.url,
            shop_key=SHOP_KEY,
            klaviyo_url=klaviyo.url,
            story=partial(tell, book, "shop"),
        )
        with serve(shop) as url:
            yield Demo(url, proxy.url, klaviyo, store)


@dataclass(slots=True)
class Shopper:
    """Somebody in the shop at *url*, with a cookie jar of their own."""

    url: str
    http: requests.Session = field(default_factory=requests.Session)

    @property
    def cart_id(self) -> str:
        """The cart that the cookie names."""
        return str(self.http.cookies["cart"])

    def get(self, path: str, **more: Any) -> requests.Response:
        """Ask for *path*."""
        return self.http.get(self.url + path, timeout=15, **more)

    def send(self, path: str, **form: object) -> requests.Response:
        """Send *form* and return the page that it leads to."""
        answer = self.http.post(self.url + path, data=form, timeout=15)
        assert answer.ok, answer.text
        return answer

    def take(self, *slugs: str) -> None:
        """Put one of each into the cart."""
        for slug in slugs:
            self.send("/cart/items", product=slug)

    def token(self) -> str:
        """Open the checkout and return the token on the page."""
        found = re.search(r'data-token="([^"]+)"', self.get("/checkout").text)
        assert found is not None, "the checkout has no token"
        return found[1]

    def post(self, headers: Mapping[str, str] | None = None, **state: Any) -> requests.Response:
        """Post what the snippet would."""
        body = {"id": uuid4().hex, "token": self.token(), **state}
        return self.http.post(self.url + "/co/state", json=body, headers=headers, timeout=15)

    def story(self, path: str = "/story.json") -> Json:
        """Return the story as it stands, its steps by their keys."""
        told: Json = self.get(path).json()
        return told | {"steps": {step["key"]: step for step in told["steps"]}}

    def story_once(self, headline: str, path: str = "/story.json") -> Json:
        """Return the story once *headline* is what it says first."""
        until(lambda: self.story(path)["headline"] == headline, timeout=15)
        return self.story(path)
