"""Outlines in longitude and latitude: exact where the grid is known, cut at the antimeridian, whole around a pole."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

from hdm_geotiff.stac.footprint import Footprint, footprint
from hdm_pipeline.contracts import RasterGeometry

Transform = tuple[float, float, float, float, float, float]


def _of(crs: str, transform: Transform, height: int, width: int) -> Footprint | None:
    return footprint(RasterGeometry(transform, CRS(crs).to_wkt()), height, width)


def _shape(found: Footprint | None) -> shapely.Geometry:
    assert found is not None
    shape = shapely.geometry.shape(found.geometry)
    assert shape.is_valid
    west, south, east, north = shape.bounds
    assert west >= -180
    assert east <= 180
    assert (south, north) == pytest.approx((found.bbox[1], found.bbox[3]), abs=1e-6)
    return shape


def test_a_raster_without_a_transform_lies_nowhere() -> None:
    assert _of("EPSG:32633", (1, 0, 0, 0, 1, 0), 40, 20) is None


def test_a_degree_grid_is_its_own_box() -> None:
    found = _of("EPSG:4326", (0.5, 0, 10, 0, -0.25, 50), 40, 20)
    assert found is not None
    assert found.bbox == (10, 40, 20, 50)
    assert found.geometry["type"] == "Polygon"
    ring = found.geometry["coordinates"][0]
    assert len(ring) == 5  # straight edges need no points between
    assert shapely.LinearRing(ring).is_ccw


def test_a_projected_scene_holds_its_pixels_and_no_more() -> None:
    transform = (30.0, 0, 200_000, 0, -30.0, 7_200_000)
    shape = _shape(_of("EPSG:32633", transform, 6000, 7000))
    rng = np.random.default_rng(1)
    to_globe = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)

    def points(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return shapely.points(*to_globe.transform(200_000 + 30 * x, 7_200_000 - 30 * y))

    inside = points(rng.uniform(20, 6980, 500), rng.uniform(20, 5980, 500))
    assert shapely.contains(shape, inside).all()
    along = rng.uniform(0, 7000, 200)
    assert not shapely.contains(shape, points(along, np.full(200, -20.0))).any()  # an edge that bends by kilometres
    assert not shapely.contains(shape, points(along, np.full(200, 6020.0))).any()


def test_a_sheared_grid() -> None:
    found = _of("EPSG:4326", (0.1, 0.1, 0, -0.1, 0.1, 0), 10, 10)
    assert found is not None
    assert found.bbox == (0, -1, 2, 1)
    assert _shape(found).area == pytest.approx(2)


@pytest.mark.parametrize("west", [170.0, -190.0])
def test_the_antimeridian_cuts(west: float) -> None:
    found = _of("EPSG:4326", (0.1, 0, west, 0, -0.1, 10), 100, 200)
    shape = _shape(found)
    assert found is not None
    assert found.geometry["type"] == "MultiPolygon"
    assert found.bbox == (170, 0, -170, 10)
    assert shape.area == pytest.approx(200)
    assert shape.equals(shapely.union_all([shapely.box(170, 0, 180, 10), shapely.box(-180, 0, -170, 10)]))


def test_the_antimeridian_cuts_a_utm_scene() -> None:
    found = _of("EPSG:32601", (1000, 0, 200_000, 0, -1000, 7_000_000), 500, 600)
    shape = _shape(found)
    assert found is not None
    assert found.bbox[0] > 170
    assert found.bbox[2] < -170
    assert shape.area < 60


@pytest.mark.parametrize("west", [-180.0, 0.0, -180.05, -100.0])
def test_the_whole_globe(west: float) -> None:
    found = _of("EPSG:4326", (0.1, 0, west, 0, -0.1, 90), 1800, 3600)
    assert found is not None
    assert found.bbox == (-180, -90, 180, 90)
    assert _shape(found).area == pytest.approx(360 * 180)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90)])
def test_a_scene_around_a_pole_holds_it(crs: str, pole: int) -> None:
    found = _of(crs, (10_000, 0, -3_000_000, 0, -10_000, 3_000_000), 600, 600)
    shape = _shape(found)
    assert found is not None
    assert (found.bbox[0], found.bbox[2]) == (-180, 180)
    assert pole in found.bbox
    assert shapely.intersects(shape, shapely.points([[lon, pole * 0.9] for lon in range(-179, 180, 20)])).all()


def test_no_place_without_a_crs_or_off_the_globe() -> None:
    assert footprint(RasterGeometry((1, 0, 0, 0, 1, 0)), 10, 10) is None
    assert _of("ESRI:54009", (10_000, 0, -18_000_000, 0, -10_000, 9_000_000), 1800, 3600) is None
    assert _of("EPSG:4326", (10, 0, 500_000, 0, -10, 5_200_000), 192, 160) is None
