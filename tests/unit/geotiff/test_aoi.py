"""The area of interest: polygons of a GeoJSON file in any CRS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.warp import transform_geom

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ConfigError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.unit.geotiff.conftest import WriteTif, find

PIXELS = np.ones((40, 50), dtype=np.uint8)
WHOLE = Window(z=0, y=0, x=0, height=40, width=50)
# Columns 10..20 and rows 5..15 of the test scene, in its own UTM coordinates; vertices between pixel centres.
SQUARE = [[500_100, 5_799_950], [500_200, 5_799_950], [500_200, 5_799_850], [500_100, 5_799_850], [500_100, 5_799_950]]
UTM_MEMBER = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}


def save(folder: Path, document: Any) -> str:
    path = folder / "aoi.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def inside(path: Path, aoi: str, window: Window = WHOLE) -> np.ndarray:
    with GeoTiffReader({"aoi": aoi}).open(find(path)) as source:
        return source.read(window, (0,))[1]


@pytest.mark.parametrize("crs", ["own", "degrees"])
def test_only_pixels_inside_are_valid(write_tif: WriteTif, tmp_path: Path, crs: str) -> None:
    shape = polygon(SQUARE)
    document = {"type": "Feature", "geometry": shape, "properties": {}, "crs": UTM_MEMBER}
    if crs == "degrees":
        document = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape}]}
        document["features"][0]["geometry"] = transform_geom("EPSG:32633", "EPSG:4326", shape)
    valid = inside(write_tif("a.tif", PIXELS), save(tmp_path, document))
    expected = np.zeros_like(valid)
    expected[5:15, 10:20] = True
    assert np.array_equal(valid, expected)


def test_windows_agree_with_the_whole(write_tif: WriteTif, tmp_path: Path) -> None:
    triangle = [[500_013, 5_799_990], [500_480, 5_799_700], [500_100, 5_799_611], [500_013, 5_799_990]]
    aoi = save(tmp_path, {**polygon(triangle), "crs": UTM_MEMBER})
    path = write_tif("a.tif", PIXELS)
    whole = inside(path, aoi)
    assert 0 < whole.sum() < whole.size
    for y in range(0, 40, 8):
        for x in range(0, 50, 10):
            part = inside(path, aoi, Window(z=0, y=y, x=x, height=8, width=10))
            assert np.array_equal(part, whole[y : y + 8, x : x + 10])


def test_several_polygons_and_holes(write_tif: WriteTif, tmp_path: Path) -> None:
    hole = [
        [500_120, 5_799_930],
        [500_120, 5_799_870],
        [500_180, 5_799_870],
        [500_180, 5_799_930],
        [500_120, 5_799_930],
    ]
    second = [[x + 200, y] for x, y in SQUARE]
    document = {"type": "MultiPolygon", "coordinates": [[SQUARE, hole], [second]], "crs": UTM_MEMBER}
    valid = inside(write_tif("a.tif", PIXELS), save(tmp_path, document))
    assert valid.sum() == 100 - 36 + 100
    assert not valid[10, 15]


def test_a_scene_outside_is_all_invalid(write_tif: WriteTif, tmp_path: Path) -> None:
    aoi = save(tmp_path, polygon([[0, 0], [1, 0], [1, 1], [0, 0]]))
    assert not inside(write_tif("a.tif", PIXELS), aoi).any()


def test_a_scene_outside_says_so(write_tif: WriteTif, tmp_path: Path) -> None:
    path = write_tif("a.tif", PIXELS)
    away = GeoTiffReader({"aoi": save(tmp_path, polygon([[0, 0], [1, 0], [1, 1], [0, 0]]))})
    (warning,) = away.header(find(path)).warnings
    assert isinstance(warning, SceneWarning)
    assert (warning.kind, warning.suspect) == ("outside_aoi", True)
    with away.open(find(path)) as source:
        assert source.header == away.header(find(path))
    here = GeoTiffReader({"aoi": save(tmp_path, {**polygon(SQUARE), "crs": UTM_MEMBER})})
    assert here.header(find(path)).warnings == ()


@pytest.mark.parametrize("crs", [None, {"properties": {"name": "EPSG:4326"}}])
def test_metres_without_their_crs_are_refused_at_once(tmp_path: Path, crs: Any) -> None:
    with pytest.raises(ConfigError, match=r"500100, 5799950.* on no globe") as caught:
        GeoTiffReader({"aoi": save(tmp_path, {**polygon(SQUARE), "crs": crs})})
    assert "EPSG:4326" in caught.value.remedy


def test_areas_of_interest_and_holes_in_the_data_add_up(write_tif: WriteTif, tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[5:10] = 0
    valid = inside(write_tif("a.tif", pixels, nodata=0), save(tmp_path, {**polygon(SQUARE), "crs": UTM_MEMBER}))
    assert valid.sum() == 50


def test_a_scene_without_coordinates_cannot_be_cut(write_tif: WriteTif, tmp_path: Path) -> None:
    aoi = save(tmp_path, polygon([[0, 0], [1, 0], [1, 1], [0, 0]]))
    with pytest.raises(UnsupportedSceneError, match="no coordinates") as caught:
        inside(write_tif("a.tif", PIXELS, crs=None), aoi)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        "null",
        {"type": "FeatureCollection", "features": []},
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "Polygon"},
        {"type": "Circle"},
        polygon([[0, 0], [1, 1]]),
        polygon([[0, 0], [1, "x"], [1, 1], [0, 0]]),
        {**polygon([[0, 0], [1, 0], [1, 1], [0, 0]]), "crs": {"properties": {"name": "EPSG:999999"}}},
    ],
)
def test_what_is_no_area_is_refused_at_once(tmp_path: Path, document: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        GeoTiffReader({"aoi": save(tmp_path, document)})
    assert caught.value.where.endswith("aoi.geojson")
