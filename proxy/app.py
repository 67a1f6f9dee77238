"""App: the web half put together; it appends facts and decides nothing."""

import atexit
import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import msgspec
from flask import Flask, Response
from flask_cors import CORS
from werkzeug.exceptions import HTTPException

from proxy import collect, guest, health, shop, shops
from proxy.carts import presets
from proxy.errors import Refused, Unavailable
from proxy.fast import Fast
from proxy.settings import WEB, Settings, guest_pattern
from proxy.snippet import Snippet
from proxy.store import Inbox
from proxy.tokens import Tokens

logger = logging.getLogger(__name__)


def create_app(served: Sequence[Settings] | None = None) -> Flask:
    """Return the WSGI application for the shops *served*, by default those of the environment.

    Call it in the process that serves, and not before a fork: the inboxes are one process' own.
    """
    if served is None:
        served = shops.read(os.environ, need=WEB)
    app = Flask(__name__, static_folder=None)
    # Else Werkzeug redirects a path with two slashes, in HTML: to another cart, where it is an id.
    app.url_map.merge_slashes = False
    shared = served[0]
    page = _register(app, [_Shop.open(settings, inbox) for settings, inbox in _inboxes(served)])
    CORS(
        app,
        resources={
            f"{shared.prefix}/{path}": {"origins": list(page.origins)}
            for path in ("state", "session")
        },
        methods=["POST"],
        max_age=timedelta(hours=1),
    )
    _explain_errors(app)
    if shared.fast == "on":
        app.wsgi_app = Fast(app, page, f"{shared.prefix}/state")  # type: ignore[method-assign]
    return app


def _inboxes(served: Sequence[Settings]) -> list[tuple[Settings, Inbox]]:
    """Return an inbox for each shop; those who share the place of a database share one."""
    opened: dict[Path, Inbox] = {}
    found = []
    for settings in served:
        store = shops.store(settings)
        if store.folder not in opened:
            opened[store.folder] = store.web_inbox()
            atexit.register(opened[store.folder].close)
        found.append((settings, opened[store.folder]))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """One of the shops that are served."""

    settings: Settings
    tokens: Tokens
    inbox: Inbox

    @classmethod
    def open(cls, settings: Settings, inbox: Inbox) -> "_Shop":
        tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
        return cls(settings=settings, tokens=tokens, inbox=inbox)

    @property
    def page(self) -> collect.Shop:
        return collect.Shop(
            name=self.settings.shop,
            tokens=self.tokens,
            origins=self.settings.origins,
            oldest=self.settings.token_age,
            append=self.inbox.append,
        )

    @property
    def server(self) -> shop.Surface:
        return shop.Surface(
            tokens=self.tokens,
            shop=self.settings.shop,
            append=self.inbox.append,
            now=_now,
            key=self.settings.shop_key,
        )

    @property
    def guests(self) -> guest.Surface:
        recipe = presets.read(self.settings.carts, self.settings.described)
        return guest.Surface(
            tokens=self.tokens,
            shop=self.settings.shop,
            origins=self.settings.origins,
            pattern=guest_pattern(self.settings.carts, self.settings.described),
            needs_ref="{credential}" in str(recipe),
            now=_now,
        )


def _register(app: Flask, served: Sequence[_Shop]) -> collect.Surface:
    prefix = served[0].settings.prefix
    page = collect.Surface(
        shops={each.settings.shop: each.page for each in served},
        origins=tuple(dict.fromkeys(chain(*(each.settings.origins for each in served)))),
        now=_now,
        snippets=Snippet.all_shipped(),
    )
    app.register_blueprint(collect.blueprint(page, prefix))
    app.register_blueprint(shop.blueprint([each.server for each in served]))
    inboxes = {id(each.inbox): each.inbox for each in served}
    app.register_blueprint(health.blueprint([inbox.probe for inbox in inboxes.values()]))
    if guests := [each.guests for each in served if each.settings.guests == "on"]:
        app.register_blueprint(guest.blueprint(guests, prefix, hosted=len(served) == 1))
    return page


def _now() -> datetime:
    return datetime.now(UTC)


# -- problems (RFC 9457) -----------------------------------------------------------------


def _explain_errors(app: Flask) -> None:
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _refused(error: Refused) -> Response:
    pointer = {} if error.pointer is None else {"pointer": error.pointer}
    response = _problem(error.status, error.code, error.title, error.detail, **pointer)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = f"{error.retry_after.total_seconds():.0f}"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    response = _problem(status, error.name.lower().replace(" ", "-"), error.name, error.description)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    # The page gets no traceback, and the log no message: either could carry a person's data.
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request failed with %s, at\n%s", type(error).__name__, where)
    return _problem(500, "internal", "Something is wrong with the proxy", "Its log says what.")


def _problem(status: int, code: str, title: str, detail: str | None, **more: str) -> Response:
    members = {"type": f"urn:checkout-proxy:{code}", "title": title, "status": status}
    body = msgspec.json.encode(members | {"detail": detail} | more)
    return Response(body, status, mimetype="application/problem+json")
