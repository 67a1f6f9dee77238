"""Regions: where a shopper is, as the shop or its CDN says it in codes of ISO 3166."""

import re

_COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"

COUNTRIES = frozenset(_COUNTRIES.split())
"""ISO 3166-1, and XK, which CDNs use for Kosovo."""

EU = frozenset(_EU.split())

GROUPS = {"EEA": EU | {"IS", "LI", "NO"}, "EU": EU}
"""Lists of countries by a name, the larger first."""

FORM = r"^[A-Z]{2}(-[A-Z0-9]{1,3})?\Z"


def is_region(text: str) -> bool:
    """Tell whether *text* is a country such as ``DE``, or a part of one such as ``US-CA``."""
    return re.match(FORM, text) is not None and text[:2] in COUNTRIES


def valid(text: str | None) -> str | None:
    """Return the region that a header names, or ``None`` where it names none."""
    region = (text or "").strip().upper()
    return region if is_region(region) else None


def country(region: str) -> str:
    """Return the country that *region* is, or is a part of."""
    return region.partition("-")[0]
