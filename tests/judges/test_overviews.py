"""rio-tiler judges windows at a reduced size; rio-cogeo and GDAL open the labels that the studio saves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rio_cogeo.cogeo import cog_info
from rio_tiler.io import Reader as Tiler

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import LabelPatch, OverviewSource, RasterGeometry, SceneHeader, SceneLabels, SceneRef
from hdm_pipeline.grid import Window
from tests.judges.conftest import missing

FILES = [
    "rio-tiler/cog.tif",
    "rio-tiler/cog_scale.tif",
    "rio-tiler/cog_rgb_mask.tif",
    "rio-tiler/mosaic_cog1.tif",
    "rio-tiler/nocog.tif",
    "rio-cogeo/image_nan.tif",
    "rasterio/RGB.byte.tif",
    "naip/m_4709963_se_14_1_20180716.tif",
]


def ref_of(path: Path) -> SceneRef:
    (ref,) = (one for one in GeoTiffReader().discover(str(path)) if isinstance(one, SceneRef))
    return ref


def bounds(header: SceneHeader, window: Window) -> tuple[float, float, float, float]:
    """(left, bottom, right, top); scenes here have north up."""
    assert isinstance(header.geometry, RasterGeometry)
    a, _, c, _, e, f = header.geometry.transform
    return c + a * window.x, f + e * window.bottom, c + a * window.right, f + e * window.y


def agree(ours: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], theirs: npt.NDArray[np.float64]) -> None:
    """Theirs is a masked array. Both are means, theirs weighed by area and ours of whole pixels."""
    known = ~np.ma.getmaskarray(theirs).any(axis=0)
    assert np.mean(known == valid) > 0.99
    both = known & valid
    assert both.any()
    one, other = ours[:, both].astype(np.float64), np.ma.getdata(theirs)[:, both].astype(np.float64)
    spread = np.percentile(one, 99) - np.percentile(one, 1)
    assert np.abs(one - other).mean() < 0.06 * spread
    assert all(np.corrcoef(*pair)[0, 1] > 0.9 for pair in zip(one, other, strict=True))


@pytest.mark.data
@pytest.mark.parametrize("name", FILES)
def test_rio_tiler_sees_the_same_parts_and_previews(test_data: Path, name: str) -> None:
    path = test_data / "geotiff" / name
    reader = GeoTiffReader()
    with reader.open(ref_of(path)) as source, Tiler(str(path)) as tiler:
        assert isinstance(source, OverviewSource)
        count, _, height, width = source.header.shape
        bands, crs = range(min(count, 3)), tiler.crs
        indexes = [band + 1 for band in bands]
        preview = tiler.preview(max_size=256, indexes=indexes, resampling_method="average", unscale=True)
        size = preview.array.shape[1:]
        agree(*source.read_reduced(Window.whole(0, (height, width)), bands, size), preview.array)
        window = Window(z=0, y=height // 5, x=width // 7, height=height // 2, width=width // 2)
        size = window.height // 3, window.width // 3
        part = tiler.part(
            bounds(source.header, window),
            dst_crs=crs,
            bounds_crs=crs,
            height=size[0],
            width=size[1],
            indexes=indexes,
            resampling_method="average",
            unscale=True,
        )
        agree(*source.read_reduced(window, bands, size), part.array)


@pytest.mark.data
@pytest.mark.parametrize("name", [FILES[0], FILES[1], FILES[3]])
def test_rio_tiler_reads_the_same_overview(test_data: Path, name: str) -> None:
    path = test_data / "geotiff" / name
    with GeoTiffReader().open(ref_of(path)) as source, Tiler(str(path)) as tiler:
        assert isinstance(source, OverviewSource)
        bands, (height, width) = range(source.header.shape[0]), source.header.shape[2:]
        for factor in tiler.dataset.overviews(1):
            size = -(-height // factor), -(-width // factor)
            theirs = tiler.preview(max_size=None, height=size[0], width=size[1], unscale=True).array
            ours, valid = source.read_reduced(Window.whole(0, (height, width)), bands, size)
            assert not (valid & np.ma.getmaskarray(theirs).any(axis=0)).any()
            assert np.allclose(ours[:, valid], np.ma.getdata(theirs)[: len(bands), valid], rtol=1e-6)


@pytest.mark.data
def test_gdal_and_rio_cogeo_open_saved_labels(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "geotiff" / "rio-tiler" / "cog.tif"
    values = np.full((300, 200), 255, np.uint8)
    values[20:90, 30:80], values[100:140, 30:80], values[200:, 150:] = 1, 0, 2
    patch = LabelPatch(Window(z=0, y=1000, x=1500, height=300, width=200), values)
    labels = SceneLabels(ref_of(path), {1: "ice", 2: "open water"}, {1: (0, 200, 250), 2: (0, 0, 90)}, (patch,))
    raster, _, outlines = GeoTiffReader().save_labels(labels, tmp_path).files
    info = cog_info(raster)
    assert (info.Profile.Bands, info.Profile.Dtype, info.Profile.Nodata) == (1, "uint8", 255)
    assert info.Profile.ColorInterp == ("palette",)
    assert Path(raster).stat().st_size < 50_000
    told = json.loads(output("gdalinfo", "-json", "-hist", raster))["bands"][0]
    assert told["categories"][:3] == ["background", "ice", "open water"]
    assert told["noDataValue"] == 255
    assert told["histogram"]["buckets"][:3] == [int((values == value).sum()) for value in (0, 1, 2)]
    features = output("ogrinfo", "-al", outlines)
    assert all(features.count(f"class (String) = {name}\n") == 1 for name in ("background", "ice", "open water"))


def output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        missing(f"{command[0]} (apt install gdal-bin)")
