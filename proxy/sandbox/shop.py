"""Shop: a small real shop in front of the proxy, whose pages show what becomes of a checkout."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import msgspec
import requests
from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response as Redirect

from proxy import assets
from proxy.sandbox import steps
from proxy.sandbox.goods import CURRENCY, GOODS, Line, ShopCart
from proxy.sandbox.steps import Arrival, Known, Post
from proxy.snippet import Snippet
from proxy.story import Story

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_COOKIE = "cart"


@dataclass(slots=True, kw_only=True)
class Visit:
    """One shopper's cart, whether the proxy has it, and what the page posted about it."""

    cart: ShopCart
    is_pushed: bool = False
    posts: tuple[Post, ...] = ()
    order_id: str | None = None


class Visits:
    """Who is in the shop, and who has ordered. It is a demo: all is forgotten when it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._visits: dict[str, Visit] = {}

    def visit(self, cart_id: str | None) -> Visit:
        """Return the visit with the cart *cart_id*; without one, a new visit that is not kept."""
        visit = self._visits.get(cart_id or "")
        if visit is None or visit.order_id is not None:
            return Visit(cart=ShopCart(id=secrets.token_hex(16)))
        return visit

    def change(self, visit: Visit, change: Callable[[ShopCart], ShopCart]) -> None:
        """Keep *visit* with its cart as *change* leaves it."""
        with self._lock:
            visit.cart = change(visit.cart)
            visit.is_pushed = False
            self._visits[visit.cart.id] = visit

    def note(self, cart_id: str | None, post: Post) -> None:
        """Keep what the page posted about the cart *cart_id*."""
        with self._lock:
            visit = self._visits.get(cart_id or "")
            if visit is not None:
                visit.posts = (*visit.posts, post)[-20:]

    def order(self, visit: Visit) -> str:
        """Turn *visit* into an order and return the order's id."""
        visit.order_id = secrets.token_hex(4).upper()
        return visit.order_id

    def ordered(self, order_id: str) -> Visit:
        """Return what became the order *order_id*, or answer 404."""
        visits = list(self._visits.values())
        return next((v for v in visits if v.order_id == order_id), None) or abort(404)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The servers behind the shop's. None of them can stop a shopper from buying."""

    proxy_url: str
    klaviyo_url: str
    shop_key: str = field(repr=False)
    http: requests.Session

    # -- what a shop's server says to the proxy: this is the whole integration --

    def push(self, cart: Json, cart_id: str) -> bool:
        """Tell the proxy how the cart stands; return whether it heard."""
        return self._tell("PUT", f"/v1/carts/{cart_id}", cart) is not None

    def token(self, cart_id: str) -> str | None:
        """Return the token that lets this shopper's page speak about the cart."""
        answer = self._tell("POST", "/v1/sessions", {"cart_id": cart_id})
        return None if answer is None else str(answer.json()["token"])

    def order(self, cart_id: str, order_id: str) -> None:
        """Tell the proxy that the cart was ordered, so that nobody is asked to come back."""
        self._tell("POST", "/v1/orders", {"cart_id": cart_id, "order_id": order_id})

    def _tell(self, method: str, path: str, body: Json) -> requests.Response | None:
        headers = {"Authorization": f"Bearer {self.shop_key}"}
        try:
            answer = self.http.request(
                method, self.proxy_url + path, json=body, headers=headers, timeout=2
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            logger.warning("the proxy did not take what the shop says: %s", type(error).__name__)
            return None
        return answer

    # -- nginx's part in production --

    def forwarded(self) -> Response:
        """Hand the browser's request on to the proxy, and its answer back."""
        asked = {name: request.headers[name] for name in _ASKED if name in request.headers}
        try:
            answer = self.http.request(
                request.method,
                self.proxy_url + request.path,
                data=request.get_data(),
                headers={"Accept-Encoding": "identity", **asked},
                allow_redirects=False,
                timeout=10,
            )
        except requests.RequestException:
            return Response("The proxy is not there.", 502, mimetype="text/plain")
        told = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
        return Response(answer.content, answer.status_code, told)

    # -- the stand-in Klaviyo's back door --

    def arrivals(self) -> list[Arrival]:
        """Return the events Klaviyo has taken, oldest first."""
        try:
            answer = self.http.get(f"{self.klaviyo_url}/sandbox/events", timeout=2)
        except requests.RequestException:
            return []
        return msgspec.json.decode(answer.content, type=list[Arrival])

    def make_trouble(self, fault: Json | None) -> bool:
        """Let Klaviyo's next request meet *fault*, or none any more; return whether it heard."""
        method, body = ("DELETE", None) if fault is None else ("POST", {"fault": fault})
        url = f"{self.klaviyo_url}/sandbox/faults"
        try:
            return self.http.request(method, url, json=body, timeout=2).ok
        except requests.RequestException:
            return False


# The host is passed on, as nginx does: by it the proxy knows that the page is its own.
_ASKED = ("Host", "Origin", "Content-Type", "Sec-GPC", "If-None-Match", "User-Agent")
_ANSWERED = ("Content-Type", "Cache-Control", "ETag", "Retry-After", "X-Content-Type-Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A way for Klaviyo to misbehave, as a button on the page; no *fault* makes it behave."""

    name: str
    label: str
    said: str
    fault: Json | None


TROUBLES = (
    Trouble(
        name="503",
        label="Break down (503)",
        said="Klaviyo's next answer is 503: watch the proxy try again.",
        fault={"kind": "answer", "status": 503},
    ),
    Trouble(
        name="429",
        label="Slow us down (429)",
        said="Klaviyo's next answer is 429, wait 5 s: the proxy waits exactly that long.",
        fault={"kind": "answer", "status": 429, "retry_after": 5},
    ),
    Trouble(
        name="hang",
        label="Never answer",
        said="Klaviyo's next answer never comes: the proxy gives up after 20 s, and tries again.",
        fault={"kind": "hang"},
    ),
    Trouble(
        name="lost",
        label="Lose the answer",
        said="Klaviyo takes the next event and its answer is lost: sent twice, counted once.",
        fault={"kind": "cut", "counted": True},
    ),
    Trouble(
        name="behave",
        label="Behave again",
        said="Klaviyo behaves, and answers whatever was left hanging.",
        fault=None,
    ),
)


def create_shop(
    *,
    proxy_url: str,
    shop_key: str,
    klaviyo_url: str,
    story: Callable[[str], Story],
    prefix: str = "/co",
) -> Flask:
    """Return the demo shop as a WSGI application.

    It speaks to the proxy at *proxy_url* as any shop does. Only beside the checkout it looks behind
    the scenes: *story* tells what the store knows about a cart id, and the stand-in Klaviyo at
    *klaviyo_url* what has arrived.
    """
    http = requests.Session()
    # All of this is on one machine: not for the company's proxy, nor for a netrc.
    http.trust_env = False
    neighbours = Neighbours(
        proxy_url=proxy_url, klaviyo_url=klaviyo_url, shop_key=shop_key, http=http
    )
    app = Flask(
        __name__,
        static_folder=assets.folder("static"),
        static_url_path="/static",
        template_folder=assets.folder("templates"),
    )
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    app.jinja_env.filters["euros"] = steps.euros
    app.after_request(_keep_to_ourselves)
    app.after_request(_hold_no_file)
    _Routes(Visits(), neighbours, story, prefix).register(app)
    return app


@contextmanager
def serve(app: Flask, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Listen with *app* on *host* and *port*, 0 for any that is free; yield the address."""
    server = make_server(host, port, app, threaded=True, request_handler=_WithoutAccessLog)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _WithoutAccessLog(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _hold_no_file(response: Response) -> Response:
    """Read a file that is to be sent: Werkzeug's server leaves it open where the browser hangs up.

    (``execute`` in werkzeug/serving.py reads from the connection before it closes the response.)
    """
    if response.direct_passthrough:
        content = b"".join(response.iter_encoded())
        response.close()
        response.direct_passthrough = False
        response.set_data(content)
    return response


def _keep_to_ourselves(response: Response) -> Response:
    # The whole demo, the snippet too, runs under a strict policy and asks no other server.
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


@dataclass(frozen=True, slots=True)
class _Routes:
    """The shop's pages."""

    visits: Visits
    neighbours: Neighbours
    tell: Callable[[str], Story]
    prefix: str

    def register(self, app: Flask) -> None:
        app.add_url_rule("/", "shelf", self.shelf)
        app.add_url_rule("/cart", "cart", self.cart)
        app.add_url_rule("/cart", "change_cart", self.change_cart, methods=["POST"])
        app.add_url_rule("/cart/items", "add", self.add, methods=["POST"])
        app.add_url_rule("/checkout", "checkout", self.checkout)
        app.add_url_rule("/orders", "place_order", self.place_order, methods=["POST"])
        app.add_url_rule("/orders/<order_id>", "order", self.order)
        app.add_url_rule("/story.json", "story", self.story)
        app.add_url_rule("/orders/<order_id>/story.json", "order_story", self.order_story)
        app.add_url_rule("/klaviyo", "klaviyo", self.klaviyo)
        app.add_url_rule("/klaviyo/trouble", "trouble", self.trouble, methods=["POST"])
        rule = f"{self.prefix}/<name>"
        app.add_url_rule(rule, "forward", self.forward, methods=["GET", "POST"])
        app.context_processor(lambda: {"cart": self._visit().cart})

    # -- buying --

    def shelf(self) -> str:
        return render_template("shop/shelf.html", goods=GOODS.values())

    def cart(self) -> str:
        return render_template("shop/cart.html")

    def add(self) -> Redirect:
        slug = request.form.get("product", "")
        if slug not in GOODS:
            abort(404, "We do not sell that.")
        return self._changed(lambda cart: cart.with_one_more(slug))

    def change_cart(self) -> Redirect:
        form = request.form
        quantities = {slug: form.get(slug, type=int) for slug in GOODS}
        given = {slug: count for slug, count in quantities.items() if count is not None}
        coupon = form.get("coupon", "")
        return self._changed(lambda cart: cart.with_quantities(given).with_coupon(coupon))

    def _changed(self, change: Callable[[ShopCart], ShopCart]) -> Redirect:
        visit = self._visit()
        self.visits.change(visit, change)
        self._push(visit)
        answer = redirect(url_for("cart"), 303)
        # Lax: the link in Klaviyo's mail brings the shopper back to this cart.
        answer.set_cookie(_COOKIE, visit.cart.id, httponly=True, samesite="Lax")
        return answer

    def checkout(self) -> str | Redirect:
        if "cart" in request.args:
            return self._back_with(request.args["cart"])
        visit = self._visit()
        if not visit.cart.lines:
            return redirect(url_for("cart"), 303)
        if not visit.is_pushed:  # The proxy was away when the cart changed.
            self._push(visit)
        token = self.neighbours.token(visit.cart.id)
        return render_template(
            "shop/checkout.html",
            tag=token and Snippet.shipped().tag(self.prefix, token=token),
            currency=CURRENCY,
            troubles=TROUBLES,
            gpc=request.headers.get("Sec-GPC") == "1",
            **self._told(visit),
        )

    def _back_with(self, cart_id: str) -> Redirect:
        """Give the shopper the cart that the link in Klaviyo's mail names."""
        visit = self.visits.visit(cart_id)
        answer = redirect(url_for("checkout"), 303)
        if visit.cart.lines:
            answer.set_cookie(_COOKIE, visit.cart.id, httponly=True, samesite="Lax")
        return answer

    def place_order(self) -> Redirect:
        visit = self._visit()
        if not visit.cart.lines:
            return redirect(url_for("cart"), 303)
        order_id = self.visits.order(visit)
        self.neighbours.order(visit.cart.id, order_id)
        answer = redirect(url_for("order", order_id=order_id), 303)
        answer.delete_cookie(_COOKIE)
        return answer

    def order(self, order_id: str) -> str:
        visit = self.visits.ordered(order_id)
        return render_template(
            "shop/order.html", order_id=order_id, ordered=visit.cart, **self._told(visit)
        )

    def _visit(self) -> Visit:
        return self.visits.visit(request.cookies.get(_COOKIE))

    def _push(self, visit: Visit) -> None:
        visit.is_pushed = self.neighbours.push(_for_the_proxy(visit.cart), visit.cart.id)

    # -- what happens --

    def forward(self, name: str) -> Response:
        began, at = perf_counter(), datetime.now(UTC)
        response = self.neighbours.forwarded()
        if request.method == "POST":
            post = Post(
                at=at,
                body=request.get_data(),
                status=response.status_code,
                answer=response.get_data(),
                seconds=perf_counter() - began,
            )
            self.visits.note(request.cookies.get(_COOKIE), post)
        return response

    def story(self) -> Json:
        return self._as_json(self._visit())

    def order_story(self, order_id: str) -> Json:
        return self._as_json(self.visits.ordered(order_id))

    def _as_json(self, visit: Visit) -> Json:
        told = self._told(visit)
        html = {
            f"step-{step.key}": render_template("shop/_step.html", step=step)
            for step in told["steps"]
        }
        html["journal"] = render_template("shop/_journal.html", **told)
        return {**told, "steps": [asdict(step) for step in told["steps"]], "html": html}

    def _told(self, visit: Visit) -> Json:
        known = self._known(visit)
        told = steps.steps(known, datetime.now(UTC))
        journal = [f"{line.at:%H:%M:%S} {line.what}: {line.words}" for line in known.story.lines]
        return {"steps": told, "headline": steps.headline(told), "journal": journal[-10:]}

    def _known(self, visit: Visit) -> Known:
        story = self.tell(visit.cart.id)
        ids = {checkout.unique_id for checkout in story.checkouts}
        return Known(
            posts=visit.posts,
            total=visit.cart.total,
            story=story,
            arrivals=[event for event in self.neighbours.arrivals() if event.unique_id in ids],
        )

    def klaviyo(self) -> str:
        return render_template("shop/klaviyo.html", arrivals=self.neighbours.arrivals()[::-1])

    def trouble(self) -> Redirect:
        asked = next((t for t in TROUBLES if t.name == request.form.get("trouble")), None)
        if asked is None:
            abort(404)
        if not self.neighbours.make_trouble(asked.fault):
            abort(502, "The stand-in Klaviyo is not there.")
        return redirect(url_for("checkout", _anchor="trouble"), 303)


def _for_the_proxy(cart: ShopCart) -> Json:
    """Return *cart* as ``PUT /v1/carts/{cart_id}`` wants it: copied figures, to the cent."""
    return {
        "version": cart.version,
        "currency": CURRENCY,
        "total": str(cart.total),
        "subtotal": str(cart.subtotal),
        "discount": str(cart.discount),
        "shipping": str(cart.shipping),
        "tax": str(cart.tax),
        "coupons": [cart.coupon] if cart.has_a_valid_coupon else [],
        "checkout_url": url_for("checkout", cart=cart.id, _external=True),
        "items": [_item(line) for line in cart.lines],
    }


def _item(line: Line) -> Json:
    product = line.product
    return {
        "product_id": product.slug,
        "sku": product.slug.upper(),
        "name": product.name,
        "variant": product.variant,
        "quantity": line.quantity,
        "unit_price": str(product.price),
        "row_total": str(line.total),
        "categories": [product.category],
        "product_url": url_for("shelf", _anchor=product.slug, _external=True),
        "image_url": url_for("static", filename=f"shop/{product.slug}.svg", _external=True),
    }
