"""A mask and its scores seen small, put together from the blocks that measuring reads anyway.

A pixel of the small mask shows a class that is found at any of the points that are looked at within it: at most
`_POINTS` along each axis, the same ones however the scene is cut into blocks. So a river that is thinner than a small
pixel stays one line, and what is found in one place only is still seen; areas are not to be measured there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import NODATA, ClassInfo
from hdm_pipeline.grid import Window

SIDE = 512
"""Most pixels along each axis of a small mask."""

_POINTS = 3

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]


class ReducedMask:
    """Collects the mask of a scene, of one slice of a volume: that with most of the classes, else the middle one.

    Args:
        size: (depth, height, width) of the scene.
        classes: of the mask.
        side: most pixels along each axis of the result.

    Attributes:
        shape: (height, width) of the result.
    """

    def __init__(self, size: tuple[int, int, int], classes: Sequence[ClassInfo], side: int = SIDE) -> None:
        self._depth, self._height, self._width = size
        scale = min(1.0, side / max(self._height, self._width))
        self.shape = max(1, round(self._height * scale)), max(1, round(self._width * scale))
        self._rows, self._row_starts = _points(self._height, self.shape[0])
        self._columns, self._column_starts = _points(self._width, self.shape[1])
        self._classes = classes
        self._scores = np.zeros((len(classes), 2), dtype=np.int64)
        self._mask = self._empty()
        self._best = self._empty()
        self._z, self._found = -1, 0
        self._best_z, self._most = -1, -1

    def add(self, window: Window, mask: Bytes, scores: Bytes | None) -> None:
        """Take a block in; all blocks of a slice come one after another.

        Args:
            window: where it lies.
            mask: [height, width] of it.
            scores: [classes, height, width] of it; None where the mask holds no class.
        """
        if window.z != self._z:
            self._end_slice()
            self._z, self._found, self._mask = window.z, 0, self._empty()
        rows, columns = _within(self._rows, window.y, window.bottom), _within(self._columns, window.x, window.right)
        down, across = self._rows[rows] - window.y, self._columns[columns] - window.x
        seen = mask.take(down, axis=0).take(across, axis=1)
        self._mask[rows, columns] = seen
        if scores is None:
            return
        for index, info in enumerate(self._classes):
            inside = seen == info.value
            count = int(np.count_nonzero(inside))
            if count:
                told = scores[index].take(down, axis=0).take(across, axis=1)
                self._found += count
                self._scores[index] += int(told.sum(where=inside, dtype=np.int64)), count

    def result(self) -> tuple[int, Bytes]:
        """The slice that is shown, and its mask [*shape] uint8: 0 background, 1..C classes, 255 nodata."""
        self._end_slice()
        # Wraps: nodata becomes 0, background 1, so that a class counts more than either.
        shown = self._best + np.uint8(1)
        shown = np.maximum.reduceat(shown, self._row_starts, axis=0)
        shown = np.maximum.reduceat(shown, self._column_starts, axis=1)
        return max(self._best_z, 0), np.asarray(shown - np.uint8(1))

    def mean_scores(self) -> dict[str, float]:
        """Mean probability of each class, 0..1, over the points that are of it; classes without any are left out."""
        return {
            info.name: round(int(total) / int(count) / 255, 4)
            for info, (total, count) in zip(self._classes, self._scores, strict=True)
            if count
        }

    def _end_slice(self) -> None:
        middle = self._z == self._depth // 2
        if self._z >= 0 and (self._found > self._most or (middle and self._found == self._most)):
            self._best, self._best_z, self._most = self._mask, self._z, self._found

    def _empty(self) -> Bytes:
        return np.full((self._rows.size, self._columns.size), NODATA, dtype=np.uint8)


def _points(size: int, cells: int) -> tuple[Places, Places]:
    """Positions along an axis that are looked at, ascending, and the first of each of `cells` parts."""
    edges = np.arange(cells + 1, dtype=np.int64) * size // cells
    parts, starts, count = [], [], 0
    for start, stop in pairwise(edges.tolist()):
        number = min(_POINTS, stop - start)
        parts.append(start + (2 * np.arange(number) + 1) * (stop - start) // (2 * number))
        starts.append(count)
        count += number
    return np.concatenate(parts).astype(np.intp), np.asarray(starts, dtype=np.intp)


def _within(positions: Places, start: int, stop: int) -> slice:
    first, last = np.searchsorted(positions, (start, stop))
    return slice(int(first), int(last))
