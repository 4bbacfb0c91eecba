"""The grid of a scene, how a band of another resolution lies under it, and its pixels resampled there.

A pixel of the grid depends on its place in the scene and on nothing else, so that blocks fit together without a seam:
positions are computed from the scene's origin in float64, never from a window's, and weights are summed in a fixed
order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_pipeline.errors import UnsupportedSceneError
from hdm_pipeline.grid import Window

MOST_COARSE = 16
"""How many times coarser than a band the grid may be: each pixel is a mean of so many squared."""

_SAME = 1e-3
"""Pixels over which two grids may differ and be one: coordinates in text lose their last digits."""

_RIM = 0.5 + 1e-6
"""Pixels of a band by which the centre of a pixel of the grid may lie outside: the nearest value is taken there."""

_STRIP = 8 * 2**20
"""Pixels of a band that are resampled at a time."""


@dataclass(frozen=True)
class Grid:
    """Where pixels lie.

    Attributes:
        crs: coordinate reference system; None without one.
        transform: from (column, row) to coordinates; the identity without any.
        height: rows.
        width: columns.
    """

    crs: CRS | None
    transform: Affine
    height: int
    width: int

    @classmethod
    def of(cls, dataset: DatasetReader) -> Grid:
        """The grid of an open dataset; no CRS and the identity where only ground control points place it."""
        return cls(dataset.crs or None, dataset.transform, dataset.height, dataset.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as a dataset has it."""
        return self.height, self.width

    @property
    def pixel(self) -> float:
        """Side of a pixel in units of the CRS: the root of its area."""
        return math.sqrt(abs(self.transform.determinant))

    @property
    def placed(self) -> bool:
        """Whether it is known where the pixels lie."""
        return self.transform != Affine.identity()

    @property
    def placed_in_crs(self) -> bool:
        """Whether it is known where on Earth, or on any other body, the pixels lie."""
        return self.crs is not None and self.placed

    def at_resolution(self, side: float) -> Grid:
        """The same place in pixels of another size: those whose centre lies in this grid."""
        across, down = (math.hypot(*pair) / side for pair in _sides(self.transform))
        height, width = (max(1, math.ceil(n * s - 0.5 - 1e-9)) for n, s in ((self.height, down), (self.width, across)))
        return Grid(self.crs, self.transform * Affine.scale(1 / across, 1 / down), height, width)


def raster_window(window: Window) -> RasterWindow:
    """A window as rasterio reads and writes it."""
    return RasterWindow(window.x, window.y, window.width, window.height)


def _sides(transform: Affine) -> tuple[tuple[float, float], tuple[float, float]]:
    return (transform.a, transform.d), (transform.b, transform.e)


@dataclass(frozen=True)
class Axis:
    """How rows, or columns, of a grid lie on those of a band: centre of pixel i at (i + 0.5) * step + start.

    Attributes:
        step: pixels of the band in one of the grid.
        start: where the grid begins, in pixels of the band.
        size: rows or columns of the band.
    """

    step: float
    start: float
    size: int

    def same(self, size: int) -> bool:
        """Whether each pixel of the grid is one of the band."""
        end = self.step * size + self.start
        return size == self.size and abs(self.start) <= _SAME and abs(end - size) <= _SAME

    def placed(self, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Places on the grid as places on the band, both in pixels from the first one's outer edge."""
        return edges * self.step + self.start

    def taps(self, first: int, count: int, nearest: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Which pixels of the band make pixels `first` to `first + count` of the grid.

        Returns:
            Indices [k, count] within the band, and weights [k, count] that add up to 1.
        """
        centre = (np.arange(first, first + count, dtype=np.float64) + 0.5) * self.step + self.start
        if nearest:
            index = np.floor(centre + 1e-9).astype(np.int64)[None]
            return np.clip(index, 0, self.size - 1), np.ones(index.shape, dtype=np.float32)
        centre -= 0.5
        reach = max(1.0, self.step)  # finer than the band: between two pixels; coarser: a mean that lets no pixel out
        lowest = np.floor(centre - reach + 1e-9).astype(np.int64) + 1
        index = lowest[None] + np.arange(2 * math.ceil(reach), dtype=np.int64)[:, None]
        weights = np.maximum(0.0, 1.0 - np.abs(index - centre[None]) / reach)
        weights /= weights.sum(axis=0)
        return np.clip(index, 0, self.size - 1), weights.astype(np.float32)


@dataclass(frozen=True)
class Lie:
    """How a grid lies on a band."""

    rows: Axis
    columns: Axis
    same: bool

    @classmethod
    def between(cls, grid: Grid, band: Grid, name: str, other: str, where: str) -> Lie:
        """How `grid` lies on `band`.

        Args:
            grid: of the scene.
            band: of the band's file.
            name: of the band, for messages.
            other: the band that the grid was taken from, for messages.
            where: the scene, for messages.

        Raises:
            UnsupportedSceneError: CRS or extent differ, one is rotated against the other, or the grid is far coarser.
        """
        if grid.crs != band.crs:
            what = f"band {name} is in {_called(band.crs)}, but band {other} in {_called(grid.crs)}"
            remedy = "bring all bands of a scene into one CRS first: gdalwarp -t_srs"
            raise UnsupportedSceneError(what, where=where, remedy=remedy)
        if grid.placed != band.placed:
            what = f"only one of the bands {name} and {other} has coordinates"
            raise UnsupportedSceneError(what, where=where, remedy="give both coordinates: gdal_edit.py -a_ullr")
        if grid.placed:
            m = ~band.transform * grid.transform
        else:
            m = Affine.scale(band.width / grid.width, band.height / grid.height)
        if abs(m.b) * grid.height > _SAME or abs(m.d) * grid.width > _SAME or m.a <= 0 or m.e <= 0:
            what = f"band {name} is rotated or mirrored against band {other}"
            raise UnsupportedSceneError(what, where=where, remedy="warp one onto the grid of the other: gdalwarp")
        rows, columns = Axis(m.e, m.f, band.height), Axis(m.a, m.c, band.width)
        for axis, count in ((rows, grid.height), (columns, grid.width)):
            first, last = 0.5 * axis.step + axis.start, (count - 0.5) * axis.step + axis.start
            if first < -_RIM or last > axis.size + _RIM:
                out = max(-first, last - axis.size)
                what = f"band {name} covers less than band {other}: {out:.1f} of its pixels are missing on one side"
                remedy = "cut all bands of a scene to one extent first: gdal_translate -projwin, or gdalwarp -te"
                raise UnsupportedSceneError(what, where=where, remedy=remedy)
            if axis.step > MOST_COARSE:
                what = f"the grid is {axis.step:.0f} times coarser than band {name}; at most {MOST_COARSE} are possible"
                raise UnsupportedSceneError(what, where=where, remedy="give a smaller reader option resolution")
            if (axis.size - count * axis.step - axis.start) > 1 + axis.step or axis.start > 1 + axis.step:
                what = f"band {name} covers more than band {other}"
                remedy = "cut all bands of a scene to one extent first: gdal_translate -projwin, or gdalwarp -te"
                raise UnsupportedSceneError(what, where=where, remedy=remedy)
        return cls(rows, columns, rows.same(grid.height) and columns.same(grid.width))

    def source(self, window: Window, nearest: bool) -> Window:
        """The window of the band that a window of the grid is made of."""
        rows, _ = self.rows.taps(window.y, window.height, nearest)
        columns, _ = self.columns.taps(window.x, window.width, nearest)
        top, left = int(rows.min()), int(columns.min())
        return Window(z=0, y=top, x=left, height=int(rows.max()) + 1 - top, width=int(columns.max()) + 1 - left)

    def strips(self, window: Window) -> list[Window]:
        """A window in parts of bounded memory."""
        need = max(1.0, self.columns.step) * window.width * max(1.0, self.rows.step)
        rows = max(1, int(_STRIP / need))
        return [
            Window(z=0, y=y, x=window.x, height=min(rows, window.bottom - y), width=window.width)
            for y in range(window.y, window.bottom, rows)
        ]

    def resampled(
        self,
        pixels: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_],
        source: Window,
        window: Window,
        nearest: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Pixels of the band on the grid.

        Args:
            pixels: [source.height, source.width] of the band, finite where valid.
            valid: of the same shape.
            source: where they were read: `source(window)`.
            window: of the grid.
            nearest: take the pixel in which the centre lies, instead of the mean by distance.

        Returns:
            Pixels [window.height, window.width], and validity: where at least half of the weight is of valid pixels,
            and then the mean is of these alone.
        """
        rows, by_row = self.rows.taps(window.y, window.height, nearest)
        columns, by_column = self.columns.taps(window.x, window.width, nearest)
        rows, columns = rows - source.y, columns - source.x
        if nearest:
            place = np.ix_(rows[0], columns[0])
            return pixels[place], valid[place]
        if valid.all():
            made = _mean(pixels, rows, by_row, columns, by_column)
            return made, np.ones(made.shape, dtype=np.bool_)
        total = _mean(np.where(valid, pixels, np.float32(0)), rows, by_row, columns, by_column)
        known = _mean(valid.astype(np.float32), rows, by_row, columns, by_column)
        lost = _mean((~valid).astype(np.float32), rows, by_row, columns, by_column)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where nothing is lost the value is the very one of a window without invalid pixels.
            made = np.where(lost == 0, total, total / known)
        return made, known >= np.float32(0.5)


def _mean(
    pixels: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    by_row: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int64],
    by_column: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    across = np.zeros((pixels.shape[0], columns.shape[1]), dtype=np.float32)
    for index, weight in zip(columns, by_column, strict=True):
        across += pixels[:, index] * weight
    made = np.zeros((rows.shape[1], columns.shape[1]), dtype=np.float32)
    for index, weight in zip(rows, by_row, strict=True):
        made += across[index] * weight[:, None]
    return made


def _called(crs: CRS | None) -> str:
    return "no CRS" if crs is None else crs.to_string()
