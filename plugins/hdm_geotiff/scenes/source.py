"""An open scene: windows, samples for statistics, pixel areas; and the source of a scene that is one file."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

import numpy as np
import numpy.typing as npt

from hdm_geotiff.files.environment import GDAL_ERRORS, again, reading
from hdm_geotiff.scenes.aoi import SceneArea
from hdm_geotiff.scenes.levels import Edges, Levels
from hdm_geotiff.scenes.pixel_areas import row_areas
from hdm_geotiff.scenes.raster_grid import Grid, raster_window
from hdm_geotiff.scenes.stored import StoredBands
from hdm_geotiff.scenes.validity import Mask, blank
from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.errors import ReadError
from hdm_pipeline.grid import Window

_SAMPLE_READ = 32
"""Pixels that `sample` reads for each that it is asked for: a few of many places say more than all of one place."""

_MOST_READ = 8 * 2**20
"""Pixels of one band that `sample` reads, however large the scene; more only where four blocks hold more."""


class RasterSource(ABC):
    """Implements `hdm_pipeline.contracts.OverviewSource` but for where pixels come from; used by one thread at a time.

    Args:
        header: of the scene.
        grid: of the scene.
        allow_network: whether reading may fetch.
    """

    def __init__(self, header: SceneHeader, grid: Grid, *, allow_network: bool = False) -> None:
        self.header = header
        self.grid = grid
        self._area: SceneArea | None = None
        self._allow_network = allow_network

    def limit(self, area: SceneArea) -> None:
        """Make everything outside of an area of interest invalid."""
        self._area = area

    @abstractmethod
    def _stored(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        """Pixels and validity of a window; invalid pixels hold anything. Called within `environment.reading`."""

    @abstractmethod
    def means(self, bands: Sequence[int], rows: Edges, columns: Edges) -> tuple[npt.NDArray[np.float32], Mask]:
        """Means of valid pixels by cell, without regard to the area of interest.

        Args:
            bands: zero-based band indices.
            rows: [n + 1] edges of cells in rows of the scene, ascending, within it.
            columns: [m + 1] edges in columns.

        Returns:
            Pixels [len(bands), n, m] and validity [n, m]; invalid pixels hold anything.
        """

    def read(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        """Read a window; see `SceneSource.read`. Invalid pixels are 0."""
        self._check(window)
        return self._load(window, bands)

    def read_reduced(
        self, window: Window, bands: Sequence[int], size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], Mask]:
        """Read a window as a smaller image; see `OverviewSource.read_reduced`. Invalid pixels are 0.

        Each pixel is the mean of up to 4 x 4 valid pixels, evenly spread over the cell of the scene that it stands for,
        of the file or of an overview. An area of interest is met where it holds the center of that cell.
        """
        self._check(window)
        if size == (window.height, window.width):
            return self._load(window, bands)
        rows, columns = _edges(window.y, window.height, size[0]), _edges(window.x, window.width, size[1])
        pixels, valid = self.means(bands, rows, columns)
        if self._area is not None and valid.any():
            valid &= self._area.inside(window, size)
        blank(pixels, valid)
        return pixels, valid

    def _check(self, window: Window) -> None:
        _, _, height, width = self.header.shape
        if window.z != 0 or window.y < 0 or window.x < 0 or window.bottom > height or window.right > width:
            where = f"{self.header.ref.uri}: {window}"
            raise ReadError("a window lies outside the scene", where=where, remedy=f"it is {height} x {width} pixels")

    def sample(self, bands: Sequence[int], max_pixels: int) -> npt.NDArray[np.float32]:
        """Valid pixels spread over the scene; see `SceneSource.sample`.

        Blocks of the file on an even lattice are read, together about 32 times as many pixels but 8 Mpx at most, and
        thinned out evenly. Overviews are not used: many are averages, which would narrow the spread of speckled or
        noisy values.
        """
        parts = []
        for window in self._lattice(min(_SAMPLE_READ * max_pixels, _MOST_READ)):
            pixels, valid = self._load(window, bands)
            parts.append(pixels[:, valid])
        return _thin(np.concatenate(parts, axis=1), max_pixels)

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """Area in m² of one pixel in each row; see `SceneSource.row_areas` and `hdm_geotiff.scenes.pixel_areas`."""
        grid = self.grid
        with reading(self.header.ref.uri, "measure its pixels", allow_network=self._allow_network):
            areas = row_areas(grid.crs, grid.transform, grid.height, grid.width)
        return None if areas is None else areas.square_metres

    def _load(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        """Pixels and validity of a window."""
        doing = f"read rows {window.y} to {window.bottom}, columns {window.x} to {window.right}"
        with reading(self.header.ref.uri, doing, allow_network=self._allow_network):
            pixels, valid = self._stored(window, bands)
        if self._area is not None and valid.any():
            valid &= self._area.inside(window)
        blank(pixels, valid)
        return pixels, valid

    def _lattice(self, pixels: int) -> list[Window]:
        """Whole blocks of the file, evenly spread, together about so many pixels."""
        _, _, height, width = self.header.shape
        block_height, block_width = (min(a, b) for a, b in zip(self.header.chunk, (height, width), strict=True))
        wanted = max(4, pixels // (block_height * block_width))
        down, across = -(-height // block_height), -(-width // block_width)
        thin = math.sqrt(min(1.0, wanted / (down * across)))
        columns = _spread(across, max(1, round(across * thin)))
        rows = _spread(down, max(1, min(down, wanted // len(columns))))
        return [
            Window(z=0, y=y, x=x, height=min(block_height, height - y), width=min(block_width, width - x))
            for y in (row * block_height for row in rows)
            for x in (column * block_width for column in columns)
        ]


class GeoTiffSource(RasterSource):
    """A scene of one file.

    Args:
        stored: its bands.
        header: of the scene.
        stack: closes what is opened later.
        anew: opens its bands anew.
        allow_network: whether reading may fetch.
    """

    def __init__(
        self,
        stored: StoredBands,
        header: SceneHeader,
        stack: ExitStack,
        anew: Callable[[], AbstractContextManager[StoredBands]],
        *,
        allow_network: bool = False,
    ) -> None:
        super().__init__(header, Grid.of(stored.dataset), allow_network=allow_network)
        self._anew = anew
        self._bands = stored
        self._levels = Levels(stored, stack)

    def means(self, bands: Sequence[int], rows: Edges, columns: Edges) -> tuple[npt.NDArray[np.float32], Mask]:
        """See `RasterSource.means`."""
        with reading(self.header.ref.uri, "read it at a reduced size", allow_network=self._allow_network):
            return self._levels.read(bands, rows, columns)

    def _stored(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        try:
            return self._bands.read(bands, raster_window(window))
        except GDAL_ERRORS:
            if not self.header.ref.uri.startswith("s3://"):
                raise
        return again(self.header.ref.uri, lambda: self._read_anew(window, bands))

    def _read_anew(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        with self._anew() as stored:
            return stored.read(bands, raster_window(window))


def _edges(first: int, pixels: int, cells: int) -> Edges:
    """Where equal cells of an axis begin and end."""
    return first + np.arange(cells + 1, dtype=np.float64) * (pixels / cells)


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` numbers of 0..count-1, evenly spread."""
    return [int((2 * index + 1) * count / (2 * wanted)) for index in range(wanted)]


def _thin(pixels: npt.NDArray[np.float32], max_pixels: int) -> npt.NDArray[np.float32]:
    """At most `max_pixels` columns of [bands, n], evenly spread."""
    count = pixels.shape[1]
    if count <= max_pixels:
        return pixels
    chosen = (np.arange(max_pixels) * count) // max_pixels
    return np.ascontiguousarray(pixels[:, chosen])
