"""A real Orthanc on loopback: DICOMweb and DIMSE, with users, and behind stunnel where TLS is asked for.

Debian's Orthanc cannot serve HTTPS itself (its civetweb does not know OpenSSL 3); hospitals put a proxy in front, too.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

PLUG_INS = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
INSTALL = "apt-get install --no-install-recommends orthanc orthanc-dicomweb orthanc-gdcm"


@dataclass(frozen=True)
class Archive:
    """A running Orthanc.

    Attributes:
        http: address without a path, ``http://127.0.0.1:PORT`` or ``https://127.0.0.1:PORT``.
        dicom_port: of DIMSE on 127.0.0.1; its application entity is JUDGE, and it knows the caller HDM.
        user, password: of HTTP.
        certificate: of the server, to be trusted by clients; None without TLS. Where clients are
            asked for a certificate, it is theirs, too.
        key: of the certificate.
    """

    http: str
    dicom_port: int
    user: str
    password: str
    certificate: Path | None = None
    key: Path | None = None

    @property
    def web(self) -> str:
        """Address of DICOMweb."""
        return f"{self.http}/dicom-web"

    def call(
        self, path: str, data: bytes | None = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> bytes:
        """The answer to a request; raises `urllib.error.HTTPError` for an error's status."""
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            self.http + path, data, {"Authorization": f"Basic {token}", **(headers or {})}, method=method
        )
        trust = None
        if self.certificate and self.key:
            trust = ssl.create_default_context(cafile=self.certificate)
            trust.load_cert_chain(self.certificate, self.key)
        with urllib.request.urlopen(request, timeout=20, context=trust) as answer:
            body: bytes = answer.read()
        return body

    def stored(self, uid: str) -> bytes:
        """The file of an instance, as it was stored."""
        (name,) = json.loads(self.call("/tools/lookup", uid.encode()))
        return self.call(f"/instances/{name['ID']}/file")

    def instances(self) -> list[str]:
        """Orthanc's ids of all instances."""
        found: list[str] = json.loads(self.call("/instances"))
        return found

    def fill(self, folder: Path) -> None:
        """Store every file below a folder."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.call("/instances", path.read_bytes(), {"Content-Type": "application/dicom"})


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of localhost and 127.0.0.1, and its key, made by the program openssl."""
    folder.mkdir(parents=True, exist_ok=True)
    made, key = folder / "certificate.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [*command, "-addext", names, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True
    )
    return made, key


@contextmanager
def running(
    program: str,
    folder: Path,
    *,
    stunnel: str | None = None,
    ask_clients: bool = False,
    settings: dict[str, Any] | None = None,
    ports: tuple[int, int] | None = None,
) -> Iterator[Archive]:
    """Start Orthanc and stop it again.

    Args:
        program: path of Orthanc.
        folder: new folder for its files.
        stunnel: path of stunnel, for HTTPS with a certificate of its own; None for plain HTTP.
        ask_clients: refuse clients that do not show the certificate (with stunnel).
        settings: more settings, or others.
        ports: of plain HTTP and of DIMSE; free ones by default.
    """
    folder.mkdir(parents=True)
    port, dicom_port = ports or (free_port(), free_port())
    archive = Archive(f"http://127.0.0.1:{port}", dicom_port, "judge", "secret")
    config = {
        "Name": "JUDGE",
        "Plugins": [PLUG_INS],
        "HttpPort": port,
        "DicomPort": archive.dicom_port,
        "DicomAet": "JUDGE",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowEcho": False,
        "DicomModalities": {"hdm": ["HDM", "127.0.0.1", 104]},
        "StorageDirectory": str(folder / "files"),
        "IndexDirectory": str(folder / "index"),
        "AuthenticationEnabled": True,
        "RegisteredUsers": {archive.user: archive.password},
        "UnknownSopClassAccepted": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **(settings or {}),
    }
    (folder / "config.json").write_text(json.dumps(config))
    with ExitStack() as stack:
        stack.enter_context(_process([program, str(folder / "config.json")], folder / "log"))
        _wait(archive, folder / "log")
        if stunnel is not None:
            archive = stack.enter_context(_by_tls(archive, stunnel, folder / "tls", ask_clients))
        yield archive


@contextmanager
def _by_tls(archive: Archive, stunnel: str, folder: Path, ask_clients: bool) -> Iterator[Archive]:
    """The same archive by HTTPS."""
    made, key = certificate(folder)
    port = free_port()
    lines = [
        "foreground = yes",
        "pid =",
        "[https]",
        f"accept = 127.0.0.1:{port}",
        f"connect = {archive.http.removeprefix('http://')}",
        f"cert = {made}",
        f"key = {key}",
    ]
    if ask_clients:
        lines += ["verifyPeer = yes", f"CAfile = {made}"]
    (folder / "stunnel.conf").write_text("\n".join(lines) + "\n")
    with _process([stunnel, str(folder / "stunnel.conf")], folder / "log"):
        secure = replace(archive, http=f"https://127.0.0.1:{port}", certificate=made, key=key)
        _wait(secure, folder / "log")
        yield secure


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait(archive: Archive, log: Path) -> None:
    for _ in range(600):
        try:
            archive.call("/system")
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"Orthanc does not start: {log.read_text()[-500:]}")
