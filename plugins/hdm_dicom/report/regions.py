"""Connected regions of one class, slice by slice: what is kept is the last slice and a few sums a region.

Two voxels belong together if they touch by a face, an edge or a corner (26 neighbours). A region is finished once a
slice has none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hdm_dicom.report.diameters import Points, largest_distance, outer

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_TOUCHING = np.ones((3, 3), dtype=np.int8)
_MANY_POINTS = 8192
"""Points of a region after which only those on its hull are kept."""
_PASSES = 3
"""How often ends of rows that are no corners are looked for: what is left makes a hull cost less."""
_TABLE = 1 << 22
"""Pairs of regions of two slices up to which they are ticked off in a table."""


@dataclass
class Spread:
    """Number, mean and sum of squared deviations of values, put together without loss of digits (Chan et al. 1979)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, count: int, mean: float, squares: float) -> None:
        """Take in other values."""
        if not count:
            return
        total = self.count + count
        apart = mean - self.mean
        self.squares += squares + apart * apart * self.count * count / total
        self.mean += apart * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation of all values (divided by their number)."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


@dataclass(eq=False)
class Region:
    """A connected region.

    Attributes:
        first: (z, y, x) of its first voxel, in the order of slices, rows and columns.
        voxels: number of voxels.
        values: of those voxels that have a value.
        last_slice: the highest slice that it reaches.
        low, high: (x, y) of the least and the largest column and row.
        in_plane: mm, the largest distance within a connected part of it in one slice.
        diameter: mm, the largest distance between two of its voxels; known once it is finished.
    """

    first: tuple[int, int, int]
    voxels: int = 0
    values: Spread = field(default_factory=Spread)
    last_slice: int = 0
    low: tuple[int, int] = (1 << 30, 1 << 30)
    high: tuple[int, int] = (0, 0)
    in_plane: float = 0.0
    diameter: float = 0.0
    _points: list[Points] = field(default_factory=list)
    _held: int = 0
    _most: int = _MANY_POINTS
    _merged_into: Region | None = None

    @property
    def root(self) -> Region:
        """The region that this one has become a part of; itself if of none."""
        region = self
        while region._merged_into is not None:
            region = region._merged_into
        return region

    def add_points(self, points: Points) -> None:
        """Remember voxels [n, 3] that may be farthest apart."""
        self._points.append(points)
        self._held += len(points)
        if self._held > self._most:
            self._points = [outer(np.concatenate(self._points))]
            self._held = len(self._points[0])
            # A region whose hull has very many vertices is not reduced anew at every slice.
            self._most = max(_MANY_POINTS, 2 * self._held)

    def absorb(self, other: Region) -> None:
        """Take in a region that turned out to be connected with this one."""
        other._merged_into = self
        self.first = min(self.first, other.first)
        self.voxels += other.voxels
        self.values.add(other.values.count, other.values.mean, other.values.squares)
        self.last_slice = max(self.last_slice, other.last_slice)
        self.spread(other.low, other.high)
        self.in_plane = max(self.in_plane, other.in_plane)
        for points in other._points:
            self.add_points(points)
        other._points = []

    def spread(self, low: tuple[int, int], high: tuple[int, int]) -> None:
        """Widen its bounds."""
        self.low = (min(self.low[0], low[0]), min(self.low[1], low[1]))
        self.high = (max(self.high[0], high[0]), max(self.high[1], high[1]))

    def finish(self, axes: Floats) -> Region:
        """Measure its diameter and forget its points."""
        self.diameter = largest_distance(np.concatenate(self._points), axes)
        self._points = []
        return self


@dataclass(frozen=True, eq=False)
class _Parts:
    """Connected parts of one slice, numbered from 1.

    Attributes:
        labels: [rows, columns] of a box of the slice: number of the part, 0 outside.
        corner: (y, x) of the box.
        count: number of parts.
    """

    labels: npt.NDArray[np.int32]
    corner: tuple[int, int]
    count: int


class RegionFinder:
    """Finds the connected regions of a class.

    Args:
        axes: [3, 3] in columns the way in mm from one voxel to the next along x, y and z.
    """

    def __init__(self, axes: Floats) -> None:
        self._axes = axes
        self._z = 0
        self._before: _Parts | None = None
        self._owners: list[Region] = []  # of the parts of the slice before

    def feed(self, inside: Flags, values: npt.NDArray[np.float32] | None) -> list[Region]:
        """Take the next slice.

        Args:
            inside: [y, x] where the class is.
            values: [y, x] of the image, not finite where there is none; None where no values are wanted.

        Returns:
            Regions that are finished, in the order of their first voxels.
        """
        parts = _parts_of(inside)
        owners = self._connect(parts) if parts is not None else []
        if parts is not None:
            self._measure(parts, owners, values)
        going_on = {id(owner.root) for owner in owners}
        ended = {id(owner.root): owner.root for owner in self._owners if id(owner.root) not in going_on}
        self._before, self._owners = parts, [owner.root for owner in owners]
        self._z += 1
        return sorted((region.finish(self._axes) for region in ended.values()), key=lambda region: region.first)

    @property
    def going_on(self) -> bool:
        """The last slice has some of the class."""
        return self._before is not None

    def skip(self) -> None:
        """Take a slice without the class, after another without it."""
        self._z += 1

    def finish(self) -> list[Region]:
        """The regions that reach the last slice."""
        return self.feed(np.zeros((1, 1), dtype=np.bool_), None)

    def _connect(self, parts: _Parts) -> list[Region]:
        """The region of each part: one of the slice before that it touches, or a new one."""
        owners: list[Region | None] = [None] * parts.count
        pairs = _touching(self._before, parts) if self._before is not None else []
        for before, part in pairs:
            known, above = owners[part - 1], self._owners[before - 1].root
            if known is None:
                owners[part - 1] = above
            elif known.root is not above:
                elder, younger = sorted((known.root, above), key=lambda region: region.first)
                elder.absorb(younger)
        return [Region((self._z, 1 << 30, 0)) if owner is None else owner.root for owner in owners]

    def _measure(self, parts: _Parts, owners: list[Region], values: npt.NDArray[np.float32] | None) -> None:
        rows, columns = np.nonzero(parts.labels)
        numbers = parts.labels[rows, columns]
        rows, columns = rows + parts.corner[0], columns + parts.corner[1]
        counts = np.bincount(numbers, minlength=parts.count + 1)
        spreads = _spreads(numbers, None if values is None else values[rows, columns], parts.count)
        for number, points in _corners(numbers, rows, columns):
            region = owners[number - 1].root
            region.voxels += int(counts[number])
            region.values.add(*spreads[number])
            region.last_slice = self._z
            low, high = points.min(axis=0), points.max(axis=0)
            region.spread((int(low[0]), int(low[1])), (int(high[0]), int(high[1])))
            region.first = min(region.first, (self._z, int(points[0, 1]), int(points[0, 0])))
            # The way between the corners of its bounds bounds what is to be found.
            bound = float(np.linalg.norm(np.abs(self._axes[:, :2]) @ (high - low)))
            if bound > region.in_plane:
                region.in_plane = max(region.in_plane, largest_distance(points, self._axes[:, :2]))
            placed = np.full((len(points), 3), self._z, dtype=np.int32)
            placed[:, :2] = points
            region.add_points(placed)


def _parts_of(inside: Flags) -> _Parts | None:
    """The connected parts of a slice; None if there is none."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return None
    box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, count = ndimage.label(box, _TOUCHING)
    return _Parts(labels, (int(rows[0]), int(columns[0])), int(count))


def _touching(before: _Parts, parts: _Parts) -> list[tuple[int, int]]:
    """(number before, number now) of parts of two slices that touch by a face, an edge or a corner; in order."""
    height, width = parts.labels.shape
    y, x = parts.corner[0] - before.corner[0], parts.corner[1] - before.corner[1]
    # What lies under the box and its rim of one pixel, 0 where the slice before has nothing.
    under = np.zeros((height + 2, width + 2), dtype=np.int64)
    top, left = max(y - 1, 0), max(x - 1, 0)
    bottom, right = min(y + height + 1, before.labels.shape[0]), min(x + width + 1, before.labels.shape[1])
    if bottom <= top or right <= left:
        return []
    at = top - (y - 1), left - (x - 1)
    under[at[0] : at[0] + bottom - top, at[1] : at[1] + right - left] = before.labels[top:bottom, left:right]
    size = parts.count + 1
    inside = parts.labels > 0
    if before.count == parts.count == 1 and under[1:-1, 1:-1][inside].any():
        return [(1, 1)]  # one organ in both slices: nothing else is to be found
    now = parts.labels[inside]
    small = (before.count + 1) * size <= _TABLE
    seen = np.zeros((before.count + 1) * size if small else 0, dtype=np.bool_)
    listed: list[Ints] = []
    for dy in range(3):
        for dx in range(3):
            keys = under[dy : dy + height, dx : dx + width][inside] * size + now
            if small:
                seen[keys] = True
            else:
                listed.append(np.unique(keys))
    found: Ints = np.flatnonzero(seen) if small else np.unique(np.concatenate(listed))
    return [(int(key) // size, int(key) % size) for key in found[found >= size]]


def _spreads(
    numbers: npt.NDArray[np.int32], values: npt.NDArray[np.float32] | None, count: int
) -> list[tuple[int, float, float]]:
    """Number, mean and sum of squared deviations of the finite values of each part; the first entry is of none."""
    if values is None:
        return [(0, 0.0, 0.0)] * (count + 1)
    known = np.isfinite(values)
    of = np.asarray(numbers[known])
    floats = values[known].astype(np.float64)
    held = np.bincount(of, minlength=count + 1)
    means = np.bincount(of, floats, minlength=count + 1) / np.maximum(held, 1)
    squares = np.bincount(of, (floats - means[of]) ** 2, minlength=count + 1)
    return [(int(n), float(mean), float(square)) for n, mean, square in zip(held, means, squares, strict=True)]


def _corners(numbers: npt.NDArray[np.int32], rows: Ints, columns: Ints) -> Iterator[tuple[int, Points]]:
    """The number of each part, and (x, y) of those of its voxels that may be corners of its hull, row by row."""
    order = np.argsort(numbers, kind="stable")  # row by row within a part
    numbers, rows, columns = numbers[order], rows[order], columns[order]
    changes = np.flatnonzero((numbers[1:] != numbers[:-1]) | (rows[1:] != rows[:-1]))
    firsts = np.concatenate([[0], changes + 1])
    lasts = np.concatenate([changes, [numbers.size - 1]])
    numbers, rows = numbers[firsts], rows[firsts]
    borders = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    parts = zip([0, *borders.tolist()], [*borders.tolist(), numbers.size], strict=True)
    for start, stop in parts:
        left, right = columns[firsts[start:stop]], columns[lasts[start:stop]]
        sides = [_bulging(rows[start:stop], -left), _bulging(rows[start:stop], right)]
        points = np.empty((sum(side.size for side in sides), 2), dtype=np.int32)
        points[:, 0] = np.concatenate([left[sides[0]], right[sides[1]]])
        points[:, 1] = np.concatenate([rows[start:stop][side] for side in sides])
        yield int(numbers[start]), points


def _bulging(rows: Ints, ends: Ints) -> Ints:
    """Indices of the ends of rows that stand out over the line between their neighbours: the others are no corners.

    Every removal is right, as what is removed lies between two others; what is left need not be convex yet.
    """
    kept = np.arange(rows.size)
    for _ in range(_PASSES):
        if kept.size < 3:
            break
        y, x = rows[kept], ends[kept]
        above, below = (x[1:-1] - x[:-2]) * (y[2:] - y[1:-1]), (x[2:] - x[1:-1]) * (y[1:-1] - y[:-2])
        out = np.concatenate([[True], above > below, [True]])
        kept = kept[out]
    return kept
