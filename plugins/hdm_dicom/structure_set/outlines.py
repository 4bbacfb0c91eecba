"""The outlines of one class on a slice: along the edges of its pixels, holes joined to their outline by a keyhole.

A region is what is connected by the sides of pixels, so outlines neither cross nor touch. Every edge is moved into the
region by a hundredth of a pixel (`INSET`). Programs that fill at the centres of pixels then find the very mask, and so
do those that round to whole pixels first and fill up to and including the outline: on the edge itself they would round
half of all edges to the neighbour.

The standard has a hole either cut by a keyhole, or drawn as a contour of its own that is combined by exclusive or
(PS3.3 C.8.8.6.3). Some programs unite all contours of a slice and would fill such a hole; a keyhole all read right. It
goes straight up from the hole's top edge, a quarter of a pixel beside the centres of pixels, to what lies above it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

INSET = 0.01
"""Pixels by which an outline runs inside of the edges of its pixels."""

Array = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.intp]

_BESIDE_CENTRE = -0.25

# By which of the four pixels around a corner of the grid belong to the class (upper left 1, upper right 2, lower left
# 4, lower right 8): where the outline is moved to in x and y, and whether the corner is convex. At 6 and 9 two pixels
# meet, and each has a corner of its own; that of the second stands under 16 more.
_CORNERS = {
    1: (-1, -1, 1),
    2: (1, -1, 1),
    4: (-1, 1, 1),
    8: (1, 1, 1),
    7: (-1, -1, 0),
    11: (1, -1, 0),
    13: (-1, 1, 0),
    14: (1, 1, 0),
    6: (1, -1, 1),
    6 + 16: (-1, 1, 1),
    9: (-1, -1, 1),
    9 + 16: (1, 1, 1),
}
_TABLE = np.array([_CORNERS.get(code, (0, 0, 0)) for code in range(32)], dtype=np.intp).T


@dataclass(frozen=True, eq=False)
class _Corners:
    """Corners of all outlines, row by row from left to right.

    Attributes:
        y: [n] grid line, 0 above the first row.
        x: [n] grid line.
        inset_y: [n] 1 or -1, where the outline is moved to.
        inset_x: [n] likewise.
        convex: [n] the class has one of the four pixels, not three.
        following: [n] the next corner, with the class to the right of the way (rows run down).
        keys: [n] ascending: of the place, then of the side to which the horizontal edge goes.
        stride: of `keys`, from row to row.
    """

    y: _Ints
    x: _Ints
    inset_y: _Ints
    inset_x: _Ints
    convex: npt.NDArray[np.bool_]
    following: _Ints
    keys: _Ints
    stride: int

    def edge_at(self, y: int, x: int) -> int:
        """The left corner of the horizontal edge on a grid line that has a column of pixels, x to x + 1, below it."""
        return int(np.searchsorted(self.keys, y * self.stride + 2 * x + 1, side="right")) - 1


def outlines(mask: npt.NDArray[np.bool_]) -> list[Array]:
    """Closed polygons around the regions of a mask [rows, columns], in reading order of their first corner.

    Returns:
        For each region [points, 2] of (x, y) in pixels; pixel (0, 0) has its centre at (0, 0), and the last point is
        joined to the first. No polygons overlap, and a hole is never inside: it is cut out by its keyhole.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1], 1).view(np.uint8)
    corners = _corners_of(part)
    following = corners.following.tolist()
    # The first corner of a ring is its uppermost, then leftmost: at an outline's a pixel begins, at a hole's one lacks.
    rings = _rings(following)
    holes = [ring[0] for ring in rings if not corners.convex[ring[0]]]
    x = corners.x + INSET * corners.inset_x + (left - 0.5)
    y = corners.y + INSET * corners.inset_y + (top - 0.5)
    points = np.stack([x, y], axis=1)
    if holes:
        points = np.concatenate([points, _join(holes, corners, part, following, points, left)])
        rings = [_walk(following, ring[0]) for ring in rings if corners.convex[ring[0]]]
    return [points[ring] for ring in rings]


def _corners_of(part: npt.NDArray[np.uint8]) -> _Corners:
    down, right = part[1:] ^ part[:-1], part[:-1, 1:] ^ part[:-1, :-1]
    # One or three of the four pixels, or two that meet by their corners only.
    y, x = np.nonzero((down[:, 1:] ^ down[:, :-1]) | (down[:, 1:] & down[:, :-1] & right))
    codes = part[y, x] | part[y, x + 1] << 1 | part[y + 1, x] << 2 | part[y + 1, x + 1] << 3
    twice = np.flatnonzero((codes == 6) | (codes == 9))
    if twice.size:
        y, x, codes = np.append(y, y[twice]), np.append(x, x[twice]), np.append(codes, codes[twice] + 16)
    inset_x, inset_y, is_convex = _TABLE[:, codes]
    # An edge leaves a convex corner towards its pixel, the other corners away from where they are moved to.
    to_right, to_below = ((inset > 0) == (is_convex > 0) for inset in (inset_x, inset_y))
    stride = 2 * part.shape[1]
    keys = y * stride + 2 * x + to_right
    order = np.argsort(keys)
    y, x, inset_y, inset_x, is_convex, keys = (each[order] for each in (y, x, inset_y, inset_x, is_convex, keys))
    downward = np.argsort((x * part.shape[0] + y) * 2 + to_below[order])
    # On each line of the grid, edges join the first corner and the second, the third and the fourth, and so on.
    beside, across = np.arange(y.size) ^ 1, np.empty_like(y)
    across[downward[::2]], across[downward[1::2]] = downward[1::2], downward[::2]
    sideways = (inset_x * inset_y > 0) == (is_convex > 0)
    return _Corners(y, x, inset_y, inset_x, is_convex > 0, np.where(sideways, beside, across), keys, stride)


def _rings(following: list[int]) -> list[list[int]]:
    """Every cycle, each from its smallest member on."""
    seen = bytearray(len(following))
    rings = []
    for start in range(len(following)):
        if not seen[start]:
            rings.append(ring := _walk(following, start))
            for corner in ring:
                seen[corner] = 1
    return rings


def _walk(following: list[int], start: int) -> list[int]:
    ring = [start]
    while (corner := following[ring[-1]]) != start:
        ring.append(corner)
    return ring


def _join(
    holes: list[int],
    corners: _Corners,
    part: npt.NDArray[np.uint8],
    following: list[int],
    points: Array,
    left: int,
) -> Array:
    """Lead the way around each hole from what lies above it, and back.

    Args:
        holes: first corner of each.
        corners: of all rings.
        part: the mask, with one pixel of background around it.
        following: changed in place; new points are numbered after the corners.
        points: [corners, 2] where corners lie.
        left: column of the first pixel.

    Returns:
        [4 * holes, 2] the new points.
    """
    above: dict[int, list[int]] = defaultdict(list)
    for hole in holes:
        y, x = int(corners.y[hole]), int(corners.x[hole])
        background = int(np.flatnonzero(part[: y + 1, x + 1] == 0)[-1])
        above[corners.edge_at(background, x)].append(hole)
    new: list[tuple[float, float]] = []
    for edge, hung in above.items():
        end, at = following[edge], edge
        for hole in sorted(hung, key=lambda hole: int(corners.x[hole])):
            x_pixel = int(corners.x[hole]) + left + _BESIDE_CENTRE
            upper, lower = (x_pixel, float(points[edge, 1])), (x_pixel, float(points[hole, 1]))
            number = len(points) + len(new)
            new += [upper, lower, lower, upper]
            # The hole's top edge runs to the left, from the corner beside its first one.
            following[at], following[hole ^ 1] = number, number + 2
            following += [number + 1, hole, number + 3, end]
            at = number + 3
    return np.array(new)
