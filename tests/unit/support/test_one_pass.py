"""Classes that bear one reduction share it, and with it the backbone's pass."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.partial_labels import partly_labelled
from hdm_pipeline.model.support_tensors import SupportTensors
from hdm_pipeline.support.fit import Fit
from hdm_pipeline.support.one_pass import share_reduction
from tests.small_pyramid import small_pyramid


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    return small_pyramid(0).eval()


def discs(radius: int, seed: int, *, side: int = 192) -> SupportTensors:
    """Bright discs of one size on dark ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    mask = np.zeros((side, side), np.uint8)
    for _ in range(max(1, 40 // radius**2 + 3)):
        top, left = rng.integers(radius, side - radius, 2)
        mask |= ((y - top) ** 2 + (x - left) ** 2 <= radius**2).astype(np.uint8)
    pixels = np.where(mask == 1, 0.8, 0.2) + rng.normal(0, 0.03, (1, side, side))
    return SupportTensors.of(np.clip(pixels, 0, 1).astype(np.float32), mask, "disc")


def fits(network: FewShotNetwork, *reductions: float) -> list[Fit]:
    return [Fit(network, None, reduction, None) for reduction in reductions]


def test_classes_that_lose_nothing_share_a_reduction(network: FewShotNetwork) -> None:
    classes = [[discs(30, 0), discs(30, 1)], [discs(34, 2), discs(34, 3)]]
    shared = share_reduction(network, classes, fits(network, 1.0, 1.2))
    assert shared[0].reduction == shared[1].reduction


def test_a_class_whose_target_would_vanish_keeps_its_own(network: FewShotNetwork) -> None:
    fine = discs(1, 2)
    labels = torch.zeros_like(fine.labels)
    labels[5::24, 7::24] = 1  # single pixels
    pixels = torch.where(labels == 1, 0.8, 0.2).expand(3, -1, -1).contiguous()
    dots = SupportTensors(pixels, fine.valid, labels)
    own = fits(network, 12.0, 1.0)
    shared = share_reduction(network, [[discs(60, 0), discs(60, 1)], [dots, dots]], own)
    assert shared[1].reduction == 1.0


def test_adapted_classes_and_equal_reductions_are_left_alone(
    network: FewShotNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdm_pipeline.support.one_pass.held_out_iou", lambda *_: pytest.fail("measured for nothing"))
    classes = [[discs(30, 0)], [discs(30, 1)]]
    equal = fits(network, 2.0, 2.0)
    assert share_reduction(network, classes, equal) == equal
    adapted = [*fits(network, 1.0), Fit(small_pyramid(0), None, 3.0, None)]
    assert share_reduction(network, classes, adapted) == adapted


def test_a_class_of_a_few_points_bears_what_the_others_chose(
    network: FewShotNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held-out points would say that they lose everything by it; fewer than 25 of them say nothing."""

    def held_out(_: object, __: object, masks: list[torch.Tensor], reduction: float) -> float:
        return float(reduction == (1.2 if partly_labelled(masks[0]) else 1.0))

    monkeypatch.setattr("hdm_pipeline.support.one_pass.held_out_iou", held_out)
    whole = discs(30, 0)

    def reductions(targets: int) -> list[float]:
        known = torch.full_like(whole.labels, 255)
        for value in (0, 1):
            y, x = (
                (whole.labels == value).nonzero()[:: int((whole.labels == value).sum()) // targets][:targets].unbind(1)
            )
            known[y, x] = value
        points = dataclasses.replace(whole, labels=known)
        shared = share_reduction(network, [[whole, discs(30, 1)], [points]], fits(network, 1.0, 1.2))
        return [fit.reduction for fit in shared]

    assert reductions(24) == [1.0, 1.0]
    assert reductions(25) == [1.0, 1.2]
