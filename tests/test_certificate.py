"""Certificates: made for this user alone, renewed in time, true in what they say; and the https that stands on them."""

import datetime
import hashlib
import ipaddress
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from recon.errors import InputError, MissingPart, WorkspaceError
from tests.sites import FILES, site
from tests.sockets import ask
from viewer import certificate
from viewer.certificate import config_folder, fingerprint, load, self_made
from viewer.options import ServeOptions
from viewer.static_server import folder_server

HOSTS = ("127.0.0.1", "::1", "localhost", "headset.local", "192.0.2.7")


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who has none yet."""
    for name in ("XDG_CONFIG_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return config_folder()


def test_it_names_all_hosts_and_is_kept_for_this_user_alone(tmp_path: Path) -> None:
    path = self_made(tmp_path / "new" / "recon", HOSTS)
    names = read(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "headset.local"]
    addresses = [ipaddress.ip_address(host) for host in ("127.0.0.1", "::1", "192.0.2.7")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert not read(path).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_fingerprint_is_the_one_that_browsers_show(tmp_path: Path) -> None:
    path = self_made(tmp_path, HOSTS)
    der = read(path).public_bytes(serialization.Encoding.DER)
    assert fingerprint(path.read_bytes()).replace(":", "").lower() == hashlib.sha256(der).hexdigest()
    assert load(path, None)[1] == fingerprint(path.read_bytes())


def test_it_is_kept_while_it_holds(tmp_path: Path) -> None:
    first = self_made(tmp_path, HOSTS).read_bytes()
    assert self_made(tmp_path, HOSTS[:3]).read_bytes() == first
    assert self_made(tmp_path, HOSTS).read_bytes() == first


@pytest.mark.parametrize("days", [-1, 3, 400])
def test_it_is_renewed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Run out, about to run out, and made by a clock that was wrong."""
    with monkeypatch.context() as patch:
        if days > 365:
            patch.setattr(certificate, "VALID_DAYS", days + 365)
            real = datetime.datetime.now(datetime.UTC)

            class Later(datetime.datetime):
                @classmethod
                def now(cls, tz: datetime.tzinfo | None = None) -> "Later":
                    return cls.fromtimestamp((real + datetime.timedelta(days)).timestamp(), tz)

            patch.setattr(certificate.datetime, "datetime", Later)
        else:
            patch.setattr(certificate, "VALID_DAYS", days + 0.5)
        old = self_made(tmp_path, HOSTS).read_bytes()
    new = self_made(tmp_path, HOSTS)
    assert new.read_bytes() != old
    left = read(new).not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(360) < left < datetime.timedelta(366)


def test_a_new_address_needs_a_new_one(tmp_path: Path) -> None:
    first = self_made(tmp_path, HOSTS).read_bytes()
    assert self_made(tmp_path, (*HOSTS, "198.51.100.3")).read_bytes() != first


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
def test_a_key_that_others_could_read_is_given_up(tmp_path: Path) -> None:
    path = self_made(tmp_path, HOSTS)
    first = path.read_bytes()
    path.chmod(0o640)
    again = self_made(tmp_path, HOSTS)
    assert again.read_bytes() != first and again.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x00" * 99]
)
def test_a_broken_one_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    assert load(self_made(tmp_path, HOSTS), None)[1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WorkspaceError, match="--tls-cert"):
        self_made(tmp_path / "file" / "recon", HOSTS)


def test_without_the_package_the_user_is_told_which(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\nfrom viewer.certificate import self_made\nfrom recon.errors import MissingPart\n"
        "try: self_made(Path('.'), ('localhost',))\nexcept MissingPart as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert issubclass(MissingPart, Exception) and "recon-scene[serve]" in done.stdout and "--tls-cert" in done.stdout


def test_https_with_a_self_made_certificate(tmp_path: Path, home: Path) -> None:
    """A client that trusts this certificate and checks the name gets the page; one that speaks plain http gets nothing."""
    with folder_server(site(tmp_path), ServeOptions(port=0, tls=True)) as door:
        assert door.url.startswith("https://127.0.0.1:")
        made = home / "certificate.pem"
        assert any(fingerprint(made.read_bytes()) in note for note in door.notes)
        trusting = ssl.create_default_context(cafile=made)
        answer = ask(door.url, tls=trusting)
        assert (answer.status, answer.body) == (200, FILES["index.html"])
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(door.url, tls=ssl.create_default_context())
        assert ask(door.url).status == 0
        with pytest.warns(DeprecationWarning):
            trusting.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(door.url, tls=trusting)
    assert not list((tmp_path / "site").rglob("*.pem")), "the key stays out of what is handed on"


def test_https_with_a_given_certificate(tmp_path: Path, home: Path) -> None:
    """In one file with its key, and in two; nothing is made."""
    both = self_made(tmp_path / "elsewhere", HOSTS)
    start = both.read_bytes().index(b"-----BEGIN PRIVATE")
    alone, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    alone.write_bytes(both.read_bytes()[:start])
    key.write_bytes(both.read_bytes()[start:])
    folder = site(tmp_path)
    for options in (ServeOptions(port=0, tls_cert=both), ServeOptions(port=0, tls_cert=alone, tls_key=key)):
        with folder_server(folder, options) as door:
            assert ask(door.url, tls=ssl.create_default_context(cafile=alone)).status == 200
            assert door.fingerprint == fingerprint(alone.read_bytes())
    assert not home.exists()
    locked = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    other = self_made(tmp_path / "other", HOSTS)
    for cert, private, said in (
        (alone, None, "--tls-key"),
        (alone, other, "cannot be used"),
        (alone, tmp_path / "locked.pem", "password"),
        (tmp_path / "none.pem", None, "no file"),
        (folder / "index.html", None, "cannot be used"),
    ):
        with pytest.raises(InputError, match=said):
            folder_server(folder, ServeOptions(port=0, tls_cert=cert, tls_key=private))


def test_options_that_contradict_each_other() -> None:
    for wrong, said in (
        ({"tls": True, "tls_cert": Path("a")}, "one of the two"),
        ({"tls_key": Path("a")}, "--tls-cert FILE"),
        ({"host": " "}, "--host is empty"),
        ({"port": 65536}, "--port 65536"),
    ):
        with pytest.raises(InputError, match=said):
            ServeOptions(**wrong)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX")
def test_the_key_is_never_readable_by_others_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, replace = [], os.replace

    def watched(part: Path, path: Path) -> None:
        modes.append(Path(part).stat().st_mode & 0o777)
        replace(part, path)

    monkeypatch.setattr(os, "replace", watched)
    before = os.umask(0)
    try:
        self_made(tmp_path, HOSTS)
    finally:
        os.umask(before)
    assert modes == [0o600]
