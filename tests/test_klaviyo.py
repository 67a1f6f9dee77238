"""Klaviyo: what each answer, or the lack of one, means for an event and for the account."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

import pytest

from proxy.klaviyo import Answer, Klaviyo, Verdict
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
    ("retry_after", "wait"), [("7", timedelta(seconds=7)), ("0", timedelta(0)), ("soon", None)]
)
def test_the_wait_is_what_retry_after_says(retry_after: str, wait: timedelta | None) -> None:
    assert judged(answer(429, refusal(), Retry_After=retry_after)).wait == wait


def test_a_refusal_is_told_in_klaviyos_words_with_its_id() -> None:
    said = judged(answer(400, refusal("/data/attributes/value", "Not a number.", "a1b2")))

    assert said.reason == "Klaviyo answered 400: Not a number. (/data/attributes/value)"
    assert said.request_id == "a1b2"


def test_klaviyos_words_are_told_without_the_person() -> None:
    said = judged(answer(400, refusal(detail="'jane@shop-demo.io' or +49 30 901820 is wrong.")))

    assert said.reason == "Klaviyo answered 400: '[address]' or [number] is wrong. (/data)"


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
