"""Wire: the shape of what travels, or lies in the store, as JSON."""

import msgspec


class Discreet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object of which no ``repr`` tells."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Strict(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a shop's server writes to us: a misspelt member is refused rather than lost."""
