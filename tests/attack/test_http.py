"""HTTP under attack, at the server alone and through nginx: nobody hides a request in another."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
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
    with connection, suppress(OSError):
        connection.sendall(sent)
        connection.settimeout(2)
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
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def naive() -> Iterator[Dial]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Naive) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield lambda: socket.create_connection(("127.0.0.1", server.server_port), timeout=5)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["TE.CL, hidden in a chunk", "CL.CL, the first is short"])
def test_control_a_naive_server_takes_one_for_two(name: str) -> None:
    with naive() as dial:
        answered = statuses(dial(), smuggling.written(ATTACKS[name], token("c-1"), 0))

    assert len(answered) == 2


# -- limits ------------------------------------------------------------------------------


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """Return a request with the shop's key, which is closed after it."""
    key = b"Authorization: Bearer " + SHOP_KEY.encode()
    more = (b"Connection: close", key, smuggling.length(body), *headers)
    return smuggling.request(body, *more).replace(b"/co/state", path.encode(), 1)


@WAYS
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([b"X-Long: " + b"x" * 2**20], {400, 414, 431}),
        ([b"X-%d: x" % number for number in range(1_000)], {400, 431}),
        ([b"X-%d: %s" % (number, b"x" * 1_000) for number in range(1_000)], {400, 431}),
        ([b"Cookie: " + b"a=b; " * 400_000], {400, 431}),
    ],
    ids=["one of a MiB", "a thousand", "a thousand of a KiB", "two MiB of cookies"],
)
def test_headers_without_measure_are_refused(
    site: Site, way: str, headers: list[bytes], expected: set[int]
) -> None:
    answered = statuses(site.dial(way), post("/co/state", b"{}", *headers))

    # A server that has heard enough may hang up before the client has finished.
    assert set(answered) <= expected


@WAYS
def test_a_body_without_an_end_is_refused_and_takes_no_memory(site: Site, way: str) -> None:
    before = memory(site)
    sent = 0
    with site.dial(way) as connection, suppress(OSError):
        connection.sendall(smuggling.request(b"", smuggling.CHUNKED))
        connection.settimeout(10)
        while sent < 200 * 2**20:
            connection.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            sent += 2**20

    grown = memory(site) - before

    assert grown < 32 * 2**20, f"{grown:,} bytes more after {sent:,}"


def memory(site: Site) -> int:
    """Return how many bytes of memory the proxy's and nginx's processes have."""
    roots = [psutil.Process(site.proxy.pid), psutil.Process(site.nginx.pid)]
    family = [each for root in roots for each in (root, *root.children(recursive=True))]
    return sum(each.memory_info().rss for each in family)


DEEP = b"[" * 10_000 + b"]" * 10_000
HOSTILE = {
    "deep": DEEP[:15_000],
    "deep in a member": b'{"token":' + b"[" * 6_000 + b"]" * 6_000 + b"}",
    "deep and cut off": b'{"a":' * 2_500,
    "NaN": b'{"token":"t","age_ms":NaN}',
    "Infinity": b'{"token":"t","age_ms":-Infinity}',
    "beyond a float": b'{"token":"t","age_ms":1e999999}',
    "a lone surrogate": rb'{"token":"\ud800"}',
    "a surrogate in a key": rb'{"\udfff":"t"}',
    "half a character": b'{"token":"\xc3"}',
    "overlong": b'{"token":"\xc0\xaf"}',
    "UTF-16": '{"token":"t"}'.encode("utf-16"),
    "a mark before it": b'\xef\xbb\xbf{"token":"t"}',
    "the token twice": b'{"token":"TOKEN","token":"t"}',
    "two values": b'{"token":"t"}{"token":"t"}',
    "a comment": b'{"token":"t"/* */}',
    "a NUL": b'{"token":"a\0b"}',
    "many keys": b"{" + b",".join(b'"%d":0' % number for number in range(1_200)) + b"}",
}


@WAYS
@pytest.mark.parametrize("name", HOSTILE)
def test_json_that_is_none_is_refused(site: Site, way: str, name: str) -> None:
    body = HOSTILE[name].replace(b"TOKEN", token("c-1").encode())
    assert len(body) <= 16 * 1024

    (answered,) = statuses(site.dial(way), post("/co/state", body))

    assert 400 <= answered < 500


@WAYS
@pytest.mark.parametrize(
    "body",
    [DEEP, b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}"],
    ids=["10,000 deep", "100,000 keys"],
)
def test_what_the_shops_server_sends_may_not_be_without_measure_either(
    site: Site, way: str, body: bytes
) -> None:
    kind = b"Content-Type: application/json"
    sent = post("/v1/orders", body).replace(b"Content-Type: text/plain", kind)

    answered = statuses(site.dial(way), sent)

    assert answered in ([400], [413], [422], [])
