"""Cells: the parts of a scene that become one pixel each when it is read at a reduced size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

SAMPLES = 4
"""Rows, and columns, of a cell that its mean is made of, at most: more cost time and cannot be seen."""


@dataclass(frozen=True, eq=False)
class Picked:
    """Rows, or columns, of a file that are looked at, and the cells that they belong to.

    Attributes:
        indices: [n] of the file, ascending.
        cells: [n] which cell each belongs to, from 0, ascending; each cell has one at least.
        count: how many cells there are.
    """

    indices: Indices
    cells: Indices
    count: int

    @classmethod
    def of(cls, edges: npt.NDArray[np.float64], size: int, samples: int) -> Picked:
        """The pixels of an axis whose centers lie in cells, at most `samples` of each, evenly spread.

        Args:
            edges: [cells + 1] where cells begin and end, in pixels of the file, ascending.
            size: pixels of the file along the axis.
            samples: of a cell, at most.
        """
        bounds = np.ceil(edges - 0.5 - 1e-6).astype(np.int64)  # an edge that is a center but for rounding begins a cell
        first, last = bounds[:-1], bounds[1:]
        middle = np.clip(np.floor((edges[:-1] + edges[1:]) / 2).astype(np.int64), 0, size - 1)
        first, last = np.clip(first, 0, size), np.clip(last, 0, size)
        empty = last <= first  # a cell smaller than a pixel: that in which its center lies
        first, last = np.where(empty, middle, first), np.where(empty, middle + 1, last)
        held = last - first
        taken = np.minimum(held, samples)
        cells = np.repeat(np.arange(len(held), dtype=np.int64), taken)
        number = np.arange(len(cells), dtype=np.int64) - np.repeat(np.cumsum(taken) - taken, taken)
        held, taken = held[cells], taken[cells]
        mirrored = number < taken // 2  # so that their mean is the cell's center
        number = np.where(mirrored, taken - 1 - number, number)
        place = (2 * number + 1) * held // (2 * taken)
        return cls(first[cells] + np.where(mirrored, held - 1 - place, place), cells, len(edges) - 1)

    def groups(self, block: int, blocks: int) -> Iterator[Picked]:
        """Those that lie in so many whole blocks of the file at a time, so that each block is read once.

        Args:
            block: pixels of a block.
            blocks: how many at a time.
        """
        number = self.indices // (block * blocks)
        for part in np.split(np.arange(len(number)), np.flatnonzero(np.diff(number)) + 1):
            yield Picked(self.indices[part], self.cells[part], self.count)

    @property
    def span(self) -> tuple[int, int]:
        """The first, and the one after the last."""
        return int(self.indices[0]), int(self.indices[-1]) + 1

    @property
    def starts(self) -> Indices:
        """Where each cell begins among them."""
        return np.flatnonzero(np.diff(self.cells, prepend=-1))

    @property
    def place(self) -> slice:
        """The cells that they belong to: none between the first and the last is without one."""
        return slice(int(self.cells[0]), int(self.cells[-1]) + 1)


class Means:
    """Sums of valid pixels by cell, over parts of a file in any order.

    Args:
        bands: how many.
        rows: of cells.
        columns: of cells.
    """

    def __init__(self, bands: int, rows: int, columns: int) -> None:
        self._sums = np.zeros((bands, rows, columns), dtype=np.float64)
        self._counts = np.zeros((rows, columns), dtype=np.float64)

    def add(self, pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], rows: Picked, columns: Picked) -> None:
        """Add pixels [bands, len(rows.indices), len(columns.indices)]; invalid ones hold anything."""
        place = rows.place, columns.place
        self._counts[place] += _by_cell(valid.astype(np.float64), rows, columns)
        for sums, band in zip(self._sums, pixels, strict=True):
            sums[place] += _by_cell(np.where(valid, band, np.float32(0)).astype(np.float64), rows, columns)

    def result(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Means [bands, rows, columns], 0 where no valid pixel was added; and where one was."""
        means = self._sums / np.maximum(self._counts, 1)
        return means.astype(np.float32), self._counts > 0


def _by_cell(values: npt.NDArray[np.float64], rows: Picked, columns: Picked) -> npt.NDArray[np.float64]:
    for axis, picked in ((1, columns), (0, rows)):
        starts = picked.starts
        if len(starts) < values.shape[axis]:  # else each cell is one pixel
            values = np.add.reduceat(values, starts, axis=axis)
    return values
