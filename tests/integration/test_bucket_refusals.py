"""Whoever asks a store that is not there, or that refuses, is told so in plain words, and where it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hdm_pipeline.errors import ObjectStoreError, ObjectStoreSilentError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status
from tests.integration.conftest import Workbench
from tests.s3_server import S3Server

LIBRARY = ("Generic", "reqwest", "Error performing", "obstore", "RetryError", "Traceback", "<?xml", "Debug source")
NOWHERE = "http://127.0.0.1:9"
TROUBLES = {
    "endpoint": ("the object store does not answer", NOWHERE),
    "nonsense": ("AWS_ENDPOINT_URL names no server", "127.0.0.1:9"),
    "bucket": ("there is no such bucket", "s3://no-such-bucket/b"),
    "keys": ("the object store refuses the keys (InvalidAccessKeyId)", "s3://out/b"),
    "no keys": ("there are no keys for the object store", "s3://out/b"),
    "no store": ("there is no such bucket, or no object store here", "s3://out/b"),
}


@contextmanager
def trouble(kind: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Within: it is so; gives the address to use."""
    if kind == "keys":
        with server.strict():
            yield "s3://out/b"
        return
    if kind in ("endpoint", "nonsense"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE if kind == "endpoint" else NOWHERE.removeprefix("http://"))
    if kind == "no keys":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    if kind == "no store":  # a web server that knows nothing of buckets
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.direct}/moto-api/nothing")
    yield "s3://no-such-bucket/b" if kind == "bucket" else "s3://out/b"


def _told(error: ObjectStoreError, kind: str) -> None:
    what, where = TROUBLES[kind]
    assert what in error.what
    assert where in error.where
    assert error.remedy
    assert not [word for word in LIBRARY if word in str(error)]


@pytest.mark.parametrize("kind", TROUBLES)
def test_status_and_plan_say_what_is_wrong(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch"))
    with trouble(kind, server, monkeypatch) as address:
        with pytest.raises(ObjectStoreError) as caught:
            output_status(address)
        _told(caught.value, kind)
        pipeline = Pipeline.from_yaml(bench.pipeline("b", output={"directory": address}))
        with pytest.raises(ObjectStoreError) as caught:
            pipeline.plan()
        _told(caught.value, kind)


@pytest.mark.parametrize("kind", TROUBLES)
def test_every_request_says_what_is_wrong(server: S3Server, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with trouble(kind, server, monkeypatch) as address:
        folder = ObjectFolder(address).hurried(1.0)
        for request in (
            lambda: folder.get("k"),
            lambda: folder.put("k", b"1"),
            lambda: folder.create("k", b"1"),
            lambda: folder.delete("k"),
            lambda: folder.move("k", "l"),
            lambda: list(folder.keys("d/")),
            lambda: folder.delete_all("d/"),
        ):
            with pytest.raises(ObjectStoreError) as caught:
                request()
            _told(caught.value, kind)
            assert isinstance(caught.value, ObjectStoreSilentError) == (kind == "endpoint")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "report", "plan", "run"])
@pytest.mark.parametrize("kind", ["endpoint", "bucket"])
def test_commands_end_with_it(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, command: str
) -> None:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch"))
    with trouble(kind, server, monkeypatch) as address:
        file = bench.pipeline("b", output={"directory": address})
        given = str(file) if command in ("plan", "run") else address
        ended = subprocess.run(
            [sys.executable, "-m", "hdm_pipeline", command, given],
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
        )
    what, where = TROUBLES[kind]
    assert ended.returncode == 1
    for text in (what, where, "remedy:"):
        assert text in ended.stderr
    assert not [word for word in LIBRARY if word in ended.stderr]


@pytest.mark.parametrize("listing", ["told", "bare"])
def test_a_store_that_says_no_more_than_404_lacks_an_object_or_the_bucket(server: S3Server, listing: str) -> None:
    """Whether there is the bucket is asked for by a listing, which may say no more itself where there is none."""
    server.fails("bare", kind=".*" if listing == "bare" else "get|put|replace|delete")
    there, nowhere = (ObjectFolder(f"s3://{bucket}/b").hurried(2.0) for bucket in ("out", "no-such-bucket"))
    assert there.get("k") is None
    assert [one["status"] for one in server.log()] == [404, 200]
    assert there.replace("k", b"1", "tag") is None
    there.delete("k")
    assert there.move("k", "l") is False
    tag = there.put("k", b"1")
    assert there.get_tagged("k") == (b"1", tag)
    there.delete_all()
    assert server.keys("out") == []
    for request in (lambda: nowhere.get("k"), lambda: nowhere.move("k", "l"), lambda: nowhere.delete("k")):
        with pytest.raises(ObjectStoreError, match="there is no such bucket") as caught:
            request()
        assert "s3://no-such-bucket/b/k" in caught.value.where
        assert caught.value.remedy
    assert (listing == "bare") == (" or no object store here" in caught.value.what)


def test_a_local_file_that_is_gone_is_no_bucket_that_is_gone(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ObjectFolder("s3://out/b").put("k", tmp_path / "gone")
