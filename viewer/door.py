"""A small HTTP server that faces other machines: it listens, does TLS, asks the guard, and limits who is heard at once.

What is answered is its owner's part. Of too many strangers, the one that came first is cut off: a true visitor has shown
its token long before that. Connections are counted before TLS's handshake, which costs us more than the client.
"""

from __future__ import annotations

import asyncio
import errno
import html
import logging
import socket
import threading
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Protocol

import h11

from recon.errors import InputError
from viewer.addresses import EVERYWHERE, addresses, in_url, is_loopback
from viewer.guard import Guard, Request
from viewer.options import ServeOptions
from viewer.visit import BARE, Limits, Visit

log = logging.getLogger("recon.viewer")


class Answer(Protocol):
    """What a door's owner does with a request that the guard let in."""

    def __call__(self, request: Request, visit: Visit) -> Awaitable[None]: ...


class Door:
    """A running server in a thread of its own; a context manager."""

    def __init__(self, answer: Answer, options: ServeOptions, limits: Limits | None = None) -> None:
        """Raises InputError when the address or the port cannot be had, or the certificate not be used."""
        from viewer.certificate import tls_context

        self._answer, self._options, self._limits = answer, options, limits or Limits()
        self._socket = listen(options.host or "127.0.0.1", options.port)
        try:
            tls = tls_context(options)
        except BaseException:
            self._socket.close()
            raise
        self._tls, self.fingerprint = tls or (None, None)
        self.port = int(self._socket.getsockname()[1])
        self.guard = Guard(options.host, self.port, options.secure)
        self._visits: dict[asyncio.Task[None], Visit | None] = {}
        self._stop, self._running = asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="recon-door", daemon=True)
        self._thread.start()
        self._running.wait()

    # For the owner

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to come in, with the token: one address for each that the machine has when all are served."""
        host = self._options.host or "127.0.0.1"
        hosts = (host,) if host not in EVERYWHERE else tuple(a for a in addresses() if (":" in a) == (host == "::"))
        query = "" if self.guard.token is None else f"?token={self.guard.token}"
        scheme = "https" if self._options.secure else "http"
        return tuple(f"{scheme}://{in_url(name)}:{self.port}/{query}" for name in hosts or ("127.0.0.1",))

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the user besides the addresses."""
        notes = []
        if self.fingerprint is not None and self._options.tls:
            notes.append(f"The browser warns once, as nobody vouches for this certificate. SHA-256 {self.fingerprint}")
        elif self.fingerprint is not None:
            notes.append(f"Certificate SHA-256 {self.fingerprint}")
        if self._options.host is not None and not is_loopback(self._options.host) and not self._options.secure:
            notes.append(
                "Without --tls the token and all pictures travel readable for everybody on the network, and headsets "
                "refuse VR."
            )
        return tuple(notes)

    def close(self) -> None:
        """Cut off all clients and free the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=10)

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In the thread

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._running.set()
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._socket.setblocking(False)
        accepting = asyncio.create_task(self._accept())
        await self._stop.wait()
        accepting.cancel()
        self._socket.close()

    async def _accept(self) -> None:
        while True:
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            except OSError as error:  # gone again, or no file handle is left
                log.debug("a client could not be accepted: %s", error)
                await asyncio.sleep(0.05)
                continue
            self._admit(client)
            await asyncio.sleep(0)

    def _admit(self, client: socket.socket) -> None:
        """Hear a client; make room among the strangers, or turn it away, when there are too many."""
        strangers = [task for task, visit in self._visits.items() if visit is None or not visit.trusted]
        if len(strangers) >= self._limits.strangers or len(self._visits) >= self._limits.connections:
            if not strangers:
                client.close()
                return
            self._visits.pop(strangers[0])
            strangers[0].cancel()
        task = asyncio.create_task(self._hear(client))
        self._visits[task] = None
        task.add_done_callback(lambda done: self._visits.pop(done, None))

    async def _hear(self, client: socket.socket) -> None:
        """A connection from TLS's handshake to its end."""
        loop, limits = asyncio.get_running_loop(), self._limits
        reader = asyncio.StreamReader(limit=limits.chunk)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = None
        try:
            patience = limits.head_seconds if self._tls else None
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self._tls, ssl_handshake_timeout=patience
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            visit = Visit(reader, writer, limits)
            task = asyncio.current_task()
            if task in self._visits:
                self._visits[task] = visit
            await self._converse(visit)
            await visit.part()
            writer.close()
            async with asyncio.timeout(limits.stall_seconds):
                await writer.wait_closed()
        except (OSError, h11.LocalProtocolError) as error:  # gone, too slow, or the content ended early
            log.debug("a client was cut off: %s", type(error).__name__)
        except Exception:
            log.exception("a request could not be answered")
        finally:
            if transport is not None:
                transport.abort()
            else:
                client.close()

    async def _converse(self, visit: Visit) -> None:
        seconds = self._limits.head_seconds
        while True:
            async with asyncio.timeout(seconds):
                request = await visit.next_request()
            if request is None:
                return
            refusal = self.guard.refuses(request)
            if refusal is not None:
                asks = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
                await visit.refuse(refusal.status, refusal.text, asks)
                return
            visit.trusted = True
            if self.guard.brings_token(request) and not request.upgrade:
                await self._greet(request, visit)
            else:
                await self._answer(request, visit)
            if not visit.again():
                return
            seconds = self._limits.idle_seconds

    async def _greet(self, request: Request, visit: Visit) -> None:
        """Give the cookie, and send the browser to the address without the token."""
        headers = {**BARE, "Set-Cookie": self.guard.cookie}
        if request.headers.get("sec-fetch-site") in ("none", "same-origin") or "text/html" not in request.headers.get(
            "accept", ""
        ):
            await visit.reply(303, {**headers, "Location": request.clean})
            return
        # After a click in a mail or a chat, a redirect still counts as that site's, and browsers keep SameSite=Strict
        # cookies back. A page of ours that goes on by itself is ours.
        page = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(request.clean)}"><title>recon</title>'
        await visit.reply(200, {**headers, "Content-Type": "text/html; charset=utf-8"}, page.encode())


def announce(door: Door, what: str, progress: Any) -> None:
    """Say where to look."""
    for url in door.urls:
        progress.say(f"{what}  {url}")
    for note in door.notes:
        progress.warn(note)
    progress.say("Ctrl-C ends it.")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at the port or the next free one. Raises InputError when the address is none of this machine's."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all, as a..b
        raise InputError(f"--host {host} is no address that can be found ({error}). {_choice()}") from error
    for attempt in range(port, min(port + 100, 65536)) if port else [0]:
        try:
            return socket.create_server((str(place[0]), attempt), family=family, backlog=128)
        except PermissionError as error:
            raise InputError(f"--port {attempt} needs rights that recon has not. Choose one above 1023.") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InputError(f"--host {host} is no address of this machine. {_choice()}") from error
            if error.errno != errno.EADDRINUSE:
                raise InputError(f"{host} port {attempt} cannot be listened on ({error}). {_choice()}") from error
    raise InputError(f"No port from {port} on is free. Choose another with --port.")


def _choice() -> str:
    return f"Expected 0.0.0.0 for all addresses of this machine, or one of {', '.join(('127.0.0.1', *addresses()))}."
