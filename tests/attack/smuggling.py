"""Smuggling: requests whose end two servers could see in two places."""

import json
from collections.abc import Callable, Mapping

# Under these ids a state is kept, by which one sees what was taken for a request.
OUTER, INNER = "outer-{number}", "inner-{number}"


def request(body: bytes, *headers: bytes) -> bytes:
    """Return a POST of *body* with *headers* and no other that says how long it is."""
    first = (b"POST /co/state HTTP/1.1", b"Host: shop.example.com", b"Content-Type: text/plain")
    return b"\r\n".join((*first, *headers, b"", b"")) + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


CHUNKED = b"Transfer-Encoding: chunked"

Attack = Callable[[bytes, bytes], bytes]


def _hidden(header: bytes) -> Attack:
    """Hide one request in the chunk of another; its length is that of the line with the size."""

    def attack(outer: bytes, inner: bytes) -> bytes:
        size = b"%x\r\n" % len(inner)
        return request(chunked(inner), length(size), header)

    return attack


def _behind(header: bytes, *, chunk: Callable[[bytes], bytes] = chunked) -> Attack:
    """Put one request behind the chunks of another, inside of the length that it says."""

    def attack(outer: bytes, inner: bytes) -> bytes:
        body = chunk(outer) + inner
        return request(body, length(body), header)

    return attack


def _in_bad_chunks(chunk: bytes) -> Attack:
    def attack(outer: bytes, inner: bytes) -> bytes:
        return request(chunk.replace(b"SIZE", b"%x" % len(outer)) % outer + inner, CHUNKED)

    return attack


# All of them are one request, or none.
ATTACKS: Mapping[str, Attack] = {
    "CL.CL, the first is short": lambda outer, inner: request(
        outer + inner, length(outer), length(outer + inner)
    ),
    "CL.CL, the last is short": lambda outer, inner: request(
        outer + inner, length(outer + inner), length(outer)
    ),
    "two lengths in one header": lambda outer, inner: request(
        outer + inner, b"%s, %d" % (length(outer), len(outer + inner))
    ),
    "CL.TE": _behind(CHUNKED),
    "TE.CL": lambda outer, inner: request(
        b"0\r\n\r\n" + inner, CHUNKED, length(b"0\r\n\r\n" + inner)
    ),
    "TE.CL, hidden in a chunk": _hidden(CHUNKED),
    "TE of another name": _behind(b"Transfer-Encoding: xchunked"),
    "TE with a space before the colon": _behind(b"Transfer-Encoding : chunked"),
    "TE with a tab": _behind(b"Transfer-Encoding:\tchunked"),
    "TE with a vertical tab": _behind(b"Transfer-Encoding: \x0bchunked"),
    "TE on the next line": _behind(b"Transfer-Encoding:\r\n chunked"),
    "TE twice": _behind(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    "TE quoted": _behind(b'Transfer-Encoding: "chunked"'),
    "TE in a header before": _behind(b"X: a\rTransfer-Encoding: chunked"),
    "TE after a NUL": _behind(b"X: a\0\r\nTransfer-Encoding: chunked"),
    "TE in capitals, hidden in a chunk": _hidden(b"TRANSFER-ENCODING: CHUNKED"),
    "obs-fold": lambda outer, inner: request(outer + inner, b"X: a", b" b", length(outer)),
    "a length on a folded line": lambda outer, inner: request(
        outer + inner, b"X: a", b" " + length(outer), length(outer + inner)
    ),
    "a length behind a bare CR": lambda outer, inner: request(
        outer + inner, b"X: a\r" + length(outer), length(outer + inner)
    ),
    "a length behind a bare LF": lambda outer, inner: request(
        outer + inner, b"X: a\n" + length(outer), length(outer + inner)
    ),
    "a length with a plus": lambda outer, inner: request(
        outer + inner, b"Content-Length: +%d" % len(outer)
    ),
    "a length below zero": lambda outer, inner: request(outer + inner, b"Content-Length: -1"),
    "a length with an underscore": lambda outer, inner: request(
        outer + inner, b"Content-Length: %d_0" % len(outer)
    ),
    "a length with a space": lambda outer, inner: request(
        outer + inner, b"Content-Length : %d" % len(outer)
    ),
    "a chunk's size below zero": _in_bad_chunks(b"-1\r\n%s\r\n0\r\n\r\n"),
    "a chunk's size with 0x": _in_bad_chunks(b"0xSIZE\r\n%s\r\n0\r\n\r\n"),
    "a chunk's size over 64 bits": _in_bad_chunks(b"ffffffffffffffff1\r\n%s\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": _in_bad_chunks(b"1\r\n%s\r\n0\r\n\r\n"),
}

# These are two requests one after the other. nginx takes a bare LF where the server alone does
# not; what it passes on has a length, and ends where nginx saw it end.
HONEST: Mapping[str, Attack] = {
    "two with lengths": lambda outer, inner: request(outer, length(outer)) + inner,
    "two, the first in chunks": lambda outer, inner: request(chunked(outer), CHUNKED) + inner,
    "a chunk's extension": _in_bad_chunks(b"SIZE;a=b\r\n%s\r\n0\r\n\r\n"),
    "chunks that end in LF": _in_bad_chunks(b"SIZE\n%s\n0\n\n"),
    "a chunk's extension with LF": _in_bad_chunks(b"SIZE;a=\n%s\r\n0\r\n\r\n"),
    "a trailer": _in_bad_chunks(b"SIZE\r\n%s\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "bare LF": lambda outer, inner: (
        request(b"", length(outer)).replace(b"\r\n", b"\n") + outer + inner
    ),
}


def written(attack: Attack, token: str, number: int) -> bytes:
    """Return *attack* with two states, which are kept under ids of this *number*."""
    outer, inner = (
        json.dumps({"token": token, "id": id_.format(number=number)}).encode()
        for id_ in (OUTER, INNER)
    )
    return attack(outer, request(inner, length(inner), b"Connection: close"))
