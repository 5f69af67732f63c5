"""Attacks on the server of a published folder: paths, links, broken requests, foreign names, slow clients and crowds."""

import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browser import wait_for
from tests.sites import FILES, SECRET, site
from tests.sockets import ask, cut_off, dial, head, hear, hear_one, hear_while_sending
from viewer.door import Door
from viewer.options import ServeOptions
from viewer.static_server import folder_server, locate
from viewer.visit import Limits

# What does not come out


OUTSIDE = [
    "/../secret.txt",
    "/assets/../../secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/%2E%2E%2Fsecret.txt",
    "/.%2e/secret.txt",
    "/%252e%252e/secret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/..%c0%afsecret.txt",
    "/..\\secret.txt",
    "/..%5csecret.txt",
    "/assets\\..\\..\\secret.txt",
    "/....//secret.txt",
    "/..;/secret.txt",
    "/../site-old/secret.txt",
    "/%2e%2e/site-old/secret.txt",
    "//secret.txt",
    "/./secret.txt",
    "/index.html/../../secret.txt",
    "/index.html%00.jpg",
    "/%00/secret.txt",
    "/secret.txt%00",
    "/.htpasswd",
    "/%2ehtpasswd",
    "/.git/config",
    "/assets/../.git/config",
    "/index.html/",
    "/index.html.",
    "/index.html%20",
    "/index.html::$DATA",
    "/C:/windows/win.ini",
    "/C%3A/secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/file:///etc/passwd",
    "/assets",
    "/assets/",
    "/assets/../index.html",
    "/./index.html",
    "//index.html",
    "/assets%2fpage.js",
    "/assets%5cpage.js",
    "/splats/",
    "/~/secret.txt",
    "/%",
    "/%zz",
    "/%u002e%u002e/secret.txt",
    "/" + "a" * 5000,
    "/" + "a/" * 3000,
    "/" + "../" * 30 + "etc/passwd",
    "/\x80\xff",
]


@pytest.mark.parametrize("target", OUTSIDE)
def test_no_path_leaves_the_folder_or_lists_it(door: Door, served: Path, target: str) -> None:
    absolute = f"/{served}/secret.txt"
    for wish in (target, target + "?x=1", absolute, absolute.replace("/", "%2f")):
        answer = ask(door.url, wish)
        assert answer.status in (400, 404) and SECRET not in answer.body and b"root:" not in answer.body, wish


@pytest.mark.parametrize("form", ["http://127.0.0.1{path}", "{bare}", "*", "..{path}", "file://{path}"])
def test_targets_of_other_forms_are_refused(door: Door, served: Path, form: str) -> None:
    answer = ask(door.url, form.format(path="/../secret.txt", bare="secret.txt"))
    assert answer.status == 400 and SECRET not in answer.body


@given(
    st.lists(st.sampled_from(["..", ".", "%2e", "/", "%2f", "\\", "secret.txt", "site-old", "link", "x", "%00", " "]))
)
def test_whatever_is_put_together_it_stays_inside(served: Path, parts: list[str]) -> None:
    folder = (served / "site").resolve() if (served / "site").exists() else site(served).resolve()
    for path in ("/" + "".join(parts), "/" + "/".join(parts)):
        found = locate(folder, path)
        assert found is None or found.is_relative_to(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
def test_links_pipes_and_devices(served: Path, door: Door) -> None:
    folder = served / "site"
    links = {
        "out.txt": "../secret.txt",
        "absolute.txt": str(served / "secret.txt"),
        "up": "..",
        "hidden.txt": ".htpasswd",
        "ring": "ring",
        "zero": "/dev/zero",
        "twice": "out.txt",
    }
    for name, end in links.items():
        (folder / name).symlink_to(end)
    (folder / "inside.txt").symlink_to("manifest.json")
    os.mkfifo(folder / "pipe")
    for name in (*links, "up/secret.txt", "up/site/index.html/../../secret.txt", "pipe"):
        answer = ask(door.url, f"/{name}")
        assert answer.status == 404 and SECRET not in answer.body, name
    assert ask(door.url, "/inside.txt").body == FILES["manifest.json"], "a link within the folder is a file of it"


def test_nothing_can_be_put_in(served: Path, door: Door) -> None:
    before = {path: path.lstat().st_mtime_ns for path in (served / "site").rglob("*")}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "MKCOL", "PROPFIND", "get"):
        with dial(door.url) as wire:
            wire.sendall(head(door.url, "/new.txt", method, content_length="300000"))
            answer = hear_while_sending(wire, b"x" * 300_000)
        assert answer.status == 405 and answer["allow"] == "GET, HEAD", method
    assert ask(door.url, "/", content_length="3").status == 413
    assert ask(door.url, "/", transfer_encoding="chunked").status == 413
    assert {path: path.lstat().st_mtime_ns for path in (served / "site").rglob("*")} == before


SMUGGLED = [
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX : y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    b"\r\n" * 50_000,
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 40_000,
    b"GET /" + b"a" * 60_000,
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 9000,
]


@pytest.mark.parametrize("sent", SMUGGLED)
def test_broken_and_oversized_heads_are_refused(door: Door, sent: bytes) -> None:
    with dial(door.url) as wire:
        answer = hear_while_sending(wire, sent)
    assert answer.status in (0, 400, 431) and FILES["index.html"] not in answer.body
    assert ask(door.url).status == 200, "the server goes on"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[", "192.168.0.1", ""]
)
def test_a_name_that_is_not_this_machines_is_refused(door: Door, host: str) -> None:
    """A page whose own name was pointed at 127.0.0.1 (DNS rebinding) sends that name."""
    answer = ask(door.url, host=host)
    assert answer.status in (400, 403) and FILES["index.html"] not in answer.body
    assert ask(door.url, host="localhost:1").status == ask(door.url, host="LOCALHOST").status == 200
    assert ask(door.url, host="[::1]:8080").status == 200


# Slow and many


def test_slow_requests_are_cut_off(served: Path) -> None:
    """One byte at a time, and nothing at all; the connection that waits between two requests too."""
    limits = Limits(head_seconds=0.4, idle_seconds=0.4)
    with folder_server(served / "site", ServeOptions(port=0), limits) as door:
        with dial(door.url) as silent, dial(door.url) as dripping, dial(door.url) as idle:
            idle.sendall(head(door.url, "/film.mp4"))

            def dropped() -> bool:
                try:
                    dripping.sendall(b"G")
                except ConnectionError:
                    return True
                return False

            wait_for(dropped)
            wait_for(lambda: cut_off(silent))
            wait_for(lambda: cut_off(idle))
        answer = wait_for(lambda: (found := ask(door.url)).status and found)  # a busy machine may be slow itself
        assert answer.status == 200


def test_a_client_that_takes_nothing_is_cut_off_and_nothing_piles_up(served: Path) -> None:
    big = served / "site" / "big.spz"
    with open(big, "wb") as stream:
        stream.truncate(300_000_000)
    sent: list[int] = []
    with folder_server(served / "site", ServeOptions(port=0), Limits(stall_seconds=0.5)) as door:
        with socket.socket() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.connect(("127.0.0.1", door.port))
            wire.sendall(head(door.url, "/big.spz"))
            wait_for(lambda: len(door._visits) == 1)
            wait_for(lambda: not door._visits)
            wire.settimeout(5)
            try:
                while data := wire.recv(1 << 20):
                    sent.append(len(data))
            except ConnectionError:
                pass
        assert sum(sent) < 30_000_000, "what had been sent lay in the system's buffers"
        assert len(ask(door.url, "/big.spz", range="bytes=0-99").body) == 100
    big.unlink()


def test_strangers_do_not_keep_visitors_out(served: Path) -> None:
    limits = Limits(strangers=8, connections=16)
    with folder_server(served / "site", ServeOptions(port=0), limits) as door:
        crowd = [dial(door.url) for _ in range(60)]
        try:
            wait_for(lambda: sum(map(cut_off, crowd[:-8])) == 52)
            assert len(door._visits) <= 8
            assert ask(door.url).status == 200
        finally:
            for wire in crowd:
                wire.close()


def test_no_more_connections_than_granted(served: Path) -> None:
    """Visitors that were let in are not cut off for a newcomer."""
    limits = Limits(strangers=2, connections=4)
    with folder_server(served / "site", ServeOptions(port=0), limits) as door:
        friends = []
        for _ in range(4):
            friends.append(dial(door.url))
            friends[-1].sendall(head(door.url, "/film.mp4"))
            assert hear_one(friends[-1]).status == 200
        assert ask(door.url).status == 0
        friends[0].sendall(head(door.url, "/film.mp4"))
        assert hear_one(friends[0]).status == 200
        for wire in friends:
            wire.close()
        wait_for(lambda: not door._visits)
        assert ask(door.url).status == 200


def test_a_file_that_shrinks_ends_the_answer(served: Path) -> None:
    path = served / "site" / "torn.spz"
    with open(path, "wb") as stream:
        stream.truncate(200_000_000)
    with folder_server(served / "site", ServeOptions(port=0)) as door, dial(door.url) as wire:
        wire.sendall(head(door.url, "/torn.spz", connection="close"))
        wire.recv(100, socket.MSG_PEEK)
        os.truncate(path, 1000)
        answer = hear(wire)
        assert len(answer.body) < 200_000_000
        assert ask(door.url).status == 200
    path.unlink()
