"""Segments one image of any size in memory: whole if it is small, in blended tiles if it is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hdm_pipeline.grid import TileGrid, Window
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.stitch import BlockAccumulator

TILE = 512
OVERLAP = 128

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


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
    height, width = valid.shape
    if max(height, width) <= tile:
        (whole,) = segmenter.predict(image[None], banks, valid=valid[None])
        return np.asarray(whole)
    grid = TileGrid((1, height, width), tile, overlap)
    (block,) = grid.blocks_of_shape(1, grid.rows, grid.columns)
    blend = BlockAccumulator(grid, block, len(banks))
    below, right = (
        (count - 1) * grid.stride + tile - size for count, size in ((grid.rows, height), (grid.columns, width))
    )
    padded = np.pad(image, ((0, 0), (0, below), (0, right)), mode="reflect")
    known = np.pad(valid, ((0, below), (0, right)), mode="reflect")
    for index in grid.tiles(block):
        rows, columns = grid.tile_window(*index).rows_columns(Window.whole(0, known.shape))
        if known[rows, columns].any():
            scores = segmenter.predict(padded[None, :, rows, columns], banks, valid=known[None, rows, columns])
            blend.add(index, scores[0])
    return blend.finish().interior[:, 0]
