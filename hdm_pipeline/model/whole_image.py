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
    which their scores are blended, as in a run (`TileGrid.seen`).

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
    grid = TileGrid((1, height, width), tile, overlap)
    (block,) = grid.blocks_of_shape(1, grid.rows, grid.columns)
    blend = BlockAccumulator(grid, block, len(banks))
    found = np.zeros((height, width), dtype=np.bool_)
    for row in range(grid.rows):
        band = grid.seen(0, row, 0)
        strip, valid = read(band.y, band.bottom)
        found[band.y : band.bottom] = valid
        for column in range(grid.columns):
            seen = grid.seen(0, row, column)
            part, known = strip[:, :, seen.x : seen.right], valid[:, seen.x : seen.right]
            if known[grid.own(0, row, column)].any():
                (scores,) = segmenter.predict(part[None], banks, valid=known[None])
                blend.add((0, row, column), grid.as_tile((0, row, column), scores))
    return blend.finish().interior[:, 0], found
