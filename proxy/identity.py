"""Identity: who the event is about."""

import hmac
import re
from dataclasses import dataclass
from unicodedata import normalize

import phonenumbers

from proxy.facts import Customer
from proxy.latest import Latest, value

# Klaviyo answers 202 to such addresses and drops the event in silence ("Set up API-based website
# activity events", Klaviyo Help Center). The rest are the names RFC 2606 keeps for tests.
_RESERVED = re.compile(
    r"@(.+\.)?(example\.(com|net|org)|test\.com|test|example|invalid|localhost)$"
)

# Klaviyo wants an address shorter than 100 characters ("Events API overview", Help Center).
MAX_EMAIL_LENGTH = 99


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile:
    """The person as Klaviyo is told: at least one identifier, and what else is known."""

    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    kx: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None

    @property
    def is_nobody(self) -> bool:
        """Whether there is nothing to find the person by."""
        return not (self.email or self.external_id or self.phone_number or self.kx)

    @property
    def is_reserved(self) -> bool:
        """Whether the address is of a domain kept for examples, to which nothing arrives."""
        return self.email is not None and _RESERVED.search(self.email.casefold()) is not None

    def hashed(self, key: bytes) -> str | None:
        """Return what stands for the address: nothing, where there is none, or no *key*."""
        return address_hash(self.email, key) if self.email and key else None

    def phone_hashed(self, key: bytes) -> str | None:
        """Return what stands for the telephone number, in the same way."""
        return address_hash(self.phone_number, key) if self.phone_number and key else None


def masked(profile: Profile) -> str | None:
    """Return who *profile* is, told by who knows them already and nobody else."""
    if profile.email:
        name, _, domain = profile.email.partition("@")
        return f"{name[:1]}…@{domain}"
    if profile.external_id:
        return "a customer of the shop's, by its own id"
    if profile.phone_number:
        return f"{profile.phone_number[:3]}…{profile.phone_number[-2:]}"
    return "known to Klaviyo (_kx)" if profile.kx else None


def identify(latest: Latest, *, cart_email: str | None = None) -> Profile:
    """Return who *latest* is about.

    The address typed now beats the one the shop vouches for (in the token, or else with the
    cart), which beats ``external_id``, then a telephone number, then Klaviyo's ``_kx``. What the
    shop knows of its customer is left out where the shopper typed somebody else's address.
    """
    customer = value(latest.customer) or Customer()
    vouched = _address(customer.email) or _address(cart_email)
    typed = value(latest.email)
    if typed is not None and not _same(typed, vouched):
        customer = Customer()
    return _profile(latest, customer, email=typed or vouched)


def is_found_in(one: Profile, other: Profile) -> bool:
    """Tell whether *other* has all that *one* is found by: what else is known makes nobody another.

    A number is what somebody is found by where there is nothing else.
    """
    names, known = _found_by(one), _found_by(other)
    if not any(names):
        return one.phone_number == other.phone_number
    return all(name in ("", same) for name, same in zip(names, known, strict=True))


def _found_by(profile: Profile) -> tuple[str, ...]:
    email = canonical(profile.email) if profile.email else ""
    return email, profile.external_id or "", profile.kx or ""


def is_vouched(latest: Latest) -> bool:
    """Tell whether the token vouches for the address that *latest* is about."""
    vouched = _address((value(latest.customer) or Customer()).email)
    typed = value(latest.email)
    return vouched is not None and (typed is None or _same(typed, vouched))


def address_key(secret: str) -> bytes:
    """Return the key that *secret* gives for hashing addresses; an empty one gives none."""
    return hmac.digest(secret.encode(), b"checkout-proxy.address", "sha256") if secret else b""


def canonical(email: str) -> str:
    """Return the one spelling of *email* by which addresses are told apart, and people found.

    Its capitals do not count, nor how its letters are composed, nor whether a domain of other
    letters than ASCII is written in them or in Punycode.
    """
    text = email.strip()
    folded = text.casefold()
    is_usual = text.isascii() and "xn--" not in folded
    return folded if is_usual else normalize("NFC", _spelt_out(text).casefold())


def _spelt_out(address: str) -> str:
    # Only here: few have such an address.
    from email_validator import EmailNotValidError, validate_email

    try:
        known = validate_email(address, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        return normalize("NFC", address)  # Nobody judges what the shop vouches for.
    return known.normalized


def address_hash(email: str, key: bytes) -> str:
    """Return what stands for *email* where the address itself may not: only *key* tells which.

    A telephone number is hashed in the same way, in E.164.
    """
    return hmac.digest(key, canonical(email).encode(), "sha256").hex()[:32]


def hash_in(latest: Latest, key: bytes) -> str | None:
    """Return what stands for the address in *latest*: nothing, where there is none, or no *key*."""
    email = value(latest.email) or (value(latest.customer) or Customer()).email
    return Profile(email=email).hashed(key)


def phone_hash_in(latest: Latest, key: bytes) -> str | None:
    """Return what stands for the telephone number that *latest* is sent with, as for the address.

    That of somebody else's session is not.
    """
    return identify(latest).phone_hashed(key)


def named_in(latest: Latest) -> tuple[str | None, str | None, Customer | None]:
    """Return the words that tell whose telephone number there is in *latest*, as they came."""
    return value(latest.email), value(latest.phone_number), value(latest.customer)


def _number(latest: Latest, customer: Customer) -> str | None:
    return e164(value(latest.phone_number)) or e164(customer.phone_number)


def e164(number: str | None) -> str | None:
    """Return *number* in E.164 (``+4930123456``), or ``None`` where it is no valid number."""
    # Letters would be taken for the digits on their keys: "+49 30 nonsense" is a valid number. By
    # digits of other scripts nobody would be found who is to be erased.
    if number is None or not re.fullmatch(r"\s*\+[0-9\s()./-]+", number):
        return None
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return None
    text = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    # The library knows longer numbers than the standard's fifteen digits.
    return text if phonenumbers.is_valid_number(parsed) and len(text) <= 16 else None


def _profile(latest: Latest, customer: Customer, *, email: str | None) -> Profile:
    external_id = customer.external_id
    phone_number = _number(latest, customer)
    identified = email or external_id or phone_number
    return Profile(
        email=email,
        phone_number=phone_number,
        external_id=external_id,
        # Only for somebody not known otherwise: a link out of a mail can be passed on.
        kx=None if identified else value(latest.kx),
        first_name=value(latest.first_name) or customer.first_name,
        last_name=value(latest.last_name) or customer.last_name,
        locale=value(latest.locale),
    )


def _address(text: str | None) -> str | None:
    """Return *text* where it has an address's form: shops write "" or "guest" for nobody."""
    has_form = text and re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text)
    return text if text and has_form and len(text) <= MAX_EMAIL_LENGTH else None


def _same(one: str, other: str | None) -> bool:
    return other is not None and canonical(one) == canonical(other)
