"""Values of masks as labels; how is said in `hdm_geotiff.examples.support`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.scenes.validity import MaskSources
from hdm_pipeline.contracts import IGNORE, SupportRequest
from hdm_pipeline.errors import listed_values


def known_of(mask: DatasetReader) -> MaskSources:
    """Where a mask says which of its pixels are valid; a nodata value of 0 is background."""
    known = MaskSources.of(mask)
    return dataclasses.replace(known, nodata=(None,)) if known.nodata[0] == 0 else known


def read_label(
    mask: DatasetReader, window: RasterWindow, request: SupportRequest
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """The label of a window of a mask, and its values; call within `environment.reading`."""
    raw = mask.read([1], window=window)
    return label_of(raw[0], known_of(mask).valid(mask, raw, [0], window), request), raw[0]


def label_of(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], request: SupportRequest) -> npt.NDArray[np.uint8]:
    """Values of a mask as a label: 1 the class, 0 background, 255 unknown."""
    chosen = _among(values, request.values)
    label = np.where(chosen, 1, 0).astype(np.uint8)
    unknown = _among(values, request.ignore) | ~valid
    if request.background:
        unknown |= ~_among(values, request.background)
    elif values.dtype == np.uint8:
        unknown |= values == IGNORE
    label[~chosen & unknown] = IGNORE
    return label


def _among(values: npt.NDArray[Any], wanted: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which values are among those wanted; numpy would compare unsigned numbers of 64 bits as rounded ones."""
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        fitting = [value for value in wanted if limits.min <= value <= limits.max]
        return np.isin(values, np.array(fitting, dtype=values.dtype))
    return np.isin(values, wanted)


def held(values: npt.NDArray[Any]) -> str:
    """The values that a mask holds, for messages."""
    return listed_values(np.unique(values).tolist(), 8)
