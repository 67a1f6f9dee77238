"""Qa: an operator tries a token or a state, and sees what each step makes of it."""

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from proxy import inspection
from proxy.admin import checklist, questions
from proxy.admin.surface import Shop, Surface
from proxy.inspection import Inspected, Page
from proxy.steps import Answer, unknown


def register(routes: Blueprint, surface: Surface) -> None:
    """Let *routes* take what an operator tries. What is pasted is in no address and no log."""

    @routes.get("/<shop>/qa")
    def qa(shop: str) -> str:
        return _page(surface.shop(shop))

    @routes.post("/<shop>/qa/token")
    def try_token(shop: str) -> str:
        of = surface.shop(shop)
        inspected = inspection.token(of.page, request.form.get("token", "").strip(), g.now)
        return _page(of, inspected.answer)

    @routes.post("/<shop>/qa/state")
    def try_state(shop: str) -> ResponseReturnValue:
        of = surface.shop(shop)
        inspected = inspection.state(of.page, _body(), _posting(), g.now)
        if inspected.state is None:
            return _page(of, inspected.answer)
        if not of.store.has_sender(of.name):
            return _page(of, _without_sender(inspected))
        said = inspected.state
        asked = questions.put(of, said.cart_id, state=said, before=inspected.steps)
        return redirect(url_for("admin.qa", shop=shop, question=asked), 303)


def _page(shop: Shop, answer: Answer | None = None) -> str:
    with shop.reader() as reader:
        tried = questions.shown(reader, shop.name) if answer is None else questions.of(answer)
        items = list(checklist.items(shop, reader, g.now))
    return render_template(
        "admin/qa.html", shop=shop.name, tried=tried, items=items, pasted=request.form
    )


def _body() -> bytes:
    # A form's lines end in two characters each, and a page's JSON in none.
    return request.form.get("state", "").replace("\r\n", "\n").strip().encode()


def _posting() -> Page:
    return Page(
        host=request.host,
        origin=request.form.get("origin", "").strip(),
        media_type=request.form.get("media_type", ""),
    )


def _without_sender(inspected: Inspected) -> Answer:
    words = "no sender is at work here, so nobody can say what it would make of this"
    return Answer(steps=(*inspected.steps, unknown("sender", words)))
