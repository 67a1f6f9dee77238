"""Erasing: the command that has forgotten what is kept about a person."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

import click

from proxy import erasures, shops
from proxy.cli import chosen
from proxy.facts import ErasureAsked
from proxy.settings import Settings


@click.command()
@chosen.option
@click.option("--email", prompt=True, prompt_required=False, help="Whose address it is.")
@click.option("--phone", prompt=True, prompt_required=False, help="Whose number it is, as +49 30 …")
@click.option("--cart", prompt=True, prompt_required=False, help="What was said about this cart.")
def erase(name: str | None, email: str | None, phone: str | None, cart: str | None) -> None:
    """Erase all that is kept about a person, in all shops, or in one.

    Without a value an option asks for it, and - reads it from standard input: what stands on the
    command line is seen by every user of the machine, and kept in the shell's history.
    """
    said = [each for each in (email, phone, cart) if each is not None]
    if len(said) != 1:
        raise click.UsageError("Say one of --email, --phone and --cart.")
    named = sys.stdin.readline().strip() if said == ["-"] else said[0].strip()
    whom = _whom(named, email=email, phone=phone)
    asked_of, amiss = [], []
    for settings in shops.read(os.environ) if name is None else [chosen.shop(name)]:
        try:
            _erase(settings, whom, cart_id=named if cart else "")
            asked_of.append(settings)
        except click.ClickException as error:
            # A shop that was added just now has no store yet, and saves nobody in another.
            amiss.append(f"{settings.shop}: {error.message}")
    if asked_of:
        where = "" if len(asked_of) == 1 else f" in {len(asked_of)} shops"
        click.echo(f"It is to be erased{where}. {chosen.when(asked_of)}")
    if amiss:
        raise click.ClickException("\n".join(amiss))


def _whom(named: str, *, email: str | None, phone: str | None) -> dict[str, str]:
    try:
        if not named:
            raise ValueError("nothing was said")
        return erasures.whom(email=email and named, phone_number=phone and named)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def _erase(settings: Settings, whom: Mapping[str, str], cart_id: str) -> None:
    fact = {"id": uuid4().hex, "shop": settings.shop, "cart_id": cart_id}
    with chosen.book(settings), chosen.inbox(settings) as inbox:
        inbox.append(ErasureAsked(received_at=datetime.now(UTC), **fact, **whom))
