"""Which pixels hold data: nodata values, NaN, alpha bands, internal and sidecar masks, all at once.

GDAL's own mask of a band follows one of these and hides the others (a file with a mask and a nodata value answers with
only its mask), and asking for it decodes the band a second time. Here each source is looked at once and a pixel is
valid only if all of them agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.scenes.exact_nodata import nodata_of

Mask = npt.NDArray[np.bool_]
Picks = tuple[npt.NDArray[np.int64], ...] | EllipsisType
"""Pixels of a window, as `numpy.ix_` gives them; or all."""

_PIXELS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class MaskSources:
    """Where a dataset says which pixels are valid.

    Attributes:
        nodata: value of each band that means no data; None where a band has none.
        per_dataset: there is an internal mask, a ``.msk`` sidecar or a NODATA_VALUES tag, valid for all bands.
        alpha: 1-based number of the alpha band; None without one.
        opaque: least value of the alpha band that is valid.
    """

    nodata: tuple[float | None, ...]
    per_dataset: bool
    alpha: int | None
    opaque: int = 1

    @classmethod
    def of(cls, dataset: DatasetReader, nodata: tuple[float | None, ...] | None = None) -> MaskSources:
        """Look up a dataset's mask sources; reads no pixel.

        Args:
            dataset: the open dataset.
            nodata: values that count instead of the dataset's own.
        """
        flags = dataset.mask_flag_enums[0]
        per_dataset = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        alpha = next((i for i, role in enumerate(dataset.colorinterp, 1) if role == ColorInterp.alpha), None)
        return cls(nodata_of(dataset) if nodata is None else nodata, per_dataset, alpha)

    @property
    def one_way(self) -> bool:
        """Whether nodata values, mask and alpha band are not used beside each other."""
        return (self.alpha is not None) + self.per_dataset + any(value is not None for value in self.nodata) <= 1

    def valid(
        self,
        dataset: DatasetReader,
        raw: npt.NDArray[Any],
        bands: Sequence[int],
        window: RasterWindow,
        picked: Picks = ...,
    ) -> Mask:
        """Validity [h, w] of pixels as stored.

        Args:
            dataset: the open dataset, for its mask and alpha band.
            raw: [len(bands), h, w] in the stored type.
            bands: zero-based band indices.
            window: where `raw` was read.
            picked: which of the window's pixels `raw` holds; all by default.
        """
        valid = np.ones(raw.shape[1:], dtype=np.bool_)
        for rows in in_cache(valid.shape):
            for pixels, band in zip(raw[:, rows], bands, strict=True):
                nodata = self.nodata[band]
                if pixels.dtype.kind == "f" and _plainly_valid(pixels, nodata):
                    continue
                if nodata is not None:
                    valid[rows] &= differs(pixels, nodata)
                elif pixels.dtype.kind == "f":
                    valid[rows] &= np.isfinite(pixels)
        if self.per_dataset:
            valid &= dataset.read_masks(1, window=window)[picked] != 0
        if self.alpha is not None:
            valid &= dataset.read(self.alpha, window=window)[picked] >= self.opaque
        return valid


def in_cache(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an array [h, w], a few at a time, so that several passes over them read memory once."""
    height, width = shape
    step = max(1, _PIXELS_AT_ONCE // max(1, width))
    return (slice(y, y + step) for y in range(0, height, step))


def blank(pixels: npt.NDArray[np.float32], valid: Mask) -> None:
    """Set pixels [bands, h, w] to 0 where they are not valid."""
    for rows in in_cache(valid.shape):
        if not valid[rows].all():
            np.copyto(pixels[:, rows], 0.0, where=~valid[rows])


def differs(pixels: npt.NDArray[Any], nodata: float) -> Mask:
    """Where finite pixels are not the nodata value.

    Floating-point values are compared within four units in the last place, as GDAL does: the nodata value is stored as
    text and need not come back to the last bit. A value that the type cannot hold marks nothing.
    """
    if pixels.dtype.kind == "f":
        finite: Mask = np.isfinite(pixels)
        if not np.isfinite(nodata):
            return finite
        low, high = _around(nodata, pixels.dtype)
        # Bounds need no floating-point temporaries: half the time of |pixels - nodata| > tolerance.
        finite &= (pixels < low) | (pixels > high)
        return finite
    limits = np.iinfo(pixels.dtype)
    if not limits.min <= nodata <= limits.max or nodata != int(nodata):  # NaN lies between no limits
        return np.ones(pixels.shape, dtype=np.bool_)
    return np.asarray(pixels != pixels.dtype.type(int(nodata)))


def _around(nodata: float, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and the largest floating-point value that count as a nodata value."""
    tolerance = 4 * float(np.finfo(dtype).eps) * abs(nodata)
    with np.errstate(over="ignore"):
        return dtype.type(nodata - tolerance), dtype.type(nodata + tolerance)


def _plainly_valid(pixels: npt.NDArray[Any], nodata: float | None) -> bool:
    """Whether the least and the largest pixel say that all are valid: a fifth of the time of looking at each."""
    if pixels.size == 0:
        return True
    least, largest = pixels.min(), pixels.max()
    if not (np.isfinite(least) and np.isfinite(largest)):  # both are NaN where any pixel is
        return False
    if nodata is None or not np.isfinite(nodata):
        return True
    low, high = _around(nodata, pixels.dtype)
    return bool(least > high or largest < low)
