"""Latest: the newest word on each matter of a checkout, whatever order the words came in."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from msgspec.structs import replace

from proxy.carts.cart import Cart
from proxy.facts import Claim, Consent, ConsentState, Customer, StatePosted
from proxy.wire import Discreet

T = TypeVar("T")


class Word(Discreet, Generic[T], frozen=True, kw_only=True):
    """What was said, when the shopper acted, and the id of the fact that said it."""

    value: T
    at: datetime
    by: str

    @property
    def order(self) -> tuple[datetime, str]:
        """What to sort by. Two workers may stamp one microsecond: the id makes the order total."""
        return self.at, self.by


class Latest(Discreet, frozen=True, kw_only=True):
    """The newest word on each matter; silence on a matter takes no earlier word back.

    :meth:`joined` is commutative, associative and idempotent, so facts that come late, twice or
    through another web worker end in the same words.
    """

    email: Word[str] | None = None
    phone_number: Word[str] | None = None
    first_name: Word[str] | None = None
    last_name: Word[str] | None = None
    kx: Word[str] | None = None
    consent: Word[Consent] | None = None
    gpc: Word[bool] | None = None
    region: Word[str] | None = None
    region_seen: Word[str] | None = None
    checkout_url: Word[str] | None = None
    locale: Word[str] | None = None
    claimed: Word[Claim] | None = None
    customer: Word[Customer] | None = None
    cart: Word[Cart] | None = None
    ref: Word[str] | None = None
    client: Word[str] | None = None
    automated: Word[bool] | None = None

    @classmethod
    def of(cls, state: StatePosted) -> Self:
        """Return the words that *state* says."""
        said = ((name, getattr(state, name)) for name in _matters())
        return cls(
            **{
                name: Word(value=value, at=state.acted_at, by=state.id)
                for name, value in said
                # Who posts without Global Privacy Control takes nobody's no back: that is silence.
                if value is not None and value is not False
            }
        )

    def joined(self, other: "Latest") -> "Latest":
        """Return the newer word of the two on every matter."""
        return Latest(
            **{name: _newer(getattr(self, name), getattr(other, name)) for name in _matters()}
        )

    def not_after(self, at: datetime) -> "Latest":
        """Return the same words, none of them said after *at*."""
        words = ((name, getattr(self, name)) for name in _matters())
        return Latest(**{name: word and replace(word, at=min(word.at, at)) for name, word in words})

    def until(self, at: datetime) -> "Latest":
        """Return only what was said at *at* or before."""
        words = ((name, getattr(self, name)) for name in _matters())
        return Latest(**{name: word for name, word in words if word and word.at <= at})

    def since(self, at: datetime) -> "Latest":
        """Return only what was said after *at*."""
        words = ((name, getattr(self, name)) for name in _matters())
        return Latest(**{name: word for name, word in words if word and word.at > at})

    def refusal(self) -> "Latest":
        """Return only the no, where there is one: the bare word, and no record of it."""
        said = self.consent
        if said is None or said.value.state is not ConsentState.DENIED:
            return Latest(gpc=self.gpc)
        return Latest(consent=replace(said, value=Consent(state=said.value.state)), gpc=self.gpc)

    def erased(self) -> "Latest":
        """Return only what is not about a person: on what is decided about consent."""
        kept = ("consent", "gpc", "region", "region_seen")
        return Latest(**{name: getattr(self, name) for name in kept})


def value(word: Word[T] | None) -> T | None:
    """Return what *word* says, or ``None`` where nothing was said."""
    return None if word is None else word.value


def _matters() -> Iterator[str]:
    return iter(Latest.__struct_fields__)


def _newer(one: Word[Any] | None, other: Word[Any] | None) -> Word[Any] | None:
    one, other = _said(one), _said(other)
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda word: word.order)


def _said(word: Word[Any] | None) -> Word[Any] | None:
    # Of what was kept before, silence may be a word.
    return None if word is None or word.value is False else word
