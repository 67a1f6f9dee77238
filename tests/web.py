"""Web: the web half served on a free port, asked over HTTP, with what it kept at hand."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from threading import Thread
from typing import Any

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from proxy import facts, shops
from proxy.app import create_app
from proxy.facts import Counted, Fact
from proxy.store import Store
from proxy.store.received import Received
from proxy.tokens import Session, Tokens
from tests.actors import UNLIMITED

TOKEN_KEY = "a-token-key"
SHOP_KEY = "the-shops-key"
ORIGIN = "https://shop.example"

# One piece goes with its length, several go in chunks without.
Body = bytes | str | Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def pointer(self) -> Any:
        """The place in the body that a problem points at."""
        return self.json().get("pointer")

    @property
    def code(self) -> str:
        """The last part of a problem's type."""
        return str(self.json()["type"]).removeprefix("urn:checkout-proxy:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The web half as its users meet it."""

    url: str
    store: Store
    marks: dict[str, int]

    def ask(
        self, method: str, path: str, body: Body | None = None, **headers: str | None
    ) -> Answer:
        """Send a request; ``Content_Type="text/plain"`` is a header, ``None`` leaves it out."""
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
        # Not requests: it tidies up paths, and a shop's client may not.
        with closing(HTTPConnection(self.url.removeprefix("http://"), timeout=30)) as connection:
            connection.request(method, path, body, sent, encode_chunked=True)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=answer.headers, body=answer.read())

    def post_state(self, body: Body, **headers: str | None) -> Answer:
        """Post *body* as the page does."""
        return self.ask("POST", "/co/state", body, **{"Content_Type": "text/plain", **headers})

    def call(self, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
        """Send *body*, which becomes JSON unless it is bytes, as the shop's server does."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual = {"Content_Type": "application/json", "Authorization": f"Bearer {SHOP_KEY}"}
        return self.ask(method, path, sent, **{**usual, **headers})

    def facts(self) -> list[Fact]:
        """Return what was kept since this object was made, oldest first; not what was counted."""
        kept = [facts.decode(item.kind, item.body) for item in self._kept()]
        return [fact for fact in kept if not isinstance(fact, Counted)]

    def from_now_on(self) -> "Web":
        """Return the same web half with nothing kept yet."""
        return replace(self, marks=self.marks | {item.inbox: item.seq for item in self._kept()})

    def _kept(self) -> list[Received]:
        with closing(self.store.inboxes("shop")) as inboxes:
            return inboxes.after(self.marks, 1000)


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[Web]:
    """Serve the web half with its store in *folder*; *settings* go without the prefix."""
    usual = {
        "TOKEN_KEYS": TOKEN_KEY,
        "SHOP_KEY": SHOP_KEY,
        "ORIGINS": ORIGIN,
        "STORE": f"sqlite:///{folder}",
        **UNLIMITED,
    }
    environ = {f"CHECKOUT_PROXY_{name}": text for name, text in (usual | settings).items()}
    with ExitStack() as opened:
        app = create_app(shops.read(environ), at_end=opened.callback)
        with _listening(app) as url:
            store = Store.of("shop", environ["CHECKOUT_PROXY_STORE"])
            yield Web(url=url, store=store, marks={})


@contextmanager
def _listening(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token(cart_id: str = "c-1", **more: Any) -> str:
    """Return a token such as the shop's server puts on its page."""
    tokens = Tokens([TOKEN_KEY], shop="shop", max_age=timedelta(hours=24))
    return tokens.sign(Session(shop="shop", cart_id=cart_id, **more))


class _Handler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Keep the log for what goes wrong."""
