"""How large a pixel is on the ground.

Geographic grids: the exact area of a zone of the ellipsoid. With semi-axes a and b, eccentricity e, and

    Q(lat) = b²/2 * ( sin(lat) / (1 - e² sin²(lat)) + atanh(e sin(lat)) / e )

the area between two parallels and two meridians is (Q(north) - Q(south)) * (difference of longitude in radians)
(J. P. Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395, eq. 3-12). The ellipsoid is the CRS'
own: Mars and Europa come out right.

Projected grids: the area on the map, |det(transform)| * unit², as every GIS reports it. Where the map is more than 1 %
wrong somewhere in the scene (Web Mercator, geostationary views), small map squares are carried back to the ellipsoid
instead and measured there with the same Q, which makes (longitude, Q) an equal-area plane.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as transform_points

from hdm_geotiff.environment import GDAL_ERRORS

Floats: TypeAlias = npt.NDArray[np.float64]
_ToRadians: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]

TOLERANCE = 0.01
"""Relative error of the map's area from which on areas are measured on the ellipsoid."""

_SAMPLE_ROWS = 129
_SAMPLE_COLUMNS = 9
_ELLIPSOID = re.compile(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",\s*([0-9.eE+-]+),\s*([0-9.eE+-]+)')


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid of revolution.

    Attributes:
        a: semi-major axis in metres.
        inverse_flattening: a / (a - b); 0 means a sphere.
    """

    a: float
    inverse_flattening: float

    def zone(self, latitude: Floats) -> Floats:
        """Q of the module's formula in m² per radian of longitude; latitude in radians, clamped to the poles."""
        sine = np.sin(np.clip(latitude, -math.pi / 2, math.pi / 2))
        if self.inverse_flattening == 0:
            return np.asarray(self.a**2 * sine)
        flattening = 1 / self.inverse_flattening
        squared = flattening * (2 - flattening)
        e = math.sqrt(squared)
        b = self.a * (1 - flattening)
        return np.asarray(b**2 / 2 * (sine / (1 - squared * sine**2) + np.arctanh(e * sine) / e))


@dataclass(frozen=True, eq=False)
class RowAreas:
    """Ground areas of a scene's pixels.

    Attributes:
        square_metres: [y] mean area of one pixel in each row.
        map_error: largest relative error that the map's own area would have had; 0 for geographic grids, NaN where it
            cannot be told (the projection cannot be inverted).
    """

    square_metres: Floats
    map_error: float = 0.0

    def __post_init__(self) -> None:
        self.square_metres.setflags(write=False)  # remembered and shared


@lru_cache(maxsize=4)
def row_areas(crs: CRS | None, transform: Affine, height: int, width: int) -> RowAreas | None:
    """Area of one pixel in each row, or None where the scene has no usable coordinates.

    Remembered, as every block opens its scene anew and projecting costs more than opening.
    """
    if crs is None or transform == Affine.identity() or not transform.determinant:
        return None
    try:
        if crs.is_geographic:
            return _geographic(crs, transform, height, width)
        return _projected(crs, transform, height, width) if crs.is_projected else None
    except CRSError:
        return None


def _geographic(crs: CRS, transform: Affine, height: int, width: int) -> RowAreas | None:
    ellipsoid = ellipsoid_of(crs)
    if ellipsoid is None:
        return None
    radians = crs.units_factor[1]
    if transform.b or transform.d:
        # Rotated: rows are no parallels. Measured at the middle of each row.
        rows = np.arange(height, dtype=np.float64) + 0.5
        columns = np.full(height, width / 2, dtype=np.float64)
        return RowAreas(_cells(transform, rows, columns, 0.5, ellipsoid, lambda x, y: (x * radians, y * radians)))
    edges = (transform.f + transform.e * np.arange(height + 1, dtype=np.float64)) * radians
    return RowAreas(np.abs(np.diff(ellipsoid.zone(edges))) * abs(transform.a) * radians)


def _projected(crs: CRS, transform: Affine, height: int, width: int) -> RowAreas:
    map_area = abs(transform.determinant) * crs.linear_units_factor[1] ** 2
    ratio = _true_over_map(crs, transform, height, width, map_area)
    if ratio is None:
        return RowAreas(np.full(height, map_area), math.nan)
    error = float(np.max(np.abs(1 / ratio - 1)))
    return RowAreas(map_area * ratio if error > TOLERANCE else np.full(height, map_area), error)


def _true_over_map(crs: CRS, transform: Affine, height: int, width: int, map_area: float) -> Floats | None:
    """[y] ground area over map area, interpolated between sampled rows; None where it cannot be told."""
    geographic, ellipsoid = _geographic_base(crs), ellipsoid_of(crs)
    if geographic is None or ellipsoid is None:
        return None
    radians = geographic.units_factor[1]

    def to_radians(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        longitude, latitude = _transform(crs, geographic, x.ravel(), y.ravel())
        return longitude.reshape(x.shape) * radians, latitude.reshape(y.shape) * radians

    rows = np.linspace(0.5, height - 0.5, min(height, _SAMPLE_ROWS))
    columns = np.linspace(0.5, width - 0.5, min(width, _SAMPLE_COLUMNS))
    # Squares of several pixels: a single small pixel would drown in the rounding of the projection's inverse.
    half = max(0.5, min(height, width) / 64)
    grid_rows, grid_columns = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    areas = _cells(transform, grid_rows, grid_columns, half, ellipsoid, to_radians)
    ratio = areas.reshape(rows.size, columns.size) / map_area
    usable = np.isfinite(ratio) & (ratio > 0)
    if not usable.any():
        return None
    with np.errstate(invalid="ignore"):
        means = np.where(usable, ratio, 0).sum(axis=1) / usable.sum(axis=1)
    there = np.isfinite(means)
    return np.asarray(np.interp(np.arange(height) + 0.5, rows[there], means[there]))


def _cells(
    transform: Affine, rows: Floats, columns: Floats, half: float, ellipsoid: Ellipsoid, to_radians: _ToRadians
) -> Floats:
    """Ground area of one pixel around each (row, column): that of a square of 2 * half pixels, divided."""
    across = columns + half * np.array([[-1.0], [1.0], [1.0], [-1.0]])
    down = rows + half * np.array([[-1.0], [-1.0], [1.0], [1.0]])
    x = transform.a * across + transform.b * down + transform.c
    y = transform.d * across + transform.e * down + transform.f
    longitude, latitude = to_radians(x, y)
    # Distances from the first corner the short way round: a square may lie across the date line.
    with np.errstate(invalid="ignore"):
        turned = (longitude - longitude[0] + math.pi) % (2 * math.pi) - math.pi
        zone = ellipsoid.zone(latitude)
    twice = sum(turned[i] * zone[(i + 1) % 4] - turned[(i + 1) % 4] * zone[i] for i in range(4))
    return np.asarray(np.abs(twice) / 2 / (2 * half) ** 2)


def _transform(source: CRS, target: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Transform points; those that cannot be (space beside the Earth's disk) become infinite.

    PROJ reports its first few failures and then no more, so that a call with such a point may raise or
    not: halving the points until only those fail that must gives the same result either way.
    """
    try:
        first, second = transform_points(source, target, x, y)[:2]
        return np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    except GDAL_ERRORS:
        if x.size == 1:
            return np.full(1, np.inf), np.full(1, np.inf)
    half = x.size // 2
    halves = [_transform(source, target, x[part], y[part]) for part in (slice(half), slice(half, None))]
    return np.concatenate([a for a, _ in halves]), np.concatenate([b for _, b in halves])


def ellipsoid_of(crs: CRS) -> Ellipsoid | None:
    """The ellipsoid of a CRS, from its WKT; None where that names none."""
    match = _ELLIPSOID.search(crs.to_wkt())
    return Ellipsoid(float(match[1]), float(match[2])) if match else None


def _geographic_base(crs: CRS) -> CRS | None:
    """The geographic CRS that a projected one is built on, cut out of its WKT."""
    wkt = crs.to_wkt()
    start = wkt.find("GEOGCS[")
    if start < 0:
        return None
    depth = 0
    for position in range(start, len(wkt)):
        depth += {"[": 1, "]": -1}.get(wkt[position], 0)
        if depth == 0 and wkt[position] == "]":
            return CRS.from_wkt(wkt[start : position + 1])
    return None
