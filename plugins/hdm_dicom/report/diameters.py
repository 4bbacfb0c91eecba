"""The largest distance between the points of a region, exact, without comparing all of them.

The two points that lie farthest apart are vertices of the convex hull, and hull vertices stay hull vertices under any
affine map: hulls are taken of voxel indices, distances of millimetres. A region is remembered by the outer voxels of
each of its rows; whenever these become many, only those that are vertices of their common hull are kept. Points that
are too near to the middle to be an end of the longest way are left out before.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

Points = npt.NDArray[np.int32]
"""[n, 2] or [n, 3] voxel indices: (x, y) or (x, y, z)."""

_FEW = 256
"""Points up to this many are compared at once, which is faster than a hull."""

_SLACK = 1e-9
"""Part of a distance by which rounding may change it."""

_ROWS = 1024
"""Points that are compared with all others at a time: memory is bounded where there is no hull."""


def outer(points: Points) -> Points:
    """Those of the points that may be farthest apart: the vertices of their hull.

    All points if they are few, or lie on one line or in one plane (then there are few, too: two a row).
    """
    if len(points) <= _FEW:
        return points
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:
        return points


def far_out(points: Points, axes: npt.NDArray[np.float64]) -> Points:
    """Those of many points that can be an end of the longest way between two of them.

    Some way between two points is at least as long as the longest, and a point's own ways are no longer than its
    distance from any centre and the largest such distance together.
    """
    if len(points) <= _FEW:
        return points
    places = points.astype(np.float64) @ axes.T
    start, end = places[0], places[0]
    length = -1.0
    while True:  # to the point that is farthest, and from there again, as long as the way grows
        away = np.linalg.norm(places - end, axis=1)
        farthest = int(np.argmax(away))
        if away[farthest] <= length:
            break
        length, start, end = float(away[farthest]), end, places[farthest]
    from_centre = np.linalg.norm(places - (start + end) / 2, axis=1)
    return np.asarray(points[from_centre + from_centre.max() >= length * (1 - _SLACK)])


def largest_distance(points: Points, axes: npt.NDArray[np.float64]) -> float:
    """The largest distance between two of the points in millimetres; 0 for one point.

    Args:
        points: [n, d].
        axes: [3, d] the way in millimetres from one index to the next along each axis.
    """
    places = outer(far_out(points, axes)).astype(np.float64) @ axes.T
    starts = range(0, len(places), _ROWS)
    return float(max(cdist(places[start : start + _ROWS], places).max() for start in starts))
