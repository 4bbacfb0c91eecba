"""Masks of large images that say of parts of it only what they are: which parts are examples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.examples.cuts import where_drawn
from hdm_geotiff.examples.drawing import TARGET
from hdm_geotiff.examples.mask_labels import read_label
from hdm_geotiff.examples.parts import Part
from hdm_geotiff.scenes.raster_grid import Grid, raster_window
from hdm_pipeline.contracts import BACKGROUND, IGNORE, SupportRequest

_STRIP = 4 * 2**20
"""Pixels of a mask that are read at a time, but one row of cells at least."""


def cut_mask(mask: DatasetReader, request: SupportRequest) -> list[Part]:
    """The parts of a large image in which its mask names the class or background; call within `environment.reading`.

    Args:
        mask: on the image's grid.
        request: which of its values are what.
    """
    windows, _ = where_drawn(_MaskDrawing(mask, request), Grid.of(mask))
    return [(window, read_label(mask, raster_window(window), request)[0]) for window in windows]


class _MaskDrawing:
    """A mask as `cuts.Drawn`."""

    complete = False

    def __init__(self, mask: DatasetReader, request: SupportRequest) -> None:
        self._mask, self._request = mask, request

    def label(self, height: int, width: int, placed: Affine, *, coarse: bool = False) -> npt.NDArray[np.uint8]:
        """See `cuts.Drawn`: of each cell the class, if any pixel is, else background, if any is."""
        step, mask = round(placed.a), self._mask
        made = np.full((height, width), IGNORE, dtype=np.uint8)
        starts = np.arange(width) * step
        rows = max(1, _STRIP // (step * mask.width))
        for row in range(0, height, rows):
            top, bottom = row * step, min((row + rows) * step, mask.height)
            label, _ = read_label(mask, RasterWindow(0, top, mask.width, bottom - top), self._request)
            part = made[row : row + rows]
            for value in (BACKGROUND, TARGET):
                across = np.logical_or.reduceat(label == value, starts, axis=1)
                part[np.logical_or.reduceat(across, np.arange(len(part)) * step, axis=0)] = value
        return made
