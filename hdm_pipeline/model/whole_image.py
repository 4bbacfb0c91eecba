"""Segments one image of any size: whole if it is small, in blended tiles, row by row, if it is large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hdm_pipeline.grid import TileGrid
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.stitch import BlockAccumulator

TILE = 512
OVERLAP = 128

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Valid = npt.NDArray[np.bool_]
ReadRows = Callable[[int, int], tuple[Image, Valid]]


class Segmenter(Protocol):
    """The part of `FewShotSegmenter` that is used here."""

    def predict(
        self, tiles: Image, banks: Sequence[SupportBank], *, valid: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Scores [B, len(banks), H, W] of tiles [B, C, H, W]."""
        ...


def segment_image(
    segmenter: Segmenter,
    image: Image,
    valid: npt.NDArray[np.bool_],
    banks: Sequence[SupportBank],
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> npt.NDArray[np.uint8]:
    """Scores of a whole image.

    An image up to `tile` pixels a side is seen whole. A larger one is cut into tiles that share `overlap` pixels, over
    which their scores are blended; a tile that sticks out is padded by reflection.

    Args:
        segmenter: with the weights that made the banks.
        image: [C, y, x] float32 in 0..1.
        valid: [y, x] bool; invalid pixels score 0.
        banks: one bank for each class.
        tile: side of a tile in pixels.
        overlap: pixels shared by neighboring tiles, at most half a tile.

    Returns:
        [len(banks), y, x] uint8, 255 times the probability.
    """

    def rows(top: int, bottom: int) -> tuple[Image, Valid]:
        return image[:, top:bottom], valid[top:bottom]

    return segment_rows(segmenter, rows, valid.shape, banks, tile=tile, overlap=overlap)[0]


def segment_rows(
    segmenter: Segmenter,
    read: ReadRows,
    size: tuple[int, ...],
    banks: Sequence[SupportBank],
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> tuple[npt.NDArray[np.uint8], Valid]:
    """`segment_image` of an image that is read as it is needed: one row of tiles is held at a time, and the scores.

    Args:
        segmenter, banks, tile, overlap: as in `segment_image`.
        read: called with (top, bottom), gives these rows: pixels [C, rows, x] float32 in 0..1 and validity [rows, x].
            Rows that two rows of tiles share are asked for twice.
        size: (y, x) of the image.

    Returns:
        Scores [len(banks), y, x] uint8, and validity [y, x].
    """
    height, width = size
    if max(height, width) <= tile:
        image, valid = read(0, height)
        (whole,) = segmenter.predict(image[None], banks, valid=valid[None])
        return np.asarray(whole), valid
    grid = TileGrid((1, height, width), tile, overlap)
    (block,) = grid.blocks_of_shape(1, grid.rows, grid.columns)
    blend = BlockAccumulator(grid, block, len(banks))
    found = np.zeros((height, width), dtype=np.bool_)
    right = (grid.columns - 1) * grid.stride + tile - width
    for row in range(grid.rows):
        top = row * grid.stride
        bottom = min(top + tile, height)
        below = top + tile - bottom
        first = min(top, max(0, height - 1 - below))  # a tile that sticks out reflects rows from here on
        strip, valid = read(first, bottom)
        found[first:bottom] = valid
        strip = np.pad(strip, ((0, 0), (0, below), (0, right)), mode="reflect")[:, top - first :]
        known = np.pad(valid, ((0, below), (0, right)), mode="reflect")[top - first :]
        for column in range(grid.columns):
            columns = slice(column * grid.stride, column * grid.stride + tile)
            if known[:, columns].any():
                scores = segmenter.predict(strip[None, :, :, columns], banks, valid=known[None, :, columns])
                blend.add((0, row, column), scores[0])
    return blend.finish().interior[:, 0], found
