"""The reduction that examples choose: what cannot change it is not computed, and what lost keeps nobody out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hdm_pipeline.model.pyramid import memory
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.support import reduction
from hdm_pipeline.support.reduction import choose_reduction, held_out_iou, reduce_example
from tests.small_pyramid import small_pyramid

SIDE = 320


def discs(count: int, noise: float) -> tuple[list[Tensor], list[Tensor]]:
    """Bright discs on dark ground, under noise that the network must look through."""
    images, masks = [], []
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mask = (np.hypot(rows - rng.integers(100, 220), columns - rng.integers(100, 220)) < 70).astype(np.uint8)
        grey = np.where(mask == 1, 0.7, 0.3) + rng.normal(0, noise, mask.shape)
        images.append(torch.from_numpy(np.repeat(grey[None].astype(np.float32), 3, 0)))
        masks.append(torch.from_numpy(mask))
    return images, masks


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sides of the images that are segmented, in order."""
    sides: list[int] = []
    predict = HDMNetPyramid.predict

    def noted(network: HDMNetPyramid, tiles: Tensor, banks: Sequence[Any]) -> Tensor:
        sides.append(tiles.shape[-1])
        return predict(network, tiles, banks)

    monkeypatch.setattr(HDMNetPyramid, "predict", noted)
    return sides


def test_where_nothing_can_gain_enough_nothing_else_is_computed(seen: list[int]) -> None:
    images, masks = discs(2, 0.0)
    told: list[tuple[int, int]] = []
    best, iou = choose_reduction(small_pyramid(1), images, masks, on_candidate=lambda *done: told.append(done))
    assert iou > 1 - reduction.SCALE_GAIN
    assert best == 1.0
    assert seen == [SIDE] * 2
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("noise", [0.1, 0.4, 0.8])
def test_what_is_left_out_changes_neither_choice_nor_figure(
    count: int, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, masks = discs(count, noise)
    network = small_pyramid(1)
    found = choose_reduction(network, images, masks)

    def to_the_end(*arguments: Any, to_beat: float = -math.inf) -> float:
        return held_out_iou(*arguments)

    monkeypatch.setattr(reduction, "held_out_iou", to_the_end)
    assert choose_reduction(network, images, masks) == found


def test_a_mean_that_cannot_be_reached_any_more_is_given_up_at_once(seen: list[int]) -> None:
    images, masks = discs(4, 0.8)
    network = small_pyramid(1)
    whole = held_out_iou(network, images, masks, 2.0)
    assert len(seen) == 4
    del seen[:]
    assert held_out_iou(network, images, masks, 2.0, to_beat=whole - 0.01) == whole
    assert len(seen) == 4
    del seen[:]
    given = held_out_iou(network, images, masks, 2.0, to_beat=0.999)
    assert whole < given <= 0.999
    assert len(seen) == 1
    del seen[:]
    assert held_out_iou(network, images, masks, 2.0, to_beat=1.0) == 1.0
    assert not seen


def test_candidates_that_lost_make_room_for_the_examples_at_the_one_that_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten examples, of which six are asked: all ten are known afterwards at the reduction that is chosen."""
    monkeypatch.setattr(memory.FeatureMemory.__init__, "__defaults__", (10 * 224 * 224,))
    images, masks = discs(10, 0.4)
    network = small_pyramid(1)
    passes: list[int] = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    with network.remembering():
        best, _ = choose_reduction(network, images, masks)
        assert best == SIDE / 224
        small = [reduce_example(image, mask, best) for image, mask in zip(images, masks, strict=True)]
        pairs = [(network.normalize(image), mask) for image, mask in small]
        network.encode_support(*zip(*pairs, strict=True))
        del passes[:]
        for index in range(10):
            network.encode_support(*zip(*(pair for i, pair in enumerate(pairs) if i != index), strict=True))
        assert not passes
