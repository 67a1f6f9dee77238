"""Vendure: a real one, and those who speak to it: its administrator and somebody who shops."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.live import HERE
from tests.running import NODE, Program, free_port

Json = Any


class Vendure(Program):
    """A Vendure whose database is kept in the file *database*; a new one has three products."""

    patience = 90.0

    def __init__(self, database: Path, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._node = {**env, "VENDURE_DISABLE_TELEMETRY": "true"}
        command = (f"{NODE}", f"{HERE}/vendure.cjs", f"{self.port}", f"{database}")
        super().__init__("vendure", *command, env=self._node)

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=5).ok
        except requests.RequestException:
            return False

    def complaints(self, query: str) -> list[str]:
        """Return what its Admin API's schema says against *query*."""
        command = (NODE, HERE / "complaints.cjs", f"{self.url}/admin-api")
        done = subprocess.run(
            command, env=self._node, input=query, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()


@dataclass
class _Caller:
    """Somebody with a session at one of Vendure's two APIs."""

    url: str
    token: str = ""

    def ask(self, query: str, **variables: Json) -> Json:
        body = {"query": query, "variables": variables}
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = requests.post(self.url, json=body, headers=headers, timeout=30)
        self.token = answer.headers.get("vendure-auth-token", self.token)
        said = answer.json()
        assert "errors" not in said, said
        return said["data"]

    def do(self, mutation: str) -> Json:
        """Run a *mutation* whose result may be an error of the shop's."""
        result = self.ask(f"mutation {{ it: {mutation} {{ ...on ErrorResult {{ message }} }} }}")
        assert "message" not in result["it"], result
        return result["it"]


class Administrator(_Caller):
    """The one who may do everything, at *shop*."""

    def __init__(self, shop: Vendure) -> None:
        super().__init__(f"{shop.url}/admin-api")
        self.do('login(username: "superadmin", password: "superadmin")')

    def offer(self, coupon: str, *, percent: int) -> None:
        """Take *percent* off every order with *coupon*."""
        value = f'{{ name: "discount", value: "{percent}" }}'
        action = f'{{ code: "order_percentage_discount", arguments: [{value}] }}'
        name = f'{{ languageCode: en, name: "{percent}% off" }}'
        self.do(
            f'createPromotion(input: {{ enabled: true, couponCode: "{coupon}", conditions: [], '
            f"actions: [{action}], translations: [{name}] }})"
        )

    def key(self, permission: str) -> str:
        """Return a new API key of a role that has *permission* alone."""
        role = self.ask(
            f'mutation {{ createRole(input: {{ code: "{permission}", description: "of a test", '
            f"permissions: [{permission}] }}) {{ id }} }}"
        )["createRole"]["id"]
        name = f'{{ languageCode: en, name: "{permission}" }}'
        key = self.ask(
            f'mutation {{ createApiKey(input: {{ roleIds: ["{role}"], translations: [{name}] }}) '
            "{ apiKey } }"
        )["createApiKey"]["apiKey"]
        return str(key)


class Shopper(_Caller):
    """Somebody who fills a cart at *shop*, goes to the checkout, and may order."""

    def __init__(self, shop: Vendure) -> None:
        super().__init__(f"{shop.url}/shop-api")

    def fill(self, goods: Mapping[str, int], coupon: str) -> str:
        """Put *goods*, how many by their SKUs, in the cart; return its code at the checkout."""
        ids = self._variants()
        for sku, quantity in goods.items():
            self.do(f'addItemToOrder(productVariantId: "{ids[sku]}", quantity: {quantity})')
        self.do(f'applyCouponCode(couponCode: "{coupon}")')
        self._say_where_to()
        return str(self.ask("{ activeOrder { code } }")["activeOrder"]["code"])

    def remove(self, coupon: str) -> None:
        """Take *coupon* back."""
        self.ask(f'mutation {{ removeCouponCode(couponCode: "{coupon}") {{ id }} }}')

    def order(self) -> None:
        """Pay."""
        self.do('transitionOrderToState(state: "ArrangingPayment")')
        self.do('addPaymentToOrder(input: { method: "standard-payment", metadata: {} })')

    def _variants(self) -> dict[str, str]:
        products = self.ask("{ products { items { variants { id sku } } } }")["products"]["items"]
        return {
            variant["sku"]: variant["id"] for product in products for variant in product["variants"]
        }

    def _say_where_to(self) -> None:
        email, place = 'emailAddress: "shopper@example.com"', 'countryCode: "AT"'
        self.do(f'setCustomerForOrder(input: {{ firstName: "A", lastName: "B", {email} }})')
        self.do(f'setOrderShippingAddress(input: {{ streetLine1: "Ring 1", {place} }})')
        (method,) = self.ask("{ eligibleShippingMethods { id } }")["eligibleShippingMethods"]
        self.do(f'setOrderShippingMethod(shippingMethodId: ["{method["id"]}"])')
