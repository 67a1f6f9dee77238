"""Klaviyo: what each answer, or the lack of one, means for an event and for the account."""

import json
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import pytest

from proxy.klaviyo import Answer, Budget, Klaviyo, Verdict
from proxy.sandbox.faults import Challenge, Cut, Fault, Hang, Strange, Trickle
from proxy.sandbox.klaviyo import Klaviyo as Sandbox
from tests.actors import until
from tests.running import free_port

JSON_API = "application/vnd.api+json"
PHONE = "/data/attributes/profile/data/attributes/phone_number"


def refusal(pointer: str = "/data", detail: str = "Invalid input.", id: str = "an-id") -> str:
    error = {"id": id, "code": "invalid", "detail": detail, "source": {"pointer": pointer}}
    return json.dumps({"errors": [error]})


def answer(status: int, body: str = "", media_type: str = JSON_API, **headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body.encode())}"]
    lines += [f"Content-Type: {media_type}"] if body else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one request, read to its end, with *reply*; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                read = b""
                while not read.endswith(b"{}"):
                    read += connection.recv(65_536)
                reply(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def create_event(url: str) -> Answer:
    with closing(Klaviyo(url=url, key="pk_1", revision="2026-07-15")) as klaviyo:
        return klaviyo.create_event(b"{}")


def judged(raw: bytes) -> Answer:
    with answering(lambda connection: connection.sendall(raw)) as url:
        return create_event(url)


HTML = {"body": "<!DOCTYPE html><title>Just a moment...</title>", "media_type": "text/html"}


@pytest.mark.parametrize(
    ("raw", "verdict", "maybe_received"),
    [
        (answer(202), Verdict.DELIVERED, False),
        (answer(200, "{}"), Verdict.LATER, True),
        (answer(400, refusal()), Verdict.NEVER, False),
        (answer(400, **HTML), Verdict.LATER, False),
        (answer(401, refusal()), Verdict.ACCOUNT_STOPPED, False),
        (answer(401), Verdict.ACCOUNT_STOPPED, False),
        (answer(403, refusal()), Verdict.ACCOUNT_STOPPED, False),
        (answer(403, **HTML, cf_mitigated="challenge"), Verdict.LATER, False),
        (answer(404, refusal()), Verdict.ACCOUNT_STOPPED, False),
        (answer(405, refusal()), Verdict.ACCOUNT_STOPPED, False),
        (answer(409, refusal()), Verdict.NEVER, False),
        (answer(410, refusal()), Verdict.ACCOUNT_STOPPED, False),
        (answer(413, refusal()), Verdict.NEVER, False),
        (answer(415, refusal()), Verdict.ACCOUNT_STOPPED, False),
        (answer(429, refusal(), Retry_After="7"), Verdict.ACCOUNT_WAITS, False),
        (answer(301, Location="http://127.0.0.1:9/"), Verdict.LATER, False),
        *((answer(status, **HTML), Verdict.LATER, True) for status in (500, 502, 503, 504, 524)),
        (answer(500, refusal()), Verdict.LATER, True),
    ],
    ids=lambda value: value.split(b"\r\n\r\n")[0].decode() if isinstance(value, bytes) else "",
)
def test_each_answer_means_yes_later_never_or_something_about_the_account(
    raw: bytes, verdict: Verdict, maybe_received: bool
) -> None:
    said = judged(raw)

    assert (said.verdict, said.maybe_received) == (verdict, maybe_received)


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("0", timedelta(0)),
        ("999999", timedelta(minutes=15)),
        ("9" * 5_000, None),
        ("soon", None),
    ],
)
def test_the_wait_is_what_retry_after_says_within_reason(
    retry_after: str, wait: timedelta | None
) -> None:
    assert judged(answer(429, refusal(), Retry_After=retry_after)).wait == wait


def test_klaviyo_says_when_the_revision_is_retired() -> None:
    header = {"X-Klaviyo-Api-Retirement-Date": "2027-06-30"}

    assert judged(answer(202, **header)).retires_on == date(2027, 6, 30)
    assert judged(answer(410, refusal(), **header)).retires_on == date(2027, 6, 30)
    assert judged(answer(202)).retires_on is None


def test_a_refusal_is_told_in_klaviyos_words_with_its_id() -> None:
    said = judged(answer(400, refusal("/data/attributes/value", "Not a number.", "a1b2")))

    assert said.reason == "Klaviyo answered 400: Not a number. (/data/attributes/value)"
    assert said.request_id == "a1b2"


def test_klaviyos_words_are_told_without_the_person() -> None:
    said = judged(answer(400, refusal(detail="'jane@shop-demo.io' or +49 30 901820 is wrong.")))

    assert said.reason == "Klaviyo answered 400: '[address]' or [number] is wrong. (/data)"


def test_klaviyos_words_are_told_within_reason_and_without_what_no_text_has() -> None:
    said = judged(answer(400, refusal("/\0", "No\0\x1b[2J.", "\0" + "x" * 300)))

    assert said.reason == "Klaviyo answered 400: No  [2J. (/ )"
    assert said.request_id == " " + "x" * 127


def test_a_refusal_that_is_nested_too_deep_says_nothing() -> None:
    assert judged(answer(400, '{"errors":' + "[" * 3_000)).verdict is Verdict.LATER


@pytest.mark.parametrize("error", [{}, {"id": None, "detail": None, "source": None}])
def test_a_refusal_without_a_word_is_one(error: dict[str, None]) -> None:
    said = judged(answer(403, json.dumps({"errors": [error]})))

    assert said.verdict is Verdict.ACCOUNT_STOPPED


def test_a_refusal_that_comes_in_pieces_is_read_whole() -> None:
    head = f"HTTP/1.1 400 No\r\nContent-Type: {JSON_API}\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = refusal(PHONE).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:20], body[20:])) + b"0\r\n\r\n"

    said = judged(head.encode() + pieces)

    assert said.verdict is Verdict.NEVER
    assert said.blames_phone_number


def test_of_an_answer_without_end_only_the_beginning_is_read() -> None:
    def pour(connection: socket.socket) -> None:
        head = f"HTTP/1.1 400 No\r\nContent-Type: {JSON_API}\r\n\r\n"
        connection.sendall(head.encode())
        with suppress(OSError):  # The reader hangs up.
            while True:
                connection.sendall(b" " * 65_536)

    with answering(pour) as url:
        assert create_event(url).verdict is Verdict.LATER


# -- asking for more than an event's fate ------------------------------------------------


@contextmanager
def client_of(sandbox: Sandbox) -> Iterator[Klaviyo]:
    klaviyo = Klaviyo(url=sandbox.url, key="pk_1", revision="2026-07-15")
    with closing(klaviyo):
        yield klaviyo


def test_an_answer_is_told_with_all_that_came_with_it() -> None:
    with Sandbox(key="pk_1").serve() as sandbox, client_of(sandbox) as klaviyo:
        told = klaviyo.ask("GET", "/api/accounts", X_Odd="1")

    assert (told.answer.status, told.is_document) == (200, True)
    assert json.loads(told.body)["data"][0]["type"] == "account"
    assert told.headers["Content-Type"] == JSON_API
    assert sandbox.requests[0].headers["X-Odd"] == "1"
    assert "test_account" not in repr(told)


def test_a_page_is_no_document_and_silence_neither() -> None:
    with Sandbox(key="pk_1").serve() as sandbox, client_of(sandbox) as klaviyo:
        sandbox.misbehave(Challenge())
        page = klaviyo.ask("GET", "/api/accounts")
        sandbox.misbehave(Cut())
        silence = klaviyo.ask("GET", "/api/accounts")

    assert (page.answer.status, page.is_document) == (403, False)
    assert (silence.answer.status, silence.is_document, silence.body) == (None, False, b"")


# -- a Klaviyo gone mad ------------------------------------------------------------------


@contextmanager
def asked_of(fault: Fault, *, seconds: float = 20) -> Iterator[Answer]:
    """Return what is made of a stand-in that meets *fault*."""
    with (
        Sandbox(key="pk_1").serve() as sandbox,
        closing(
            Klaviyo(
                url=sandbox.url,
                key="pk_1",
                revision="2026-07-15",
                exchange=timedelta(seconds=seconds),
            )
        ) as klaviyo,
    ):
        sandbox.misbehave(fault)
        yield klaviyo.create_event(b"{}")
        sandbox.behave()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Strange("html"), "Klaviyo answered 500"),
        (Strange("html", status=200), "Klaviyo answered 200"),
        (Strange("half-json", status=400), "Klaviyo answered 400"),
        (Strange("redirect", status=302), "Klaviyo answered 302"),
        (Strange("redirect", status=307), "Klaviyo answered 307"),
        (Strange("flood", status=400), "Klaviyo answered 400"),
        (Strange("bomb", status=400), "Klaviyo answered 400"),
        (Cut(midway=True), "no answer from Klaviyo: protocol error"),
        (Cut(midway=True, reset=True), "no answer from Klaviyo: "),
        (Cut(reset=True), "no answer from Klaviyo: connection error"),
    ],
    ids=repr,
)
def test_what_is_no_word_of_klaviyos_means_later(fault: Fault, reason: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with asked_of(fault) as said:
        assert said.verdict is Verdict.LATER
        assert said.reason.startswith(reason)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # A hundred megabytes were not taken in (the stand-in's own few are in this process).
    assert grown < 20_000


def test_a_redirect_is_not_followed_to_a_private_address() -> None:
    asked: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as private:
        private.settimeout(0)
        location = f"http://127.0.0.1:{private.getsockname()[1]}/"
        with (
            asked_of(Strange("redirect", status=307, location=location)),
            suppress(BlockingIOError),
        ):
            asked.append(private.accept()[0])

    assert asked == []


@pytest.mark.parametrize("fault", [Trickle(seconds=0.05), Hang()], ids=["trickle", "hang"])
def test_an_answer_that_never_ends_is_given_up_in_time(fault: Fault) -> None:
    began = time.monotonic()

    with asked_of(fault, seconds=1) as said:
        assert said.verdict is Verdict.LATER
        assert said.maybe_received
        assert 0.9 < time.monotonic() - began < 3


def test_a_certificate_that_is_over_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = expired(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                heard.append(secure.recv(65_536))

        thread = threading.Thread(target=serve)
        thread.start()
        said = create_event(f"https://127.0.0.1:{server.getsockname()[1]}")
        thread.join()

    assert said.reason == "no answer from Klaviyo: TLS failed"
    assert [text for text in heard if text] == []


def expired(folder: Path) -> Path:
    """Write a certificate that has ended and its key, and return the certificate."""
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:TRUE")
    curve = "ec_paramgen_curve:prime256v1"
    asking = (
        f"req -newkey ec -pkeyopt {curve} -nodes -subj /CN=127.0.0.1 -keyout key.pem -out asked"
    )
    signing = (
        "x509 -req -in asked -signkey key.pem -days 0 -extfile extensions -out certificate.pem"
    )
    for command in (asking, signing):
        subprocess.run(
            ["openssl", *command.split()], cwd=folder, check=True, capture_output=True, timeout=30
        )
    made = time.time()
    until(lambda: time.time() > made + 1.5)  # It ends with the second in which it was made.
    return folder / "certificate.pem"


def test_what_is_left_of_the_minute_is_heard() -> None:
    said = judged(answer(202, RateLimit_Remaining="12", RateLimit_Reset="34"))

    assert said.budget == Budget(12, timedelta(seconds=34))


@pytest.mark.parametrize("reset", ["", "-1", "soon", "1e9"])
def test_what_makes_no_sense_about_the_minute_is_not(reset: str) -> None:
    assert judged(answer(202, RateLimit_Remaining="12", RateLimit_Reset=reset)).budget is None


def test_where_nobody_listens_nothing_was_received() -> None:
    said = create_event(f"http://127.0.0.1:{free_port()}")

    assert said.verdict is Verdict.LATER
    assert not said.maybe_received
    assert said.reason == "no answer from Klaviyo: no connection"


def test_a_name_that_is_none_is_said() -> None:
    said = create_event("http://klaviyo.invalid")

    assert not said.maybe_received
    assert said.reason == "no answer from Klaviyo: the name cannot be resolved"


def test_a_connection_that_is_cut_may_have_delivered() -> None:
    said = judged(b"")

    assert said.verdict is Verdict.LATER
    assert said.maybe_received


def test_plain_http_behind_https_is_a_failure_of_tls() -> None:
    with answering_anything() as port:
        said = create_event(f"https://127.0.0.1:{port}")

    assert said.verdict is Verdict.LATER
    assert said.reason == "no answer from Klaviyo: TLS failed"


@contextmanager
def answering_anything() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_no_cookie_of_klaviyos_front_is_kept() -> None:
    kept: list[bytes] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(
            Klaviyo(
                url=f"http://127.0.0.1:{server.getsockname()[1]}", key="pk_1", revision="2026-07-15"
            )
        ) as klaviyo,
    ):

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    kept.append(connection.recv(65_536))
                    connection.sendall(answer(202, Set_Cookie="__cf_bm=1", Connection="close"))

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in range(2):
            klaviyo.create_event(b"{}")
        thread.join()

    assert len(kept) == 2
    assert b"Cookie:" not in kept[1]
