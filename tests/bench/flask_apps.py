"""Flask apps: what a shop would write without us, served by granian as we are."""

import os
from hashlib import sha256

import requests
from flask import Flask, request
from itsdangerous import URLSafeTimedSerializer

from tests.web import TOKEN_KEY

bare = Flask("bare")


@bare.post("/co/state")
def accept() -> tuple[dict[str, str], int]:
    """Answer, and do nothing."""
    return {"status": "accepted"}, 202


article = Flask("article")
_tokens = URLSafeTimedSerializer(
    TOKEN_KEY, salt="checkout-proxy.session", signer_kwargs={"digest_method": sha256}
)


@article.post("/co/state")
def forward() -> tuple[dict[str, str], int]:
    """Verify the token and wait for Klaviyo, as tutorials have it."""
    state = request.get_json(force=True)
    session = _tokens.loads(state["token"], max_age=86_400)
    answer = requests.post(
        os.environ["KLAVIYO_URL"],
        json=_event(state, session),
        headers={"Authorization": "Klaviyo-API-Key pk_bench", "revision": "2026-07-15"},
        timeout=10,
    )
    answer.raise_for_status()
    return {"status": "sent"}, 202


def _event(state: dict[str, str], session: dict[str, str]) -> dict[str, object]:
    profile = {"type": "profile", "attributes": {"email": state["email"]}}
    metric = {"type": "metric", "attributes": {"name": "Started Checkout"}}
    attributes = {
        "properties": {"cart_id": session["cart_id"]},
        "metric": {"data": metric},
        "profile": {"data": profile},
        "unique_id": state["id"],
    }
    return {"data": {"type": "event", "attributes": attributes}}
