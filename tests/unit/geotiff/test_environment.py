"""GDAL's settings and keys for the calls of the plug-in."""

from __future__ import annotations

import os
from pathlib import Path

import boto3
import pytest
import rasterio
from rasterio.session import AWSSession

from hdm_geotiff.files.environment import gdal_environment
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import PeerRefusedError
from hdm_pipeline.grid import Window
from tests.integration.conftest import write_scene


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sessions of boto3 that are made where the environment holds keys."""
    made: list[object] = []
    real = boto3.Session

    def session(*args: object, **settings: object) -> boto3.Session:
        made.append(settings)
        return real(*args, **settings)

    for number in range(3):  # keys that no other test has
        monkeypatch.setenv(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")[number], f"key{number}")
    monkeypatch.setattr(boto3, "Session", session)
    return made


def test_local_files_are_read_without_asking_for_keys(sessions: list[object], tmp_path: Path) -> None:
    path = write_scene(tmp_path / "one.tif", 100, 120, 1)
    sessions.clear()  # of what wrote it
    reader = GeoTiffReader({})
    [ref] = [one for one in reader.discover(str(path)) if isinstance(one, SceneRef)]
    with reader.open(ref) as source:
        source.read(Window(z=0, y=0, x=0, height=50, width=60), (0, 1))
    assert sessions == []


def test_keys_for_buckets_are_fetched_once_until_they_change(
    sessions: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("key0", "key0", "renewed", "renewed"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        with gdal_environment(allow_network=True):
            assert rasterio.env.getenv()["AWS_ACCESS_KEY_ID"] == key
    assert len(sessions) == 2
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with gdal_environment(allow_network=True):
        assert "AWS_ACCESS_KEY_ID" not in rasterio.env.getenv()
    with gdal_environment():
        assert "AWS_ACCESS_KEY_ID" not in rasterio.env.getenv()
    assert len(sessions) == 2


def test_keys_of_a_callers_own_environment_count_first(sessions: list[object]) -> None:
    own = boto3.Session("own", "secret")
    with rasterio.Env(AWSSession(own)), gdal_environment(allow_network=True):
        assert rasterio.env.getenv()["AWS_ACCESS_KEY_ID"] == "own"
    with gdal_environment(allow_network=True):
        assert rasterio.env.getenv()["AWS_ACCESS_KEY_ID"] == "key0"


def test_the_endpoint_of_other_clients_is_gdals_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000/")
    with gdal_environment(allow_network=True):
        found = rasterio.env.getenv()
    assert found["AWS_S3_ENDPOINT"] == "minio.example:9000"
    assert found["AWS_HTTPS"] in ("NO", False)
    assert found["AWS_VIRTUAL_HOSTING"] in ("FALSE", False)
    monkeypatch.setenv("AWS_S3_ENDPOINT", "gdals.own")
    with gdal_environment(allow_network=True):
        assert "AWS_S3_ENDPOINT" not in rasterio.env.getenv()  # GDAL reads its own variable itself


def test_a_machine_without_keys_is_named_and_no_scene_blamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node of a cluster, say: each scene would meet it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    uri = "s3://bucket/one.tif"
    with pytest.raises(PeerRefusedError, match="this machine has no keys for the bucket") as caught:
        GeoTiffReader({"allow_network": True}).header(SceneRef("one", uri, "geotiff", "1"))
    assert caught.value.where == uri
    assert "every node" in caught.value.remedy
