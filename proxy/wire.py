"""Wire: the shape of what a shop's server writes to us."""

import msgspec


class Strict(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An object in which a misspelt member is refused rather than lost, and no ``repr`` tells."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
