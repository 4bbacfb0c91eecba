"""Tiles give what the whole would give, wherever the network is local."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.grid import TileGrid
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.whole_image import segment_image, segment_rows

BANK = SupportBank("pointwise", "0", "target", 1, {})


class Pointwise:
    """Scores each pixel by its own value: what tiling must not change."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def predict(
        self,
        tiles: npt.NDArray[np.float32],
        banks: Sequence[SupportBank],
        *,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.uint8]:
        self.sizes.append(tiles.shape)
        scores = (tiles[:, :1] * 255).astype(np.uint8)
        if valid is not None:
            scores[~valid[:, None]] = 0
        return np.repeat(scores, len(banks), axis=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.integers(0, 20))
def test_tiling_changes_nothing_for_a_local_network(height: int, width: int, tile: int, overlap: int) -> None:
    generator = np.random.default_rng(height * 100 + width)
    image = generator.uniform(0, 1, (2, height, width)).astype(np.float32)
    valid = generator.uniform(size=(height, width)) > 0.1
    network = Pointwise()
    scores = segment_image(network, image, valid, [BANK, BANK], tile=tile, overlap=min(overlap, tile // 2))
    expected = np.where(valid, (image[0] * 255).astype(np.uint8), 0)
    np.testing.assert_array_equal(scores, [expected, expected])
    assert all(size[2:] == (min(height, tile), min(width, tile)) for size in network.sizes)


def test_tiles_without_data_are_not_computed() -> None:
    valid = np.zeros((64, 200), bool)
    valid[:, :10] = True
    network = Pointwise()
    segment_image(network, np.ones((1, 64, 200), np.float32), valid, [BANK], tile=64, overlap=0)
    assert len(network.sizes) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 90), st.integers(8, 40), st.integers(0, 20))
def test_rows_are_read_a_row_of_tiles_at_a_time(height: int, width: int, tile: int, overlap: int) -> None:
    """The network sees what lies there, also for the last tiles, which are moved back into the image."""
    image = np.arange(height * width, dtype=np.float32).reshape(1, height, width)
    valid = np.ones((height, width), bool)
    overlap = min(overlap, tile // 2)
    asked: list[int] = []

    def read(top: int, bottom: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        asked.append(bottom - top)
        return image[:, top:bottom], valid[top:bottom]

    network = Remembering()
    _, known = segment_rows(network, read, (height, width), [BANK], tile=tile, overlap=overlap)
    assert known.all()
    assert max(asked) <= tile
    grid = TileGrid((1, height, width), tile, overlap)
    tops, lefts = (
        [min(n * grid.stride, max(0, side - tile)) for n in range(count)]
        for count, side in ((grid.rows, height), (grid.columns, width))
    )
    for (y, x), seen in zip(itertools.product(tops, lefts), network.seen, strict=True):
        np.testing.assert_array_equal(seen, image[:, y : y + tile, x : x + tile])


class Remembering(Pointwise):
    """Keeps the tiles that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[npt.NDArray[np.float32]] = []

    def predict(
        self,
        tiles: npt.NDArray[np.float32],
        banks: Sequence[SupportBank],
        *,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.uint8]:
        self.seen.append(tiles[0])
        return super().predict(np.zeros_like(tiles), banks, valid=valid)
