"""The viewer behind its door: who comes in, who does not, and that nothing piles up for the slow. A real viser stands behind."""

import contextlib
import logging
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("viser")

import viser
from viser import _messages
from websockets.exceptions import ConnectionClosed, InvalidStatus

from recon.errors import InputError
from tests.browser import FakeBrowser, wait_for
from tests.fabricate import fabricate
from tests.sockets import ask, cut_off, dial, head, hear, hear_one
from viewer.addresses import addresses
from viewer.door import Door
from viewer.guard import Guard, Request
from viewer.options import ServeOptions, ViewOptions
from viewer.proxy import proxy
from viewer.server import Viewer, shared_viewer
from viewer.visit import Limits

QUICK = ViewOptions(port=0, rest_long_side=32, device="cpu")
OTHERS = ServeOptions(port=0, host="127.0.0.1")
SHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "sec_websocket_version": "13",
    "sec_websocket_protocol": f"viser-v{viser.__version__}",
}
HTML = "text/html,application/xhtml+xml"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with shared_viewer(fabricate(tmp_path_factory.mktemp("shared") / "ws"), QUICK, OTHERS) as running:
        yield running


@pytest.fixture(scope="module")
def key(door: Door) -> str:
    """The cookie of somebody who came with the token, as a browser sends it."""
    return ask(door.url, f"/?token={door.guard.token}")["set-cookie"].partition(";")[0]


def has_splats(browser: FakeBrowser) -> bool:
    return any(m["type"] == "GaussianSplatsMessage" for m in list(browser.messages))


# Coming in


def test_the_token_is_traded_for_a_cookie_and_leaves_the_address(door: Door) -> None:
    assert door.url == f"http://127.0.0.1:{door.port}/?token={door.guard.token}"
    assert re.fullmatch("[a-z2-7]{26,}", door.guard.token or ""), "128 bits or more, easy to type"
    answer = ask(door.url, f"/some/place?view=a%20b&token={door.guard.token}&x=1")
    assert answer.status == 303 and answer["location"] == "/some/place?view=a%20b&x=1"
    assert re.fullmatch(rf"recon-{door.port}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict", answer["set-cookie"])
    assert door.guard.token not in answer["set-cookie"] and answer["cache-control"] == "no-store"
    assert answer["referrer-policy"] == "no-referrer"


def test_a_click_in_a_mail_comes_in_too(door: Door) -> None:
    """Browsers keep SameSite=Strict cookies back after a redirect that another site began: a page that goes on instead."""
    target = f"/?token={door.guard.token}&view=%22%3E%3Cscript%3E"
    for site in ("cross-site", "same-site", ""):
        answer = ask(door.url, target, accept=HTML, sec_fetch_site=site)
        assert answer.status == 200 and b'content="0;url=/?view=%22%3E%3Cscript%3E"' in answer.body
        assert "set-cookie" in answer.headers and "default-src 'none'" in answer["content-security-policy"]
    assert ask(door.url, target, accept=HTML, sec_fetch_site="none").status == 303
    body = ask(door.url, f'/"><script>x</script>?token={door.guard.token}', accept=HTML).body
    assert b"url=/&quot;&gt;&lt;script&gt;" in body and b"<script" not in body


@pytest.mark.parametrize("path", ["//evil.example/", "///evil.example", "/\\evil.example", "//evil.example/%2f.."])
def test_the_way_on_leads_to_no_other_host(door: Door, path: str) -> None:
    answer = ask(door.url, f"{path}?token={door.guard.token}")
    assert answer.status in (303, 400)
    assert not re.match(r"[/\\]{2}|/\\", answer.headers.get("location", "/"))


def test_with_the_cookie_the_page_and_its_socket_are_visers(door: Door, key: str) -> None:
    page = ask(door.url, cookie=key)
    assert page.status == 200 and b"<html" in page.body and page["content-type"].startswith("text/html")
    assert int(page["content-length"]) == len(page.body) and "frame-ancestors 'none'" in page["content-security-policy"]
    assert ask(door.url, "/?token=of-another-run", cookie=key).status == 200
    assert ask(door.url, method="HEAD", cookie=key).body == b""
    assert ask(door.url, "/no/such/file.js", cookie=f"other=1; {key}").status == 404
    packed = ask(door.url, cookie=key, accept_encoding="gzip, br")
    assert packed["content-encoding"] == "gzip" and len(packed.body) < len(page.body)
    origin = f"http://127.0.0.1:{door.port}"
    with (
        FakeBrowser(door.port, origin, {"Cookie": key}) as browser,
        FakeBrowser(door.port, None, {"Cookie": key}) as other,
    ):
        for one in (browser, other):
            one.look((3, 0, 1))
        wait_for(lambda: has_splats(browser) and has_splats(other))
        assert not browser.closed


def test_programs_may_show_the_token_in_a_header(door: Door) -> None:
    assert ask(door.url, authorization=f"Bearer {door.guard.token}").status == 200
    with FakeBrowser(door.port, None, {"Authorization": f"Bearer {door.guard.token}"}) as browser:
        browser.look((3, 0, 1))
        wait_for(lambda: has_splats(browser))
        assert not browser.closed


# Staying out


def test_without_the_token_nothing_is_told(door: Door, key: str) -> None:
    name, _, value = key.partition("=")
    for target, fields, status in (
        ("/", {}, 401),
        ("/favicon.ico", {}, 401),
        ("/?token", {}, 401),
        ("/?token=", {}, 401),
        ("/?token=wrong", {}, 403),
        (f"/?token={str(door.guard.token)[:-1]}", {}, 403),
        (f"/?token={str(door.guard.token).upper()}", {}, 403),
        (f"/?Token={door.guard.token}", {}, 401),
        ("/?token=" + "&token=x" * 500, {}, 401),
        ("/?token=%ff%00", {}, 403),
        ("/", {"cookie": f"{name}="}, 401),
        ("/", {"cookie": f"{name}={value}x"}, 401),
        ("/", {"cookie": f"x{name}={value}"}, 401),
        ("/", {"cookie": f"{name}={door.guard.token}"}, 401),
        ("/", {"cookie": ";;=;" * 200}, 401),
        ("/", {"cookie": "\xff\xfe"}, 401),
        ("/", {"authorization": f"Basic {door.guard.token}"}, 403),
        ("/", {"authorization": "Bearer"}, 403),
        ("/", {"authorization": f"Bearer {value}"}, 403),
    ):
        answer = ask(door.url, target, **fields)
        assert answer.status == status, (target, fields)
        assert b"token" in answer.body and b"<" not in answer.body and "set-cookie" not in answer.headers
        assert b"viser" not in answer.body and answer["connection"] == "close"


def test_a_socket_needs_the_cookie_and_a_page_of_ours(door: Door, key: str) -> None:
    own = f"http://127.0.0.1:{door.port}"
    for fields, status in (
        ({}, 401),
        ({"origin": own}, 401),
        ({"cookie": key.replace("=", "=x")}, 401),
        ({"cookie": key, "origin": "https://evil.example"}, 403),
        ({"cookie": key, "origin": "null"}, 403),
        ({"cookie": key, "origin": ""}, 101),
        ({"cookie": key, "origin": own}, 101),
        ({"cookie": key, "origin": f"http://127.0.0.1:{door.port + 1}"}, 403),
        ({"cookie": key, "origin": "http://127.0.0.1"}, 403),
        ({"cookie": key, "origin": f"{own}.evil.example"}, 403),
        ({"cookie": key, "origin": f"file://127.0.0.1:{door.port}"}, 403),
        ({"cookie": key, "origin": "http://["}, 403),
        ({"cookie": key, "origin": f"{own}, https://evil.example"}, 403),
    ):
        with dial(door.url) as wire:
            wire.sendall(head(door.url, "/", **SHAKE, **fields))
            assert hear_one(wire).status == status, fields
    with dial(door.url) as wire:
        wire.sendall(head(door.url, f"/?token={door.guard.token}", **SHAKE))
        assert hear_one(wire).status == 101
    with pytest.raises(InvalidStatus):
        FakeBrowser(door.port)


def test_a_foreign_name_is_refused_even_with_the_cookie(door: Door, key: str) -> None:
    """DNS rebinding: this door is for this machine alone, as its --host says."""
    for fields in ({}, SHAKE):
        with dial(door.url) as wire:
            wire.sendall(
                head(door.url, cookie=key, host=f"evil.example:{door.port}", **{"connection": "close", **fields})
            )
            assert hear(wire).status == 403


def test_a_door_for_all_answers_to_any_name_but_never_without_the_token() -> None:
    guard = Guard("0.0.0.0", 80, secure=True)
    assert guard.cookie.startswith("__Host-recon-80=") and guard.cookie.endswith("; Secure")
    for host in ("192.168.0.4", "laptop.local", "evil.example"):
        stranger = Request("GET", "/", "", {"host": host})
        assert getattr(guard.refuses(stranger), "status", None) == 401
        friend = Request("GET", "/", f"token={guard.token}", {"host": host})
        assert guard.refuses(friend) is None


def test_other_users_of_the_machine_cannot_go_around_the_door(tmp_path: Path) -> None:
    with Viewer(fabricate(tmp_path / "ws"), QUICK, secret="known to the door") as viewer:
        wrong = [None, {"X-Recon-Door": ""}, {"X-Recon-Door": "guessed"}]
        with contextlib.ExitStack() as stack:
            strangers = [stack.enter_context(FakeBrowser(viewer.port, None, headers)) for headers in wrong]
            friend = stack.enter_context(FakeBrowser(viewer.port, None, {"X-Recon-Door": "known to the door"}))
            for one in (*strangers, friend):
                one.look((3, 0, 1))
            wait_for(lambda: has_splats(friend))
            assert len(viewer.sessions) == 1
            kinds = {m["type"] for stranger in strangers for m in stranger.messages}
            assert kinds and not kinds & {"GaussianSplatsMessage", "CameraFrustumMessage", "GuiHtmlMessage"}
            assert not any(m.get("rgb_data") for stranger in strangers for m in stranger.messages)


def test_a_client_cannot_leave_its_own_secret_or_host(door: Door, key: str) -> None:
    """Nothing of a client's headers reaches viser but what the handshake needs."""
    forged = {"x_recon_door": "forged", "x_forwarded_host": "evil.example", "forwarded": "host=evil.example"}
    with dial(door.url) as wire:
        wire.sendall(head(door.url, cookie=key, **SHAKE, **forged))
        answer = hear_one(wire)
    assert answer.status == 101 and "server" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/C:/windows/win.ini", "/../x", "/..%2fx", "/a//b", "/\\host\\x", "/a/./b", "/.x", "/a%20b"]
)
def test_paths_that_viser_does_not_have_never_reach_it(path: str) -> None:
    with Flood() as flood, proxy(flood.port, "s", ServeOptions(port=0)) as door:
        assert ask(door.url, path).status == 404
        with dial(door.url) as wire:
            wire.sendall(head(door.url, path, **SHAKE))
            assert hear_one(wire).status == 404


def test_nothing_can_be_uploaded(door: Door, key: str, tmp_path: Path) -> None:
    """viser keeps parts of a file that is sent to any element of its panel; ours has no use for them."""
    with Viewer(fabricate(tmp_path / "ws"), QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((3, 0, 1))
        client = wait_for(lambda: next(iter(viewer.server.get_clients().values()), None))
        elements = wait_for(lambda: list(client.gui._gui_input_handle_from_uuid))
        browser.send(_messages.FileTransferStartUpload(elements[0], "transfer", "file.bin", "bytes", 2, 2000))
        browser.send(_messages.FileTransferPart(elements[0], "transfer", 0, b"x" * 1000))

        def came_later() -> bool:
            browser.look((5, 0, 1))  # again and again: the viewer moves the camera too when it has something to show
            return client.camera.position[0] == 5

        wait_for(came_later)
        assert not client.gui._current_file_upload_states and not browser.of("FileTransferPartAck")
    assert ask(door.url, method="POST", cookie=key, content_length="4").status == 405


def test_the_token_is_in_no_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG), shared_viewer(fabricate(tmp_path / "ws"), QUICK, OTHERS) as door:
        ask(door.url, f"/?token={door.guard.token}")
        ask(door.url, f"/\x00?token={door.guard.token}")
        with dial(door.url) as wire:
            wire.sendall(head(door.url, f"/?token={door.guard.token}", **SHAKE))
        cookie = ask(door.url, f"/?token={door.guard.token}")["set-cookie"].partition(";")[0]
        ask(door.url, cookie=cookie, origin=f"http://{door.guard.token}")
        shown = [str(door.guard.token), cookie.partition("=")[2]]
    assert not any(secret in caplog.text for secret in shown)


# The slow, the many, the gone


class Flood:
    """Stands in for viser: agrees to a WebSocket, then sends without end, and counts."""

    def __init__(self) -> None:
        self.sent, self.ended = 0, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        wire, _ = self._socket.accept()
        with wire:
            wire.recv(4096)
            wire.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            try:
                while True:
                    wire.sendall(b"x" * 65536)
                    self.sent += 65536
            except ConnectionError:
                self.ended.set()

    def __enter__(self) -> "Flood":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def test_for_a_client_that_takes_nothing_viser_is_not_read() -> None:
    with Flood() as flood, proxy(flood.port, "s", ServeOptions(port=0), Limits(stall_seconds=1.0)) as door:
        with socket.socket() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.connect(("127.0.0.1", door.port))
            wire.sendall(head(door.url, **SHAKE))
            wait_for(flood.ended.is_set)
            assert flood.sent < 30_000_000, "it lay in the system's buffers, and then the client was cut off"
        wait_for(lambda: not door._visits)
        assert not door._visits


def test_a_client_that_takes_all_gets_all() -> None:
    with Flood() as flood, proxy(flood.port, "s", ServeOptions(port=0)) as door, dial(door.url) as wire:
        wire.sendall(head(door.url, **SHAKE))
        got = 0
        while got < 60_000_000:
            got += len(wire.recv(1 << 20))
        assert flood.sent >= 59_000_000 and not flood.ended.is_set()


def test_slow_heads_and_crowds_are_cut_off_in_front_of_viser_too() -> None:
    with Flood() as flood, proxy(flood.port, "s", OTHERS, Limits(head_seconds=0.4, strangers=4)) as door:
        crowd = [dial(door.url) for _ in range(20)]
        wait_for(lambda: all(map(cut_off, crowd)))
        answer = wait_for(lambda: (found := ask(door.url)).status and found)  # a busy machine may be slow itself
        assert answer.status == 401 and not flood.sent
        assert ask(door.url, x="a" * 30_000).status in (0, 431)
        for one in crowd:
            one.close()


def test_without_a_viewer_behind_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with proxy(port, "s", ServeOptions(port=0)) as door:
        answer = ask(door.url)
        assert answer.status == 502 and b"recon view" in answer.body


def test_when_the_viewer_ends_its_visitors_are_let_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with shared_viewer(fabricate(tmp_path / "ws"), QUICK, OTHERS) as door:
        browser = FakeBrowser(door.port, None, {"Authorization": f"Bearer {door.guard.token}"})
        idle = dial(door.url)
    wait_for(lambda: not browser._thread.is_alive())
    with pytest.raises(ConnectionClosed):
        browser.look((1, 0, 0))
    with idle:
        select.select([idle], [], [], 20)
        assert cut_off(idle)
    assert not [r for r in caplog.records if r.name == "recon.viewer"], "no defect was met on the way"


# The command


def test_an_address_that_is_not_ours_is_an_error_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viewer.server.Viewer", lambda *_: pytest.fail("the viewer was started"))
    with pytest.raises(InputError, match="no address of this machine"):
        shared_viewer(tmp_path, QUICK, ServeOptions(port=0, host="198.51.100.7")).__enter__()
    for nonsense in ("a..b", "x" * 80):
        with pytest.raises(InputError, match="no address that can be found"):
            shared_viewer(tmp_path, QUICK, ServeOptions(port=0, host=nonsense)).__enter__()


@pytest.mark.skipif(not addresses() or sys.platform == "win32", reason="needs an address besides the loopback one")
def test_the_command_prints_an_address_for_each_card(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    command = [sys.executable, "-m", "recon", "view", "-w", str(root), "--port", "0", "--host", "0.0.0.0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        urls = re.findall(r"http://\S+/\?token=[a-z2-7]{32}", said)
        assert len(urls) == len([a for a in addresses() if ":" not in a]) and "--tls" in said
        for url in urls:
            bare, _, token = url.partition("/?token=")
            name, _, port = bare.removeprefix("http://").rpartition(":")
            assert name in addresses()
            own = f"http://127.0.0.1:{port}"  # it listens there too; nothing is sent over a network
            assert ask(own, host=f"{name}:{port}").status == 401
            assert ask(own, host=f"{name}:{port}", authorization=f"Bearer {token}").status == 200
    finally:
        process.kill()
        process.communicate()
