"""The area of interest: polygons of a GeoJSON file, burned into each window of each scene."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

from hdm_geotiff.files.environment import GDAL_ERRORS, gdal_environment
from hdm_geotiff.files.named_crs import FARTHEST, crs_named
from hdm_pipeline.errors import ConfigError, UnsupportedSceneError
from hdm_pipeline.grid import Window

_MAX_FILE_BYTES = 64 * 2**20
_PARTS_PER_EDGE = 32
_REMEDY = "give a GeoJSON file with Polygon or MultiPolygon geometries"

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class AreaOfInterest:
    """Polygons in one CRS.

    Attributes:
        path: the file, for messages.
        crs_text: as the file names it; GeoJSON's default is longitude and latitude.
        polygons: GeoJSON geometries, edges cut into short pieces so that they stay put when they are reprojected.
    """

    path: str
    crs_text: str
    polygons: tuple[dict[str, Any], ...]

    def in_scene(self, crs: CRS | None, transform: Affine, where: str) -> SceneArea:
        """Bring the polygons into a scene's pixels.

        Raises:
            UnsupportedSceneError: the scene has no coordinates, or the polygons cannot be expressed in its CRS.
        """
        if crs is None:
            remedy = "leave out aoi, or give the scene a coordinate reference system (gdal_edit.py -a_srs EPSG:...)"
            raise UnsupportedSceneError(
                "the area of interest cannot be placed: no coordinates", where=where, remedy=remedy
            )
        try:
            with gdal_environment():
                placed = transform_geom(crs_named(self.crs_text), crs, list(self.polygons))
        except GDAL_ERRORS as error:
            what = f"the area of interest cannot be expressed in the scene's coordinates: {error}"
            raise UnsupportedSceneError(what, where=where, remedy=f"check the polygons of {self.path}") from error
        return SceneArea(tuple((_pixel_bounds(polygon, ~transform), polygon) for polygon in placed), transform)


@dataclass(frozen=True)
class SceneArea:
    """The area of interest in a scene's CRS: (bounds in pixels, geometry) of each polygon."""

    polygons: tuple[tuple[Bounds, dict[str, Any]], ...]
    transform: Affine

    def misses(self, height: int, width: int) -> bool:
        """Whether no polygon comes near a scene of that size."""
        return not any(
            left < width and right > 0 and top < height and bottom > 0
            for (left, top, right, bottom), _ in self.polygons
        )

    def inside(self, window: Window, size: tuple[int, int] | None = None) -> npt.NDArray[np.bool_]:
        """Which pixels of a window have their centre in a polygon: bool.

        Args:
            window: of the scene.
            size: (rows, columns) of the result: of a window that is reduced to them; by default its own.
        """
        near = [
            polygon
            for (left, top, right, bottom), polygon in self.polygons
            if left < window.right and right > window.x and top < window.bottom and bottom > window.y
        ]
        shape = size or (window.height, window.width)
        if not near:
            return np.zeros(shape, dtype=np.bool_)
        a, b, c, d, e, f = tuple(self.transform)[:6]
        placed = Affine(a, b, c + a * window.x + b * window.y, d, e, f + d * window.x + e * window.y)
        if size is not None:
            placed *= Affine.scale(window.width / size[1], window.height / size[0])
        return np.asarray(geometry_mask(near, shape, placed, all_touched=False, invert=True), dtype=np.bool_)


def load_area(path: str) -> AreaOfInterest:
    """Read a GeoJSON file.

    Raises:
        ConfigError: it cannot be read, is no GeoJSON, names an unknown CRS or holds no polygon.
    """
    try:
        if Path(path).stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError("the area of interest is too large a file", where=path, remedy="simplify the polygons")
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the area of interest cannot be read: {error}", where=path, remedy=_REMEDY) from error
    try:
        polygons = tuple(_polygons(document))
        crs_text = _crs_text(document)
        crs_named(crs_text)
    except (CRSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"the area of interest is not sound: {error}", where=path, remedy=_REMEDY) from error
    if not polygons:
        raise ConfigError("the area of interest holds no polygon", where=path, remedy=_REMEDY)
    if crs_named(crs_text).is_geographic and (place := _off_the_globe(polygons)):
        said = (
            f"says {crs_text}" if document.get("crs") else "names no CRS, and then GeoJSON has longitude and latitude"
        )
        what = f"the area of interest {said}, but the position ({place[0]:.12g}, {place[1]:.12g}) is on no globe"
        remedy = "write it in degrees (ogr2ogr -t_srs EPSG:4326 OUT.geojson IN), or name the CRS in its `crs` member"
        raise ConfigError(what, where=path, remedy=remedy)
    return AreaOfInterest(path, crs_text, polygons)


def _off_the_globe(polygons: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    """The first position that cannot be longitude and latitude in degrees."""
    for polygon in polygons:
        for ring in polygon["coordinates"]:
            for x, y in ring:
                if abs(x) > 540 or abs(y) > 90.001:
                    return x, y
    return None


def _crs_text(document: dict[str, Any]) -> str:
    """The CRS of a GeoJSON file: the `crs` member of the 2008 format where it is there, else RFC 7946's."""
    member = document.get("crs")
    return str(member["properties"]["name"]) if member else "EPSG:4326"


def _polygons(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The polygons of any GeoJSON object; points and lines hold no area and are passed over."""
    kind = node.get("type")
    if kind == "FeatureCollection":
        for feature in node["features"]:
            yield from _polygons(feature)
    elif kind == "Feature":
        if node["geometry"]:
            yield from _polygons(node["geometry"])
    elif kind == "GeometryCollection":
        for geometry in node["geometries"]:
            yield from _polygons(geometry)
    elif kind == "MultiPolygon":
        for rings in node["coordinates"]:
            yield _polygon(rings)
    elif kind == "Polygon":
        yield _polygon(node["coordinates"])
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise ValueError(f"{kind!r} is no GeoJSON type")


def _polygon(rings: Sequence[Sequence[Sequence[float]]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [list(_short_edges(ring)) for ring in rings]}


def _short_edges(ring: Sequence[Sequence[float]]) -> Iterator[tuple[float, float]]:
    """A closed ring with each edge cut into equal parts."""
    points = [(float(point[0]), float(point[1])) for point in ring]
    if len(points) < 4 or not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a polygon's ring needs four or more finite positions")
    if far := [point for point in points if max(map(abs, point)) > FARTHEST]:
        raise ValueError(f"a position lies on no map: {far[0][0]:g}, {far[0][1]:g}")
    parts = _PARTS_PER_EDGE if len(points) <= 10_000 else 1
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        for part in range(parts):
            yield x0 + (x1 - x0) * part / parts, y0 + (y1 - y0) * part / parts
    yield points[0]


def _pixel_bounds(polygon: dict[str, Any], inverse: Affine) -> Bounds:
    x, y = np.concatenate([np.asarray(ring, dtype=np.float64)[:, :2] for ring in polygon["coordinates"]]).T
    columns = inverse.a * x + inverse.b * y + inverse.c
    rows = inverse.d * x + inverse.e * y + inverse.f
    return float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())
