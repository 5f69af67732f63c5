"""Bare sockets for tests of the servers: every byte of a request is the test's own."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]


def dial(url: str, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connection to a server."""
    parts = urlsplit(url)
    raw = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
    return raw if tls is None else tls.wrap_socket(raw, server_hostname=parts.hostname)


def head(url: str, target: str = "/", method: str = "GET", **fields: str) -> bytes:
    """The head of a request; fields are headers, with _ for -. Host is the server's own unless given; host="" sends none."""
    known = {"host": urlsplit(url).netloc, **fields}
    lines = [f"{method} {target} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in known.items() if v)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def ask(url: str, target: str = "/", method: str = "GET", tls: ssl.SSLContext | None = None, **fields: str) -> Answer:
    """One request on a connection of its own."""
    with dial(url, tls) as wire:
        wire.sendall(head(url, target, method, **{"connection": "close", **fields}))
        return hear(wire)


def hear(wire: socket.socket) -> Answer:
    """All that a server sends until it closes, as one answer. Status 0: it closed without one."""
    received = b""
    try:
        while data := wire.recv(65536):
            received += data
    except (ConnectionError, ssl.SSLError):
        pass
    return parsed(received)


def hear_one(wire: socket.socket) -> Answer:
    """One answer of a connection that stays open."""
    received = b""
    while (answer := parsed(received)).status == 0 or len(answer.body) < int(answer.headers.get("content-length", "0")):
        data = wire.recv(1)
        assert data, "it closed before its answer was whole"
        received += data
    return answer


def hear_while_sending(wire: socket.socket, body: bytes) -> Answer:
    """The answer to a request whose body is still being sent."""
    with contextlib.suppress(ConnectionError):
        wire.sendall(body)
    return hear(wire)


def parsed(received: bytes) -> Answer:
    start, _, body = received.partition(b"\r\n\r\n")
    if b"\r\n\r\n" not in received:
        return Answer(0, {}, b"")
    lines = start.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines[1:])
    return Answer(int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}, body)


def cut_off(wire: socket.socket) -> bool:
    """Whether the server has closed a connection, without waiting."""
    if not select.select([wire], [], [], 0)[0]:
        return False
    try:
        return not wire.recv(65536)
    except ConnectionError:
        return True
