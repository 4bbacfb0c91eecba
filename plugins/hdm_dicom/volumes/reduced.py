"""A part of a slice as a smaller image: each pixel the mean of the valid pixels that it stands for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdm_dicom.volumes.stack import Image

Valid = npt.NDArray[np.bool_]


def means(pixels: Image, valid: Valid, size: tuple[int, int]) -> tuple[Image, Valid]:
    """Means over cells of whole pixels, which leave none out and differ by one row and one column at most.

    Args:
        pixels: [bands, rows, columns].
        valid: [rows, columns]; pixels that are not valid do not count.
        size: (rows, columns) of the result, at most those of the pixels.

    Returns:
        Pixels [bands, *size], 0 where no pixel is valid, and validity [*size].
    """
    if size == valid.shape:
        return pixels, valid
    rows, columns = (np.arange(few) * many // few for few, many in zip(size, valid.shape, strict=True))
    counted = pixels if valid.all() else np.where(valid, pixels, np.float32(0))
    # In double precision, so that a mean of equal values is that value.
    sums = np.add.reduceat(np.add.reduceat(counted, rows, axis=1, dtype=np.float64), columns, axis=2)
    counts = np.add.reduceat(np.add.reduceat(valid, rows, axis=0, dtype=np.int64), columns, axis=1)
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts > 0
