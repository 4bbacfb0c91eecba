"""A file at a reduced size: its overviews, and the cells that are made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.scenes.cells import SAMPLES, Means, Picked
from hdm_geotiff.scenes.stored import StoredBands
from hdm_geotiff.scenes.validity import Mask

_READ_BYTES = 16 * 2**20
"""What is decoded at a time, at most, but one block at least: a quarter of GDAL's cache."""

Edges = npt.NDArray[np.float64]


class Levels:
    """A file that is open, with its overviews, which are opened when they are first needed.

    Overviews are used where they can be trusted to hold means of valid pixels only. That is so where the file itself
    says which pixels are valid, and in one way: GDAL looks at one of nodata value, mask and alpha when it makes them.

    Args:
        stored: the file's bands.
        stack: closes the overviews.
    """

    def __init__(self, stored: StoredBands, stack: ExitStack) -> None:
        self._stored = stored
        self._stack = stack
        self._opened: dict[int, StoredBands | None] = {}

    def read(
        self, bands: Sequence[int], rows: Edges, columns: Edges, *, categorical: bool = False
    ) -> tuple[npt.NDArray[np.float32], Mask]:
        """Means by cell; call within `environment.reading`.

        Args:
            bands: numbers from 0.
            rows: [n + 1] edges of cells in rows of the file.
            columns: [m + 1] edges in columns.
            categorical: take one pixel of a cell, and mix none.

        Returns:
            Pixels [len(bands), n, m] with scale and offset applied, and validity [n, m].
        """
        level = self._level(_step(rows), _step(columns))
        pixels, valid = _read(level, self._stored, bands, rows, columns, categorical)
        if level is not self._stored and level.alpha is not None and not valid.any():
            return _read(self._stored, self._stored, bands, rows, columns, categorical)  # 1 may mean opaque, too
        return pixels, valid

    def _level(self, down: float, across: float) -> StoredBands:
        """The coarsest level with pixels no larger than a cell, which has so many rows and columns of the file."""
        dataset = self._stored.dataset
        if not self._stored.overviews_hold:
            return self._stored
        factors = dataset.overviews(1)
        for number in sorted(range(len(factors)), key=lambda one: -factors[one]):
            sides = (dataset.height, down), (dataset.width, across)
            fits = all(size / -(-size // factors[number]) <= step * (1 + 1e-6) for size, step in sides)
            level = self._overview(number) if fits else None
            if level is not None:
                return level
        return self._stored

    def _overview(self, number: int) -> StoredBands | None:
        """An overview as a file of its own; None where it lacks a band's or the mask's part."""
        if number not in self._opened:
            base = self._stored.dataset
            few = any(len(base.overviews(band)) <= number for band in base.indexes)
            self._opened[number] = None if few else self._open(number)
        return self._opened[number]

    def _open(self, number: int) -> StoredBands | None:
        base = self._stored.dataset
        opened = rasterio.open(base.name, driver=base.driver, sharing=False, OVERVIEW_LEVEL=number)
        dataset = self._stack.enter_context(opened)
        same = dataset.mask_flag_enums[0] == base.mask_flag_enums[0] and dataset.dtypes == base.dtypes
        return self._stored.at(dataset) if same else None


def _step(edges: Edges) -> float:
    return float(edges[-1] - edges[0]) / (len(edges) - 1)


def _read(
    level: StoredBands, base: StoredBands, bands: Sequence[int], rows: Edges, columns: Edges, categorical: bool
) -> tuple[npt.NDArray[np.float32], Mask]:
    """Means by cell of an overview, or of the file itself; edges are in pixels of the file."""
    file, dataset = base.dataset, level.dataset
    roles = [file.colorinterp[band] for band in bands]
    samples = 1 if categorical or ColorInterp.palette in roles else SAMPLES
    down = Picked.of(rows * (dataset.height / file.height), dataset.height, samples)
    across = Picked.of(columns * (dataset.width / file.width), dataset.width, samples)
    return _means(level, bands, down, across)


def _means(
    stored: StoredBands, bands: Sequence[int], rows: Picked, columns: Picked
) -> tuple[npt.NDArray[np.float32], Mask]:
    """Means by cell, made of whole blocks of a file, each read once; those that none of them is picked of are not."""
    dataset = stored.dataset
    height, width = min(dataset.block_shapes)
    size = max(np.dtype(dataset.dtypes[band]).itemsize for band in bands) * dataset.count
    across = max(1, min(math.ceil(dataset.width / width), _READ_BYTES // (size * height * width)))
    sparse = np.diff(rows.indices).min(initial=height) >= height  # strips of a few rows: those between are left out
    down = 1 if sparse else max(1, _READ_BYTES // (size * height * width * across))
    means = Means(len(bands), rows.count, columns.count)
    for y in rows.groups(height, down):
        for x in columns.groups(width, across):
            (top, bottom), (left, right) = y.span, x.span
            place = RasterWindow(left, top, right - left, bottom - top)
            means.add(*stored.pick(bands, place, y.indices - top, x.indices - left), y, x)
    return means.result()
