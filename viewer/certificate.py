"""Certificates for https: a given one, or one that recon makes, signs with its own key, and keeps for this user.

The self-made one and its key stand in one file, so that they always belong together, in the user's configuration folder
with access for the user alone; never in a workspace, which people copy and hand on.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import re
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import InputError, MissingPart, WorkspaceError
from viewer.addresses import EVERYWHERE, LOCAL_NAMES, addresses, names
from viewer.options import ServeOptions

if TYPE_CHECKING:
    from cryptography import x509

VALID_DAYS = 365
RENEW_DAYS = 7
"""A certificate with less time left is replaced."""


def config_folder() -> Path:
    """Where programs keep what belongs to this user on this machine."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "recon"


def tls_context(options: ServeOptions) -> tuple[ssl.SSLContext, str] | None:
    """The server's side of TLS and the certificate's SHA-256 fingerprint ("AB:CD:..."); None for plain http.

    Raises InputError for files that are no certificate with its key, MissingPart when one is to be made without the
    package for it.
    """
    if not options.secure:
        return None
    if options.tls_cert is None:
        wanted = [*LOCAL_NAMES, *names(), *addresses()]
        if options.host and options.host not in EVERYWHERE:
            wanted.append(options.host)
        return load(self_made(config_folder(), list(dict.fromkeys(wanted))), None)
    return load(options.tls_cert, options.tls_key)


def load(certificate: Path, key: Path | None) -> tuple[ssl.SSLContext, str]:
    """A context from PEM files, and the certificate's fingerprint. Raises InputError."""
    for path in filter(None, (certificate, key)):
        if not path.is_file():
            raise InputError(f"{path} is no file. --tls-cert and --tls-key name PEM files.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    asked = []

    def no_password() -> str:  # without this, OpenSSL asks on the terminal
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except (ssl.SSLError, OSError) as error:
        if asked:
            raise InputError(
                f"{key or certificate} is locked with a password. Expected an unlocked private key."
            ) from error
        raise InputError(
            f"{certificate}{f' and {key}' if key else ''} cannot be used ({error.strerror or error}). Expected a PEM "
            "certificate, its chain after it, and its private key: in the same file, or in --tls-key FILE."
        ) from error
    return context, fingerprint(certificate.read_bytes())


def fingerprint(pem: bytes) -> str:
    """SHA-256 of the first certificate of a PEM file, as browsers show it."""
    block = re.search(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", pem, re.DOTALL)
    if block is None:
        raise InputError("The file of the certificate holds none. Expected a block BEGIN CERTIFICATE.")
    digest = hashlib.sha256(base64.b64decode(block[1])).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def self_made(folder: Path, hosts: Sequence[str]) -> Path:
    """A PEM file with a self-signed certificate for the hosts (names and addresses) and its key: the one kept in `folder`
    while it holds, else a new one. Raises MissingPart without the package cryptography, WorkspaceError when `folder`
    cannot be written.
    """
    path = folder / "certificate.pem"
    try:
        from cryptography import x509
    except ModuleNotFoundError as error:
        raise MissingPart(
            "--tls needs the package cryptography to make a certificate: pip install 'recon-scene[serve]'. "
            "Or bring one with --tls-cert FILE."
        ) from error
    if path.is_file() and _private(path):
        try:
            kept = x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError:  # torn or edited: as good as none
            kept = None
        if kept is not None and _holds(kept, hosts):
            return path
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(path, _make(hosts))
    except OSError as error:
        raise WorkspaceError(
            f"The certificate cannot be kept in {folder} ({error.strerror or error}). Make that folder writable, or bring "
            "a certificate with --tls-cert FILE."
        ) from error
    return path


def _private(path: Path) -> bool:
    """Whether nobody else could have read a file."""
    return sys.platform == "win32" or (path.stat().st_mode & 0o077 == 0 and path.stat().st_uid == os.getuid())


def _holds(certificate: x509.Certificate, hosts: Sequence[str]) -> bool:
    """Whether a certificate is valid for some days yet, and names all hosts."""
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - datetime.timedelta(RENEW_DAYS):
        return False
    try:
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return all(name in named for name in map(_general_name, hosts))


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.encode("idna").decode())


def _make(hosts: Sequence[str]) -> bytes:
    """A new key (P-256) and a certificate that it signs, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "recon on this machine")])
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"), False
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=24))  # a headset's clock may be late
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def _write_private(path: Path, content: bytes) -> None:
    """Atomic, and at no moment readable by others."""
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
