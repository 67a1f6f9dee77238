"""Tell checkout-proxy each basket of django-oscar as Oscar computed it, and each order.

Copy this file into an app of yours, import it in that app's ``AppConfig.ready()``, and set
CHECKOUT_PROXY_URL (where this server reaches the proxy), CHECKOUT_PROXY_SHOP_KEY and
CHECKOUT_PROXY_SHOP_URL (where the shop is, such as https://shop.example.com). The id of a cart is
``str(basket.id)``, in the token of the checkout page too. Needs Django 4.2 and requests.
"""

import logging
from functools import partial
from urllib.parse import urljoin

import requests
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver
from django.urls import reverse
from django.utils import timezone
from oscar.apps.order.signals import order_placed
from oscar.core.loading import get_class, get_model

logger = logging.getLogger(__name__)

Applicator = get_class("offer.applicator", "Applicator")
Basket = get_model("basket", "Basket")
Line = get_model("basket", "Line")
Selector = get_class("partner.strategy", "Selector")


@receiver([post_save, post_delete], sender=Line)
def line_changed(instance, **kwargs):
    """Tell the basket of a line that was saved or deleted."""
    _tell_after_commit(instance.basket)


@receiver(m2m_changed, sender=Basket.vouchers.through)
def vouchers_changed(instance, action, reverse, **kwargs):
    """Tell the basket that a voucher was added to or removed from."""
    if action.startswith("post_") and not reverse:
        _tell_after_commit(instance)


@receiver(post_save, sender=Basket)
def merged(instance, **kwargs):
    """Take the basket away that became part of another when its shopper logged in."""
    if instance.status == Basket.MERGED:
        _tell_after_commit(instance)


@receiver(order_placed)
def ordered(order, **kwargs):
    """Tell the order, which cancels what is pending."""
    body = {
        "cart_id": str(order.basket_id),
        "order_id": order.number,
        "placed_at": order.date_placed.isoformat(),
    }
    transaction.on_commit(partial(_send, "POST", "/v1/orders", body), robust=True)


def _tell_after_commit(basket):
    # The strategy knows the request, which prices and offers may depend on.
    strategy = basket.strategy if basket.has_strategy else Selector().strategy()
    # Robust: whatever goes wrong is logged, and the shop goes on.
    transaction.on_commit(partial(_tell, basket.pk, strategy), robust=True)


def _tell(basket_id, strategy):
    # Not the instance of the view, whose lines and offers are still those from before.
    basket = Basket.objects.filter(pk=basket_id).first()
    path = f"/v1/carts/{basket_id}"
    if basket is None or basket.is_empty or basket.status == Basket.MERGED:
        _send("DELETE", path, None)
        return
    basket.strategy = strategy
    request = getattr(strategy, "request", None)
    # Without a user, Oscar leaves out vouchers, and says nothing.
    user = getattr(request, "user", None) or basket.owner or AnonymousUser()
    Applicator().apply(basket, user, request)
    _send("PUT", path, _cart(basket))


def _cart(basket):
    """Return *basket* as Oscar has it: copied, never added up."""
    tax = "incl_tax" if basket.is_tax_known else "excl_tax"
    cart = {
        "currency": basket.currency,
        # Without shipping, which Oscar knows only in the course of the checkout.
        "total": _amount(getattr(basket, f"total_{tax}")),
        "subtotal": _amount(getattr(basket, f"total_{tax}_excl_discounts")),
        "discount": _amount(basket.total_discount),
        "coupons": list(basket.vouchers.values_list("code", flat=True)),
        "checkout_url": urljoin(settings.CHECKOUT_PROXY_SHOP_URL, reverse("basket:summary")),
        "updated_at": timezone.now().isoformat(),
        "items": [_item(line, tax) for line in basket.all_lines()],
    }
    return cart | ({"tax": _amount(basket.total_tax)} if basket.is_tax_known else {})


def _item(line, tax):
    product = line.product
    image = product.get_all_images().first()
    item = {
        "product_id": product.pk,
        "sku": line.stockrecord.partner_sku,
        "name": product.get_title(),
        "quantity": line.quantity,
        "unit_price": _amount(getattr(line, f"unit_price_{tax}")),
        # Not always rounded: Oscar rounds the sum of its rows.
        "row_total": _amount(getattr(line, f"line_price_{tax}_incl_discounts")),
        "product_url": urljoin(settings.CHECKOUT_PROXY_SHOP_URL, product.get_absolute_url()),
        "categories": [category.name for category in product.get_categories()],
    }
    if image is not None:
        item["image_url"] = urljoin(settings.CHECKOUT_PROXY_SHOP_URL, image.original.url)
    return item


def _amount(amount):
    return f"{amount:f}"


def _send(method, path, body):
    headers = {"Authorization": f"Bearer {settings.CHECKOUT_PROXY_SHOP_KEY}"}
    try:
        url = settings.CHECKOUT_PROXY_URL + path
        answer = requests.request(method, url, json=body, headers=headers, timeout=1)
        if not answer.ok:
            logger.warning("checkout-proxy answered %d: %s", answer.status_code, answer.text)
    except requests.RequestException as error:
        logger.warning("checkout-proxy did not answer: %s", error)
