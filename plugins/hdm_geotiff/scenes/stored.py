"""Bands of one open file, from stored values to physical ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.scenes.exact_nodata import check_nodata, nodata_of
from hdm_geotiff.scenes.validity import Mask, MaskSources, Picks
from hdm_geotiff.values import Law
from hdm_pipeline.errors import UnsupportedSceneError

_OPAQUE = 255
"""Value of an alpha band of bytes where nothing is transparent."""


_REACH = 4
"""Pixels of an overview from those that hold nodata alone to the first that wavelets have mixed none into."""


def own_laws(dataset: DatasetReader) -> tuple[Law, ...]:
    """What a file's tags say of its bands."""
    return tuple(
        Law(scale, offset, nodata)
        for scale, offset, nodata in zip(dataset.scales, dataset.offsets, nodata_of(dataset), strict=True)
    )


class StoredBands:
    """Reads windows of an open file.

    Args:
        dataset: the open file.
        laws: how to read each of its bands.

    Raises:
        UnsupportedSceneError: a nodata value is not known to the last digit, or a scale makes all values alike.
    """

    def __init__(self, dataset: DatasetReader, laws: Sequence[Law]) -> None:
        check_nodata(dataset, [law.nodata for law in laws])
        _check_laws(dataset, laws)
        self.dataset = dataset
        self._laws = laws
        self._masks = MaskSources.of(dataset, tuple(law.nodata for law in laws))
        self._rim = 0

    def read(
        self, bands: Sequence[int], place: RasterWindow, out: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.float32], Mask]:
        """Pixels [len(bands), h, w] and validity [h, w] of a window; call within `environment.reading`.

        Invalid pixels hold anything.

        Args:
            bands: numbers from 0.
            place: the window.
            out: where the pixels go, if not into an array of their own.
        """
        return self._read(bands, place, ..., out)

    def pick(
        self, bands: Sequence[int], place: RasterWindow, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], Mask]:
        """Some rows and columns of a window, as `read` gives them; numbers count from the window's first."""
        if not self._rim:
            return self._read(bands, place, np.ix_(rows, columns), None)
        top, left = (max(0, int(start) - self._rim) for start in (place.row_off, place.col_off))
        bottom = min(self.dataset.height, int(place.row_off + place.height) + self._rim)
        right = min(self.dataset.width, int(place.col_off + place.width) + self._rim)
        pixels, valid = self._read(bands, RasterWindow(left, top, right - left, bottom - top), ..., None)
        picked = np.ix_(rows + int(place.row_off) - top, columns + int(place.col_off) - left)
        return np.stack([band[picked] for band in pixels]), _shrunk(valid, self._rim)[picked]

    def _read(
        self, bands: Sequence[int], place: RasterWindow, picked: Picks, out: npt.NDArray[np.float32] | None
    ) -> tuple[npt.NDArray[np.float32], Mask]:
        raw = self.dataset.read([band + 1 for band in bands], window=place)
        if picked is not ...:
            raw = raw[(slice(None), *picked)]
        valid = self._masks.valid(self.dataset, raw, bands, place, picked)
        pixels = self._scaled(raw, bands, out)
        if pixels.dtype != raw.dtype:  # a float64 may be too large for float32
            valid &= np.isfinite(pixels).all(axis=0)
        return pixels, valid

    def at(self, overview: DatasetReader) -> StoredBands:
        """The same bands of an overview of the file.

        GDAL mixes transparent pixels into the others' means, but into the alpha band's, too: what is opaque has none.
        JPEG 2000 knows nothing of nodata, and its wavelets mix it into what lies beside it: a rim there is not valid.
        """
        made = StoredBands(overview, self._laws)
        if _wavelets(self.dataset) and any(law.nodata is not None for law in self._laws):
            made._rim = _REACH
        if self._masks.alpha is not None:
            made._masks = replace(self._masks, opaque=_OPAQUE)
        return made

    @property
    def alpha(self) -> int | None:
        """Number from 1 of the band that says which pixels are transparent; None without one."""
        return self._masks.alpha

    @property
    def overviews_hold(self) -> bool:
        """Whether overviews can be trusted to be made of valid pixels only.

        GDAL looks at one of nodata value, mask and alpha band when it makes them, and at nothing that is said later.
        """
        if _wavelets(self.dataset):
            return self.alpha is None and not self._masks.per_dataset
        laws = zip(self._laws, nodata_of(self.dataset), strict=True)
        if self.alpha is not None and self.dataset.dtypes[self.alpha - 1] != "uint8":
            return False  # of other types it is unknown what is opaque
        return self._masks.one_way and all(_one(law.nodata, own) for law, own in laws)

    def _scaled(
        self, raw: npt.NDArray[Any], bands: Sequence[int], out: npt.NDArray[np.float32] | None
    ) -> npt.NDArray[np.float32]:
        """Stored values to physical ones: value * scale + offset, in float64 and only then float32."""
        laws = [self._laws[band] for band in bands]
        with np.errstate(over="ignore", invalid="ignore"):
            if all((law.scale, law.offset) == (1.0, 0.0) for law in laws):
                if out is None:
                    return np.asarray(raw, dtype=np.float32)
                out[...] = raw
                return out
            pixels = np.empty(raw.shape, dtype=np.float32) if out is None else out
            for target, values, law in zip(pixels, raw, laws, strict=True):
                target[...] = values.astype(np.float64) * law.scale + law.offset
        return pixels


def _check_laws(dataset: DatasetReader, laws: Sequence[Law]) -> None:
    """Refuse scales and offsets of tags that leave nothing of what is stored.

    Raises:
        UnsupportedSceneError: a scale is 0 or not finite, or an offset is not finite.
    """
    for number, law in enumerate(laws, 1):
        if law.scale == 0 or not (math.isfinite(law.scale) and math.isfinite(law.offset)):
            what = f"band {number} has scale {law.scale:g} and offset {law.offset:g}: nothing is left of its values"
            remedy = (
                "give the reader options scale_factor and offset, or correct the file: gdal_edit.py -scale 1 -offset 0"
            )
            raise UnsupportedSceneError(what, where=dataset.name, remedy=remedy)


def _one(nodata: float | None, other: float | None) -> bool:
    """Whether two values that mean no data are one; NaN is NaN."""
    return nodata == other or (nodata is not None and other is not None and nodata != nodata and other != other)


def _wavelets(dataset: DatasetReader) -> bool:
    return str(dataset.driver).startswith("JP2")


def _shrunk(valid: Mask, rim: int) -> Mask:
    """What is valid, and all within `rim` rows and columns of it, too; nothing is known beyond the edges."""
    for axis in (0, 1):
        padded = np.pad(valid, [(rim, rim) if axis == one else (0, 0) for one in (0, 1)], constant_values=True)
        parts = [np.take(padded, range(start, start + valid.shape[axis]), axis=axis) for start in range(2 * rim + 1)]
        valid = np.logical_and.reduce(parts)
    return valid
