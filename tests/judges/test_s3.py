"""Scenes in a bucket, as an independent S3 server (moto) gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, PeerRefusedError, ReadError
from hdm_pipeline.grid import Window
from tests.judges.conftest import missing
from tests.s3_server import S3Server, installed, s3_server

BUCKET = "archive"
NETWORK = {"allow_network": True}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server in processes of its own: GDAL waits for answers with Python's lock held."""
    if not installed():
        missing("moto (install: pip install 'moto[server]')")
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An S3 server with two scenes under `s3://archive/scenes/`; gives the path of a local copy."""
    server.enter(monkeypatch)
    copy = tmp_path / "one.tif"
    values = np.random.default_rng(0).integers(0, 9, (2, 300, 400)).astype(np.int16)
    profile = {"driver": "GTiff", "count": 2, "height": 300, "width": 400, "dtype": "int16", "nodata": 0}
    with rasterio.open(copy, "w", crs="EPSG:32633", tiled=True, blockxsize=64, blockysize=64, **profile) as target:
        target.write(values)
    server.make_bucket(BUCKET)
    client = server.client()
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


def test_one_endpoint_is_enough_for_listing_and_for_pixels(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"):
        monkeypatch.delenv(name)
    (remote,) = scenes(f"s3://{BUCKET}/scenes/one.tif")
    with GeoTiffReader(NETWORK).open(remote) as there:
        pixels, valid = there.read(Window(z=0, y=0, x=0, height=300, width=400), (0,))
    with rasterio.open(bucket) as here:
        assert np.array_equal(pixels[0][valid], here.read(1)[valid])
    assert valid.any()


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


def test_a_scene_costs_few_requests(server: S3Server, bucket: Path) -> None:
    from hdm_geotiff.files.remote import has_sidecars

    has_sidecars.cache_clear()
    server.put_folder(bucket.parent, BUCKET, "few/")
    (ref,) = scenes(f"s3://{BUCKET}/few/one.tif")
    reader = GeoTiffReader(NETWORK)
    server.forget()
    for row in range(0, 300, 100):
        with reader.open(ref) as scene:
            list(scene.read(Window(z=0, y=row, x=0, height=100, width=400), (1, 0)))
    assert 1 <= server.counts("one.tif")["range"] <= 12
    assert sum(server.counts().values()) - server.counts("one.tif")["range"] <= 4, "sidecars are not asked for by name"


def test_a_mask_beside_a_scene_counts(server: S3Server, bucket: Path, tmp_path: Path) -> None:
    from hdm_geotiff.files.remote import has_sidecars

    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(bucket, "r+") as target:
        valid = np.ones((300, 400), dtype=bool)
        valid[:50] = False
        target.nodata = None
        target.write_mask(valid)
    assert bucket.with_suffix(".tif.msk").exists()
    server.put_folder(tmp_path, BUCKET, "masked/")
    has_sidecars.cache_clear()
    (remote,) = scenes(f"s3://{BUCKET}/masked/one.tif")
    (local,) = scenes(str(bucket))
    window = Window(z=0, y=0, x=0, height=100, width=100)
    reader = GeoTiffReader(NETWORK)
    with reader.open(remote) as there, reader.open(local) as here:
        for first, second in zip(there.read(window, (1, 0)), here.read(window, (1, 0)), strict=True):
            assert np.array_equal(first, second)


@pytest.mark.parametrize("fault", ["slow_down", "cut", "lose"])
def test_a_store_with_bad_days_gives_the_same_pixels(server: S3Server, bucket: Path, fault: str) -> None:
    server.put_folder(bucket.parent, BUCKET, f"{fault}/")  # GDAL remembers what it read, by address
    (remote,) = scenes(f"s3://{BUCKET}/{fault}/one.tif")
    (local,) = scenes(str(bucket))
    reader = GeoTiffReader(NETWORK)
    server.fails(fault, kind="range", first=2, every=5)
    for row in (0, 100, 200):
        window = Window(z=0, y=row, x=0, height=100, width=400)
        with reader.open(remote) as there, reader.open(local) as here:
            for first, second in zip(there.read(window, (1, 0)), here.read(window, (1, 0)), strict=True):
                assert np.array_equal(first, second)
    assert server.faults()[0].done
    server.heals()


def test_keys_that_expire_are_no_fault_of_a_scene(server: S3Server, bucket: Path) -> None:
    server.put_folder(bucket.parent, BUCKET, "expired/")
    (remote,) = scenes(f"s3://{BUCKET}/expired/one.tif")
    reader = GeoTiffReader(NETWORK)
    server.fails("expired")
    try:
        with pytest.raises(PeerRefusedError, match="keys") as refused:
            reader.header(remote)
    finally:
        server.heals()
    assert refused.value.scope == "run"
    assert "a-secret-of-the-tests" not in str(refused.value)
    reader.header(remote)


def test_what_is_not_there_is_an_error_in_time(bucket: Path) -> None:
    with pytest.raises(EmptyArchiveError):
        scenes(f"s3://{BUCKET}/nothing/")
    with pytest.raises(ArchiveError, match="cannot be listed"):
        scenes("s3://no-such-bucket/scenes/")
    with pytest.raises(ReadError):
        GeoTiffReader(NETWORK).header(SceneRef("gone", f"s3://{BUCKET}/gone.tif", "geotiff", ""))
