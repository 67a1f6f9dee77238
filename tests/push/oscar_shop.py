"""Oscar's shop: a real one, run by a Python that has Oscar, asked line by line over a pipe.

``python oscar_shop.py FOLDER`` has its database in FOLDER. Each line of standard input is a JSON
array, the name of a function below and its arguments; what it returns is a line of JSON again.
"""

import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
import oscar
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import include, path, reverse
from oscar import defaults

PRICES = {"tee": "29.99", "jeans": "99.95", "socks": "23.31"}

browser = Client()
urlpatterns: list[Any] = []


class NoMigrations(dict[str, None]):
    """Has every app's tables made from its models: twenty times as fast."""

    def __contains__(self, app: object) -> bool:
        return True

    def __missing__(self, app: str) -> None:
        return None


def main(folder: Path) -> None:
    """Set the shop up, with three products and a voucher, and do what is asked."""
    own = {name: value for name, value in vars(defaults).items() if name.startswith("OSCAR_")}
    settings.configure(**own | _settings(folder))
    django.setup()
    urlpatterns.append(path("", include(apps.get_app_config("oscar").urls[0])))
    call_command("migrate", run_syncdb=True, verbosity=0)
    _stock()
    import checkout_proxy  # noqa: F401 - it listens from now on

    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(COMMANDS[name](*arguments)), flush=True)


def _settings(folder: Path) -> dict[str, Any]:
    processors = [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
        "oscar.apps.search.context_processors.search_form",
        "oscar.apps.checkout.context_processors.checkout",
        "oscar.core.context_processors.metadata",
    ]
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": processors},
    }
    return {
        "SECRET_KEY": "a-secret-key",
        "ALLOWED_HOSTS": ["testserver"],
        "ROOT_URLCONF": __name__,
        "SITE_ID": 1,
        "USE_TZ": True,
        "DATABASES": {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/shop.db"}
        },
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "MIGRATION_MODULES": NoMigrations(),
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend",
        "HAYSTACK_CONNECTIONS": {
            "default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}
        },
        "AUTHENTICATION_BACKENDS": (
            "oscar.apps.customer.auth_backends.EmailBackend",
            "django.contrib.auth.backends.ModelBackend",
        ),
        "MIDDLEWARE": (
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "oscar.apps.basket.middleware.BasketMiddleware",
        ),
        "TEMPLATES": [templates],
        "STATIC_URL": "/static/",
        "MEDIA_ROOT": f"{folder}/media",
        "INSTALLED_APPS": [*oscar.INSTALLED_APPS, "sorl.thumbnail"],
        "OSCAR_DEFAULT_CURRENCY": "EUR",
        "OSCAR_ALLOW_ANON_CHECKOUT": True,
        "CHECKOUT_PROXY_URL": os.environ["CHECKOUT_PROXY_URL"],
        "CHECKOUT_PROXY_SHOP_KEY": os.environ["CHECKOUT_PROXY_SHOP_KEY"],
        "CHECKOUT_PROXY_SHOP_URL": "https://shop-demo.io",
    }


def _stock() -> None:
    from django.contrib.auth import get_user_model
    from oscar.test import factories

    get_user_model().objects.create_user("jane", "jane@shop-demo.io", "a-password")
    clothes = factories.ProductClassFactory(name="Clothes", requires_shipping=False)
    shirts = factories.CategoryFactory(name="Shirts & more")
    for name, price in PRICES.items():
        product = factories.ProductFactory(
            title=name.title(), product_class=clothes, stockrecords=[]
        )
        product.categories.set([shirts])
        factories.create_stockrecord(
            product, Decimal(price), partner_sku=name.upper(), num_in_stock=50, currency="EUR"
        )
    benefit = factories.BenefitFactory(
        type="Percentage", value=10, range__includes_all_products=True
    )
    offer = factories.create_offer(offer_type="Voucher", benefit=benefit)
    factories.VoucherFactory(code="SAVE10").offers.add(offer)


# -- what can be asked for ---------------------------------------------------------------


def add(name: str, quantity: int) -> dict[str, Any]:
    """Put a product into the basket, as its page does."""
    product = apps.get_model("catalogue", "Product").objects.get(title=name.title())
    return _post(reverse("basket:add", args=[product.pk]), quantity=quantity)


def set_quantities(*quantities: int) -> dict[str, Any]:
    """Set the quantity of each line, as the basket's page does."""
    lines = list(_basket().all_lines())
    form = {"form-TOTAL_FORMS": len(lines), "form-INITIAL_FORMS": len(lines)}
    for number, (line, quantity) in enumerate(zip(lines, quantities, strict=True)):
        form |= {f"form-{number}-id": line.pk, f"form-{number}-quantity": quantity}
    return _post(reverse("basket:summary"), **form)


def add_voucher(code: str) -> dict[str, Any]:
    """Type a voucher's code."""
    return _post(reverse("basket:vouchers-add"), code=code)


def remove_voucher() -> dict[str, Any]:
    """Click the voucher away."""
    [voucher] = _basket().vouchers.all()
    return _post(reverse("basket:vouchers-remove", args=[voucher.pk]))


def log_in() -> dict[str, Any]:
    """Log in, by which the guest's basket becomes part of the customer's."""
    browser.login(username="jane@shop-demo.io", password="a-password")
    browser.get(reverse("basket:summary"))
    return _told()


def order() -> dict[str, Any]:
    """Place the order as a guest, and return its number."""
    guest = {"username": "guest@shop-demo.io", "options": "anonymous"}
    browser.post(reverse("checkout:index"), guest, follow=True)
    browser.post(reverse("checkout:preview"), {"action": "place_order"})
    placed = apps.get_model("order", "Order").objects.latest("pk")
    return {"basket": str(placed.basket_id), "number": placed.number}


def look_for_the_proxy_at(url: str) -> None:
    """Have the settings name another address, until it is named again."""
    settings.CHECKOUT_PROXY_URL = url


def leave() -> None:
    """Come back as somebody else."""
    browser.cookies.clear()


def _post(url: str, **form: Any) -> dict[str, Any]:
    answer = browser.post(url, form)
    assert answer.status_code == 302, answer.content.decode()
    return _told()


def _told() -> dict[str, Any]:
    basket = _basket()
    return {"basket": str(basket.pk), "total": f"{basket.total_incl_tax}"}


def _basket() -> Any:
    """Return the basket as a page of the shop's has it."""
    return browser.get(reverse("basket:summary")).context_data["basket"]


COMMANDS = {
    run.__name__: run
    for run in (
        add,
        set_quantities,
        add_voucher,
        remove_voucher,
        log_in,
        order,
        leave,
        look_for_the_proxy_at,
    )
}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
