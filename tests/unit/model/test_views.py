"""Flipped and turned views, and what a segmenter makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.views import Augment, averaged, views
from tests.small_pyramid import small_pyramid

KINDS: list[tuple[Augment, int]] = [("none", 1), ("flips", 4), ("rotations", 8)]


@pytest.mark.parametrize(("augment", "count"), KINDS)
def test_all_views_differ_and_come_back(augment: Augment, count: int) -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    seen = views(x, augment)
    assert len({tuple(view.shape) + tuple(view.flatten().tolist()) for view in seen}) == count
    torch.testing.assert_close(averaged(seen, augment), x)  # each is brought back to where it came from


@pytest.mark.parametrize(("augment", "count"), KINDS)
def test_scores_turn_with_the_tile_and_do_not_depend_on_its_company(augment: Augment, count: int) -> None:
    network = small_pyramid(1)
    segmenter = FewShotSegmenter.from_network(network, device="cpu", augment=augment)
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 20:50] = 1
    image = (0.3 + 0.4 * mask + rng.normal(0, 0.05, (3, 64, 64))).astype(np.float32)
    bank = segmenter.encode_support([image], [mask])
    tiles = rng.random((3, 3, 64, 96), np.float32)
    scores = segmenter.predict(tiles, [bank])
    np.testing.assert_array_equal(scores[1:2], segmenter.predict(tiles[1:2], [bank]))
    flipped = segmenter.predict(np.ascontiguousarray(tiles[..., ::-1]), [bank])[..., ::-1]
    same = np.abs(flipped.astype(int) - scores).max() <= 1
    assert same == (count > 1)
    turned = segmenter.predict(np.rot90(tiles, axes=(-2, -1)).copy(), [bank])
    same = np.abs(np.rot90(turned, -1, axes=(-2, -1)).astype(int) - scores).max() <= 1
    assert same == (augment == "rotations")
    plain = FewShotSegmenter.from_network(network, device="cpu")
    assert np.array_equal(plain.predict(tiles, [bank]), scores) == (count == 1)
    assert segmenter.refitted(network, 2.0).augment == augment
