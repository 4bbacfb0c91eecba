"""A real S3 server (moto) in a process of its own on loopback, behind a proxy that can do wrong (`fault_proxy.py`).

with s3_server() as server, monkeypatch.context() as patch:
    server.enter(patch)                                     # keys and endpoint for obstore, boto3 and GDAL
    server.make_bucket("out")
    server.rules([Rule("slow_down", kind="put", every=3)])  # or quick: server.fails("slow_down", kind="put")
    ...
    assert server.counts()["put"] == 7
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fault_proxy import Rule

ROOT = Path(__file__).parents[1]
NEEDS = ("moto", "boto3", "flask")
"""Modules without which there is no server (extra `judges`)."""


def installed() -> bool:
    """Whether a server can be started here."""
    return all(importlib.util.find_spec(module) for module in NEEDS)


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        direct: ``host:port`` of the server itself.
        proxied: ``host:port`` of the proxy before it, which clients use.
    """

    direct: str
    proxied: str

    @property
    def endpoint(self) -> str:
        """What clients connect to."""
        return f"http://{self.proxied}"

    def environment(self) -> dict[str, str]:
        """Environment variables by which obstore, boto3 and GDAL find the server."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_S3_ENDPOINT": self.proxied,
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set the environment of this process."""
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)

    def client(self) -> Any:
        """boto3's client, past the proxy: what a test does itself is neither counted nor disturbed."""
        import boto3

        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=f"http://{self.direct}", **keys)

    def make_bucket(self, name: str) -> None:
        """Make a bucket, as often as one likes."""
        self.client().create_bucket(Bucket=name)

    def empty(self, bucket: str, prefix: str = "") -> None:
        """Remove all objects below a prefix."""
        client = self.client()
        for key in self.keys(bucket, prefix):
            client.delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Content of all objects below a prefix, by key."""
        client = self.client()
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in self.keys(bucket, prefix)}

    def put_folder(self, folder: Path, bucket: str, prefix: str = "") -> None:
        """Put all files of a folder below a prefix (`archive/`)."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())

    def rules(self, rules: Sequence[Rule]) -> None:
        """Set what goes wrong from now on; all counts begin anew."""
        self._ask("PUT", [asdict(rule) for rule in rules])

    def fails(self, fault: str, **where: Any) -> None:
        """Set one rule."""
        self.rules([Rule(fault, **where)])

    def heals(self) -> None:
        """Nothing goes wrong any more."""
        self.rules([])

    def faults(self) -> list[Rule]:
        """The rules, with what they have done so far."""
        return [Rule(**one) for one in self._ask("GET")["rules"]]

    def log(self) -> list[dict[str, Any]]:
        """Requests so far: `kind`, `key` (``bucket/key``), `status`, `fault`, `sent` and `given` bytes."""
        found: list[dict[str, Any]] = self._ask("GET")["log"]
        return found

    def counts(self, key: str = "") -> Counter[str]:
        """Requests so far by kind, of keys (``bucket/key``) that hold `key`."""
        return Counter(one["kind"] for one in self.log() if key in one["key"])

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Within: the server takes no keys but those it has given itself, which are none."""
        self._demand_keys(0)
        try:
            yield
        finally:
            self._demand_keys(1 << 60)

    def _demand_keys(self, after: int) -> None:
        connection = http.client.HTTPConnection(self.direct, timeout=30)
        try:
            connection.request("POST", "/moto-api/reset-auth", str(after), {"Content-Type": "text/plain"})
            assert connection.getresponse().status == 200
        finally:
            connection.close()

    def forget(self) -> None:
        """Forget the log."""
        self._ask("DELETE")

    def _ask(self, method: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection(self.proxied, timeout=30)
        try:
            connection.request(method, "/-/", json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def s3_server(
    host: str = "127.0.0.1", within: Sequence[str] = (), make: Callable[[str, int], list[str]] | None = None
) -> Iterator[S3Server]:
    """Run a server and its proxy.

    Args:
        host: address both listen on; another one than loopback only within a network namespace.
        within: command that runs another one there.
        make: gives the command of another server for (host, port); none: moto.
    """
    with ExitStack() as stack:
        port = 9000 if within else free_port(host)
        stack.enter_context(server_process([*within, *(make or _moto)(host, port)]))
        _wait_for(host, port)
        command = [*within, sys.executable, "-m", "tests.fault_proxy", "--to", f"{host}:{port}", "--host", host]
        proxy = stack.enter_context(server_process(command))
        assert proxy.stdout is not None
        yield S3Server(f"{host}:{port}", f"{host}:{int(proxy.stdout.readline())}")


def _moto(host: str, port: int) -> list[str]:
    return [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]


@contextmanager
def server_process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; however the tests end, it ends with them."""
    with_us = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    process = subprocess.Popen([*with_us, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port(host: str) -> int:
    """A port that nobody listens on, below 30000: SeaweedFS takes ports 10,000 higher, too."""
    for port in range(20_000 + os.getpid() * 10 % 9_000, 30_000):
        with socket.socket() as probe:
            if probe.connect_ex((host, port)):
                return port
    raise OSError("no free port")


def _wait_for(host: str, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no S3 server at {host}:{port}")
