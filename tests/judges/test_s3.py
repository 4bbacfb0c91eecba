"""Scenes in a bucket, as an independent S3 server (moto) gives them."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, ReadError
from hdm_pipeline.grid import Window
from tests.judges.conftest import missing

BUCKET = "archive"
NETWORK = {"allow_network": True}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """`host:port` of an S3 server in a process of its own: GDAL waits for answers with Python's lock held."""
    for module in ("moto", "boto3", "flask"):
        if importlib.util.find_spec(module) is None:
            missing(f"{module} (install: pip install 'moto[server]')")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An S3 server with two scenes under `s3://archive/scenes/`; gives the path of a local copy."""
    import boto3

    settings = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    gdal = {"AWS_S3_ENDPOINT": server, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for name, value in {**settings, **gdal}.items():
        monkeypatch.setenv(name, value)
    copy = tmp_path / "one.tif"
    values = np.random.default_rng(0).integers(0, 9, (2, 300, 400)).astype(np.int16)
    profile = {"driver": "GTiff", "count": 2, "height": 300, "width": 400, "dtype": "int16", "nodata": 0}
    with rasterio.open(copy, "w", crs="EPSG:32633", tiled=True, blockxsize=64, blockysize=64, **profile) as target:
        target.write(values)
    client = boto3.client("s3", endpoint_url=f"http://{server}")
    client.create_bucket(Bucket=BUCKET)  # as often as one likes, in this region
    for key in ("scenes/one.tif", "scenes/deep/two.tif", "scenes/notes.md", "scenes/x.img", "scenes_old/three.tif"):
        client.upload_file(str(copy), BUCKET, key)
    return copy


def scenes(uri: str, **options: object) -> list[SceneRef]:
    return [one for one in GeoTiffReader({**NETWORK, **options}).discover(uri) if isinstance(one, SceneRef)]


def test_a_prefix_is_listed(bucket: Path) -> None:
    found = list(GeoTiffReader(NETWORK).discover(f"s3://{BUCKET}/scenes/"))
    assert [one.id for one in found if isinstance(one, SceneRef)] == ["one", "two"]
    assert [one.uri for one in found if isinstance(one, Skipped)] == [f"s3://{BUCKET}/scenes/x.img"]
    assert [ref.id for ref in scenes(f"s3://{BUCKET}/scenes/", ids="path")] == ["deep__two", "one"]


def test_pixels_come_as_from_a_local_file(bucket: Path) -> None:
    (remote,) = scenes(f"s3://{BUCKET}/scenes/one.tif")
    (local,) = scenes(str(bucket))
    reader = GeoTiffReader(NETWORK)
    window = Window(z=0, y=33, x=77, height=200, width=300)
    with reader.open(remote) as there, reader.open(local) as here:
        for first, second in zip(there.read(window, (1, 0)), here.read(window, (1, 0)), strict=True):
            assert np.array_equal(first, second)


def test_identity_follows_the_content(bucket: Path) -> None:
    import boto3

    (before,) = scenes(f"s3://{BUCKET}/scenes/one.tif")
    assert scenes(f"s3://{BUCKET}/scenes/one.tif") == [before]
    with rasterio.open(bucket, "r+") as target:
        target.write(np.full((2, 300, 400), 3, dtype=np.int16))
    from hdm_geotiff.files.remote import _endpoint

    boto3.client("s3", endpoint_url=_endpoint()).upload_file(str(bucket), BUCKET, "scenes/one.tif")
    (after,) = scenes(f"s3://{BUCKET}/scenes/one.tif")
    assert after.identity != before.identity


def test_a_list_may_name_objects(bucket: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"s3://{BUCKET}/scenes/deep/two.tif\none.tif\n")
    assert [ref.id for ref in scenes(str(tmp_path / "list.txt"))] == ["one", "two"]


def test_what_is_not_there_is_an_error_in_time(bucket: Path) -> None:
    with pytest.raises(EmptyArchiveError):
        scenes(f"s3://{BUCKET}/nothing/")
    with pytest.raises(ArchiveError, match="cannot be listed"):
        scenes("s3://no-such-bucket/scenes/")
    with pytest.raises(ReadError):
        GeoTiffReader(NETWORK).header(SceneRef("gone", f"s3://{BUCKET}/gone.tif", "geotiff", ""))
