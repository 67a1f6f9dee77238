"""Medusa: a real one, and those who speak to it: its administrator and somebody who shops."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests

from tests.running import NODE, Program, free_port

HERE = Path(__file__).parent
_ACCOUNT = {"email": "administrator@example.com", "password": "of-no-use-to-anybody"}
# They come with Medusa: money in an envelope, parcels by hand, taxes by a table.
_PAYMENT, _FULFILMENT, _TAXES = "pp_system_default", "manual_manual", "tp_system"

Json = Any


class Medusa(Program):
    """A Medusa that keeps its shop, which is new and empty, in *database*."""

    patience = 90.0

    def __init__(self, database: str, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._node = {
            **env,
            "DATABASE_URL": database,
            "LOG_LEVEL": "warn",
            "MEDUSA_DISABLE_TELEMETRY": "true",
        }
        command = _command("start", host="127.0.0.1", port=self.port)
        super().__init__("medusa", *command, env=self._node)

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def start(self) -> None:
        # The scripts mend older shops, and there is no search engine.
        self._do("db/migrate", skipScripts=True, skipSearch=True, executeSafeLinks=True)
        self._do("user", **_ACCOUNT)
        super().start()

    def _do(self, command: str, **options: Json) -> None:
        """Run one of Medusa's commands to its end."""
        done = subprocess.run(
            _command(command, **options),
            env=self._node,
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )
        assert done.returncode == 0, f"medusa {command} failed:\n{done.stdout}{done.stderr}"


def _command(name: str, **options: Json) -> tuple[str, ...]:
    return f"{NODE}", f"{HERE}/medusa.cjs", name, json.dumps(options)


@dataclass
class _Caller:
    """Somebody who may do at *url* what *headers* allow."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **query: str) -> Json:
        return self._said("GET", path, params=query)

    def post(self, path: str, **body: Json) -> Json:
        return self._said("POST", path, json=body)

    def _said(self, method: str, path: str, **what: Json) -> Json:
        url = self.url + path
        answer = requests.request(method, url, headers=self.headers, timeout=30, **what)
        assert answer.ok, f"{path}: {answer.text}"
        return answer.json(parse_float=Decimal)


class Administrator(_Caller):
    """The one who may do everything, at *shop*."""

    def __init__(self, shop: Medusa) -> None:
        super().__init__(shop.url)
        token = self.post("/auth/user/emailpass", **_ACCOUNT)["token"]
        self.headers = {"Authorization": f"Bearer {token}"}
        (self._channel,) = self.get("/admin/sales-channels")["sales_channels"]
        made = self.post("/admin/shipping-profiles", name="Parcels", type="default")
        self._parcels = made["shipping_profile"]["id"]

    @property
    def key(self) -> str:
        """The publishable key of the sales channel that a new Medusa has."""
        (key,) = self.get("/admin/api-keys", type="publishable")["api_keys"]
        return str(key["token"])

    def deal_in(self, **currencies: bool) -> None:
        """Have prices in *currencies*, each of them with taxes included or not."""
        (store,) = self.get("/admin/stores")["stores"]
        dealt_in = [
            {"currency_code": code, "is_tax_inclusive": included, "is_default": code == "eur"}
            for code, included in currencies.items()
        ]
        self.post(f"/admin/stores/{store['id']}", supported_currencies=dealt_in)

    def open(self, country: str, currency: str, *, tax: int) -> None:
        """Sell to *country*, which takes *tax* percent."""
        self.post(
            "/admin/regions",
            name=country,
            currency_code=currency,
            countries=[country],
            payment_providers=[_PAYMENT],
        )
        rate = {"name": "VAT", "code": f"{country}vat", "rate": tax}
        self.post(
            "/admin/tax-regions", country_code=country, provider_id=_TAXES, default_tax_rate=rate
        )

    def sell(self, sku: str, name: str, variant: str, **prices: float) -> None:
        """Offer a product of one variant at *prices*, by their currencies."""
        size = {
            "title": variant,
            "sku": sku,
            "manage_inventory": False,
            "options": {"Size": variant},
            "prices": _prices(prices),
        }
        self.post(
            "/admin/products",
            title=name,
            status="published",
            thumbnail=f"https://cdn.example/{sku}.jpg",
            options=[{"title": "Size", "values": [variant]}],
            variants=[size],
            sales_channels=[{"id": self._channel["id"]}],
            shipping_profile_id=self._parcels,
        )

    def offer(self, coupon: str, *, percent: int, currency: str) -> None:
        """Take *percent* off every line of a cart in *currency* with *coupon*."""
        discount = {
            "type": "percentage",
            "value": percent,
            "currency_code": currency,
            "target_type": "items",
            "allocation": "across",
        }
        self.post(
            "/admin/promotions",
            code=coupon,
            type="standard",
            status="active",
            application_method=discount,
        )

    def ship(self, *countries: str, **prices: float) -> None:
        """Send parcels to *countries* at *prices*, by their currencies."""
        self.post(
            "/admin/shipping-options",
            name="Parcel",
            service_zone_id=self._zone(countries),
            shipping_profile_id=self._parcels,
            provider_id=_FULFILMENT,
            price_type="flat",
            type={"label": "Parcel", "description": "by post", "code": "parcel"},
            prices=_prices(prices),
            rules=[],
        )

    def _zone(self, countries: tuple[str, ...]) -> str:
        """Return the id of a new zone of *countries*, which a new warehouse serves."""
        location = self.post("/admin/stock-locations", name="Warehouse")["stock_location"]["id"]
        path = f"/admin/stock-locations/{location}"
        self.post(f"{path}/sales-channels", add=[self._channel["id"]])
        self.post(f"{path}/fulfillment-providers", add=[_FULFILMENT])
        self.post(f"{path}/fulfillment-sets", name="Post", type="shipping")
        read = self.get(path, fields="*fulfillment_sets")["stock_location"]
        (post,) = read["fulfillment_sets"]
        zones = [{"type": "country", "country_code": country} for country in countries]
        path = f"/admin/fulfillment-sets/{post['id']}/service-zones"
        made = self.post(path, name="There", geo_zones=zones)["fulfillment_set"]
        return str(made["service_zones"][0]["id"])


def _prices(prices: Mapping[str, float]) -> list[Json]:
    return [{"currency_code": currency, "amount": amount} for currency, amount in prices.items()]


class Shopper(_Caller):
    """Somebody who fills carts at *shop*, to whose pages *key* belongs, and may order."""

    def __init__(self, shop: Medusa, key: str) -> None:
        super().__init__(f"{shop.url}/store", {"x-publishable-api-key": key})

    def fill(self, currency: str, goods: Mapping[str, int], coupon: str) -> str:
        """Return the id of a new cart with *goods*, how many by their SKUs, at the checkout."""
        cart_id = self._cart(currency)
        ids = self._variants()
        for sku, quantity in goods.items():
            self.post(f"/carts/{cart_id}/line-items", variant_id=ids[sku], quantity=quantity)
        (option,) = self.get("/shipping-options", cart_id=cart_id)["shipping_options"]
        self.post(f"/carts/{cart_id}/shipping-methods", option_id=option["id"])
        self.post(f"/carts/{cart_id}/promotions", promo_codes=[coupon])
        return cart_id

    def cart(self, cart_id: str, fields: str) -> Json:
        """Return what the shop says of a cart that is asked for its *fields*."""
        return self.get(f"/carts/{cart_id}", fields=fields)["cart"]

    def order(self, cart_id: str) -> None:
        """Pay."""
        made = self.post("/payment-collections", cart_id=cart_id)["payment_collection"]
        self.post(f"/payment-collections/{made['id']}/payment-sessions", provider_id=_PAYMENT)
        assert self.post(f"/carts/{cart_id}/complete")["type"] == "order"

    def _cart(self, currency: str) -> str:
        regions = self.get("/regions")["regions"]
        region = next(each for each in regions if each["currency_code"] == currency)
        (country,) = region["countries"]
        address = {"first_name": "A", "last_name": "B", "address_1": "Ring 1", "city": "There"}
        made = self.post(
            "/carts",
            region_id=region["id"],
            email="shopper@example.com",
            shipping_address={**address, "country_code": country["iso_2"]},
        )
        return str(made["cart"]["id"])

    def _variants(self) -> dict[str, str]:
        products = self.get("/products", fields="*variants")["products"]
        return {
            variant["sku"]: variant["id"] for product in products for variant in product["variants"]
        }
