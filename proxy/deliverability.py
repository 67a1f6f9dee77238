"""Deliverability: whether a domain takes mail, as name servers say, asked once in a while."""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache

import dns.exception
import dns.name
import dns.resolver
from email_validator import EmailNotValidError, EmailUndeliverableError, validate_email

logger = logging.getLogger(__name__)

# A domain without an MX is asked for three more, and the root after it: 2.5 seconds in all.
_SECONDS = 0.5
_MOST_KNOWN = 10_000
_KNOWN_SECONDS = 3600.0
# Name servers that do not answer hold up a lane each time, so they are left alone for a while.
_PAUSE_SECONDS = 60.0


class Domains:
    """Ask *resolver* about domains; what it says holds for an hour, and silence for a minute.

    Silence about one domain is of that one alone, where the root of all domains is known. Where it
    is not, nothing else that is said of domains is believed: a network without the world's names
    says of each that there is none.
    """

    def __init__(
        self, resolver: dns.resolver.Resolver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        resolver.lifetime = resolver.timeout = _SECONDS
        self._resolver = resolver
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[bool, float]] = {}
        self._silent_until = clock()
        self._know_the_root = False

    def is_deliverable(self, domain: str) -> bool:
        """Tell whether mail to *domain* may arrive; where nobody knows, it may. It does not raise.

        It takes two and a half seconds at most.
        """
        now = self._clock()
        known, until = self._known.get(domain, (True, now))
        if now < max(until, self._silent_until):
            return known
        said = self._asked(domain)
        if said is None or not (said or self._know_the_root):
            said = self._checked(said)
        self._remember(domain, said)
        return said is not False

    def _remember(self, domain: str, said: bool | None) -> None:
        seconds = _PAUSE_SECONDS if said is None else _KNOWN_SECONDS
        with self._lock:
            while len(self._known) >= _MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
            self._known[domain] = said is not False, self._clock() + seconds

    def _checked(self, said: bool | None) -> bool | None:
        """Return what was *said*, or ``None`` where it is of servers that know no domain at all."""
        self._know_the_root = self._root_is_known()
        if self._know_the_root:
            return said
        self._silent_until = self._clock() + _PAUSE_SECONDS
        logger.warning(
            "the name servers do not answer for the root of all domains: for a minute every domain "
            "is taken to receive mail; CHECKOUT_PROXY_DNS=off has nobody asked"
        )
        return None

    def _root_is_known(self) -> bool:
        # Not any domain: somebody may own one that says nothing.
        try:
            self._resolver.resolve(dns.name.root, "NS")
        except dns.exception.DNSException:
            return False
        return True

    def _asked(self, domain: str) -> bool | None:
        """Return what name servers say; ``None`` where they do not."""
        try:
            found = validate_email(f"postmaster@{domain}", dns_resolver=self._resolver)
        except EmailUndeliverableError as error:
            # Whatever else goes wrong is told in the same way, with what it was as its cause.
            cause = error.__cause__
            return False if cause is None or isinstance(cause, _ANSWERS) else None
        except EmailNotValidError:
            return True  # Its form was judged where it came in.
        return True if getattr(found, "mx", None) else None


_ANSWERS = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)


@cache
def asked(setting: str) -> Callable[[str], bool] | None:
    """Return what tells whether a domain takes mail: by ``on``, or by a name server's place."""
    try:
        return Domains(_resolver(setting)).is_deliverable
    except dns.resolver.NoResolverConfiguration:
        logger.warning("this machine names no name server: nobody is asked about addresses")
        return None


def _resolver(setting: str) -> dns.resolver.Resolver:
    if setting == "on":
        return dns.resolver.Resolver()
    host, _, port = setting.rpartition(":")
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [host.strip("[]")], int(port)
    return resolver
