"""Parts of an image, and their labels, as examples."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_geotiff.scenes.source import RasterSource
from hdm_pipeline.contracts import IGNORE, STATISTICS_PIXELS, LabeledImage, SceneWarning, SupportRequest
from hdm_pipeline.grid import Window

Part = tuple[Window, npt.NDArray[np.uint8]]
"""Where it lies in the image, and its label [y, x] of 1, 0 and 255."""


def labelled_parts(
    image: RasterSource, parts: Sequence[Part], request: SupportRequest, warnings: tuple[SceneWarning, ...] = ()
) -> list[LabeledImage]:
    """Examples with all bands of the image; parts in which all that is known lies where it holds no data are left out.

    Args:
        image: the open image.
        parts: the labels are changed: unknown where the image holds no data.
        request: what names the image.
        warnings: of the whole image, and told once.

    Raises:
        ReadError: the image cannot be read.
    """
    header, areas = image.header, image.row_areas()
    every = range(len(header.bands))
    whole = [label.shape for _, label in parts] == [image.grid.shape]
    found: list[LabeledImage] = []
    for window, label in parts:
        pixels, valid = image.read(window, every)
        label[~valid] = IGNORE
        if not (label != IGNORE).any():
            continue
        own = None if areas is None else areas[window.y : window.bottom]
        size = None if own is None or not own.any() else math.sqrt(float(own.mean()))
        place = "" if whole else f" [{window.x}, {window.y}, {window.width}, {window.height}]"
        name = os.path.basename(request.image.rstrip("/")) + place
        statistics = None if whole else found[0].statistics if found else image.sample(every, STATISTICS_PIXELS)
        told = () if found else warnings
        found.append(LabeledImage(name, pixels, valid, label, header.bands, size, told, statistics))
    return found
