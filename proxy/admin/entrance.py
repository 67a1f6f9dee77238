"""Entrance: who comes in to the operator's pages, and how every answer of theirs is protected."""

from flask import (
    Blueprint,
    Response,
    abort,
    g,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from proxy import assets
from proxy.admin import shown
from proxy.admin.surface import Surface
from proxy.carts.cart import public_id
from proxy.errors import StoreAway, Unavailable

_OPEN = ("admin.sign_in", "admin.style")
# A form here has a password or a few words in it, and anybody may send one; or, of an operator's,
# what a page posted, which may be larger than what is taken of pages.
_MOST_BYTES, _MOST_PASTED = 16 * 1024, 256 * 1024
_PASTED = ("state", "token")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


def register(routes: Blueprint, surface: Surface) -> None:
    """Let *routes* be seen by those alone who signed in."""

    @routes.before_request
    def check() -> ResponseReturnValue | None:
        g.now, g.shops = surface.now(), list(surface.shops)
        g.operator = surface.sign_in.operator(request)
        limit = _MOST_BYTES if g.operator is None else _MOST_PASTED
        request.max_content_length = request.max_form_memory_size = limit
        if request.endpoint in _OPEN:
            g.operator = None
            return None
        if g.operator is not None and not surface.sessions.holds(g.operator):
            g.operator = None
        return _checked()

    routes.after_request(_protected)
    _explain(routes)
    _name_filters(routes)
    _sign_in(routes, surface)


def _checked() -> ResponseReturnValue | None:
    if g.operator is None:
        return redirect(url_for("admin.sign_in"), 303)
    if request.method == "POST" and not g.operator.has_sent(request.form.get("csrf", "")):
        abort(403, "This form is not of a page that you opened since you signed in.")
    # PostgreSQL takes no NUL in a text, and nothing that is kept has one.
    asked = (text for name, text in request.values.items() if name not in _PASTED)
    if any("\0" in text for text in (request.path, *asked)):
        abort(400, "What was asked for has a NUL in it.")
    return None


def _protected(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _explain(routes: Blueprint) -> None:
    @routes.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        return _problem(error.code or 500, error.name, error.description or "")

    @routes.errorhandler(StoreAway)
    @routes.errorhandler(Unavailable)
    def away(error: Exception) -> ResponseReturnValue:
        return _problem(503, "The store cannot be read or written just now", str(error))


def _name_filters(routes: Blueprint) -> None:
    for show in (shown.time, shown.span, shown.amount, shown.code, public_id):
        routes.app_template_filter(show.__name__)(show)


def _problem(status: int, title: str, words: str) -> ResponseReturnValue:
    return render_template("admin/problem.html", title=title, words=words), status


def _sign_in(routes: Blueprint, surface: Surface) -> None:
    @routes.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> ResponseReturnValue:
        if request.method == "GET":
            return render_template("admin/sign-in.html")
        return _tried(surface)

    @routes.post("/sign-out")
    def sign_out() -> ResponseReturnValue:
        if request.form.get("wish") == "everywhere":
            surface.sessions.end_all()
        surface.sessions.end(g.operator)
        return surface.sign_in.end(make_response(redirect(url_for("admin.sign_in"), 303)))

    @routes.get("/style.css")
    def style() -> ResponseReturnValue:
        response = send_from_directory(assets.folder("static"), "admin.css")
        response.headers["Cache-Control"] = "private, max-age=600"
        return response


def _tried(surface: Surface) -> ResponseReturnValue:
    """Return what a password leads to."""
    whose = surface.sign_in.client(request)
    if not surface.sign_in.hears(whose):
        words = "Too many wrong passwords came in. Wait five minutes."
        return render_template("admin/sign-in.html", error=words), 429
    if not surface.sign_in.admits(request.form.get("password", ""), whose):
        return render_template("admin/sign-in.html", error="That is not the password."), 403
    home = make_response(redirect(url_for("admin.home"), 303))
    return surface.sign_in.begin(home, surface.sessions.era)
