"""One client's connection: its requests parsed by h11, its answers sent no faster than it takes them.

Only GET and HEAD, and no request has a body. No client can make memory grow: every read is bounded, and every write waits
until the client has taken what came before, or gives it up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import h11

from viewer.guard import Request

GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer."""
BARE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store"}
"""Further headers of answers that are no content."""


@dataclass(frozen=True)
class Limits:
    """What one server grants its clients."""

    connections: int = 128
    """At once, all together."""
    strangers: int = 32
    """At once, of those that have not shown yet that they may come in."""
    head_bytes: int = 16_384
    """Of a request's line and headers."""
    head_seconds: float = 10.0
    """For TLS's handshake, and again until the whole head has come."""
    idle_seconds: float = 30.0
    """Between two requests of a connection."""
    stall_seconds: float = 30.0
    """For taking a chunk."""
    chunk: int = 65_536
    """Bytes in one read or write."""


class Visit:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits) -> None:
        self.reader, self.writer, self.limits = reader, writer, limits
        self.trusted = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._head_only = False

    async def next_request(self) -> Request | None:
        """The next request; None when the client has none, or one that was refused here. Raises TimeoutError."""
        try:
            event = await self._event()
            if not isinstance(event, h11.Request):
                return None
            self._head_only = event.method == b"HEAD"
            if event.method not in (b"GET", b"HEAD"):
                await self.refuse(405, "Only GET and HEAD are answered here.\n", {"Allow": "GET, HEAD"})
                return None
            headers = _headers(event)
            if headers.get("content-length", "0").strip("0") or "transfer-encoding" in headers:
                await self.refuse(413, "A request may carry nothing here.\n")
                return None
            await self._event()  # the end of its empty body
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint if 400 <= error.error_status_hint < 500 else 400
            await self.refuse(status, "This is no request that can be answered.\n")
            return None
        target = event.target.decode("ascii")
        if not target.startswith("/") or event.http_version not in (b"1.0", b"1.1"):
            await self.refuse(400, "Expected an address that begins with a slash, and HTTP/1.1.\n")
            return None
        path, _, query = target.partition("?")
        return Request(event.method.decode(), path, query, headers)

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self.reader.read(self.limits.chunk // 16))
        return event

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes = b"", close: bool = False) -> None:
        """Answer with a few bytes."""

        async def once() -> AsyncIterator[bytes]:
            yield body

        await self.stream(status, {**headers, "Content-Length": str(len(body))}, once(), close)

    async def stream(
        self, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes], close: bool = False
    ) -> None:
        """Answer with chunks, each sent when the client has taken the ones before. `headers` has the Content-Length."""
        if self._http.our_state is h11.ERROR:
            return
        fields = {**GUARDED, **headers, **({"Connection": "close"} if close else {})}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
        await self._send(h11.Response(status_code=status, headers=pairs))
        if not self._head_only:
            async for chunk in chunks:
                if chunk:
                    await self._send(h11.Data(data=chunk))
        await self._send(h11.EndOfMessage())

    async def refuse(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a sentence, and end the connection."""
        fields = {**BARE, "Content-Type": "text/plain; charset=utf-8", **(headers or {})}
        await self.reply(status, fields, text.encode(), close=True)

    async def _send(self, event: Any) -> None:
        await push(self.writer, self._http.send(event) or b"", self.limits.stall_seconds)

    async def switch(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Agree to a WebSocket. Returns what the client has sent already."""
        await self._send(h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols"))
        return self._http.trailing_data[0]

    def again(self) -> bool:
        """Ready for another request, when both sides are done with this one and neither wants to part."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def part(self) -> None:
        """Let a client that is still sending read our answer: closed at once, the connection would be reset under it."""
        with contextlib.suppress(OSError, TimeoutError):
            if self.writer.can_write_eof():
                self.writer.write_eof()
            async with asyncio.timeout(min(1.0, self.limits.head_seconds)):
                left = 16 * self.limits.chunk
                while left > 0 and (data := await self.reader.read(self.limits.chunk)):
                    left -= len(data)


async def push(writer: asyncio.StreamWriter, data: bytes, seconds: float) -> None:
    """Send, and wait until the buffer has gone down. Raises TimeoutError when nobody takes it."""
    writer.write(data)
    async with asyncio.timeout(seconds):
        await writer.drain()


def _headers(event: h11.Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw, value in event.headers:
        name, text = raw.decode("ascii"), value.decode("latin-1")
        joint = "; " if name == "cookie" else ", "
        found[name] = f"{found[name]}{joint}{text}" if name in found else text
    return found
