"""Watching: who watches over the account of a played shop, and the receiver that is told."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from proxy.audit import Audit
from proxy.store.book import Book
from proxy.watch import Watch
from proxy.webhook import Webhook
from tests.platform import Platform

KEY = "the-key-of-the-alarms"
SIX_HOURS = timedelta(hours=6)


def watch(
    book: Book,
    folder: Path,
    *,
    revision: str = "2026-07-15",
    flat_after: timedelta = SIX_HOURS,
    url: str | None = None,
    audit: Audit | None = None,
) -> Watch:
    """Return who watches over the shop of *book*, and tells what is at *url*."""
    webhook = None if url is None else Webhook(url, KEY)
    return Watch(
        "shop",
        book,
        folder=folder,
        revision=revision,
        flat_after=flat_after,
        webhook=webhook,
        audit=audit,
    )


@dataclass
class Receiver:
    """A receiver of alarms as docs/alarms.md tells to build one: it believes what is signed."""

    platform: Platform
    statuses: list[int] = field(default_factory=list)
    """What the next requests are answered; after that, 204."""

    @property
    def url(self) -> str:
        return f"{self.platform.url}/alarms"

    @property
    def posted(self) -> list[dict[str, Any]]:
        """Return all that was posted, once each signature was found right."""
        for asked in self.platform.asked:
            assert is_ours(asked.headers, asked.body)
        return [json.loads(asked.body) for asked in self.platform.asked]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Return which alarms were raised and cleared, without repeats."""
        once = {each["id"]: (each["alarm"], each["state"]) for each in self.posted}
        return list(once.values())

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(self.statuses.pop(0) if self.statuses else 204)
        handler.send_header("Location", f"{self.platform.url}/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve a receiver; it hangs while its platform is not ``open``."""
    with Platform().serve() as platform:
        receiver = Receiver(platform)
        platform.reply = receiver._answer
        yield receiver


def is_ours(headers: dict[str, str], body: bytes) -> bool:
    """Tell whether who knows the key has signed *body*, as the headers say."""
    signed = headers["x-checkout-proxy-timestamp"].encode() + b"." + body
    digest = hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={digest}", headers["x-checkout-proxy-signature"])
