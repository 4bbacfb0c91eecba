"""Polygons of masks: the same as polygonising the whole mask, in the right place, with the right numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
import pytest
import shapely
from rasterio.crs import CRS
from scipy import ndimage

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.products.writer import provenance_tags
from hdm_pipeline.errors import WriteError
from tests.raster_product import CLASSES, PROVENANCE, pattern
from tests.unit.geotiff.drawn_regions import (
    NOWHERE,
    made_of,
    nested,
    written,
)

ROTATED = (17.3, 5.0, 100.0, 10.0, -8.66, 200.0)


def test_attributes_are_those_of_the_pixels(tmp_path: Path) -> None:
    mask = pattern(90, 120)[0]
    made = made_of(mask, (32, 50))
    header = replace(made.scene, attributes={"datetime": "2021-06-05T10:11:12Z"})
    found = written(replace(made, scene=header), tmp_path)
    assert all(len(name) <= 10 for name in found["meta"]["fields"])
    assert set(found["scene"]) == {"scene"}
    assert set(found["date"].astype("datetime64[D]")) == {np.datetime64("2021-06-05")}
    y, x = np.mgrid[:90, :120]
    scores = [(y + x) % 256, (3 * y + x) % 256]
    for number, one in enumerate(CLASSES):
        labels, count = ndimage.label(mask == one.value)
        chosen = found["class_id"] == one.value
        assert set(found["class"][chosen]) == {one.name}
        sizes = np.bincount(labels.ravel())[1:]
        assert sorted(found["pixels"][chosen]) == sorted(sizes)
        means = ndimage.mean(scores[number], labels, range(1, count + 1)) / 255
        pairs = sorted(zip(found["pixels"][chosen], found["score"][chosen], strict=True))
        assert pairs == [(size, pytest.approx(mean, abs=1e-4)) for size, mean in sorted(zip(sizes, means, strict=True))]
    assert PROVENANCE.weights_hash in str(pyogrio.read_info(tmp_path / "polygons.gpkg")["layer_metadata"])


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:2263"])
def test_areas_are_those_on_the_ellipsoid(tmp_path: Path, crs: str) -> None:
    """Geod is the second opinion; its sides are geodesics, so the outlines get vertices in between."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(-74.3, 60.7)
    side = 2e-4 if crs == "EPSG:4326" else 20.0
    transform = (side, 0.0, x, 0.0, -side, y)
    found = written(made_of(pattern(300, 400)[0], (100, 90), transform=transform, crs=crs), tmp_path)
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    shapes = shapely.segmentize(found["shapes"], 3 * side)
    shapes = shapely.transform(shapes, lambda at: np.stack(back.transform(at[:, 0], at[:, 1]), axis=1))
    geod = pyproj.CRS(crs).get_geod()
    assert geod is not None
    expected = [abs(geod.geometry_area_perimeter(shape)[0]) for shape in shapes]
    assert found["area_m2"] == pytest.approx(expected, rel=2e-5)


def test_a_rotated_scene_has_rotated_polygons(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 1
    found = written(made_of(mask, transform=ROTATED, crs="EPSG:32631"), tmp_path)
    a, b, c, d, e, f = ROTATED
    corners = [(a * x + b * y + c, d * x + e * y + f) for x, y in ((5, 4), (12, 4), (12, 9), (5, 9))]
    assert shapely.equals(found["shapes"][0], shapely.Polygon(corners))
    assert CRS.from_user_input(found["meta"]["crs"]) == CRS.from_epsg(32631)
    scale = 0.9996 * (1 + ((500_000 - 200) / 6_378_137) ** 2 / 2)  # of UTM, so far from its meridian
    assert found["area_m2"][0] == pytest.approx(shapely.area(found["shapes"][0]) / scale**2, rel=2e-4)


@pytest.mark.parametrize("transform", [ROTATED, (10.0, 0, 0, 0, -10.0, 0), (10.0, 0, 0, 0, 10.0, 0)])
@pytest.mark.parametrize("simplify", [None, "1 px"])
def test_outer_rings_go_counter_clockwise(tmp_path: Path, transform: Any, simplify: str | None) -> None:
    found = written(made_of(nested(40), transform=transform), tmp_path, simplify=simplify)
    assert shapely.is_ccw(shapely.get_exterior_ring(found["shapes"])).all()
    holes = shapely.get_rings(found["shapes"])
    assert shapely.is_ccw(holes).sum() == len(found["shapes"])


def test_ground_control_points_place_polygons(tmp_path: Path) -> None:
    corners = [(4, 5), (4, 12), (9, 12), (9, 5)]
    at = [(0, 0), (0, 30), (20, 0), (20, 30), *corners]

    def place(row: int, column: int) -> tuple[float, float]:
        bend = 1e-5 * (row - 3) ** 2 * (column % 7)  # no polynomial: the points themselves must be hit
        return 12 + 1e-3 * column + 2e-4 * row + bend, 50 - 1e-3 * row + 1e-4 * column - bend

    points = [[*point, *place(*point), 0.0, str(number), ""] for number, point in enumerate(at)]
    attributes = {"gcps": points, "gcps_crs_wkt": CRS.from_epsg(4326).to_wkt()}
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 1
    found = written(made_of(mask, attributes=attributes, **NOWHERE), tmp_path)
    expected = shapely.Polygon([place(*corner) for corner in corners])
    assert shapely.hausdorff_distance(found["shapes"][0], expected) < 1e-7
    assert CRS.from_user_input(found["meta"]["crs"]) == CRS.from_epsg(4326)
    geod = pyproj.Geod(ellps="WGS84")
    area = abs(geod.geometry_area_perimeter(expected)[0])
    assert found["area_m2"][0] == pytest.approx(area, rel=0.1)  # the map bends within the region


@pytest.mark.parametrize(
    "at",
    [
        [(0, 0)],
        [(0, 0), (0, 8)],
        [(0, 0), (4, 4), (8, 8)],
        [(0, 0), (2, 2), (4, 4), (6, 6), (8, 8)],
        [(0, 0), (0, 0), (0, 0), (0, 0)],
        [(0, 0), (0, 8), (8, math.nan)],
    ],
)
def test_ground_control_points_that_tell_no_place_are_refused(
    tmp_path: Path, at: list[tuple[float, float]], capfd: pytest.CaptureFixture[str]
) -> None:
    points = [[row, column, 12 + column, 50 - row, 0.0, str(number), ""] for number, (row, column) in enumerate(at)]
    attributes = {"gcps": points, "gcps_crs_wkt": CRS.from_epsg(4326).to_wkt()}
    made = made_of(np.ones((8, 8), np.uint8), attributes=attributes, **NOWHERE)
    with pytest.raises(WriteError, match="ground control points") as caught:
        PolygonWriter().check_scene(made.scene)
    assert "leave polygons out" in caught.value.remedy
    assert not capfd.readouterr().err


def test_rational_polynomials_alone_are_refused(tmp_path: Path) -> None:
    made = made_of(np.ones((4, 4), np.uint8), attributes={"rpcs": {"LINE_OFF": "1"}}, **NOWHERE)
    with pytest.raises(WriteError, match="RPC") as caught:
        PolygonWriter().write(made, tmp_path / "polygons.gpkg")
    assert "gdalwarp -rpc" in caught.value.remedy


def test_without_coordinates_polygons_are_in_pixels(tmp_path: Path) -> None:
    found = written(made_of(nested(20), **NOWHERE), tmp_path)
    assert np.isnan(found["area_m2"]).all()
    assert found["meta"]["crs"] is None or "Undefined" in found["meta"]["crs"]
    assert shapely.total_bounds(found["shapes"]).tolist() == [0, 0, 20, 20]
    assert np.isnat(found["date"].astype("datetime64[D]")).all()
    for options in ({"simplify": "3 m"}, {"min_area": "3 m2"}):
        with pytest.raises(WriteError, match="needs coordinates"):
            PolygonWriter(options).write(made_of(nested(20), **NOWHERE), tmp_path / "polygons.gpkg")
        with pytest.raises(WriteError, match="needs coordinates"):
            PolygonWriter(options).check_scene(made_of(nested(20), **NOWHERE).scene)
        PolygonWriter(options).check_scene(made_of(nested(20)).scene)


@pytest.mark.parametrize("name", ["datetime", "start_datetime"])
def test_the_date_of_polygons_is_that_of_the_tags(tmp_path: Path, name: str) -> None:
    made = made_of(np.ones((4, 4), np.uint8), attributes={name: "2024-06-02T10:10:31Z"})
    found = written(made, tmp_path)
    assert np.datetime64(found["date"][0], "D") == np.datetime64("2024-06-02")
    assert provenance_tags(made)["HDM_DATETIME"][:10] == "2024-06-02"


def test_small_regions_are_left_out(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[1:3, 1:3] = mask[10:20, 10:20] = 1
    mask[30, 30] = 2
    assert sorted(written(made_of(mask), tmp_path, min_area="4 px")["pixels"]) == [4, 100]
    assert sorted(written(made_of(mask), tmp_path, min_area="500 m2")["pixels"]) == [100]


@pytest.mark.parametrize("amount", ["2 px", "20 m"])
def test_simplifying_moves_outlines_by_no_more_than_that(tmp_path: Path, amount: str) -> None:
    y, x = np.ogrid[:200, :200]
    mask = (((x - 100) ** 2 + (y - 100) ** 2 < 80**2) & ((x - 100) ** 2 + (y - 90) ** 2 > 30**2)).astype(np.uint8)
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    one, other = written(made_of(mask), folders[0]), written(made_of(mask), folders[1], simplify=amount)
    assert shapely.is_valid(other["shapes"]).all()
    assert shapely.get_num_coordinates(other["shapes"]) < 0.4 * shapely.get_num_coordinates(one["shapes"])
    assert 5 < shapely.hausdorff_distance(one["shapes"][0], other["shapes"][0]) <= 20 * 1.001
    assert other["area_m2"] == pytest.approx(one["area_m2"])


def test_simplified_polygons_are_valid(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = ndimage.grey_dilation((rng.random((150, 150)) < 0.12).astype(np.uint8), 3)
    found = written(made_of(mask), tmp_path, simplify="2 px")
    assert len(found["shapes"]) == ndimage.label(mask)[1]
    assert shapely.is_valid(found["shapes"]).all()
    assert not shapely.is_empty(found["shapes"]).any()
    assert (shapely.get_type_id(found["shapes"]) == shapely.GeometryType.POLYGON).all()
