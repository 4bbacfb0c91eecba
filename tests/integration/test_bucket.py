"""Outputs in a bucket: the bytes of a disk, resumed anywhere, whatever the store does. The server is a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Workbench
from tests.s3_server import S3Server, installed, s3_server

pytestmark = pytest.mark.skipif(not installed(), reason="needs moto (extra `judges`)")


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("out")
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    running.enter(monkeypatch)
    _other_machine(monkeypatch, tmp_path, "first")
    client = running.client()
    for key in running.objects("out"):
        client.delete_object(Bucket="out", Key=key)
    running.heals()
    running.forget()
    yield running
    running.heals()


def _other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """From now on nothing is known of what earlier runs left on their disk."""
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch" / name))


def _products(server: S3Server, prefix: str) -> dict[str, bytes]:
    found = {key.removeprefix(prefix): content for key, content in server.objects("out", prefix).items()}
    return {
        key: content
        for key, content in found.items()
        if Path(key).suffix in (".tif", ".xml", ".qml", ".vrt", ".json")
        and not key.startswith(".hdm")
        and key != "run.json"
    }


PRODUCTS = {"products": ["mask", "score", "stac"]}


def test_the_bytes_of_a_disk_and_nothing_to_do_on_another_machine(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Pipeline.from_yaml(bench.pipeline("disk", output=PRODUCTS)).run()
    pipeline = Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b", **PRODUCTS}))
    first = pipeline.run()
    assert len(first.done) == 3
    disk = bench.root / "disk"
    found = _products(server, "b/")
    files = {p.relative_to(disk).as_posix(): p.read_bytes() for p in disk.rglob("*") if p.is_file()}
    shown = (".tif", ".qml", ".vrt", ".xml", ".json")
    files = {n: c for n, c in files.items() if Path(n).suffix in shown and not n.startswith(".hdm") and n != "run.json"}
    assert set(found) == set(files)
    assert [name for name in files if found[name] != files[name]] == []
    objects = server.objects("out", "b/")
    for name in ("run.json", "report.html", "collection.json", ".hdm/ledger.sqlite", ".hdm/files.json"):
        assert f"b/{name}" in objects
    assert "b/.hdm/run.lock" not in objects
    _other_machine(monkeypatch, tmp_path, "second")
    assert Pipeline.from_yaml(pipeline.file.path).plan().plan.scenes == ()
    server.forget()
    again = Pipeline.from_yaml(pipeline.file.path).run()
    assert (len(again.done), again.done_before) == (0, 3)
    assert _products(server, "b/") == found
    written = {one["key"] for one in server.log() if one["kind"] in ("put", "create", "part")}
    assert not [key for key in written if key.endswith(("mask.tif", "score.tif"))]
