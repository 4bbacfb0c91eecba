"""Bands, values and places of scenes, as items of a catalog say them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from rasterio.crs import CRS

from hdm_geotiff.files.named_crs import crs_named
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import RasterGeometry
from hdm_pipeline.errors import ReadError, UnsupportedSceneError
from tests.stac_catalog import asset, catalog, item, write_band
from tests.unit.geotiff.conftest import NIR, RED
from tests.unit.geotiff.stac_scenes import find_one, read_whole


@pytest.mark.parametrize(
    ("asked", "options", "names", "expected"),
    [
        (["B04", "B08"], {}, ["B04", "B08"], [RED, NIR]),
        (["nir", "red"], {}, ["nir", "red"], [NIR, RED]),
        (["(nir - B04) / (nir + B04)"], {}, ["nir", "B04"], [NIR, RED]),
        (["r", "n"], {"bands": {"r": "B04", "n": "nir"}}, ["r", "n"], [RED, NIR]),
        (["red", "B04"], {}, ["red", "B04"], [RED, RED]),
    ],
)
def test_bands_are_called_by_key_name_or_common_name(
    tmp_path: Path,
    two_bands: dict[str, pystac.Asset],
    asked: list[str],
    options: dict[str, Any],
    names: list[str],
    expected: list[np.ndarray[Any, Any]],
) -> None:
    file = catalog(tmp_path / "cat", item("a", two_bands))
    found, pixels, valid = read_whole(find_one(file, asked=asked, **options), asked=asked, **options)
    assert found == names
    assert np.array_equal(pixels, np.stack(expected))
    assert valid.all()


def test_numbers_of_bands_only_where_there_is_one_file(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    several = catalog(tmp_path / "several", item("a", two_bands))
    with pytest.raises(UnsupportedSceneError, match="by number") as caught:
        GeoTiffReader({"asked": ["1"]}).header(find_one(several, asked=["1"]))
    assert "B04" in str(caught.value)
    write_band(tmp_path / "data/both.tif", np.stack([RED, NIR]))
    for number, fields in enumerate(({}, {"bands": [{"name": "r"}, {"name": "n"}]})):
        file = catalog(tmp_path / f"one{number}", item("a", {"image": asset(tmp_path / "data/both.tif", **fields)}))
        asked = ["b2 - b1", "2"]
        _, pixels, _ = read_whole(find_one(file, asked=asked), asked=asked)
        assert np.array_equal(pixels, np.stack([RED, NIR]))


def test_bands_of_one_asset(tmp_path: Path) -> None:
    write_band(tmp_path / "data/naip.tif", np.stack([RED, NIR]))
    fields = {"eo:bands": [{"name": "R", "common_name": "red"}, {"name": "N", "common_name": "nir"}]}
    file = catalog(tmp_path / "cat", item("a", {"image": asset(tmp_path / "data/naip.tif", **fields)}))
    for called in ("nir", "image:2", "image:N", "N"):
        options = {"bands": {"x": called}, "asked": ["x"]}
        assert np.array_equal(read_whole(find_one(file, **options), **options)[1], NIR[None])


def test_an_asset_that_is_missing_quarantines_with_a_remedy(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    file = catalog(tmp_path / "cat", item("a", two_bands))
    options = {"bands": {"swir": "B11", "red": "B04"}, "asked": ["swir", "red"]}
    with pytest.raises(UnsupportedSceneError, match="no asset or band B11") as caught:
        GeoTiffReader(options).header(find_one(file, **options))
    assert "B04, metadata" in caught.value.what
    assert "input.bands" in caught.value.remedy
    pictures = catalog(tmp_path / "p", item("a", {"thumbnail": two_bands["thumbnail"]}))
    with pytest.raises(UnsupportedSceneError, match="no asset of the item"):
        GeoTiffReader({}).header(find_one(pictures))
    (tmp_path / "data/B04.tif").unlink()
    with pytest.raises(ReadError) as missing:
        GeoTiffReader({"asked": ["B04"]}).header(find_one(file, asked=["B04"]))
    assert "B04.tif" in missing.value.where
    assert "not there" in missing.value.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 7, "unit": "1"}]},
        {"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 7, "unit": "1"}]},
        {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 7, "unit": "1"},
        {"bands": [{"name": "red"}], "raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 7, "unit": "1"},
    ],
    ids=["raster 1", "raster 2 in bands", "raster 2 in the asset", "both"],
)
def test_scale_offset_and_nodata_of_the_item_count(tmp_path: Path, fields: dict[str, Any]) -> None:
    pixels = RED.copy()
    pixels[:3] = 7
    write_band(tmp_path / "data/a.tif", pixels, nodata=9)
    file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / "data/a.tif", **fields)}))
    ref = find_one(file, asked=["B04"])
    _, found, valid = read_whole(ref, asked=["B04"])
    assert np.array_equal(valid, pixels != 7)
    assert found[0][valid] == pytest.approx(pixels[valid] * 1e-4 - 0.1, rel=1e-6)
    assert GeoTiffReader({"asked": ["B04"]}).header(ref).bands[0].unit == "1"
    _, mine, _ = read_whole(ref, asked=["B04"], offset=0)
    assert mine[0][valid] == pytest.approx(pixels[valid] * 1e-4, rel=1e-6)  # the user has the last word


def test_what_an_item_says_wrongly_or_not_at_all_is_left_to_the_file(tmp_path: Path) -> None:
    write_band(tmp_path / "data/a.tif", RED, nodata=int(RED[0, 0]))
    bands = [{"scale": "a lot", "offset": True, "nodata": "nan"}]
    file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / "data/a.tif", **{"raster:bands": bands})}))
    _, found, valid = read_whole(find_one(file, asked=["B04"]), asked=["B04"])
    assert np.array_equal(valid, RED[0, 0] != RED)
    assert np.array_equal(found[0][valid], RED[valid].astype(np.float32))


@pytest.mark.parametrize("code", [{"proj:code": "EPSG:32633"}, {"proj:epsg": 32633}])
def test_a_file_without_coordinates_lies_where_its_item_says(tmp_path: Path, code: dict[str, Any]) -> None:
    transform = [10, 0, 400_000, 0, -10, 5_000_000]
    write_band(tmp_path / "data/bare.tif", RED, crs=None, transform=None)
    write_band(tmp_path / "data/own.tif", RED)
    for name, shape, left in (("bare", [40, 50], 400_000), ("own", [40, 50], 500_000), ("bare", [41, 50], 0)):
        fields = {**code, "proj:transform": [*transform, 0, 0, 1], "proj:shape": shape}
        (tmp_path / "cat").mkdir(exist_ok=True)
        file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / f"data/{name}.tif")}, **fields))
        geometry = GeoTiffReader({"asked": ["B04"]}).header(find_one(file, asked=["B04"])).geometry
        assert isinstance(geometry, RasterGeometry)
        assert geometry.transform[2] == left
        assert bool(geometry.crs_wkt) == (left > 0)


@pytest.mark.parametrize(
    "name",
    [
        "EPSG:32633",
        "urn:ogc:def:crs:EPSG::32633",
        "http://www.opengis.net/def/crs/EPSG/0/32633",
        "+proj=utm +zone=33 +datum=WGS84",
        CRS.from_epsg(32633).to_wkt(),
        CRS.from_epsg(32633).to_wkt(version="WKT2_2019"),
    ],
)
def test_names_of_a_crs(name: str) -> None:
    assert crs_named(name).to_epsg() == 32633


def test_masks_of_clouds_are_read_but_have_no_number(tmp_path: Path) -> None:
    write_band(tmp_path / "data/a.tif", RED)
    write_band(tmp_path / "data/clouds.tif", (RED[::2, ::2] > 2000).astype(np.uint8), side=20)
    assets = {"clouds": asset(tmp_path / "data/clouds.tif", "data-mask"), "B04": asset(tmp_path / "data/a.tif")}
    file = catalog(tmp_path / "cat", item("a", assets))
    assert np.array_equal(read_whole(find_one(file, asked=["1"]), asked=["1"])[1][0], RED)
    names, pixels, _ = read_whole(find_one(file, asked=["B04", "clouds"]), asked=["B04", "clouds"])
    assert names == ["B04", "clouds"]
    assert set(np.unique(pixels[1])) == {0, 1}  # nearest: classes are never mixed
