"""Domains: to which no mail goes, as lists and a real name server say; silence says nothing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from proxy import domains, shops, work
from proxy.checkouts import Status
from proxy.deliverability import Domains
from proxy.identity import Profile
from tests.actors import CART, Ledger, Page, Shop, environment, judged_klaviyo
from tests.running import Proxy

RECORDS = {
    ("post.io.", "MX"): "10 mx.post.io.",
    ("site.io.", "A"): "93.184.216.34",
    ("newer.io.", "AAAA"): "2606:2800:220:1::1",
    ("null.io.", "MX"): "0 .",
    ("inside.io.", "A"): "10.0.0.7",
    (".", "NS"): "a.root-servers.net.",
    ("spf.io.", "A"): "93.184.216.34",
    ("spf.io.", "TXT"): '"v=spf1 -all"',
}


@dataclass
class NameServer:
    """A name server on loopback that knows of *RECORDS*; it may fall silent, or fail.

    Where it *is_lame*, that is about the domains below ``lame.io`` alone.
    """

    socket: socket.socket
    questions: list[str] = field(default_factory=list)
    is_silent: bool = False
    rcode: dns.rcode.Rcode | None = None
    is_lame: bool = False

    @property
    def place(self) -> str:
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def serve(self) -> None:
        while True:
            try:
                wire, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            question = dns.message.from_wire(wire)
            if not question.question or not wire:
                return
            self.questions.append(question.question[0].to_text())
            if not (self.is_silent and self._fails(question)):
                self.socket.sendto(self._answer(question).to_wire(), peer)

    def _answer(self, question: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        about = question.question[0]
        name, kind = about.name.to_text(), about.to_text().split()[-1]
        if self.rcode is not None and self._fails(question):
            answer.set_rcode(self.rcode)
        elif (name, kind) in RECORDS:
            answer.answer.append(dns.rrset.from_text(name, 300, "IN", kind, RECORDS[name, kind]))
        elif name not in {known for known, _ in RECORDS}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def _fails(self, question: dns.message.Message) -> bool:
        return not self.is_lame or question.question[0].name.to_text().endswith(".lame.io.")


@contextmanager
def serving() -> Iterator[NameServer]:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    server = NameServer(bound)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        # A message that asks nothing ends it.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(dns.message.Message().to_wire(), bound.getsockname())
        thread.join()
        bound.close()


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    with serving() as server:
        yield server


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def resolver(server: NameServer) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    host, port = server.place.split(":")
    resolver.nameservers, resolver.port = [host], int(port)
    return resolver


# -- what name servers say ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "takes_mail"),
    [
        *(("post.io", True), ("site.io", True), ("newer.io", True)),
        *(("nowhere.io", False), ("null.io", False), ("inside.io", False), ("spf.io", False)),
    ],
)
def test_a_domain_takes_mail_or_does_not(
    name_server: NameServer, domain: str, takes_mail: bool
) -> None:
    assert Domains(resolver(name_server)).is_deliverable(domain) is takes_mail


def test_a_domain_is_asked_about_once_an_hour(name_server: NameServer) -> None:
    clock = Clock()
    known = Domains(resolver(name_server), clock)

    def asked() -> int:
        return sum("nowhere.io" in question for question in name_server.questions)

    assert [known.is_deliverable("nowhere.io") for _ in range(3)] == [False] * 3
    assert asked() == 1

    clock.now += 3601
    known.is_deliverable("nowhere.io")
    assert asked() == 2


@pytest.mark.parametrize("rcode", [None, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_name_server_that_does_not_say_is_left_alone_for_a_minute(
    name_server: NameServer, rcode: dns.rcode.Rcode | None
) -> None:
    clock = Clock()
    known = Domains(resolver(name_server), clock)
    name_server.is_silent, name_server.rcode = rcode is None, rcode

    assert known.is_deliverable("nowhere.io")
    tried = len(name_server.questions)
    assert known.is_deliverable("elsewhere.io")
    assert len(name_server.questions) == tried

    name_server.is_silent, name_server.rcode = False, None
    clock.now += 61
    assert not known.is_deliverable("nowhere.io")


def test_a_network_without_the_worlds_names_keeps_nobody_back(
    name_server: NameServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    known = Domains(resolver(name_server), clock)
    name_server.rcode = dns.rcode.NXDOMAIN

    assert known.is_deliverable("post.io")
    assert "CHECKOUT_PROXY_DNS=off" in caplog.text

    name_server.rcode = None
    clock.now += 61
    assert not known.is_deliverable("nowhere.io")


@pytest.mark.parametrize("rcode", [None, dns.rcode.SERVFAIL])
def test_domains_that_nobody_knows_about_switch_nothing_off(
    name_server: NameServer, rcode: dns.rcode.Rcode | None
) -> None:
    known = Domains(resolver(name_server), Clock())
    name_server.is_lame, name_server.is_silent, name_server.rcode = True, rcode is None, rcode

    assert [known.is_deliverable(f"{n}.lame.io") for n in range(3)] == [True] * 3
    assert not known.is_deliverable("nowhere.io")

    tried = len(name_server.questions)
    assert known.is_deliverable("0.lame.io")
    assert len(name_server.questions) == tried


def test_nobody_is_asked_where_that_is_switched_off(tmp_path: Path) -> None:
    (settings,) = shops.read(environment(tmp_path, "http://127.0.0.1:9", DNS="off"))

    assert work.account(settings).is_deliverable is None


# -- what the lists say ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("email", "words"),
    [
        ("jane@mailinator.com", "thrown away"),
        ("jane@Sub.Mailinator.com", "thrown away"),
        ("jane@example.com", "kept for examples"),
        ("jane@gmail.com", ""),
        ("jane@notmailinator.com.shop.io", ""),
    ],
)
def test_a_domain_that_is_listed_is_told(email: str, words: str) -> None:
    said = domains.suspicion_of(Profile(email=email), None)

    assert words in said
    assert bool(said) == bool(words)


def test_who_has_no_address_is_not_asked_about() -> None:
    def is_deliverable(domain: str) -> bool:
        raise AssertionError(domain)

    assert domains.suspicion_of(Profile(external_id="17"), is_deliverable) == ""


# -- through the front door --------------------------------------------------------------


def test_only_to_a_domain_that_takes_mail_an_event_goes(
    tmp_path: Path, name_server: NameServer
) -> None:
    folder = tmp_path / "store"
    addresses = {
        "c-1": "jane@post.io",
        "c-2": "jane@nowhere.io",
        "c-3": "jane@mailinator.com",
        "c-4": "jane@test.com",
    }
    with (
        judged_klaviyo() as klaviyo,
        Proxy(environment(folder, klaviyo.url, DNS=name_server.place)) as proxy,
    ):
        shop, ledger = Shop(proxy.url), Ledger(folder, klaviyo)
        for cart_id, email in addresses.items():
            shop.push(cart_id, CART)
            Page(proxy.url, shop.token(cart_id)).say(email=email)

        ledger.wait("c-1", Status.DELIVERED)
        reasons = [
            ledger.wait(cart_id, Status.QUARANTINED)[0].reason for cart_id in ("c-2", "c-3", "c-4")
        ]

        assert [words.rpartition(" a domain ")[2] for words in reasons] == [
            "that takes no mail",
            "for addresses that are thrown away",
            "kept for examples, which Klaviyo drops",
        ]
        assert len(klaviyo.events) == 1
