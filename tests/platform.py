"""Platform: a shop's API, played over real HTTP with what a live one once answered."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from proxy.carts import presets
from proxy.carts.recipe import Recipe

RECORDED = Path(__file__).parent / "carts"
KEY = "the-key-that-reads-carts"


def recipe_of(platform: str) -> Recipe:
    """Return the recipe that comes with the proxy for *platform*."""
    return Recipe.parse(presets.read(platform))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Platform:
    """A shop at *url* that gives *answer* to everybody; *status* and *headers* go with it.

    With *answers* it gives what stands there under a request's path, and else 404. With *reply* it
    does something else on the bare connection instead.
    """

    answer: bytes = b"{}"
    answers: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    reply: Callable[[BaseHTTPRequestHandler], None] | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    # Nobody is answered before it is set.
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    @contextmanager
    def serve(self) -> Iterator["Platform"]:
        """Listen on a free port."""
        with ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                self.open.set()
                server.shutdown()
                thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): text for name, text in self.headers.items()}
                platform.asked.append(
                    Asked(method=self.command, path=self.path, headers=headers, body=body)
                )
                platform.open.wait(30)
                (platform.reply or platform.say)(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def say(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as it was set up."""
        path = handler.path.partition("?")[0]
        answer = self.answers.get(path, b"") if self.answers else self.answer
        handler.send_response(self.status if answer else 404)
        for name, text in self.headers.items():
            handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)


def recorded(name: str) -> bytes:
    """Return what the shop *name* answered."""
    return (RECORDED / f"{name}.json").read_bytes()


def changed(name: str, path: str, value: Any) -> bytes:
    """Return a recorded answer in which *value* stands at *path*; ``...`` takes it out."""
    said = json.loads(recorded(name))
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = said
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(said).encode()
