"""Trying: the commands with which an operator tries things out, and nothing is sent."""

import sys
from typing import IO, TYPE_CHECKING

import click
import msgspec

from proxy.carts import shown
from proxy.carts.cart import Cart
from proxy.carts.source import CartRef
from proxy.cli import chosen
from proxy.errors import CartError, StoreAway
from proxy.regions import is_region
from proxy.settings import Settings
from proxy.tokens import Session, Tokens

if TYPE_CHECKING:
    from proxy.steps import Answer


@click.command()
@click.argument("cart_id")
@chosen.option
@click.option("--email", help="The customer's address.")
@click.option("--phone-number", help="The customer's telephone number, in E.164.")
@click.option("--external-id", help="The customer's id in the shop.")
@click.option("--first-name")
@click.option("--last-name")
@click.option("--ref", help="The credential that reads the cart. The shopper can see it.")
@click.option("--region", help="Where the shopper is, by ISO 3166: DE, US-CA.")
@click.option("--origin", help="Of the only pages that may post under it: https://…")
def token(
    cart_id: str,
    name: str | None,
    ref: str | None,
    region: str | None,
    origin: str | None,
    **customer: str | None,
) -> None:
    """Print a session token for CART_ID, for trying things out."""
    settings = chosen.shop(name, need=("token_keys",))
    tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
    known = {name: value for name, value in customer.items() if value}
    said = {"shop": settings.shop, "cart_id": cart_id, "customer": known or None, "ref": ref}
    said |= {"region": region, "origin": origin}
    if region is not None and not is_region(region):
        raise click.UsageError(f"{region} is no region of ISO 3166, such as DE or US-CA.")
    try:
        session = msgspec.convert(said, Session)
    except msgspec.ValidationError as error:
        raise click.UsageError(str(error)) from error
    click.echo(tokens.sign(session))


@click.command()
@click.argument("cart_id")
@chosen.option
@click.option("--ref", help="The credential that the token would carry.")
@click.option("--json", "as_json", is_flag=True, help="As PUT /v1/carts would have it.")
def cart(cart_id: str, name: str | None, ref: str | None, *, as_json: bool) -> None:
    """Read CART_ID where the totals come from, and print it as it is understood.

    An event's id does as well, where this machine has the store that knows it.
    """
    from proxy import work

    settings = chosen.shop(name, need=_CARTS, judge=chosen.judge)
    if settings.carts == "signed":
        raise click.UsageError("CHECKOUT_PROXY_CARTS=signed: the cart is in the token itself.")
    cart_id = _cart_id(settings, cart_id)
    pushed = _pushed(settings, cart_id) if settings.carts == "push" else None
    asked = CartRef(shop=settings.shop, cart_id=cart_id, credential=ref, pushed=pushed)
    try:
        with work.source(settings) as carts:
            reading = carts.fetch(asked)
    except CartError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
    click.echo(shown.as_json(cart_id, reading) if as_json else "\n".join(shown.in_words(reading)))


def _cart_id(settings: Settings, said: str) -> str:
    """Return the cart that *said* names. A cart can be read where no store is, or it is away."""
    try:
        with chosen.book(settings) as book:
            return chosen.named(book, settings.shop, said).cart_id or said
    except (click.ClickException, StoreAway):
        return said


def _pushed(settings: Settings, cart_id: str) -> Cart | None:
    with chosen.book(settings) as book:
        return book.cart(settings.shop, cart_id)


@click.command()
@chosen.option
@click.option("--token", "text", help="As a page has it in data-token; - reads standard input.")
@click.option("--state", type=click.File("rb"), help="The JSON that a page posts; - likewise.")
@click.option("--origin", default="", help="Of the page that posts the state: https://…")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def qa(
    name: str | None, text: str | None, state: IO[bytes] | None, origin: str, *, as_json: bool
) -> None:
    """Try a token, or a state with its token, and say what each step makes of it.

    Nothing is sent and nothing is kept. The exit status is 1 where something stops it. docs/qa.md
    explains each step.
    """
    from proxy import qa

    if (text is None) == (state is None):
        raise click.UsageError("Give --token or --state.")
    if state is None:
        settings = chosen.shop(name, need=("token_keys",))
        said = sys.stdin.read() if text == "-" else text or ""
        _say_answer(qa.token(settings, said), as_json=as_json)
    else:
        settings = chosen.shop(name, need=("token_keys", *_CARTS), judge=chosen.judge)
        _say_answer(qa.state(settings, state.read(), origin), as_json=as_json)


@click.command()
@click.argument("cart_id")
@chosen.option
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def preview(cart_id: str, name: str | None, *, as_json: bool) -> None:
    """Say what would be sent now of CART_ID's last checkout, or an event's id, and send nothing.

    The exit status is 1 where something stops it.
    """
    from proxy import qa

    settings = chosen.shop(name, need=_CARTS, judge=chosen.judge)
    with chosen.book(settings):
        answer = qa.checkout(settings, cart_id)
    if answer is None:
        raise click.ClickException(f"nothing was received for the cart {cart_id}")
    _say_answer(answer, as_json=as_json)


_CARTS = ("carts_url", "carts_key", "carts_token_url")


def _say_answer(answer: "Answer", *, as_json: bool) -> None:
    from proxy import qa

    click.echo(qa.as_json(answer) if as_json else "\n".join(qa.in_words(answer)))
    if answer.stopped_by is not None:
        raise SystemExit(1)
