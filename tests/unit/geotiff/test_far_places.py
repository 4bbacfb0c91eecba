"""Coordinates that are on no map are refused in words: what GEOS and numpy make of them helps nobody."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import Selection, SupportRequest, VectorLabels
from hdm_pipeline.errors import ConfigError, SupportError, UnsupportedSceneError
from tests.unit.geotiff.conftest import WriteTif, find

FAR = 1e308
RING = [[-FAR, -FAR], [FAR, -FAR], [FAR, FAR], [-FAR, FAR], [-FAR, -FAR]]
BOW = [RING[0], RING[2], RING[1], RING[3], RING[0]]
SHAPES = [
    {"type": "Polygon", "coordinates": [RING]},
    {"type": "Polygon", "coordinates": [BOW]},
    {"type": "MultiPolygon", "coordinates": [[[[x / 1e108, y / FAR] for x, y in RING]]]},
    {"type": "LineString", "coordinates": [RING[0], RING[1]]},
    {"type": "Point", "coordinates": RING[2]},
    {"type": "Point", "coordinates": [1e400, 0]},
]


@pytest.fixture(autouse=True)
def _no_raw_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def drawn(folder: Path, *geometries: dict[str, Any]) -> str:
    """A GeoJSON file in UTM: a square within the image, and these."""
    x, y = 500_010, 5_799_990
    near = {"type": "Polygon", "coordinates": [[[x, y], [x + 20, y], [x + 20, y - 20], [x, y - 20], [x, y]]]}
    features = [{"type": "Feature", "properties": {}, "geometry": one} for one in (near, *geometries)]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path = folder / "drawn.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return str(path)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("crs", [None, "EPSG:32634"])
@pytest.mark.parametrize("width", [None, 20.0])
def test_labels(
    write_tif: WriteTif, tmp_path: Path, shape: dict[str, Any], crs: str | None, width: float | None
) -> None:
    image = str(write_tif("a.tif", np.ones((8, 8), np.uint8)))
    labels = VectorLabels(target=Selection(None, None), complete=True, crs=crs, width=width, width_unit="m")
    with pytest.raises(SupportError, match="1 of the 2 features of 'drawn' lie on no map") as caught:
        GeoTiffReader().read_support(SupportRequest(image, drawn(tmp_path, shape), vector=labels))
    assert caught.value.remedy


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_areas_of_interest(tmp_path: Path, shape: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a position lies on no map"):
        GeoTiffReader({"aoi": drawn(tmp_path, shape)})


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, FAR, 0, -10, 0),
        Affine(10, 0, 0, 0, -10, 1e20),
        Affine(1e200, 0, 0, 0, -1e200, 0),
        Affine(FAR, 0, FAR, 0, -FAR, -FAR),
    ],
)
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326", None])
def test_scenes(write_tif: WriteTif, transform: Affine, crs: str | None) -> None:
    path = write_tif("a.tif", np.ones((8, 8), np.uint8), transform=transform, crs=crs)
    with pytest.raises(UnsupportedSceneError, match="which is on no map") as caught:
        GeoTiffReader().header(find(path))
    assert "gdal_edit" in caught.value.remedy
