"""viser behind a door: it has no authentication and stays on the loopback address; the door's guard stands before it.

Pages are fetched and passed on with headers of ours. A WebSocket is negotiated with viser, and from then on its bytes are
handed through both ways: when a client does not take them, viser is not read, so nothing piles up here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import h11

from viewer.door import Door
from viewer.guard import Request
from viewer.options import ServeOptions
from viewer.visit import Limits, Visit, push

SECRET_HEADER = "X-Recon-Door"
"""By this viser's connections are known to come through the door, and not from another user of this machine."""
CONNECT_SECONDS = 10.0
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""viser's page is one file with its script inside, and compiles code at run time; but it can talk to nobody else."""
PLAIN_PATH = re.compile(r"/|(/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)+")
"""What viser's own files are called: no drives, no parents, nothing that is encoded; viser judges paths less strictly."""
HANDSHAKE = ("sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions")
AGREEMENT = (b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions")
NOTHING_HERE = "There is nothing at this address.\n"
BAD_GATEWAY = "The viewer behind this address does not answer. Start `recon view` again.\n"


def proxy(port: int, secret: str, options: ServeOptions, limits: Limits | None = None) -> Door:
    """A door before the viser server at a loopback port. Raises InputError, MissingPart as Door does."""
    return Door(Viser(port, secret), options, limits)


class Viser:
    """Answers with what viser answers."""

    def __init__(self, port: int, secret: str) -> None:
        self._port, self._secret = port, secret

    async def __call__(self, request: Request, visit: Visit) -> None:
        if not PLAIN_PATH.fullmatch(request.path):
            await visit.refuse(404, NOTHING_HERE)
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=visit.limits.chunk)
        except OSError:
            await visit.refuse(502, BAD_GATEWAY)
            return
        try:
            await (self._socket if request.upgrade else self._page)(request, visit, reader, writer)
        except h11.RemoteProtocolError:
            await visit.refuse(502, BAD_GATEWAY)
        finally:
            writer.transport.abort()

    async def _asked(
        self, request: Request, headers: dict[str, str], visit: Visit, writer: asyncio.StreamWriter
    ) -> h11.Connection:
        """Send viser a request of ours: of the client's own, nothing but the address and the given headers comes along."""
        place = f"127.0.0.1:{self._port}"
        fields = {"Host": place, "Origin": f"http://{place}", SECRET_HEADER: self._secret, **headers}
        http = h11.Connection(h11.CLIENT)
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
        head = http.send(h11.Request(method="GET", target=request.clean, headers=pairs)) or b""
        await push(writer, head + (http.send(h11.EndOfMessage()) or b""), visit.limits.stall_seconds)
        return http

    async def _page(
        self, request: Request, visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        accepted = {"Accept-Encoding": "gzip"} if "gzip" in request.headers.get("accept-encoding", "") else {}
        http = await self._asked(request, {**accepted, "Connection": "close"}, visit, writer)
        response = await _next(http, reader, visit.limits.chunk)
        known = {name: value.decode("latin-1") for name, value in response.headers}
        if response.status_code != 200 or b"content-length" not in known:
            await visit.refuse(404, NOTHING_HERE)
            return
        headers = {
            "Content-Type": known.get(b"content-type", "application/octet-stream"),
            "Content-Length": known[b"content-length"],
            "Content-Encoding": known.get(b"content-encoding", "identity"),
            "Content-Security-Policy": PAGE_POLICY,
            "Cache-Control": "no-store",
        }
        await visit.stream(200, headers, _body(http, reader, visit.limits.chunk))

    async def _socket(
        self, request: Request, visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wished = {name: request.headers[name] for name in HANDSHAKE if name in request.headers}
        http = await self._asked(request, {"Connection": "Upgrade", "Upgrade": "websocket", **wished}, visit, writer)
        response = await _next(http, reader, visit.limits.chunk)
        if response.status_code != 101:
            await visit.refuse(400, "This is no WebSocket that the viewer understands.\n")
            return
        early = await visit.switch([(name, value) for name, value in response.headers if name in AGREEMENT])
        stall = visit.limits.stall_seconds
        await push(writer, early, stall)
        await push(visit.writer, http.trailing_data[0], stall)
        ways = [
            asyncio.create_task(_carry(visit.reader, writer, visit.limits)),
            asyncio.create_task(_carry(reader, visit.writer, visit.limits)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
        for way in done:
            way.result()


async def _next(http: h11.Connection, reader: asyncio.StreamReader, chunk: int) -> Any:
    """viser's response head. Raises h11.RemoteProtocolError when it has none."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(chunk))
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        raise h11.RemoteProtocolError("no response")
    return event


async def _body(http: h11.Connection, reader: asyncio.StreamReader, chunk: int) -> AsyncIterator[bytes]:
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(chunk))
        elif isinstance(event, h11.Data):
            yield bytes(event.data)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, limits: Limits) -> None:
    """Bytes from one side to the other until it ends. Raises TimeoutError when the other does not take them."""
    while data := await source.read(limits.chunk):
        await push(sink, data, limits.stall_seconds)
