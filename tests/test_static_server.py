"""The server of a published folder: what it gives, to whom, and that nothing else comes out."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import InputError
from tests.sites import FILES
from tests.sockets import ask, dial, head, hear
from viewer.door import Door
from viewer.options import ServeOptions
from viewer.static_server import PAGE_POLICY, byte_range, folder_server

# What it gives


def test_files_come_whole_with_their_types(door: Door) -> None:
    types = {
        "/": "text/html; charset=utf-8",
        "/manifest.json": "application/json",
        "/assets/page.js": "text/javascript; charset=utf-8",
        "/assets/spark.wasm": "application/wasm",
        "/splats/0000.spz": "application/octet-stream",
        "/mesh/mesh.glb": "model/gltf-binary",
        "/film.mp4": "video/mp4",
        "/photos/%C3%BCber%20uns.jpg": "image/jpeg",
        "/splats/empty.spz": "application/octet-stream",
    }
    for target, kind in types.items():
        answer = ask(door.url, target)
        name = {"/": "index.html", "/photos/%C3%BCber%20uns.jpg": "photos/über uns.jpg"}.get(target, target[1:])
        assert (answer.status, answer["content-type"], answer.body) == (200, kind, FILES[name]), target
        assert answer["content-length"] == str(len(FILES[name])) and answer["x-content-type-options"] == "nosniff"
    assert ask(door.url, "/index.html?view=1").body == FILES["index.html"]


def test_head_gives_the_same_headers_and_no_body(door: Door) -> None:
    full, bare = ask(door.url, "/splats/0000.spz"), ask(door.url, "/splats/0000.spz", "HEAD")
    assert bare.status == 200 and bare.headers == full.headers and not bare.body


def test_one_range_is_given_and_the_rest_of_the_grammar_is_safe(door: Door) -> None:
    whole = FILES["splats/0000.spz"]
    cases = {
        "bytes=0-0": (206, whole[:1]),
        "bytes=100-299": (206, whole[100:300]),
        "bytes=10000-": (206, whole[10000:]),
        "bytes=-7": (206, whole[-7:]),
        "bytes=-99999999": (206, whole),
        "bytes=0-99999999": (206, whole),
        "bytes=10240-": (416, b""),
        "bytes=-0": (416, b""),
        "bytes=5-2": (200, whole),
        "bytes=0-1,5-6": (200, whole),
        "lines=0-1": (200, whole),
        "bytes=-": (200, whole),
        "bytes=1e3-": (200, whole),
        "bytes=--5": (200, whole),
        f"bytes={'9' * 400}-": (200, whole),
    }
    for wish, (status, body) in cases.items():
        answer = ask(door.url, "/splats/0000.spz", range=wish)
        assert (answer.status, answer.body) == (status, body), wish
    assert ask(door.url, "/splats/0000.spz", range="bytes=100-299")["content-range"] == "bytes 100-299/10240"
    assert ask(door.url, "/splats/0000.spz", range="bytes=10240-")["content-range"] == "bytes */10240"
    tag = ask(door.url, "/splats/0000.spz")["etag"]
    assert ask(door.url, "/splats/0000.spz", range="bytes=0-1", if_range=tag).status == 206
    assert ask(door.url, "/splats/0000.spz", range="bytes=0-1", if_range='"old"').status == 200


@given(size=st.integers(0, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_ranges_lie_in_the_file(size: int, first: int, last: int) -> None:
    for header in (f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"):
        part = byte_range(header, size)
        if part is not None and part[0] < part[1]:
            assert part[0] >= 0 and part[1] <= size
            data = range(size)
            start, end = (first, last + 1) if header[-1] != "-" and header[6] != "-" else (first, size)
            expected = data[-last:] if header[6] == "-" else data[start:end]
            assert list(data[part[0] : part[1]]) == list(expected)


def test_what_has_not_changed_is_not_sent_again(served: Path, door: Door) -> None:
    path = served / "site" / "notes.json"
    path.write_bytes(b"one")
    first = ask(door.url, "/notes.json")
    for shown in (first["etag"], f"W/{first['etag']}", f'"other", {first["etag"]}', "*"):
        again = ask(door.url, "/notes.json", if_none_match=shown)
        assert (again.status, again.body) == (304, b""), shown
    path.write_bytes(b"two!")
    assert ask(door.url, "/notes.json", if_none_match=first["etag"]).body == b"two!"


def test_several_requests_on_one_connection(door: Door) -> None:
    with dial(door.url) as wire:
        wire.sendall(head(door.url, "/mesh/mesh.glb") + head(door.url, "/film.mp4", connection="close"))
        received = hear(wire).body
    assert received.startswith(b"glTFHTTP/1.1 200") and received.endswith(b"film")


def test_every_answer_carries_the_pages_policy(door: Door) -> None:
    answer = ask(door.url)
    assert answer["content-security-policy"] == f"{PAGE_POLICY}; frame-ancestors 'self'"
    assert answer["permissions-policy"].startswith("xr-spatial-tracking=(self), camera=()")
    assert answer["referrer-policy"] == "no-referrer" and answer["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in ask(door.url, "/none")["content-security-policy"]
    assert "server" not in answer.headers


def test_the_page_says_the_same_policy_itself() -> None:
    """For hosts that send no headers. frame-ancestors works in a header alone."""
    page = Path(__file__).parent.parent / "viewer" / "web" / "index.html"
    meta = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"', page.read_text(encoding="utf-8"))
    assert meta is not None and meta[1] == PAGE_POLICY


# Starting


def test_what_is_no_page_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recon publish"):
        folder_server(tmp_path, ServeOptions(port=0))


def test_a_taken_port_is_passed_over_and_freed(served: Path) -> None:
    with folder_server(served / "site", ServeOptions(port=0)) as first:
        with folder_server(served / "site", ServeOptions(port=first.port)) as second:
            assert second.port != first.port
        with folder_server(served / "site", ServeOptions(port=second.port)) as third:
            assert third.port == second.port, "close() frees the port"
    with pytest.raises(OSError):
        dial(first.url)


@pytest.mark.parametrize("host", ["198.51.100.7", "no such host", "no-such-host.invalid"])
def test_a_host_that_is_not_ours_is_named(served: Path, host: str) -> None:
    with pytest.raises(InputError, match="--host"):
        folder_server(served / "site", ServeOptions(port=0, host=host))
