"""Bands of one open file, from stored values to physical ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.scenes.validity import Mask, MaskSources
from hdm_geotiff.values import Law


def own_laws(dataset: DatasetReader) -> tuple[Law, ...]:
    """What a file's tags say of its bands."""
    return tuple(
        Law(scale, offset, nodata)
        for scale, offset, nodata in zip(dataset.scales, dataset.offsets, dataset.nodatavals, strict=True)
    )


class StoredBands:
    """Reads windows of an open file.

    Args:
        dataset: the open file.
        laws: how to read each of its bands.
    """

    def __init__(self, dataset: DatasetReader, laws: Sequence[Law]) -> None:
        self.dataset = dataset
        self._laws = laws
        self._masks = MaskSources.of(dataset, tuple(law.nodata for law in laws))

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
        raw = self.dataset.read([band + 1 for band in bands], window=place)
        valid = self._masks.valid(self.dataset, raw, bands, place)
        pixels = self._scaled(raw, bands, out)
        if pixels.dtype != raw.dtype:  # a float64 may be too large for float32
            valid &= np.isfinite(pixels).all(axis=0)
        return pixels, valid

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
