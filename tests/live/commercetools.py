"""Commercetools: a stand-in that others wrote, behind OAuth, whose carts a test makes."""

from collections.abc import Mapping
from typing import Any

import requests

from tests.live import HERE
from tests.running import NODE, Program, free_port

CLIENT = "a-client:a-secret"
COUPON = "SAVE10"

Json = Any


class Commercetools(Program):
    """A project with one product, a tea for 9.99 EUR or 1500 JPY, and one discount code."""

    patience = 60.0

    def __init__(self, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self._root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self._root}/shop"
        self.token_url = f"{self._root}/oauth/token"
        script = f"{HERE}/commercetools.cjs"
        super().__init__(
            "commercetools", f"{NODE}", script, f"{self.port}", *CLIENT.split(":"), env=env
        )

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self._root}/test/tokens", timeout=5).ok
        except requests.RequestException:
            return False

    def start(self) -> None:
        super().start()
        kind = self._make("product-types", {"name": "good", "description": "a good"})
        self._make("products", _tea(kind["id"]))
        self._make("discount-codes", {"code": COUPON, "cartDiscounts": []})

    def cart(self, currency: str, **more: Json) -> str:
        """Return the id of a new cart with three teas in it."""
        line = {"sku": "TEA-1", "quantity": 3, "externalTaxRate": more.pop("tax", None)}
        draft = {"currency": currency, "taxMode": "External", "lineItems": [line], **more}
        return str(self._make("carts", draft)["id"])

    def order(self, cart_id: str) -> None:
        """Make an order of a cart."""
        self._make("orders", {"cart": {"typeId": "cart", "id": cart_id}, "version": 1})

    @property
    def tokens(self) -> int:
        """How many access tokens were sold since all were revoked."""
        return int(requests.get(f"{self._root}/test/tokens", timeout=15).json()["sold"])

    def revoke(self) -> None:
        """Take every access token back."""
        assert requests.delete(f"{self._root}/test/tokens", timeout=15).ok

    def _make(self, kind: str, draft: Json) -> Json:
        headers = {"Authorization": f"Bearer {self._token()}"}
        answer = requests.post(f"{self.url}/{kind}", json=draft, headers=headers, timeout=15)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def _token(self) -> str:
        name, secret = CLIENT.split(":")
        form = {"grant_type": "client_credentials"}
        answer = requests.post(self.token_url, data=form, auth=(name, secret), timeout=15)
        return str(answer.json()["access_token"])


def _tea(kind: str) -> Json:
    prices = [
        {"value": {"currencyCode": "EUR", "centAmount": 999}},
        {"value": {"currencyCode": "JPY", "centAmount": 1500}},
    ]
    return {
        "productType": {"typeId": "product-type", "id": kind},
        "name": {"de": "Grüner Tee", "en": "Green tea"},
        "slug": {"en": "green-tea"},
        "masterVariant": {"sku": "TEA-1", "prices": prices},
        "publish": True,
    }
