"""App: the web half put together; it appends facts and decides nothing."""

import atexit
import logging
import os
import traceback
from datetime import UTC, datetime, timedelta

import msgspec
from flask import Flask, Response
from flask_cors import CORS
from werkzeug.exceptions import HTTPException

from proxy import collect, guest, health, shop
from proxy.carts import presets
from proxy.errors import Refused, Unavailable
from proxy.fast import Fast
from proxy.settings import WEB, Settings, guest_pattern
from proxy.snippet import Snippet
from proxy.store import Inbox, Store
from proxy.tokens import Tokens

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> Flask:
    """Return the WSGI application; without *settings* they are read from the environment.

    Call it in the process that serves, and not before a fork: the inbox is one process' own.
    """
    if settings is None:
        settings = Settings.read(os.environ, need=WEB)
    app = Flask(__name__, static_folder=None)
    # Else Werkzeug redirects a path with two slashes, in HTML: to another cart, where it is an id.
    app.url_map.merge_slashes = False
    inbox = Store.of(settings.shop, settings.store, settings.spool).web_inbox()
    atexit.register(inbox.close)
    tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
    page = _register(app, settings, tokens, inbox)
    CORS(
        app,
        resources={
            f"{settings.prefix}/{path}": {"origins": list(settings.origins)}
            for path in ("state", "session")
        },
        methods=["POST"],
        max_age=timedelta(hours=1),
    )
    _explain_errors(app)
    if settings.fast == "on":
        app.wsgi_app = Fast(app, page, f"{settings.prefix}/state")  # type: ignore[method-assign]
    return app


def _register(app: Flask, settings: Settings, tokens: Tokens, inbox: Inbox) -> collect.Surface:
    page = collect.Surface(
        tokens=tokens,
        shop=settings.shop,
        append=inbox.append,
        now=_now,
        origins=settings.origins,
        oldest=settings.token_age,
        snippets=Snippet.all_shipped(),
    )
    server = shop.Surface(
        tokens=tokens,
        shop=settings.shop,
        append=inbox.append,
        now=_now,
        key=settings.shop_key,
    )
    app.register_blueprint(collect.blueprint(page, settings.prefix))
    app.register_blueprint(shop.blueprint(server))
    app.register_blueprint(health.blueprint(inbox.probe))
    if settings.guests == "on":
        app.register_blueprint(guest.blueprint(_guests(settings, tokens), settings.prefix))
    return page


def _guests(settings: Settings, tokens: Tokens) -> guest.Surface:
    return guest.Surface(
        tokens=tokens,
        shop=settings.shop,
        origins=settings.origins,
        pattern=guest_pattern(settings.carts, settings.described),
        needs_ref="{credential}" in str(presets.read(settings.carts, settings.described)),
        now=_now,
    )


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
