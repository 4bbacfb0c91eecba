"""Where scenes lie, for the map."""

from __future__ import annotations

from dataclasses import replace

import pyproj
import pytest

from hdm_pipeline.contracts import RasterGeometry, SceneHeader
from hdm_pipeline.execution.places import place
from tests.raster_product import scene


def lying(transform: tuple[float, float, float, float, float, float], epsg: int | None) -> SceneHeader:
    wkt = None if epsg is None else pyproj.CRS.from_epsg(epsg).to_wkt()
    return replace(scene(100, 200), geometry=RasterGeometry(transform, wkt))


def test_a_footprint_is_in_longitude_and_latitude() -> None:
    around = place(lying((10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0), 32633))["footprint"]
    assert around[0] == [15.0, pytest.approx(45.1535, abs=1e-3)]
    assert max(lat for _, lat in around) - min(lat for _, lat in around) == pytest.approx(0.009, abs=1e-3)


def test_a_footprint_across_180_degrees_goes_on() -> None:
    around = place(lying((0.01, 0.0, 179.5, 0.0, -0.01, 10.0), 4326))["footprint"]
    assert max(lon for lon, _ in around) == pytest.approx(181.5)


def test_nothing_is_told_of_scenes_without_a_place_and_of_private_ones() -> None:
    assert place(lying((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 32633)) == {}
    assert place(lying((10.0, 0.0, 5e5, 0.0, -10.0, 5e6), None)) == {}
    dated = replace(
        lying((10.0, 0.0, 5e5, 0.0, -10.0, 5e6), 32633), attributes={"start_datetime": "2024-06-02T05:23:45Z"}
    )
    assert place(dated)["date"] == "2024-06-02T05:23:45Z"
    assert place(replace(dated, ref=replace(dated.ref, private=True))) == {}
