"""Labels of the class that lie outside of their image: they teach nothing, and are told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.examples.mask_labels import read_label
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_pipeline.contracts import SceneWarning, SupportRequest

_MOST_READ = 64 * 2**20
"""Pixels of a mask up to which all of it is read to count its labels."""

_STRIP = 4 * 2**20
_RIM = 2
"""Pixels around the image that count as the image: a mask in another CRS has a rim, which is no loss."""


def outside(count: int, of_all: int, what: str) -> list[SceneWarning]:
    """The warning, if any.

    Args:
        count: of those that lie outside.
        of_all: of those that the file of labels holds.
        what: what is counted, in the plural.
    """
    if not 0 < count < of_all:
        return []
    told = f"{count} of {of_all} {what} of the class lie outside of the image: they teach nothing"
    remedy = "if they should, name the images that they lie in, too"
    return [SceneWarning("labels_outside", told, remedy, suspect=False)]


def pixels_outside(
    image: Grid, mask: DatasetReader, window: RasterWindow, target: npt.NDArray[np.bool_], request: SupportRequest
) -> list[SceneWarning]:
    """The warning of a mask that is warped onto its image; call within `environment.reading`.

    Args:
        image: the image's grid.
        mask: on a grid of its own. Of one that serves other images, too, or is too large to be read for this, nothing
            is said.
        window: the part of the mask that may lie under the image.
        target: which of its pixels [y, x] are the class.
        request: which of the mask's values are what.
    """
    if request.shared or mask.width * mask.height > _MOST_READ:
        return []
    rows = max(1, _STRIP // mask.width)
    strips = (RasterWindow(0, row, mask.width, min(rows, mask.height - row)) for row in range(0, mask.height, rows))
    of_all = sum(int(np.count_nonzero(read_label(mask, strip, request)[0] == 1)) for strip in strips)
    under = np.count_nonzero(target & _under_image(image, mask, window))
    return outside(of_all - int(under), of_all, "pixels")


def _under_image(image: Grid, mask: DatasetReader, window: RasterWindow) -> npt.NDArray[np.bool_]:
    """Which pixels of the window have their centre in the image, or on the rim around it."""
    coarser = math.sqrt(image.width * image.height / (window.width * window.height))
    rim = max(_RIM, math.ceil(coarser))
    found: npt.NDArray[Any] = np.zeros((window.height, window.width), dtype=np.uint8)
    reproject(
        np.ones((image.height + 2 * rim, image.width + 2 * rim), dtype=np.uint8),
        found,
        src_transform=image.transform @ type(image.transform).translation(-rim, -rim),
        src_crs=image.crs,
        dst_transform=mask.window_transform(window),
        dst_crs=mask.crs,
        resampling=Resampling.nearest,
        tolerance=0.0,
    )
    inside: npt.NDArray[np.bool_] = found == 1
    return inside
