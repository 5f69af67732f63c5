"""What stands in for a browser in tests of the viewer: a client that speaks viser's protocol, and Chromium where there is one."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import viser
import zstandard
from viser import _messages
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PATIENCE = 60.0
"""A test gives up after this many seconds; none measures how long anything takes."""


def wait_for(found: Callable[[], Any]) -> Any:
    """The first truthy value of found()."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")


class FakeBrowser:
    """A connected client. Collects what it is told; says where it looks from."""

    def __init__(self, port: int, origin: str | None = None, headers: dict[str, str] | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed = False
        protocol = f"viser-v{viser.__version__}"
        self._socket = connect(
            f"ws://127.0.0.1:{port}",
            subprotocols=[protocol],  # type: ignore[list-item]
            origin=origin,  # type: ignore[arg-type]
            additional_headers=headers,
            max_size=None,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for raw in self._socket:
                assert isinstance(raw, bytes)
                self.messages += decode(raw)
        except ConnectionClosed:
            self.closed = True

    def send(self, message: _messages.Message) -> None:
        self._socket.send(msgspec.msgpack.encode(message.as_serializable_dict()))

    def look(
        self, position: Any, wxyz: Any = (1.0, 0.0, 0.0, 0.0), fov: float = 1.0, size: tuple[int, int] = (96, 64)
    ) -> None:
        """Report a camera, as a browser does when it moves."""
        forward = viser.transforms.SO3(np.asarray(wxyz, float)).as_matrix()[:, 2]
        place = np.asarray(position, float)
        vectors = [tuple(map(float, v)) for v in (wxyz, place, place + forward, (0, 0, 1))]
        self.send(
            _messages.ViewerCameraMessage(
                wxyz=vectors[0],
                position=vectors[1],
                fov=fov,
                near=0.01,
                far=100.0,
                image_height=size[1],
                image_width=size[0],
                look_at=vectors[2],
                up_direction=vectors[3],
            )
        )

    def click(self, name: str, owner: str) -> None:
        """Click a node of the scene."""
        zero = (0.0, 0.0, 0.0)
        self.send(_messages.SceneNodeClickMessage(name, None, zero, zero, (0.5, 0.5), None, owner))

    def of(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """The messages of a type so far, with the given fields."""
        return [m for m in list(self.messages) if m["type"] == kind and all(m.get(k) == v for k, v in fields.items())]

    def __enter__(self) -> FakeBrowser:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join(timeout=5)


def decode(raw: bytes) -> list[dict[str, Any]]:
    """The messages of one frame of viser's wire format; arrays as raw bytes."""
    size = int.from_bytes(raw[8:16], "little")
    head = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size]))
    buffers, offset = [], 16 + size
    for length in head["binaryBufferLengths"]:
        offset += (8 - offset % 8) % 8
        buffers.append(raw[offset : offset + length])
        offset += length
    return [_filled(message, buffers) for message in head["messages"]]


def _filled(value: Any, buffers: list[bytes]) -> Any:
    if isinstance(value, dict):
        if "__binary_index" in value:
            return buffers[value["__binary_index"]]
        return {key: _filled(v, buffers) for key, v in value.items()}
    return [_filled(v, buffers) for v in value] if isinstance(value, list) else value


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@contextlib.contextmanager
def chromium(url: str, profile: Path, size: tuple[int, int] = (640, 480)) -> Iterator[None]:
    """Chromium without a window at a page, drawing in software."""
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
    ]
    flags += ["--ignore-gpu-blocklist", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    flags += [f"--window-size={size[0]},{size[1]}"]
    assert CHROMIUM is not None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([CHROMIUM, *flags, url], **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


class Tab:
    """Chromium without a window at a file, driven through its DevTools protocol."""

    def __init__(self, path: Path, profile: Path) -> None:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        assert CHROMIUM is not None
        self._process = subprocess.Popen(
            [CHROMIUM, *flags, f"--user-data-dir={profile}", path.as_uri()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = profile / "DevToolsActivePort"
        number = wait_for(lambda: port.is_file() and re.match(r"\d+", port.read_text()))[0]
        self._socket = connect(wait_for(lambda: self._page(number)), max_size=None, ping_interval=None)
        self._count = 0
        wait_for(lambda: self.run("location.protocol + document.readyState") == "file:complete")

    @staticmethod
    def _page(number: str) -> str | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{number}/json") as answer:
            return next((t["webSocketDebuggerUrl"] for t in json.load(answer) if t["type"] == "page"), None)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == self._count:
                return message["result"]

    def run(self, code: str) -> Any:
        """The value of an expression in the page."""
        return self.send("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def press(self, key: str, number: int) -> None:
        """Press and release a key; `number` is its virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number)

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=20)
