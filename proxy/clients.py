"""Clients: who posts, by the network address that nginx tells, and as no more than a hash of it."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network

# Where nginx, a load balancer or a container's gateway is; no shopper comes from there.
_INSIDE = tuple(
    map(
        ip_network,
        (
            *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
            *("::1/128", "fc00::/7", "fe80::/10"),
        ),
    )
)


class Source(StrEnum):
    """Who says from where a request comes."""

    TOLD = "told"  # a proxy that is believed
    NOBODY = "nobody"  # such a proxy says nothing
    CALLER = "caller"  # there is none: it comes from where it is


@dataclass(frozen=True, slots=True)
class Clients:
    """Tell clients apart; what is in *proxies*, or inside of a network, speaks for others."""

    proxies: Sequence[Network] = ()

    def source(self, peer: str, told: str) -> Source:
        """Return who says from where a request comes that *peer* sent, with *told* in a header."""
        if not self.is_inside(peer):
            return Source.CALLER
        return Source.TOLD if _address(told) is not None else Source.NOBODY

    def client(self, peer: str, told: str) -> str:
        """Return who posts, as :meth:`caller` says; nothing where that is no shopper."""
        return _client(self, peer, told)

    def caller(self, peer: str, told: str) -> str:
        """Return who sent what came of *peer*, an address or a network of one client's.

        It is whom a *peer* that is believed has *told*, else the peer, whatever it says.
        """
        return _network(_whence(self, peer, told))

    def is_inside(self, text: str) -> bool:
        """Tell whether *text* is no shopper's address: a proxy's, or none, as of a Unix socket."""
        address = _address(text)
        return address is None or any(address in each for each in (*_INSIDE, *self.proxies))


@lru_cache(maxsize=4096)
def _client(clients: Clients, peer: str, told: str) -> str:
    whence = _whence(clients, peer, told)
    # An address of the inner network is a proxy's before nginx: all shoppers would be one.
    return "" if clients.is_inside(whence) else _network(whence)


def _whence(clients: Clients, peer: str, told: str) -> str:
    return told if clients.source(peer, told) is Source.TOLD else peer


def _network(text: str) -> str:
    """Return what one client has of addresses: who rents one of IPv6 has 2^64 of them."""
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return text if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket for both kinds tells the older ones so.
    return getattr(address, "ipv4_mapped", None) or address


def key(secret: str) -> bytes:
    """Return the key that *secret* gives for hashing clients; an empty one gives none."""
    return hmac.digest(secret.encode(), b"checkout-proxy.client", "sha256") if secret else b""


@lru_cache(maxsize=4096)
def client_hash(client: str, key: bytes, day: date) -> str:
    """Return what stands for *client* on *day*: on another, or with another key, it is another."""
    words = f"{day.isoformat()} {client}".encode()
    return hmac.digest(key, words, "sha256").hex()[:32]


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks in *text*, with commas between, or raise :exc:`ValueError`."""
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())
