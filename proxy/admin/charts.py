"""Charts: bars as SVG, made on the server, told in words to who cannot see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_HEIGHT = 60.0
_BAR, _GAP = 6, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: how much, and what to call it."""

    amount: int
    label: str


def bars(title: str, drawn: Sequence[Bar], kind: str) -> Markup:
    """Return *drawn* as an image called *title*; *kind* is its class in the style sheet."""
    most = max((bar.amount for bar in drawn), default=0)
    width = len(drawn) * (_BAR + _GAP)
    inside = Markup("").join(_bar(place, bar, most) for place, bar in enumerate(drawn))
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {:.0f}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(kind, width, _HEIGHT, title, inside)


def _bar(place: int, bar: Bar, most: int) -> Markup:
    # Nothing is a line on the ground: that there is a place for it is seen too.
    height = max(bar.amount / most * (_HEIGHT - 2), 0 if bar.amount == 0 else 2) if most else 0
    shown = max(height, 1)
    kind = "some" if bar.amount else "none"
    return Markup(
        '<rect class="{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"><title>{}: {:,}</title>'
        "</rect>"
    ).format(kind, place * (_BAR + _GAP), _HEIGHT - shown, _BAR, shown, bar.label, bar.amount)
