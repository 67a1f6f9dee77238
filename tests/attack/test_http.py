"""HTTP under attack, at the server alone and through nginx: nobody hides a request in another."""

import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread

import psutil
import pytest

from proxy.store import Store
from tests import running
from tests.actors import SHOP_KEY, environment
from tests.attack import smuggling
from tests.attack.smuggling import ATTACKS, HONEST, Attack
from tests.crowd import token
from tests.running import HOST, Nginx, Proxy

pytestmark = pytest.mark.skipif(
    running.nginx() is None, reason="there is no nginx: apt-get install nginx-light"
)

KIB, MIB = 2**10, 2**20
Dial = Callable[[], socket.socket]
_NUMBERS = count(1)


@dataclass(frozen=True)
class Site:
    """A proxy, the nginx before it, and what was kept."""

    proxy: Proxy
    nginx: Nginx
    store: Path

    def dial(self, way: str) -> socket.socket:
        """Return a connection to nginx, or past it to the server alone."""
        if way == "alone":
            return socket.create_connection(("127.0.0.1", self.proxy.port), timeout=5)
        port = int(self.nginx.url.rpartition(":")[2])
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        context = ssl.create_default_context(cafile=str(self.nginx.certificate))
        return context.wrap_socket(plain, server_hostname=HOST)

    def kept(self, number: int) -> list[str]:
        """Return the ids of this *number* under which something was kept."""
        with closing(Store.of("shop", f"sqlite:///{self.store}").inboxes("shop")) as inboxes:
            ids = [row.id for row in inboxes.after({}, 10_000)]
        return [id_ for id_ in ids if id_.partition("-")[2] == str(number)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    env = environment(folder / "store", "http://127.0.0.1:9")
    with (
        Proxy(env, "--web-only") as proxy,
        Nginx(folder, proxy=proxy.address) as nginx,
    ):
        yield Site(proxy, nginx, folder / "store")


WAYS = pytest.mark.parametrize("way", ["alone", "through nginx"])


def statuses(connection: socket.socket, sent: bytes) -> list[int]:
    """Return the statuses of all that is answered to *sent*, until the other side hangs up."""
    answer = b""
    with connection:
        # Who has heard enough may hang up before all is sent, and has answered all the same.
        with suppress(OSError):
            connection.sendall(sent)
        connection.settimeout(2)
        with suppress(OSError):
            while piece := connection.recv(65_536):
                answer += piece
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d+)", answer, re.M)]


@WAYS
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_request_in_a_request_is_not_taken_for_one(site: Site, way: str, attack: Attack) -> None:
    number = next(_NUMBERS)

    answered = statuses(site.dial(way), smuggling.written(attack, token("c-1"), number))

    assert len(answered) <= 1
    assert f"inner-{number}" not in site.kept(number)
    assert answered in ([], [202], [400], [501])


@WAYS
@pytest.mark.parametrize("pair", HONEST.values(), ids=HONEST.keys())
def test_two_requests_are_as_many_as_are_answered(site: Site, way: str, pair: Attack) -> None:
    number = next(_NUMBERS)

    answered = statuses(site.dial(way), smuggling.written(pair, token("c-1"), number))

    assert len(site.kept(number)) == answered.count(202)


class _Naive(BaseHTTPRequestHandler):
    """Reads as many bytes as the first length says, whatever else is said."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.answer(body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body: bytes) -> int:
        return 202

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(server: TCPServer) -> Iterator[Dial]:
    with server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield lambda: socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["TE.CL, hidden in a chunk", "CL.CL, the first is short"])
def test_control_a_naive_server_takes_one_for_two(name: str) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Naive)) as dial:
        answered = statuses(dial(), smuggling.written(ATTACKS[name], token("c-1"), 0))

    assert len(answered) == 2


# -- limits ------------------------------------------------------------------------------


def address() -> bytes:
    """Return the header of a client of its own: of each nginx takes only so many a second."""
    return b"X-Test-Address: 198.18.%d.%d" % divmod(next(_NUMBERS), 256)


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """Return a request with the shop's key, which is closed after it."""
    key = b"Authorization: Bearer " + SHOP_KEY.encode()
    more = (b"Connection: close", key, address(), smuggling.length(body), *headers)
    return smuggling.request(body, *more).replace(b"/co/state", path.encode(), 1)


HEADERS = {
    "one of a MiB": [b"X-Long: " + b"x" * MIB],
    "a thousand": [b"X-%d: x" % number for number in range(1_000)],
    "a thousand of a KiB": [b"X-%d: %s" % (number, b"x" * KIB) for number in range(1_000)],
    "two MiB of cookies": [b"Cookie: " + b"a=b; " * 400_000],
}
TOO_MUCH = {"alone": [431], "through nginx": [400]}


@WAYS
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
def test_headers_without_measure_are_refused(site: Site, way: str, headers: list[bytes]) -> None:
    answered = statuses(site.dial(way), post("/co/state", b"{}", *headers))

    assert answered == TOO_MUCH[way]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 202 Accepted\r\n\r\n", b""], ids=["takes", "silent"])
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
def test_control_headers_that_are_kept_however_long_are_noticed(
    headers: list[bytes], answer: bytes
) -> None:
    class Patient(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline() != b"\r\n":
                pass
            self.wfile.write(answer)

    with serving(TCPServer(("127.0.0.1", 0), Patient)) as dial:
        answered = statuses(dial(), post("/co/state", b"{}", *headers))

    assert answered not in TOO_MUCH.values()


# What a request begins with, and what goes on and on in it.
ENDLESS = {
    "a body": (
        smuggling.request(b"", smuggling.CHUNKED, address()),
        b"100000\r\n" + b"x" * MIB + b"\r\n",
    ),
    "a header": (smuggling.request(b"")[:-4] + b"\r\nX-Long: ", b"x" * MIB),
    "headers": (smuggling.request(b"")[:-2], (b"X-Long: " + b"x" * KIB + b"\r\n") * KIB),
}
MOST, MOST_MEMORY = 64 * MIB, 32 * MIB


@dataclass(frozen=True)
class Poured:
    """What came of a request without an end: *grown* is by how much memory, at most."""

    sent: int
    grown: int
    answered: list[int]

    @property
    def took_no_memory(self) -> bool:
        return self.grown < MOST_MEMORY

    @property
    def is_refused(self) -> bool:
        # nginx goes on to read for a while, so that its answer is heard, and keeps none of it.
        return self.answered in (*TOO_MUCH.values(), [413])


def poured(connection: socket.socket, name: str, *pids: int) -> Poured:
    """Send on and on until the other side hangs up, or enough was sent to tell."""
    begin, piece = ENDLESS[name]
    before = most = memory(*pids)
    sent = 0
    with connection:
        # Not to read any further is no refusal: that runs into the time-out, and fails the test.
        with suppress(ConnectionError, ssl.SSLError):
            connection.sendall(begin)
            while sent < MOST:
                connection.sendall(piece)
                sent += len(piece)
                most = max(most, memory(*pids))
        return Poured(sent, most - before, statuses(connection, b""))


def memory(*pids: int) -> int:
    """Return how many bytes of memory the processes *pids* and those that they started have."""
    roots = [psutil.Process(pid) for pid in pids]
    family = [each for root in roots for each in (root, *root.children(recursive=True))]
    return sum(each.memory_info().rss for each in family)


@WAYS
@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_refused_and_takes_no_memory(site: Site, way: str, name: str) -> None:
    said = poured(site.dial(way), name, site.proxy.pid, site.nginx.pid)

    assert said.took_no_memory, said
    assert said.is_refused, said


# Reads all that is sent, says nothing, and keeps what it read, or does not.
ENDURING = f"""
import socket, sys
kept, read = [], 0
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    with connection:
        while read < {MOST}:
            piece = connection.recv(2**20)
            read += len(piece) or {MOST}
            if sys.argv[1] == "keeps":
                kept.append(piece)
sys.stdin.read()
"""


@pytest.mark.parametrize("does", ["keeps", "drops"])
@pytest.mark.parametrize("name", ENDLESS)
def test_control_what_is_read_to_its_end_is_noticed(name: str, does: str) -> None:
    command = [sys.executable, "-c", ENDURING, does]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = "127.0.0.1", int(process.stdout.readline())
        said = poured(socket.create_connection(address, timeout=5), name, process.pid)

    assert not said.is_refused
    assert said.took_no_memory == (does == "drops")


# -- JSON --------------------------------------------------------------------------------

# Each body is this one, which is taken, with one thing in it that may not be.
KNOWN = token("c-1")
STATE = b'{"token":"%s","email":"jane@shop-demo.io"}' % KNOWN.encode()


def with_member(member: bytes) -> bytes:
    return STATE[:-1] + b"," + member + b"}"


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def keys(number: int) -> bytes:
    return b",".join(b'"%d":0' % key for key in range(number))


HOSTILE = {
    "deep": with_member(b'"x":' + deep(7_700)),
    "deep in a member": with_member(b'"first_name":' + deep(7_700)),
    "deep and cut off": STATE[:-1] + b',"x":' + b"[" * 15_400,
    "NaN": with_member(b'"age_ms":NaN'),
    "Infinity": with_member(b'"age_ms":-Infinity'),
    "beyond a float": with_member(b'"age_ms":1e999999'),
    "a lone surrogate": with_member(rb'"first_name":"\ud800"'),
    "a surrogate in a key": with_member(rb'"\udfff":"t"'),
    "half a character": with_member(b'"first_name":"\xc3"'),
    "overlong": with_member(b'"first_name":"\xc0\xaf"'),
    "UTF-16": STATE.decode().encode("utf-16"),
    "a mark before it": b"\xef\xbb\xbf" + STATE,
    "two values": STATE + STATE,
    "a comment": with_member(b'"x":0/* */'),
    "a NUL": with_member(b'"first_name":"a\0b"'),
}
NO_JSON = ([400], [422])


@WAYS
@pytest.mark.parametrize("name", HOSTILE)
def test_json_that_is_none_is_refused(site: Site, way: str, name: str) -> None:
    assert len(HOSTILE[name]) <= 16 * KIB

    assert statuses(site.dial(way), post("/co/state", HOSTILE[name])) in NO_JSON


@WAYS
@pytest.mark.parametrize(
    ("body", "answered"),
    [
        (STATE, [202]),
        # What is not known is passed over.
        (with_member(keys(1_200)), [202]),
        # Of what comes twice the last counts.
        (with_member(b'"token":"t"'), [401]),
        (STATE.replace(b"{", b'{"token":"t",'), [202]),
    ],
    ids=["honest", "1,200 keys", "a bad token behind it", "a bad token before it"],
)
def test_json_that_is_some_is_taken_as_it_says(
    site: Site, way: str, body: bytes, answered: list[int]
) -> None:
    assert statuses(site.dial(way), post("/co/state", body)) == answered


ORDER = b'{"cart_id":"c-1","order_id":"o-1"}'
HOSTILE_ORDERS = {
    "100,000 deep": ORDER[:-1] + b',"x":' + deep(100_000) + b"}",
    "100,000 deep in a member": ORDER[:-1] + b',"cart_id":' + deep(100_000) + b"}",
    "100,000 keys": ORDER[:-1] + b"," + keys(100_000) + b"}",
}


def order(body: bytes) -> bytes:
    kind = b"Content-Type: application/json"
    return post("/v1/orders", body).replace(b"Content-Type: text/plain", kind)


@WAYS
@pytest.mark.parametrize("name", HOSTILE_ORDERS)
def test_what_the_shops_server_sends_may_not_be_without_measure_either(
    site: Site, way: str, name: str
) -> None:
    answered = statuses(site.dial(way), order(HOSTILE_ORDERS[name]))

    assert answered == ([413] if "keys" in name else [422])


@WAYS
def test_an_order_with_measure_is_taken(site: Site, way: str) -> None:
    assert statuses(site.dial(way), order(ORDER)) == [202]


class _Careless(_Naive):
    """Makes something of all that it can, with what Python has for it."""

    def answer(self, body: bytes) -> int:
        text = body.decode(json.detect_encoding(body), "replace")
        try:
            said, _ = json.JSONDecoder(strict=False).raw_decode(re.sub(r"/\*.*?\*/", "", text))
        except RecursionError:
            return 500
        except ValueError:
            return 400
        return 202 if said.get("token", KNOWN) == KNOWN else 401


@pytest.mark.parametrize("name", HOSTILE | HOSTILE_ORDERS)
def test_control_a_careless_door_takes_it_or_breaks(name: str) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Careless)) as dial:
        answered = statuses(dial(), post("/", (HOSTILE | HOSTILE_ORDERS)[name]))

    # How deep Python goes before it gives up depends upon its version.
    assert answered == [202] or ("deep" in name and answered == [500])
