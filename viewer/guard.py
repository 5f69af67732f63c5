"""Who may come in: what a request must show before it is answered.

With a token (always when other devices can reach us): the first visit brings it in the address, gets a cookie instead,
and goes on to the address without it, so that the token stays out of bookmarks, history and screenshots. Without a token
(this machine only) the Host header must name this machine: a page of another site can point its own name at 127.0.0.1,
but the browser then sends that name. WebSockets, which pages of any site may open, must come from our own page.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from viewer.addresses import LOCAL_NAMES, host_of, is_loopback

TOKEN_BITS = 160
NEEDS_TOKEN = "This address needs the token: open the whole address that recon printed when it started.\n"
WRONG_TOKEN = "This token does not fit. recon makes a new one at every start: open the address that it printed last.\n"
WRONG_HOST = "This address belongs to one machine: open it there as http://127.0.0.1 or http://localhost.\n"
WRONG_ORIGIN = "A page of another site asked for this. Open the address that recon printed.\n"


@dataclass(frozen=True)
class Request:
    """The head of an HTTP request; none of ours has a body."""

    method: str
    """GET or HEAD."""
    path: str
    """As sent: percent-encoded, without the query."""
    query: str
    """As sent, without the question mark."""
    headers: dict[str, str]
    """Names in lower case; values of a repeated header joined with ", " (cookies: "; ")."""

    @property
    def upgrade(self) -> bool:
        """Whether it wants to become a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def tokens(self) -> list[str]:
        """Tokens in the query."""
        try:
            return [value for name, value in parse_qsl(self.query, max_num_fields=100) if name == "token"]
        except ValueError:  # more fields than anybody needs
            return []

    @property
    def clean(self) -> str:
        """Path and query without the token; begins with one slash, so that it cannot name another host (to browsers
        a backslash is a slash)."""
        rest = "&".join(part for part in self.query.split("&") if part and part.partition("=")[0] != "token")
        return "/" + self.path.lstrip("/\\") + (f"?{rest}" if rest else "")


@dataclass(frozen=True)
class Refusal:
    status: int
    text: str


class Guard:
    """Judges requests to one server."""

    def __init__(self, host: str | None, port: int, secure: bool) -> None:
        """`host` as the user gave it (None: this machine only, no token)."""
        self.token = None if host is None else _readable_token()
        self._session = secrets.token_urlsafe(32)
        # Browsers send a host's cookies to all its ports: without the port in the name, two servers would disturb each other.
        self._cookie = f"{'__Host-' if secure else ''}recon-{port}"
        self._secure = secure
        local = host is None or is_loopback(host)
        self._names = {*LOCAL_NAMES, *([] if host is None else [host.lower()])} if local else None

    @property
    def cookie(self) -> str:
        """The header that lets a browser in until it closes or we end."""
        return f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if self._secure else ''}"

    def refuses(self, request: Request) -> Refusal | None:
        """Why a request is not answered, or None."""
        if self._names is not None and host_of(request.headers.get("host", "")) not in self._names:
            return Refusal(403, WRONG_HOST)
        if request.upgrade and not self._own_origin(request):
            return Refusal(403, WRONG_ORIGIN)
        if self.token is None or self._knows(request) or self.brings_token(request):
            return None
        shown = request.tokens or "authorization" in request.headers
        return Refusal(403, WRONG_TOKEN) if shown else Refusal(401, NEEDS_TOKEN)

    def brings_token(self, request: Request) -> bool:
        """Whether the query holds the right token."""
        return self.token is not None and any(_same(shown, self.token) for shown in request.tokens)

    def _knows(self, request: Request) -> bool:
        """Whether the cookie or an Authorization header is right."""
        assert self.token is not None
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), self.token):
            return True
        pairs = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
        return any(name == self._cookie and _same(value, self._session) for name, _, value in pairs)

    def _own_origin(self, request: Request) -> bool:
        """Whether the page that asks came from us; programs that are no browsers name no origin."""
        origin = request.headers.get("origin")
        if origin is None:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == request.headers.get("host", "").lower()


def _readable_token() -> str:
    """Lower-case letters and 2 to 7: somebody may have to type it into a headset."""
    return base64.b32encode(secrets.token_bytes(TOKEN_BITS // 8)).decode().rstrip("=").lower()


def _same(shown: str, true: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(shown.encode("utf-8", "replace"), true.encode())
