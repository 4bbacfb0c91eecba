"""Tiles give what the whole would give, wherever the network is local."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.whole_image import segment_image

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
    assert max(height, width) <= tile or all(size[2:] == (tile, tile) for size in network.sizes)


def test_tiles_without_data_are_not_computed() -> None:
    valid = np.zeros((64, 200), bool)
    valid[:, :10] = True
    network = Pointwise()
    segment_image(network, np.ones((1, 64, 200), np.float32), valid, [BANK], tile=64, overlap=0)
    assert len(network.sizes) == 1
