"""The names and addresses by which this machine can be reached."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
"""What this machine calls itself."""
EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that mean all addresses of the machine."""
FAR = ("192.0.2.1", "10.255.255.254", "172.31.255.254", "192.168.255.254", "100.100.100.100", "2001:db8::1", "fd00::1")
"""Addresses of which at least one lies behind each usual network card: private ranges, tunnels and the internet."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host. A name other than localhost counts as reachable by others."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(value: str) -> str | None:
    """The name in a Host header or after an origin's scheme, lower case, without port and brackets; None for nonsense."""
    try:
        return urlsplit(f"//{value}").hostname
    except ValueError:
        return None


def in_url(host: str) -> str:
    """A host as a URL has it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def addresses() -> tuple[str, ...]:
    """IPv4 then IPv6 addresses by which other devices may reach this machine; may be empty. Nothing is sent to find them:
    a datagram socket that is pointed somewhere has the address of the card that leads there.
    """
    found = set()
    for far in FAR:
        with socket.socket(socket.AF_INET6 if ":" in far else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
                found.add(probe.getsockname()[0])
            except OSError:  # no way leads there
                continue
    try:
        found |= {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:  # a machine that cannot resolve its own name
        pass
    usable = [address for address in found if _reachable(address)]
    return tuple(sorted(usable, key=lambda address: (":" in address, address)))


def _reachable(address: str) -> bool:
    if "%" in address:  # belongs to one card, and cannot stand in a URL
        return False
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)


def names() -> tuple[str, ...]:
    """Host names of this machine, such as multicast DNS and routers make them known."""
    own = socket.gethostname().rstrip(".").lower()
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", own) or own == "localhost":
        return ()
    return (own,) if "." in own else (own, f"{own}.local")
