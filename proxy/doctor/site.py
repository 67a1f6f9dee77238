"""Site: the proxy as pages reach it, through nginx or whatever else stands before it."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from proxy.deadline import DeadlineAdapter
from proxy.doctor import certificate
from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.settings import variable
from proxy.snippet import Snippet

_CONNECT_SECONDS = 3.0
_EXCHANGE_SECONDS = 4.0
_INCLUDE = "nginx/checkout-proxy.conf"

# As large as a state may be, with some room, and larger than one may be (docs/api.md: 16 KiB).
_LARGE, _TOO_LARGE = 12 * 1024, 20 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The proxy at *url*, its surface under *prefix*, asked through *session*."""

    url: str
    prefix: str
    session: requests.Session

    @property
    def origin(self) -> str:
        """What a browser calls the pages of this very host."""
        parts = urlsplit(self.url)
        usual = {"http": 80, "https": 443}[parts.scheme]
        port = f":{parts.port}" if parts.port not in (None, usual) else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Return the answer, whatever it is; a redirect is one."""
        return self.session.request(
            method, self.url + path, timeout=_CONNECT_SECONDS, allow_redirects=False, **more
        )

    def post(self, size: int = 0, origin: str | None = None) -> requests.Response:
        """Post a state of *size* bytes at least, with a token that is none: nothing is kept."""
        body = msgspec.json.encode({"token": "checkout-proxy-doctor".ljust(size, "-")})
        headers = {"Content-Type": "text/plain"} | ({"Origin": origin} if origin else {})
        answer = self.ask("POST", f"{self.prefix}/state", data=body, headers=headers)
        if answer.status_code == 429:
            raise _Throttled
        return answer


class _Throttled(Exception):
    """Too many requests came from this address: no answer says anything of the set-up."""


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield how the proxy looks from where the pages are."""
    if setup.asked.url is None:
        words = "what pages reach was not examined"
        yield skipped("url", words, "Say where that is: --url https://shop.example.com")
        return
    with closing(_session()) as session:
        url = setup.asked.url.rstrip("/")
        site = Site(url=url, prefix=setup.settings.prefix, session=session)
        yield from certificate.findings(url)
        try:
            snippet = site.ask("GET", f"{site.prefix}/checkout.js")
        except requests.RequestException as error:
            yield _unreached(error)
            return
        for part in (lambda *_: _snippet(site, snippet), *_PARTS):
            yield from _part(part, site, setup)


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter(_EXCHANGE_SECONDS, connections=1))
    return session


def _unreached(error: Exception) -> Finding:
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    kind = "TLS failed" if isinstance(error, requests.exceptions.SSLError) else kind
    remedy = "Does the name lead to this machine, does nginx run, and may one connect from here?"
    return wrong("reached", f"no answer: {kind}", remedy)


_Part = Callable[[Site, Setup], Iterator[Finding]]


def _part(part: _Part, site: Site, setup: Setup) -> Iterator[Finding]:
    try:
        yield from part(site, setup)
    except _Throttled:
        remedy = "Try again in a minute. Behind a CDN: set_real_ip_from, as nginx/ says."
        yield warning("rate", "a state is answered 429: too many from this address", remedy)
    except requests.RequestException as error:
        yield _unreached(error)


def _code(answer: requests.Response) -> str:
    """Return the last part of a problem's type, where the proxy or its nginx files speak."""
    if "problem+json" not in answer.headers.get("Content-Type", ""):
        return ""
    try:
        said = str(answer.json().get("type"))
    except (ValueError, AttributeError):
        return ""
    return said.removeprefix("urn:checkout-proxy:") if said.startswith("urn:checkout-") else ""


# -- the snippet -------------------------------------------------------------------------


def _snippet(site: Site, answer: requests.Response) -> Iterator[Finding]:
    ours = Snippet.shipped()
    # A shop may have a page of its own for each path that it does not know, with 200.
    if answer.status_code != 200 or "javascript" not in answer.headers.get("Content-Type", ""):
        yield _not_served(site, answer)
        return
    exact = site.ask("GET", f"{site.prefix}/checkout.{ours.version}.js")
    if exact.status_code != 200 or exact.content != ours.content:
        yield wrong("snippet", _OTHER_VERSION, _RESTART)
    elif answer.content != ours.content:
        yield warning(
            "snippet",
            f"{site.prefix}/checkout.js is another version's; the one with this version's name is "
            "right",
            "A copy is kept for an hour; after that, look what else serves this path.",
        )
    else:
        yield well("snippet", f"{site.prefix}/checkout.js is this version's")
    yield from _headers(answer, exact)


_OTHER_VERSION = "the proxy that answers is of another version than this command"
_RESTART = "Restart the proxy after an upgrade; if pages name a version, print the tag again."


def _not_served(site: Site, answer: requests.Response) -> Finding:
    path, status = f"{site.prefix}/checkout.js", answer.status_code
    if status in _ABSENT:
        return _absent("snippet", path, status)
    if 300 <= status < 400:
        return wrong(
            "snippet",
            f"{path} answers {status}: it sends one elsewhere",
            "Give the address that pages have in the end, with https:// and www. where it has one.",
        )
    if _code(answer):
        words = f"{path} answers {status}: the proxy is there, under another prefix"
        return wrong("snippet", words, f"Is {variable('prefix')} the same there and here?")
    return wrong(
        "snippet",
        f"{path} answers {status}, and not from the proxy: nothing leads there",
        f"Include {_INCLUDE} in the server block of this host, with `location ^~ {site.prefix}/`.",
    )


_ABSENT = (502, 503, 504)


def _absent(name: str, path: str, status: int) -> Finding:
    return wrong(
        name,
        f"{path} answers {status}: what stands before the proxy is there, the proxy is not",
        "Is `checkout-proxy serve` running, where the upstream in nginx/checkout-proxy-http.conf "
        "says?",
    )


def _headers(answer: requests.Response, exact: requests.Response) -> Iterator[Finding]:
    lost = []
    if answer.headers.get("X-Content-Type-Options") != "nosniff":
        lost.append("X-Content-Type-Options: nosniff")
    if "max-age" not in answer.headers.get("Cache-Control", ""):
        lost.append("Cache-Control")
    if "immutable" not in exact.headers.get("Cache-Control", ""):
        lost.append("Cache-Control: immutable on the name with a version")
    if lost:
        remedy = f"Let what stands before it pass the proxy's headers on: compare {_INCLUDE}."
        yield warning("headers", f"the snippet comes without {', '.join(lost)}", remedy)
    else:
        yield well("headers", "the snippet's type and caching are as the proxy says")


# -- posting a state ---------------------------------------------------------------------


def _states(site: Site, setup: Setup) -> Iterator[Finding]:
    answer = site.post()
    if _code(answer).startswith("token-"):
        yield well("states", f"what is posted to {site.prefix}/state reaches the proxy")
        yield from _size(site)
        yield _host(site)
    elif answer.status_code in _ABSENT:
        yield _absent("states", f"{site.prefix}/state", answer.status_code)
    else:
        yield wrong(
            "states",
            f"a state posted to {site.prefix}/state is answered {answer.status_code}, and not by "
            "the proxy",
            f"Let POST through to the proxy as {_INCLUDE} does, past sign-ins and firewalls.",
        )


def _size(site: Site) -> Iterator[Finding]:
    limit = f"`client_max_body_size 16k;` in `location ^~ {site.prefix}/` ({_INCLUDE})"
    if site.post(_LARGE).status_code == 413:
        words = f"a state of {_LARGE // 1024} KiB is refused with 413: it may have 16 KiB"
        yield wrong("size", words, f"Set {limit}.")
        return
    status = site.post(_TOO_LARGE).status_code
    if status == 413:
        yield well("size", "12 KiB are read, and 20 KiB are refused with 413")
    else:
        words = f"a state of 20 KiB is answered {status} instead of 413"
        yield warning("size", words, f"Set {limit}.")


def _host(site: Site) -> Finding:
    if site.post(origin=site.origin).status_code == 403:
        return wrong(
            "host",
            "pages of this very host may not post: the proxy is told another Host",
            "Write `proxy_set_header Host $http_host;` in "
            f"`location ^~ {site.prefix}/` ({_INCLUDE}).",
        )
    return well("host", f"pages of {site.origin} may post")


def _client(site: Site, setup: Setup) -> Iterator[Finding]:
    """Yield whether the proxy learns from where a shopper posts."""
    # What nginx passes on as it came, it does not set: then anybody could say anything.
    answer = site.ask("GET", f"{site.prefix}/client", headers={"X-Real-IP": "checkout-proxy"})
    if answer.status_code != 200 or not (source := _said_client(answer)):
        return
    location = f"`location ^~ {site.prefix}/` ({_INCLUDE})"
    if source == "told":
        yield well("client", "the proxy is told from which address a state comes")
    elif source == "nobody":
        yield warning(
            "client",
            "nginx does not pass the address: one client's many states cannot be told from others'",
            f"Write `proxy_set_header X-Real-IP $remote_addr;` in {location}.",
        )
    else:
        yield warning(
            "client",
            "what calls the proxy is taken for the shopper, and so for all of them at once",
            f"Where a proxy of yours calls it, list that in {variable('trusted_proxies')}.",
        )


def _said_client(answer: requests.Response) -> str:
    try:
        return str(answer.json()["client"])
    except (ValueError, KeyError, TypeError):
        return ""


def _origins(site: Site, setup: Setup) -> Iterator[Finding]:
    sure = [shop.settings for shop in setup.shops if "origins" not in shop.doubtful]
    listed = [origin for settings in sure for origin in settings.origins]
    for origin in dict.fromkeys(each.rstrip("/") for each in (*listed, *setup.asked.origins)):
        if origin != site.origin:
            yield _origin(site, origin, is_listed=origin in listed)


def _origin(site: Site, origin: str, *, is_listed: bool) -> Finding:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = site.ask("OPTIONS", f"{site.prefix}/state", headers=headers)
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    if allowed == origin and site.post(origin=origin).status_code != 403:
        return well("origin", f"pages of {origin} may post")
    if is_listed:
        return wrong(
            "origin",
            f"pages of {origin} may not post, although {variable('origins')} has it",
            "Restart the proxy, and let OPTIONS through to it, with its headers.",
        )
    return wrong(
        "origin",
        f"pages of {origin} may not post: the preflight is refused",
        f"Add {origin} to {variable('origins')}, and restart the proxy.",
    )


# -- what is reached, and should not be --------------------------------------------------


def _server(site: Site, setup: Setup) -> Iterator[Finding]:
    answer = site.ask("POST", "/v1/sessions", json={})
    if answer.status_code == 401 and _code(answer):
        yield well("/v1", "the shop's server can call /v1 here, with its key alone")
    else:
        yield skipped(
            "/v1",
            f"/v1 is not reached here ({answer.status_code}): right where the shop's server calls "
            "the proxy itself, or where only its address may",
        )


def _closed(site: Site, setup: Setup) -> Iterator[Finding]:
    """Yield which of the proxy's other paths are seen outside.

    A shop has pages under such names too, so only an answer of the proxy's own counts.
    """
    seen = [path for path in _INSIDE if _is_ours(site.ask("GET", path))]
    if seen:
        yield warning(
            "inside",
            f"{', '.join(seen)} of the proxy can be asked by everybody",
            f"Pass on {site.prefix}/ and /v1/ alone, as {_INCLUDE} does.",
        )
    else:
        yield well("inside", f"{', '.join(_INSIDE)} of the proxy are not seen outside")


_INSIDE = ("/healthz", "/readyz", "/metrics")


def _operators(site: Site, setup: Setup) -> Iterator[Finding]:
    """Yield whether everybody is asked for the operators' password."""
    if b"checkout-proxy</title>" not in site.ask("GET", "/admin/sign-in").content:
        yield well("operators", "the operator's pages are not seen outside")
    else:
        yield warning(
            "operators",
            "the operator's pages are seen outside: the password alone keeps others out",
            "Let in the addresses alone that need them, as checkout-proxy-operators.conf says how.",
        )


def _is_ours(answer: requests.Response) -> bool:
    health = answer.content[:100].replace(b" ", b"").strip()
    return bool(_code(answer)) or health in (b'{"status":"ok"}', b'{"status":"ready"}')


_PARTS: tuple[_Part, ...] = (_states, _client, _origins, _server, _closed, _operators)
