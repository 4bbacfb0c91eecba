"""How large a pixel is on the ground.

PROJ carries pixel corners to a map on which areas are true: the cylindrical equal-area projection of the ellipsoid that
the scene's own CRS names (`cea`; J. P. Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395, section
10). There the area of a polygon is that of the plane. Mars and Europa come out right.

Geographic grids are measured on that map. It shows parallels and meridians as straight lines, so a pixel between two of
each is exact.

Projected grids: the area on the map, |det(transform)| * unit², as every GIS reports it. Where the map is more than 1 %
wrong somewhere in the scene (Web Mercator, geostationary views), small map squares are carried to the equal-area map
and measured there instead.

Figures, and why not geodesic polygons: docs/decisions/geodesy.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertCylindricalEqualAreaConversion
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.errors import CRSError

Floats: TypeAlias = npt.NDArray[np.float64]
Place: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""From columns and rows (0, 0 is the upper left corner) to coordinates of a CRS."""

TOLERANCE = 0.01
"""Relative error of the map's area from which on areas are measured on the ellipsoid."""

_MOST_LONGITUDE, _MOST_LATITUDE = 720.0, 180.0
"""Degrees beyond which a number is neither: twice what there is."""

_SAMPLE_ROWS = 129
_SAMPLE_COLUMNS = 9


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


def affine_place(transform: Affine) -> Place:
    """How an affine transform places pixels."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return lambda columns, rows: (a * columns + b * rows + c, d * columns + e * rows + f)


@lru_cache(maxsize=4)
def row_areas(crs: CRS | None, transform: Affine, height: int, width: int) -> RowAreas | None:
    """Area of one pixel in each row, or None where the scene has no usable coordinates.

    Remembered, as every block opens its scene anew and projecting costs more than opening.
    """
    if crs is None or transform == Affine.identity() or not transform.determinant:
        return None
    try:
        if crs.is_geographic:
            lost = off_the_globe(crs, transform, height, width)
            return None if lost else _geographic(crs, transform, height, width)
        return _projected(crs, transform, height, width) if crs.is_projected else None
    except CRSError:
        return None


def off_the_globe(crs: CRS, transform: Affine, height: int, width: int) -> tuple[float, float] | None:
    """A corner of a geographic grid that is far from any longitude and latitude; None where there is none.

    Grids may reach beyond a pole by a margin, and go around the globe: only what no margin explains is told, such as
    metres that are called degrees.
    """
    degrees = math.degrees(crs.units_factor[1])
    xs, ys = affine_place(transform)(np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height]))
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        if degrees * abs(x) > _MOST_LONGITUDE or degrees * abs(y) > _MOST_LATITUDE:
            return x, y
    return None


def _geographic(crs: CRS, transform: Affine, height: int, width: int) -> RowAreas | None:
    equal_area = equal_area_map(crs.to_wkt())
    if equal_area is None:
        return None
    if transform.b or transform.d:
        # Rotated: rows are no parallels. Measured at the middle of each row; beyond the pole there is no area.
        rows = np.arange(height, dtype=np.float64) + 0.5
        return RowAreas(np.nan_to_num(equal_area.cells(affine_place(transform), rows, np.full(height, width / 2), 0.5)))
    radians = crs.units_factor[1]
    pole = math.pi / 2 / radians
    edges = np.clip(transform.f + transform.e * np.arange(height + 1, dtype=np.float64), -pole, pole)
    _, y = equal_area.transformer.transform(np.zeros(height + 1), edges)
    return RowAreas(np.abs(np.diff(y)) * abs(transform.a) * radians * equal_area.radius)


@dataclass(frozen=True)
class EqualAreaMap:
    """The cylindrical equal-area map of a CRS' own ellipsoid.

    Attributes:
        radius: semi-major axis in metres; x on the map is that times the longitude in radians.
        transformer: from coordinates of the CRS to metres on the map. Points that cannot be carried over (space around
            the Earth's disk, latitudes beyond the pole) become infinite.
    """

    radius: float
    transformer: pyproj.Transformer

    def cells(self, place: Place, rows: Floats, columns: Floats, half: float) -> Floats:
        """Ground area of one pixel around each (row, column): that of a square of 2 * half pixels, divided.

        Args:
            place: from columns and rows to coordinates of the CRS.
            rows: [n] of the middles.
            columns: [n] of the middles.
            half: pixels.

        Returns:
            [n] m²; NaN where a corner cannot be carried over, or the square holds a pole.
        """
        across = columns + half * np.array([[-1.0], [1.0], [1.0], [-1.0]])
        down = rows + half * np.array([[-1.0], [-1.0], [1.0], [1.0]])
        x, y = self.transformer.transform(*place(across, down))
        around = 2 * math.pi * self.radius
        with np.errstate(invalid="ignore"):
            # From corner to corner the short way round: a square may lie across the date line.
            steps = (np.roll(x, -1, axis=0) - x + around / 2) % around - around / 2
            x = np.cumsum(steps, axis=0) - steps
            y = y - y[0]
            twice = sum(x[i] * y[(i + 1) % 4] - x[(i + 1) % 4] * y[i] for i in range(4))
            closed = np.abs(steps.sum(axis=0)) < around / 2  # the way around a pole does not come back
        return np.where(closed, np.abs(twice) / 2 / (2 * half) ** 2, np.nan)


@lru_cache(maxsize=16)
def equal_area_map(wkt: str) -> EqualAreaMap | None:
    """The equal-area map for a CRS; None where it names no ellipsoid, or PROJ cannot invert its projection.

    Remembered: PROJ takes some 50 ms to find its way from one CRS to another, and an archive has few of them.
    """
    try:
        crs = pyproj.CRS.from_wkt(wkt)
        base, ellipsoid = crs.geodetic_crs, crs.ellipsoid
        if base is None or ellipsoid is None:
            return None
        # On the datum of the CRS itself, so that no shift between datums is mixed in.
        target = ProjectedCRS(LambertCylindricalEqualAreaConversion(), geodetic_crs=base)
        return EqualAreaMap(ellipsoid.semi_major_metre, pyproj.Transformer.from_crs(crs, target, always_xy=True))
    except ProjError:
        return None


def pixel_sides(crs: pyproj.CRS, place: Place, height: int, width: int) -> tuple[float, float] | None:
    """(across, down) sides in metres of the pixel in the middle of a scene, on the ellipsoid; None if they are unknown.

    Args:
        crs: of the coordinates; in whatever unit.
        place: from columns and rows to coordinates.
        height: rows.
        width: columns.

    Raises:
        ProjError: PROJ does not know the way from the CRS to longitude and latitude.
    """
    row, column = height / 2, width / 2
    x, y = place(np.array([column, column + 1, column]), np.array([row, row, row + 1]))
    geod, base = crs.get_geod(), crs.geodetic_crs
    if geod is None or base is None:
        return None
    longitude, latitude = pyproj.Transformer.from_crs(crs, base, always_xy=True).transform(x, y)
    radians = base.axis_info[0].unit_conversion_factor  # some count in grads
    longitude, latitude = (np.rad2deg(axis * radians) for axis in (longitude, latitude))
    _, _, sides = geod.inv(
        [longitude[0]] * 2, [latitude[0]] * 2, [longitude[1], longitude[2]], [latitude[1], latitude[2]]
    )
    across, down = float(sides[0]), float(sides[1])
    return (across, down) if np.isfinite(sides).all() and min(across, down) > 0 else None


def _projected(crs: CRS, transform: Affine, height: int, width: int) -> RowAreas:
    map_area = abs(transform.determinant) * crs.linear_units_factor[1] ** 2
    ratio = _true_over_map(crs, transform, height, width, map_area)
    if ratio is None:
        return RowAreas(np.full(height, map_area), math.nan)
    error = float(np.max(np.abs(1 / ratio - 1)))
    return RowAreas(map_area * ratio if error > TOLERANCE else np.full(height, map_area), error)


def _true_over_map(crs: CRS, transform: Affine, height: int, width: int, map_area: float) -> Floats | None:
    """[y] ground area over map area, interpolated between sampled rows; None where it cannot be told."""
    equal_area = equal_area_map(crs.to_wkt())
    if equal_area is None:
        return None
    rows = np.linspace(0.5, height - 0.5, min(height, _SAMPLE_ROWS))
    columns = np.linspace(0.5, width - 0.5, min(width, _SAMPLE_COLUMNS))
    # Squares of several pixels: a single small pixel would drown in the rounding of the projection's inverse.
    half = max(0.5, min(height, width) / 64)
    grid_rows, grid_columns = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    ratio = (
        equal_area.cells(affine_place(transform), grid_rows, grid_columns, half).reshape(rows.size, columns.size)
        / map_area
    )
    usable = np.isfinite(ratio) & (ratio > 0)
    if not usable.any():
        return None
    with np.errstate(invalid="ignore"):
        means = np.where(usable, ratio, 0).sum(axis=1) / usable.sum(axis=1)
    there = np.isfinite(means)
    return np.asarray(np.interp(np.arange(height) + 0.5, rows[there], means[there]))
