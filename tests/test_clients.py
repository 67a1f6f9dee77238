"""Clients: who posts is told apart by what a proxy that is believed says, and kept as a hash."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from proxy.clients import Clients, Source, client_hash, networks
from proxy.facts import StatePosted
from tests.web import Web, token

ADDRESS = "203.0.113.7"


def posted(web: Web, **headers: str) -> StatePosted:
    """Post a state, and return it as it was kept."""
    before = len(web.facts())
    answer = web.post_state(json.dumps({"token": token()}), **headers)
    assert answer.status == 202, answer.body
    fact = web.facts()[before]
    assert isinstance(fact, StatePosted)
    return fact


# -- whose word counts -------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.1.2.3", "172.17.0.1", "fd00::1", ""])
def test_a_proxy_inside_is_believed(peer: str) -> None:
    assert Clients().client(peer, ADDRESS) == ADDRESS
    assert Clients().source(peer, ADDRESS) is Source.TOLD


def test_somebody_outside_is_not_believed() -> None:
    assert Clients().client("198.51.100.9", ADDRESS) == "198.51.100.9"
    assert Clients().source("198.51.100.9", ADDRESS) is Source.CALLER


def test_a_proxy_that_is_listed_is_believed_and_is_no_client() -> None:
    clients = Clients(networks("198.51.100.0/24, 2001:db8::/32"))

    assert clients.client("198.51.100.9", ADDRESS) == ADDRESS
    assert clients.client("2001:db8::9", ADDRESS) == ADDRESS
    assert clients.client("127.0.0.1", "198.51.100.9") == ""


@pytest.mark.parametrize("told", ["", "nonsense", "203.0.113.7, 198.51.100.9", "10.0.0.2", "::1"])
def test_where_nobody_tells_a_shoppers_address_there_is_no_client(told: str) -> None:
    assert Clients().client("127.0.0.1", told) == ""


@pytest.mark.parametrize("told", ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"])
def test_of_ipv6_a_network_is_one_client(told: str) -> None:
    assert Clients().client("127.0.0.1", told) == "2001:db8:1:2::/64"


def test_an_older_address_is_the_same_in_both_spellings() -> None:
    assert Clients().client("::ffff:127.0.0.1", f"::ffff:{ADDRESS}") == ADDRESS


# -- what is kept of it ------------------------------------------------------------------


def test_a_hash_tells_clients_apart_for_a_day_and_with_one_key() -> None:
    monday, tuesday = date(2026, 11, 23), date(2026, 11, 24)
    said = [
        client_hash(client, key, day)
        for client in (ADDRESS, "203.0.113.8")
        for key in (b"a key", b"another")
        for day in (monday, tuesday)
    ]

    assert len(set(said)) == 8
    assert client_hash(ADDRESS, b"a key", monday) == said[0]


@pytest.mark.parametrize("fast", ["on", "off"])
def test_the_hash_is_kept_and_the_address_nowhere(
    serve: Callable[..., Web], tmp_path: Path, fast: str
) -> None:
    web = serve(FAST=fast)

    one, same, other, nobody = (
        posted(web, **headers)
        for headers in (
            {"X_Real_IP": ADDRESS},
            {"X_Real_IP": ADDRESS},
            {"X_Real_IP": "203.0.113.8"},
            {},
        )
    )

    assert one.client is not None
    assert one.client == same.client != other.client
    assert nobody.client is None
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert one.client.encode() in kept
    assert ADDRESS.encode() not in kept


def test_anybody_can_ask_who_told_from_where_they_come(web: Web) -> None:
    def asked(**headers: str) -> Any:
        return web.ask("GET", "/co/client", **headers).json()

    assert asked(X_Real_IP=ADDRESS) == {"client": "told"}
    assert asked() == asked(X_Real_IP="nonsense") == {"client": "nobody"}
