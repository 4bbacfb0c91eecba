"""The zoo of real GeoTIFFs: each is read fully and rightly, or ends in a typed error with file, cause and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.products.writer import MaskWriter, ScoreWriter
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import RasterGeometry, SceneHeader, SceneRef, Skipped, Writer
from hdm_pipeline.errors import ReadError, SceneError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.raster_product import pattern, product

pytestmark = pytest.mark.data

EXPECTED_ERRORS = {"corrupt": ReadError, "slc": UnsupportedSceneError}
SIDE = 2048


@pytest.fixture(scope="module")
def zoo(test_data: Path) -> list[SceneRef]:
    found = list(GeoTiffReader({"recursive": True}).discover(str(test_data / "geotiff")))
    (skipped,) = (one for one in found if isinstance(one, Skipped))
    assert skipped.uri.endswith("RGB.byte.gcp.vrt")
    refs = [ref for ref in found if isinstance(ref, SceneRef)]
    assert len(refs) == len(list((test_data / "geotiff").rglob("*.tif"))) >= 30
    return refs


def windows(header: SceneHeader) -> Iterator[Window]:
    _, _, height, width = header.shape
    for y in range(0, height, SIDE):
        for x in range(0, width, SIDE):
            yield Window(z=0, y=y, x=x, height=min(SIDE, height - y), width=min(SIDE, width - x))


def expected_validity(dataset: DatasetReader, window: RasterWindow) -> np.ndarray:
    """What rasterio itself says, band by band: its mask, and finite pixels."""
    valid = np.ones((window.height, window.width), dtype=np.bool_)
    for band in dataset.indexes:
        valid &= dataset.read_masks(band, window=window) != 0
        valid &= np.isfinite(dataset.read(band, window=window))
    return valid


def test_every_file_is_read_rightly_or_refused_clearly(zoo: list[SceneRef]) -> None:
    reader = GeoTiffReader()
    refused: dict[str, SceneError] = {}
    for ref in zoo:
        try:
            check_reading(reader, ref)
        except SceneError as error:
            refused[ref.id] = error
    assert {name: type(error) for name, error in refused.items()} == EXPECTED_ERRORS
    for name, error in refused.items():
        assert f"{name}.tif" in error.where
        assert error.remedy
        assert len(error.what) > 10


def check_reading(reader: GeoTiffReader, ref: SceneRef) -> None:
    with reader.open(ref) as source, rasterio.open(ref.uri) as dataset:
        header = source.header
        assert header == reader.header(ref)
        bands = range(header.shape[0])
        scales, offsets = (np.array(law)[:, None, None] for law in (dataset.scales, dataset.offsets))
        for window in windows(header):
            pixels, valid = source.read(window, bands)
            place = RasterWindow(window.x, window.y, window.width, window.height)
            try:
                stored = dataset.read(window=place)
            except RasterioError:
                pytest.fail(f"{ref.id}: rasterio cannot read what was read")
            assert np.array_equal(valid, expected_validity(dataset, place)), f"{ref.id} {window}"
            physical = (stored.astype(np.float64) * scales + offsets).astype(np.float32)
            assert np.array_equal(pixels, np.where(valid, physical, 0)), f"{ref.id} {window}"
        sample = source.sample(bands, 1000)
        assert sample.shape[0] == header.shape[0]
        assert sample.shape[1] <= 1000
        areas = source.row_areas()
        told = [warning if isinstance(warning, str) else warning.what for warning in header.warnings]
        assert (areas is None) == any("no areas" in warning for warning in told)
        if areas is not None:
            assert areas.shape == (header.shape[2],)
            assert (areas > 0).all()


@pytest.mark.parametrize("kind", [MaskWriter, ScoreWriter])
def test_products_lie_where_their_scenes_lie(zoo: list[SceneRef], tmp_path: Path, kind: type[Writer]) -> None:
    """South-up, rotated, Europa, geostationary, ground control points: CRS and transform come back."""
    reader = GeoTiffReader()
    seen = set()
    for ref in zoo:
        if ref.id in EXPECTED_ERRORS or Path(ref.uri).stat().st_size < 1:
            continue
        header = reader.header(ref)
        _, _, height, width = header.shape
        if height * width > 10_000_000:
            continue
        path = tmp_path / f"{ref.id}.tif"
        kind().write(product(header, pattern(height, width)), path)
        with rasterio.open(ref.uri) as scene, rasterio.open(path) as written:
            assert written.shape == scene.shape
            assert written.crs == scene.crs, ref.id
            assert tuple(written.transform) == pytest.approx(tuple(scene.transform), rel=1e-12), ref.id
            assert len(written.gcps[0]) == len(scene.gcps[0])
            assert written.gcps[1] == scene.gcps[1]
        again = reader.header(SceneRef("again", str(path), "geotiff", ""))
        assert isinstance(again.geometry, RasterGeometry)
        assert again.geometry.transform == pytest.approx(header.geometry.transform, rel=1e-12)
        seen.add(ref.id)
    assert {"inverted_lat", "rotated", "cog_nonearth", "cog_gcps", "goes", "cog_dateline"} <= seen


def test_the_reader_writes_nothing_into_the_archive(zoo: list[SceneRef], test_data: Path) -> None:
    assert not list((test_data / "geotiff").rglob("*.aux.xml"))


def test_the_gcp_mosaic_opens_where_vrts_are_allowed(test_data: Path) -> None:
    uri = str(test_data / "geotiff" / "rasterio" / "RGB.byte.gcp.vrt")
    reader = GeoTiffReader({"allow_vrt": True})
    (ref,) = reader.discover(uri)
    assert isinstance(ref, SceneRef)
    with reader.open(ref) as source:
        _, _, height, width = source.header.shape
        _, valid = source.read(Window(z=0, y=0, x=0, height=height, width=width), (0, 1, 2))
        assert valid.any()
