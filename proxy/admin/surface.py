"""Surface: what the operator's pages need of the rest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flask import abort

from proxy import states
from proxy.admin.sessions import Sessions
from proxy.admin.signin import SignIn
from proxy.checkouts import Checkout
from proxy.errors import StoreAway
from proxy.facts import Fact
from proxy.store import Store

if TYPE_CHECKING:
    from proxy.store.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What the pages need of one shop.

    Its addresses are hashed with *address_keys*, or with what *lock_keys* open.
    """

    name: str
    store: Store
    append: Callable[[Fact], None]
    address_keys: Sequence[bytes] = field(repr=False)
    lock_keys: Sequence[bytes] = field(repr=False)
    settle: timedelta
    revision: str
    metric: str
    is_audited: bool
    page: states.Shop

    @contextmanager
    def reader(self) -> Iterator["Reader"]:
        """Give the book, to be read."""
        if not self.store.exists:
            raise StoreAway("No sender has been at work here yet, so there is nothing to see.")
        with closing(self.store.book()) as reader:
            yield reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What the pages need of the rest."""

    shops: Mapping[str, Shop]
    sign_in: SignIn
    sessions: Sessions
    now: Callable[[], datetime]

    def shop(self, name: str) -> Shop:
        """Return the shop called *name*, or answer that there is none."""
        if name not in self.shops:
            there_are = ", ".join(self.shops)
            abort(404, f"There is no shop of that name here: there are {there_are}.")
        return self.shops[name]


def checkout(reader: "Reader", shop: str, unique_id: str) -> Checkout:
    """Return the checkout under *unique_id*, or answer that there is none."""
    found = reader.checkout(shop, unique_id)
    if found is None:
        abort(404, "There is no such checkout; perhaps it was removed since.")
    return found
