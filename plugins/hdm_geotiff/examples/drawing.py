"""Features in the pixels of an image: what is drawn of the class, of the background, and where all is drawn.

Coordinates here are those of the image: columns and rows, whole numbers at the corners of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import rasterize

from hdm_geotiff.examples.geometries import Bounds, Geometries
from hdm_geotiff.files.environment import gdal_environment
from hdm_geotiff.scenes.pixel_areas import affine_place, pixel_sides
from hdm_pipeline.contracts import BACKGROUND, IGNORE, VectorLabels

TARGET = 1

_POINT, _LINE, _RING, _POLYGON = 0, 1, 2, 3
_COLLECTIONS = (4, 5, 6, 7)
_PARTS_PER_GEOMETRY = 64
"""Into how many parts, at least, the longer side of a geometry is cut before it is reprojected."""

_EDGE_POINTS = 21
_SMALL = 4.0
"""Area in pixels below which a polygon may hold no centre of a pixel."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Geometries by kind, in pixels of the image.

    Attributes:
        polygons: polygons, each valid.
        lines: lines without width.
        points: points without width.
    """

    polygons: Geometries
    lines: Geometries
    points: Geometries

    @property
    def all(self) -> Geometries:
        """All of them."""
        return np.concatenate([self.polygons, self.lines, self.points])

    def __len__(self) -> int:
        return len(self.polygons) + len(self.lines) + len(self.points)


def _none() -> Geometries:
    return np.empty(0, dtype=object)


NOTHING = Shapes(_none(), _none(), _none())


@dataclass(frozen=True, eq=False)
class Drawing:
    """Everything that is drawn in an image.

    Attributes:
        target: the class.
        background: what is not the class.
        ignore: where nothing is known.
        extent: where everything is drawn.
        complete: everything is drawn everywhere.
        repaired: how many polygons were not valid.
    """

    target: Shapes = NOTHING
    background: Shapes = NOTHING
    ignore: Shapes = NOTHING
    extent: Shapes = NOTHING
    complete: bool = False
    repaired: int = 0

    def label(self, height: int, width: int, placed: Affine, *, coarse: bool = False) -> npt.NDArray[np.uint8]:
        """The labels of a grid of pixels: [height, width] of 1, 0 and 255.

        Args:
            height: rows.
            width: columns.
            placed: from the grid's (column, row) to those of the image.
            coarse: pixels are larger than the image's: each that a feature touches counts, so that none is missed, and
                what is background only because everything is drawn stays unknown.
        """
        label = np.full((height, width), BACKGROUND if self.complete and not coarse else IGNORE, dtype=np.uint8)
        box = shapely.box(*_box_of(height, width, placed))
        burn = _Burner(label, placed, box, touched=coarse)
        burn.polygons(self.extent.polygons, np.full(len(self.extent.polygons), BACKGROUND))
        both = [(self.background, BACKGROUND), (self.target, TARGET)]
        polygons = np.concatenate([shapes.polygons for shapes, _ in both])
        values = np.concatenate([np.full(len(shapes.polygons), value) for shapes, value in both])
        # The smaller polygon lies on top: an island in a lake, a lake on an island.
        order = np.argsort(-shapely.area(polygons), kind="stable")
        burn.polygons(polygons[order], values[order])
        for shapes, value in both:
            burn.touched(shapes.lines, value)
        for shapes, value in both:
            burn.touched(shapes.points, value)
        burn.polygons(self.ignore.polygons, np.full(len(self.ignore.polygons), IGNORE))
        burn.touched(self.ignore.lines, IGNORE)
        burn.touched(self.ignore.points, IGNORE)
        return label


class _Burner:
    """Burns geometries into a label; those far from it are passed over."""

    def __init__(self, label: npt.NDArray[np.uint8], placed: Affine, box: Any, *, touched: bool) -> None:
        self._label, self._placed, self._box, self._touched = label, placed, box, touched

    def polygons(self, polygons: Geometries, values: npt.NDArray[Any]) -> None:
        """Pixels whose centre lies in a polygon; later ones lie on top."""
        near = shapely.intersects(polygons, self._box)
        self._burn(list(zip(polygons[near], values[near], strict=True)), touched=self._touched)

    def touched(self, geometries: Geometries, value: int) -> None:
        """Pixels that a line runs through, or in which a point lies."""
        near = shapely.intersects(geometries, self._box)
        self._burn([(geometry, value) for geometry in geometries[near]], touched=True)

    def _burn(self, shapes: list[tuple[Any, Any]], *, touched: bool) -> None:
        if shapes:
            pairs = [(geometry, int(value)) for geometry, value in shapes]
            with gdal_environment():
                rasterize(pairs, out=self._label, transform=self._placed, all_touched=touched)


def _box_of(height: int, width: int, placed: Affine) -> Bounds:
    (left, top), (right, bottom) = placed * (0, 0), placed * (width, height)
    return left, top, right, bottom


@dataclass(frozen=True, eq=False)
class Canvas:
    """Where an image lies.

    Attributes:
        height: rows.
        width: columns.
        transform: from (column, row) to coordinates.
        crs: of the coordinates.
    """

    height: int
    width: int
    transform: Affine
    crs: CRS

    @cached_property
    def metres(self) -> tuple[float, float]:
        """Width and height in metres of a pixel in the middle of the image, on the ground.

        Raises:
            ProjError: the middle of the image lies nowhere on the ground.
        """
        if self.crs.geodetic_crs is None:  # a local CRS
            a, b, _, d, e, _ = tuple(self.transform)[:6]
            return math.hypot(a, d), math.hypot(b, e)
        sides = pixel_sides(self.crs, affine_place(self.transform), self.height, self.width)
        if sides is None:
            raise ProjError("the middle of the image lies nowhere on the ground")
        return sides

    def box_in(self, crs: CRS, margin: float) -> Bounds | None:
        """The image, with a margin in pixels, as a box in another CRS; None where it cannot be told."""
        columns, rows = np.meshgrid(
            np.linspace(-margin, self.width + margin, _EDGE_POINTS),
            np.linspace(-margin, self.height + margin, _EDGE_POINTS),
        )
        a, b, c, d, e, f = tuple(self.transform)[:6]
        x, y = a * columns.ravel() + b * rows.ravel() + c, d * columns.ravel() + e * rows.ravel() + f
        x, y = Transformer.from_crs(self.crs, crs, always_xy=True).transform(x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None
        left, right, bottom, top = float(x.min()), float(x.max()), float(y.min()), float(y.max())
        if crs.is_geographic and right - left > 180:  # it crosses the antimeridian
            return None
        slack = 0.01 * max(right - left, top - bottom)
        return left - slack, bottom - slack, right + slack, top + slack

    def to_pixels(self, geometries: Geometries, crs: CRS) -> Geometries:
        """Geometries of another CRS in (column, row); those that cannot be expressed are left out."""
        if not self.crs.equals(crs, ignore_axis_order=True):
            bounds = shapely.bounds(geometries)
            sides = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
            geometries = shapely.segmentize(geometries, np.where(sides > 0, sides / _PARTS_PER_GEOMETRY, 1.0))
            turn = Transformer.from_crs(crs, self.crs, always_xy=True)
            geometries = shapely.transform(geometries, turn.transform, interleaved=False)
        inverse = ~self.transform
        moved = shapely.transform(
            geometries,
            lambda x, y: (inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f),
            interleaved=False,
        )
        return np.asarray(moved[np.isfinite(shapely.bounds(moved)).all(axis=1)], dtype=object)


def shapes_of(geometries: Geometries, crs: CRS, grid: Canvas, labels: VectorLabels) -> tuple[Shapes, int]:
    """Features as shapes in an image, and how many of them were repaired.

    Args:
        geometries: the features.
        crs: of their coordinates.
        grid: where the image lies.
        labels: how wide lines and points are.
    """
    if not len(geometries):
        return NOTHING, 0
    geometries, repaired = _repaired(geometries)
    parts = _single(grid.to_pixels(geometries, crs))
    # Reprojecting may close a narrow bay over itself.
    parts = _single(_repaired(parts)[0])
    kinds = shapely.get_type_id(parts)
    polygons, lines, points = (parts[np.isin(kinds, kind)] for kind in ((_POLYGON,), (_LINE, _RING), (_POINT,)))
    polygons, tiny = _with_centres(polygons)
    if labels.width is not None:
        wide = _widened(np.concatenate([lines, points]), labels, grid)
        wide, hairs = _with_centres(_single(wide))
        return Shapes(np.concatenate([polygons, wide]), _none(), np.concatenate([tiny, hairs])), repaired
    return Shapes(polygons, lines, np.concatenate([points, tiny])), repaired


def _repaired(geometries: Geometries) -> tuple[Geometries, int]:
    """Valid geometries; of an area that is not, what its rings enclose but for its holes, without lines and points."""
    wrong = ~shapely.is_valid(geometries)
    if not wrong.any():
        return geometries, 0
    areas = shapely.get_dimensions(geometries) == 2
    made = geometries.copy()
    # By default an area that two parts share, or a ring goes round twice, would become a hole.
    made[wrong] = shapely.make_valid(geometries[wrong], method="structure")
    kept = []
    for geometry, damaged in zip(made, wrong & areas, strict=True):
        parts = _single(np.array([geometry], dtype=object))
        kept += [part for part in parts if not damaged or shapely.get_type_id(part) == _POLYGON]
    found = _none() if not kept else np.array(kept, dtype=object)
    return found, int(np.count_nonzero(wrong))


def _single(geometries: Geometries) -> Geometries:
    """Points, lines and polygons, one by one."""
    while np.isin(shapely.get_type_id(geometries), _COLLECTIONS).any():
        geometries = shapely.get_parts(geometries)
    return np.asarray(geometries[~shapely.is_empty(geometries)], dtype=object)


def _with_centres(polygons: Geometries) -> tuple[Geometries, Geometries]:
    """Polygons that hold the centre of a pixel, and a point of each of the others: no feature is lost."""
    small = np.flatnonzero(shapely.area(polygons) < _SMALL)
    lost = np.zeros(len(polygons), dtype=np.bool_)
    for index in small:
        left, top, right, bottom = shapely.bounds(polygons[index])
        columns = np.arange(math.ceil(left - 0.5), math.floor(right - 0.5) + 1) + 0.5
        rows = np.arange(math.ceil(top - 0.5), math.floor(bottom - 0.5) + 1) + 0.5
        x, y = (side.ravel() for side in np.meshgrid(columns, rows))
        lost[index] = not shapely.contains_xy(polygons[index], x, y).any()
    return polygons[~lost], np.asarray(shapely.point_on_surface(polygons[lost]), dtype=object)


def _widened(geometries: Geometries, labels: VectorLabels, grid: Canvas) -> Geometries:
    """Lines and points as polygons, as wide as the labels say."""
    assert labels.width is not None
    if not len(geometries):
        return geometries
    across, down = grid.metres if labels.width_unit == "m" else (1.0, 1.0)
    sides = np.array([across, down])
    wide = shapely.buffer(shapely.transform(geometries, lambda xy: xy * sides), labels.width / 2)
    return np.asarray(shapely.transform(wide, lambda xy: xy / sides), dtype=object)


def drawing_of(parts: Mapping[str, tuple[Shapes, int]], labels: VectorLabels) -> Drawing:
    """The drawing of the parts that labels select (`VectorLabels.selections`)."""
    shapes = {name: found for name, (found, _) in parts.items()}
    repaired = sum(count for _, count in parts.values())
    return replace(Drawing(complete=labels.complete, repaired=repaired), **shapes)  # type: ignore[arg-type]
