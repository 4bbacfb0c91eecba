"""Classes one above the other: each where its own score says so, whatever the others say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hdm_dicom.options import one_of
from hdm_pipeline.contracts import NODATA, Product
from hdm_pipeline.grid import Window

SEGMENTS = ("exclusive", "overlapping")


def overlapping(options: dict[str, object], where: str) -> bool:
    """The option ``segments``: whether a pixel may belong to several classes.

    Raises:
        ConfigError: another value.
    """
    segments = options.get("segments", SEGMENTS[0])
    one_of(segments, SEGMENTS, f"{where}, segments")
    return segments == "overlapping"


class Layers:
    """A layer a class (a `contracts.PixelSource`): 1 where its score reaches the threshold, 0 elsewhere and at nodata.

    With one class this is the mask. With several the mask has, of the classes here, the one with the highest score.
    """

    def __init__(self, product: Product) -> None:
        self._mask, self._score = product.mask, product.score
        # As the mask's own threshold becomes a score: the least whole one that reaches it.
        self._least = math.ceil(round(product.provenance.threshold * 255, 9))
        self.shape = product.score.shape

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[classes, height, width] of 0 and 1."""
        valid = self._mask.read(window) != NODATA
        reached: npt.NDArray[np.bool_] = (self._score.read(window) >= self._least) & valid
        return reached.view(np.uint8)
