"""What a person draws, and the pixels that it covers.

Places are pixels of the scene: pixel (column, row) covers [column, column + 1) x [row, row + 1), and belongs to what is
drawn if its middle does. The scene is cut into cells of `CELL` pixels, and what covers a whole cell is not spelled out:
a stroke over a scene of 36,000 x 18,000 pixels takes as little memory as a small one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import IGNORE
from hdm_pipeline.errors import ConfigError

CELL = 256
"""Side of the cells that labels are kept in, in pixels."""

Tool = Literal["brush", "eraser", "polygon", "point"]

Place = tuple[float, float]
"""(x, y)."""

Size = tuple[int, int, int]
"""(slices, rows, columns) of a scene."""

Cover = tuple[int, int, npt.NDArray[np.bool_] | None]
"""Row and column of a cell, and which of its pixels are covered, [rows, columns] within the scene; None: all."""

_SMALLEST = math.sqrt(0.5)
"""Radius from which on a brush covers the pixel that it stands in, wherever in it."""

_STEP = 1 / 20
"""Places of a stroke nearer to each other than this share of its radius are one."""

_AT_ONCE = 4096
"""Edges of a polygon that are looked at together."""


@dataclass(frozen=True)
class Stroke:
    """One thing that a person draws.

    Attributes:
        z: slice; 0 for a raster.
        tool: ``brush`` and ``eraser`` cover what is within `radius` of the line through `points`, ``point`` what is
            within `radius` of each point, ``polygon`` its inside (even-odd).
        value: label: 0 background, 1.. the classes, 255 unknown; an eraser always makes pixels unknown.
        points: (x, y) in pixels of the scene; they may lie outside.
        radius: in pixels; the pixels that a line or a point lies in are always covered.
    """

    z: int
    tool: Tool
    value: int
    points: tuple[Place, ...]
    radius: float = 0.0

    @property
    def label(self) -> int:
        """What covered pixels become."""
        return IGNORE if self.tool == "eraser" else self.value


def check_stroke(stroke: Stroke, size: Size, classes: int) -> None:
    """Refuse what cannot be drawn.

    Args:
        stroke: what is to be drawn.
        size: of the scene.
        classes: the highest label value of a class.

    Raises:
        ConfigError: there is no such slice, tool or class, or a number is not finite.
    """
    if not 0 <= stroke.z < size[0]:
        raise ConfigError(f"there is no slice {stroke.z}", where="stroke", remedy=f"slices are 0 to {size[0] - 1}")
    if stroke.tool not in get_args(Tool):
        what = f"there is no tool {stroke.tool!r}"
        raise ConfigError(what, where="stroke", remedy=f"use {', '.join(get_args(Tool))}")
    check_value(stroke.label, classes)
    if not math.isfinite(stroke.radius) or stroke.radius < 0:
        raise ConfigError(f"a radius of {stroke.radius}", where="stroke", remedy="give 0 pixels or more")
    if not stroke.points or not np.isfinite(np.asarray(stroke.points, dtype=np.float64)).all():
        raise ConfigError("a stroke needs points that are numbers", where="stroke", remedy="give (x, y) in pixels")


def check_value(value: int, classes: int) -> None:
    """Refuse a label that means nothing; raises `ConfigError`."""
    if not (0 <= value <= classes or value == IGNORE):
        remedy = f"use 0 for background, 1 to {classes} for the classes, 255 for unknown"
        raise ConfigError(f"the label {value} means no class", where="stroke", remedy=remedy)


def covered(stroke: Stroke, size: Size) -> Iterator[Cover]:
    """The cells of the stroke's slice that it covers, or part of which it covers.

    Args:
        stroke: as `check_stroke` takes it.
        size: of the scene; what lies outside is left out.
    """
    points = np.asarray(stroke.points, dtype=np.float64).reshape(-1, 2)
    if stroke.tool == "polygon":
        return _polygon(points, size[1:])
    radius = max(stroke.radius, _SMALLEST)
    if stroke.tool == "point":
        segments = np.concatenate([points, points], axis=1)
    else:
        path = _simpler(points, radius * _STEP)
        segments = np.concatenate([path[:-1], path[1:]], axis=1) if len(path) > 1 else np.tile(path, 2)
    return _near(segments, radius, size[1:])


def cell_shape(row: int, column: int, size: Sequence[int]) -> tuple[int, int]:
    """(rows, columns) of a cell in a slice of (rows, columns) `size`: fewer at the lower and right edge."""
    return min(CELL, size[0] - row * CELL), min(CELL, size[1] - column * CELL)


def cells_within(top: float, left: float, bottom: float, right: float, size: Sequence[int]) -> tuple[range, range]:
    """Rows and columns of the cells that a box touches; empty where it lies outside a slice of this size."""
    rows, columns = (
        range(
            math.floor(min(max(start, 0.0), length) / CELL),
            math.ceil(min(max(end, 0.0), length) / CELL),
        )
        for start, end, length in ((top, bottom, size[0]), (left, right, size[1]))
    )
    return rows, columns


def _simpler(points: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """A line without the places that are nearer than `step` to the one before; its end stays."""
    kept = [0]
    for number in range(1, len(points)):
        if math.dist(points[number], points[kept[-1]]) >= step:
            kept.append(number)
    if kept[-1] != len(points) - 1 and (points[-1] != points[kept[-1]]).any():
        kept.append(len(points) - 1)
    return points[kept]


def _near(segments: npt.NDArray[np.float64], radius: float, size: Sequence[int]) -> Iterator[Cover]:
    """Cells with pixels within `radius` of segments (x0, y0, x1, y1)."""
    of_cell: dict[tuple[int, int], list[int]] = {}
    for number, (x0, y0, x1, y1) in enumerate(segments):
        rows, columns = cells_within(
            min(y0, y1) - radius, min(x0, x1) - radius, max(y0, y1) + radius, max(x0, x1) + radius, size
        )
        for row, column in _reached(segments[number], radius, rows, columns):
            of_cell.setdefault((row, column), []).append(number)
    for (row, column), numbers in sorted(of_cell.items()):
        mask = _disc(segments[numbers], radius, row, column, cell_shape(row, column, size))
        if mask is None or mask.any():
            yield row, column, None if mask is None or mask.all() else mask


def _reached(segment: npt.NDArray[np.float64], radius: float, rows: range, columns: range) -> Iterator[tuple[int, int]]:
    """The cells among these that a long segment may reach: a diagonal one passes by most of its box."""
    if len(rows) * len(columns) <= 4:
        yield from ((row, column) for row in rows for column in columns)
        return
    x, y = np.meshgrid((np.asarray(columns) + 0.5) * CELL, (np.asarray(rows) + 0.5) * CELL)
    near = _squared_distance(segment, x, y) <= (radius + CELL * _SMALLEST) ** 2
    for row, column in zip(*np.nonzero(near), strict=True):
        yield rows[row], columns[column]


def _disc(
    segments: npt.NDArray[np.float64], radius: float, row: int, column: int, shape: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    """Pixels of a cell within `radius` of segments; None where one of them covers all."""
    top, left = row * CELL, column * CELL
    x, y = left + np.arange(shape[1]) + 0.5, top + np.arange(shape[0]) + 0.5
    corners_x, corners_y = np.meshgrid(x[[0, -1]], y[[0, -1]])
    found = np.zeros(shape, dtype=np.bool_)
    for segment in segments:
        if (_squared_distance(segment, corners_x, corners_y) <= radius**2).all():
            return None  # what is within reach of a segment is convex
        x0, x1 = sorted((segment[0], segment[2]))
        y0, y1 = sorted((segment[1], segment[3]))
        columns = slice(*np.searchsorted(x, (x0 - radius, x1 + radius + 1)))
        rows = slice(*np.searchsorted(y, (y0 - radius, y1 + radius + 1)))
        found[rows, columns] |= _squared_distance(segment, x[None, columns], y[rows, None]) <= radius**2
    return found


def _squared_distance(
    segment: npt.NDArray[np.float64], x: npt.NDArray[Any], y: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = segment
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / length, 0.0, 1.0) if length else 0.0
    found: npt.NDArray[np.float64] = (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2
    return found


def _polygon(points: npt.NDArray[np.float64], size: Sequence[int]) -> Iterator[Cover]:
    """Cells with pixels inside a polygon, one row of cells after the other."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    rows, columns = cells_within(top, left, bottom, right, size)
    if not len(rows) or not len(columns):
        return
    edges = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    start = columns[0] * CELL
    for row in rows:
        height = cell_shape(row, 0, size)[0]
        inside = _parity(edges, row * CELL, height, start, min(size[1], columns[-1] * CELL + CELL) - start)
        for column in columns:
            part = inside[:, column * CELL - start :][:, :CELL]
            if part.any():
                yield row, column, None if part.all() else part.copy()


def _parity(edges: npt.NDArray[np.float64], top: int, height: int, left: int, width: int) -> npt.NDArray[np.bool_]:
    """[height, width]: whether the middles of pixels have an odd number of edges (x0, y0, x1, y1) on their left."""
    crossed = np.zeros((height, width + 1), dtype=np.uint8)
    low, high = edges[:, [1, 3]].min(axis=1), edges[:, [1, 3]].max(axis=1)
    touching = np.flatnonzero((high > top) & (low < top + height))
    for part in np.array_split(touching, max(1, -(-len(touching) // _AT_ONCE))):
        x0, y0, x1, y1 = edges[part].T
        first = np.clip(np.ceil(low[part] - top - 0.5), 0, height).astype(np.int64)
        last = np.clip(np.ceil(high[part] - top - 0.5), 0, height).astype(np.int64)
        counts = last - first
        edge = np.repeat(np.arange(len(part)), counts)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        x = x0[edge] + (row + top + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
        column = np.clip(np.ceil(x - left - 0.5), 0, width).astype(np.int64)
        np.add.at(crossed, (row, column), 1)
    return (np.cumsum(crossed[:, :width], axis=1, dtype=np.uint8) & 1).astype(np.bool_)
