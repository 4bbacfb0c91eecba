"""Where a raster lies on the globe: its outline in longitude and latitude, cut at the antimeridian.

The edges of a raster are straight in its own projection and curved in longitude and latitude, so that points are put
on them. Longitudes are followed from point to point, which tells an outline that crosses the antimeridian from one
that spans the globe, and finds outlines around a pole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from hdm_pipeline.contracts import RasterGeometry

EDGE_POINTS = 16
"""Pieces that each edge is cut into."""

_DIGITS = 7
"""Decimals of a degree that are kept: a centimetre, and the same on every machine."""

_STRAIGHT = 1e-6
"""Degrees that an edge may bend without getting a point there: ten centimetres."""

_MOST_LATITUDE = 180.0
"""Degrees beyond which a latitude is none, and no margin beyond a pole either: metres under a CRS in degrees."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_WHOLE = 360.0 - 1e-6


@dataclass(frozen=True)
class Footprint:
    """A raster on the globe.

    Attributes:
        geometry: GeoJSON Polygon or MultiPolygon, exterior rings counterclockwise.
        bbox: (west, south, east, north) in degrees; west is larger than east across the antimeridian.
    """

    geometry: dict[str, Any]
    bbox: tuple[float, float, float, float]


def placed_crs(geometry: RasterGeometry) -> str | None:
    """The CRS of a raster as WKT; None where it has none, or no transform: files without one have the identity."""
    return None if tuple(geometry.transform) == _IDENTITY else geometry.crs_wkt or None


def footprint(geometry: RasterGeometry, height: int, width: int) -> Footprint | None:
    """The footprint of a raster of `height` rows and `width` columns.

    None where it has no CRS or no transform (`placed_crs`), where the projection cannot be inverted at all of its
    edges, or where these are far beyond the poles.
    """
    crs_wkt = placed_crs(geometry)
    if crs_wkt is None:
        return None
    a, b, c, d, e, f = geometry.transform
    columns, rows = _edges(height, width)
    try:
        crs = CRS.from_wkt(crs_wkt)
        to_globe = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
        lon, lat = to_globe.transform(a * columns + b * rows + c, d * columns + e * rows + f)
    except ProjError:
        return None
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()) or np.abs(lat).max() > _MOST_LATITUDE:
        return None
    outline = _outline(np.asarray(lon), np.clip(lat, -90.0, 90.0))
    pieces = _within_the_globe(outline)
    if not pieces:
        return None
    # Pieces that met at a seam of longitudes become one again, but for the antimeridian.
    whole = shapely.unary_union([shapely.set_precision(piece, 10.0**-_DIGITS) for piece, _ in pieces])
    whole = shapely.simplify(whole, _STRAIGHT)
    return Footprint(_geojson(_polygons(whole)), _bbox(pieces, outline))


def _edges(height: int, width: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(column, row) of points around the raster, not closed."""
    step = np.arange(EDGE_POINTS) / EDGE_POINTS
    columns = np.concatenate([step * width, np.full(EDGE_POINTS, width), (1 - step) * width, np.zeros(EDGE_POINTS)])
    rows = np.concatenate([np.zeros(EDGE_POINTS), step * height, np.full(EDGE_POINTS, height), (1 - step) * height])
    return columns, rows


def _outline(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> Polygon:
    """A polygon whose longitudes go on beyond 180 degrees rather than jump; with the pole, where it lies around one."""
    closed = np.append(lon, lon[0])
    # A step of exactly half a circle is no jump: the edge of a raster of the whole globe may be cut that coarsely.
    steps = np.diff(closed)
    steps -= 360.0 * np.round(steps / 360.0)
    followed = lon[0] + np.concatenate([[0.0], np.cumsum(steps)])
    winding = followed[-1] - followed[0]
    points = np.column_stack([followed, np.append(lat, lat[0])])
    if abs(winding) > 180.0:
        pole = 90.0 if lat.mean() > 0 else -90.0
        points = np.vstack([points, [[followed[-1], pole], [followed[0], pole]]])
    return Polygon(points)


def _within_the_globe(outline: Polygon) -> list[tuple[Polygon, int]]:
    """Pieces of an outline between -180 and 180 degrees, each with the turn that it was moved by, west to east."""
    outline = shapely.make_valid(outline)
    west, _, east, _ = outline.bounds
    if east - west >= _WHOLE:
        middle = round((west + east) / 2 / 360.0) * 360.0
        outline = shapely.transform(outline, lambda xy: xy - [middle, 0.0])
        if shapely.box(*outline.bounds).symmetric_difference(outline).area < 1e-6:
            _, south, _, north = outline.bounds
            return [(box(-180.0, south, 180.0, north), 0)]
        west, _, east, _ = outline.bounds
    found: list[tuple[Polygon, int]] = []
    for turn in range(int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0)) + 1):
        piece = outline.intersection(box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0))
        moved = shapely.transform(piece, lambda xy, turn=turn: xy - [360.0 * turn, 0.0])
        found += [(part, turn) for part in _polygons(moved)]
    return found


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    parts = [shape] if isinstance(shape, Polygon) else list(getattr(shape, "geoms", ()))
    return [part for part in parts if isinstance(part, Polygon) and part.area > 1e-12]


def _geojson(parts: list[Polygon]) -> dict[str, Any]:
    turned = [orient(part) for part in parts]
    shape = turned[0] if len(turned) == 1 else MultiPolygon(turned)
    rings: Any = mapping(shape)["coordinates"]
    return {"type": shape.geom_type, "coordinates": _rounded(rings)}


def _rounded(value: Any) -> Any:
    """Nested coordinates as lists of numbers of a few decimals."""
    if isinstance(value, float | int):
        return round(float(value), _DIGITS) + 0.0
    return [_rounded(one) for one in value]


def _bbox(pieces: list[tuple[Polygon, int]], outline: Polygon) -> tuple[float, float, float, float]:
    boxes = [piece.bounds for piece, _ in pieces]
    south, north = min(one[1] for one in boxes), max(one[3] for one in boxes)
    turns = sorted({turn for _, turn in pieces})
    west = min(one[0] for one, (_, turn) in zip(boxes, pieces, strict=True) if turn == turns[0])
    east = max(one[2] for one, (_, turn) in zip(boxes, pieces, strict=True) if turn == turns[-1])
    if outline.bounds[2] - outline.bounds[0] >= _WHOLE:
        west, east = -180.0, 180.0
    west, south, east, north = _rounded([west, south, east, north])
    return west, south, east, north
