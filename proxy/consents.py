"""Consents: whether a checkout may be sent, by what the shop asks and what the shopper said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from msgspec.structs import replace

from proxy import regions
from proxy.facts import Consent, ConsentState
from proxy.latest import Latest, value
from proxy.wire import Discreet


class ConsentMode(StrEnum):
    """What the shop asks of its shoppers before their checkout may be sent."""

    OPT_OUT = "opt-out"
    REQUIRED = "required"
    OFF = "off"


class Permission(StrEnum):
    """What was decided about consent."""

    GIVEN = "may be sent"
    AWAITED = "waits for consent"
    REFUSED = "must not be sent"


@dataclass(frozen=True, slots=True)
class Modes:
    """What a shop asks: the *default*, but in *regions* that have a mode of their own."""

    default: ConsentMode
    regions: Mapping[str, ConsentMode] = field(default_factory=dict)

    def named(self, region: str | None) -> str | None:
        """Return what of *region* has a mode of its own: itself, or its country; else ``None``."""
        if not region:
            return None
        named = (each for each in (region, regions.country(region)) if each in self.regions)
        return next(named, None)

    def mode(self, region: str | None) -> ConsentMode:
        """Return what is asked of shoppers in *region*, the default where it is unknown."""
        return self.regions.get(self.named(region) or "", self.default)


class Decided(Discreet, frozen=True, kw_only=True):
    """What was decided about consent, since when, under which mode, and on what evidence.

    ``region`` is where the shopper is, and ``region_by`` who says so: the token, or a header.
    """

    permission: Permission
    mode: ConsentMode
    at: datetime
    consent: Consent | None = None
    gpc: bool = False
    region: str | None = None
    region_by: str | None = None


def judged(latest: Latest, modes: Modes) -> tuple[Permission, str]:
    """Return what the shopper's word leads to, or the silence, and why, unless it is given."""
    mode, consent = modes.mode(region_of(latest)), value(latest.consent)
    if mode is ConsentMode.OFF:
        return Permission.GIVEN, ""
    if consent is None and value(latest.gpc):
        return Permission.REFUSED, "the browser sends Global Privacy Control"
    if consent is None and mode is ConsentMode.REQUIRED:
        return Permission.AWAITED, "waiting for consent"
    if consent is not None and consent.state is ConsentState.DENIED:
        return Permission.REFUSED, "the shopper denied consent"
    return Permission.GIVEN, ""


def region_of(latest: Latest) -> str | None:
    """Return where the shopper is: the shop's word in the token goes before a header's."""
    return value(latest.region) or value(latest.region_seen)


def decided(latest: Latest, modes: Modes, at: datetime, before: Decided | None) -> Decided:
    """Return what *modes* decide at *at*, or what was decided *before*, if that is the same."""
    region = region_of(latest)
    by = "token" if latest.region else "header"
    permission, _ = judged(latest, modes)
    now = Decided(
        permission=permission,
        mode=modes.mode(region),
        at=at,
        consent=value(latest.consent),
        gpc=latest.gpc is not None and latest.gpc.value,
        region=region,
        region_by=by if region else None,
    )
    return before if before and replace(before, at=at) == now else now
