"""A part of a scene as a smaller image, whatever its reader can do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import OverviewSource, SceneSource
from hdm_pipeline.grid import Window

_READ_PIXELS = 1 << 22
"""Pixels of all bands that are read at a time, at most, but one row at least."""


def reduced(
    source: SceneSource, window: Window, bands: Sequence[int], size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Read a window at a reduced size: by the reader itself if it can, else in strips of which means are taken.

    Args:
        source: an open scene.
        window: part of one slice that lies within the scene.
        bands: zero-based band indices.
        size: (rows, columns) of the result, each at least 1; more than those of the window become those of the window.

    Returns:
        Pixels [len(bands), rows, columns] float32 and validity [rows, columns] as `OverviewSource.read_reduced` gives
        them.

    Raises:
        ReadError: the file cannot be decoded there.
    """
    size = min(max(1, size[0]), window.height), min(max(1, size[1]), window.width)
    if size == (window.height, window.width):
        return source.read(window, bands)
    if isinstance(source, OverviewSource):
        return source.read_reduced(window, bands, size)
    return _means(source, window, bands, size)


def _means(
    source: SceneSource, window: Window, bands: Sequence[int], size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Means of the valid pixels of each cell; cells are whole pixels, and differ by one pixel at most."""
    sums = np.zeros((len(bands), *size), dtype=np.float64)
    counts = np.zeros(size, dtype=np.int64)
    columns = np.arange(size[1]) * window.width // size[1]
    cells = (np.arange(window.height) * size[0] + size[0] - 1) // window.height  # of each row
    step = max(1, _READ_PIXELS // (window.width * len(bands)))
    for y in range(0, window.height, step):
        strip = Window(z=window.z, y=window.y + y, x=window.x, height=min(step, window.height - y), width=window.width)
        pixels, valid = source.read(strip, bands)
        of_rows = cells[y : y + strip.height]
        starts = np.flatnonzero(np.diff(of_rows, prepend=-1))
        into = slice(of_rows[0], of_rows[-1] + 1)
        across = np.add.reduceat(np.where(valid, pixels, np.float32(0)), columns, axis=2, dtype=np.float64)
        sums[:, into] += np.add.reduceat(across, starts, axis=1)
        counts[into] += np.add.reduceat(np.add.reduceat(valid, columns, axis=1, dtype=np.int64), starts, axis=0)
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts > 0
