"""App: the web half put together; it appends facts and decides nothing."""

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from flask import Flask, Response, request
from flask_cors import CORS

from proxy import (
    clients,
    collect,
    guest,
    health,
    identity,
    openapi,
    personkey,
    problems,
    scripts,
    shop,
    shops,
    states,
)
from proxy.admin import pages
from proxy.admin import surface as admin
from proxy.admin.sessions import Sessions
from proxy.admin.signin import SignIn
from proxy.budgets import Budgets
from proxy.carts import presets
from proxy.clients import Clients
from proxy.counts import Counts
from proxy.fast import Fast
from proxy.settings import WEB, Settings
from proxy.settings.sources import guest_pattern
from proxy.snippet import Snippet
from proxy.store import Inbox
from proxy.tallies import What
from proxy.tokens import Tokens

# Takes what is to be called at the end, the last first.
AtEnd = Callable[[Callable[[], object]], object]


def create_app(
    served: Sequence[Settings] | None = None, *, at_end: AtEnd = atexit.register
) -> Flask:
    """Return the WSGI application for the shops *served*, by default those of the environment.

    Call it in the process that serves, and not before a fork: the inboxes are one process' own.
    They are closed *at_end*, that of the process unless it is said otherwise.
    """
    if served is None:
        served = shops.read(os.environ, need=WEB)
    app = Flask(__name__, static_folder=None)
    # Else Werkzeug redirects a path with two slashes, in HTML: to another cart, where it is an id.
    app.url_map.merge_slashes = False
    shared = served[0]
    opened = [_Shop.open(settings, inbox, at_end) for settings, inbox in _inboxes(served, at_end)]
    page = _register(app, opened)
    CORS(
        app,
        resources={
            f"{shared.prefix}/{path}": {"origins": list(page.origins)}
            for path in ("state", "session")
        },
        methods=["POST"],
        max_age=timedelta(hours=1),
    )
    problems.explain(app, _refused_by(opened))
    app.after_request(_protected)
    if shared.fast == "on":
        app.wsgi_app = Fast(app, page, f"{shared.prefix}/state")  # type: ignore[method-assign]
    return app


# What has words of its own, a page or the snippet, keeps them.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _protected(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _inboxes(served: Sequence[Settings], at_end: AtEnd) -> list[tuple[Settings, Inbox]]:
    """Return an inbox for each shop; those who share a database's place and keys share one."""
    opened: dict[tuple[Path, tuple[str, ...]], Inbox] = {}
    found = []
    for settings in served:
        store = shops.store(settings)
        key = store.folder, settings.store_keys or ()
        if key not in opened:
            opened[key] = store.web_inbox()
            at_end(opened[key].close)
        found.append((settings, opened[key]))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """One of the shops that are served."""

    settings: Settings
    tokens: Tokens
    inbox: Inbox
    counts: Counts

    @classmethod
    def open(cls, settings: Settings, inbox: Inbox, at_end: AtEnd) -> "_Shop":
        tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
        counts = Counts(settings.shop, inbox.append, _now)
        # What was counted is handed in before the inbox is closed: the last comes first.
        at_end(counts.hand_in_every())
        return cls(settings=settings, tokens=tokens, inbox=inbox, counts=counts)

    @property
    def page(self) -> states.Shop:
        return states.Shop(
            name=self.settings.shop,
            tokens=self.tokens,
            origins=self.settings.origins,
            oldest=self.settings.token_age,
            append=self.inbox.append,
            took=self.counts.took,
            client_key=clients.key(self.settings.token_keys[-1]),
        )

    @property
    def server(self) -> shop.Surface:
        return shop.Surface(
            tokens=self.tokens,
            shop=self.settings.shop,
            append=self.inbox.append,
            now=_now,
            key=self.settings.shop_key,
            counts=self.counts,
        )

    @property
    def pages(self) -> admin.Shop:
        return admin.Shop(
            name=self.settings.shop,
            store=shops.store(self.settings),
            append=self.inbox.append,
            address_keys=[identity.address_key(key) for key in self.settings.token_keys],
            lock_keys=[personkey.lock_key(key) for key in self.settings.token_keys],
            settle=self.settings.settle,
            revision=self.settings.revision,
            metric=self.settings.metric,
            is_audited=self.settings.audit == "on",
            page=self.page,
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
            counts=self.counts,
        )


def _register(app: Flask, served: Sequence[_Shop]) -> collect.Surface:
    prefix = served[0].settings.prefix
    page = collect.Surface(
        shops={each.settings.shop: each.page for each in served},
        origins=tuple(dict.fromkeys(chain(*(each.settings.origins for each in served)))),
        region_header=served[0].settings.region_header,
        now=_now,
        clients=Clients(served[0].settings.trusted_proxies),
        budgets=Budgets(served[0].settings.budgets),
    )
    app.register_blueprint(collect.blueprint(page, prefix))
    app.register_blueprint(scripts.blueprint(Snippet.all_shipped(), prefix))
    app.register_blueprint(shop.blueprint([each.server for each in served]))
    inboxes = {id(each.inbox): each.inbox for each in served}
    probes = [inbox.probe for inbox in inboxes.values()]
    stores = {each.settings.shop: shops.store(each.settings) for each in served}
    app.register_blueprint(health.blueprint(probes, stores))
    if served[0].settings.admin_password:
        app.register_blueprint(pages.blueprint(_operators(served)))
    if guests := [each.guests for each in served if each.settings.guests == "on"]:
        app.register_blueprint(guest.blueprint(guests, prefix, hosted=len(served) == 1))
    app.register_blueprint(openapi.blueprint(prefix, guests=bool(guests)))
    return page


def _operators(served: Sequence[_Shop]) -> admin.Surface:
    shared = served[0].settings
    # Only with one of the keys does a session of a shop's say anything; so is it for an operator's.
    secret = " ".join(each.settings.token_keys[-1] for each in served)
    return admin.Surface(
        shops={each.settings.shop: each.pages for each in served},
        sign_in=SignIn(shared.admin_password or "", secret, _now, Clients(shared.trusted_proxies)),
        # They are of no shop, and kept with the first one's.
        sessions=Sessions(shared.shop, shops.store(shared), served[0].inbox.append, _now),
        now=_now,
    )


def _refused_by(served: Sequence[_Shop]) -> Callable[[str], None]:
    """Return what counts a refusal: for the shop whose page asked, else for the first."""
    of_origins = {origin: each for each in served for origin in each.settings.origins}

    def count(code: str) -> None:
        shop = of_origins.get(request.headers.get("Origin", ""), served[0])
        shop.counts.add(What.REFUSED, code)

    return count


def _now() -> datetime:
    return datetime.now(UTC)
