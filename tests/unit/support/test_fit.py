"""What the examples of a class decide: reduction and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hdm_pipeline.errors import SupportError
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.support_tensors import SupportTensors, support_tensors
from hdm_pipeline.support.fit import SMALLEST_TILE, fit_to_examples
from tests.small_pyramid import small_pyramid

Examples = list[SupportTensors]


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    return small_pyramid(1)


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Two images of 480 pixels: a bright square on a dark ground."""
    images, masks = [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        mask = np.zeros((480, 480), np.uint8)
        top, left = rng.integers(0, 240, 2)
        mask[top : top + 160, left : left + 160] = 1
        images.append((np.where(mask == 1, 0.7, 0.2) + rng.normal(0, 0.05, mask.shape))[None].astype(np.float32))
        masks.append(mask)
    return support_tensors(images, masks, "test")


def test_without_adaptation_the_network_stays_what_it_is(network: FewShotNetwork, examples: Examples) -> None:
    fit = fit_to_examples(network, examples, adapt="off")
    assert fit.network is network
    assert fit.weights is None
    assert fit.report is None
    assert fit.reduction in (1.0, 480 / 320, 480 / 224, 480 / 160)


def test_a_reduced_tile_keeps_what_was_trained(network: FewShotNetwork, examples: Examples) -> None:
    assert fit_to_examples(network, examples, adapt="off", tile=SMALLEST_TILE).reduction == 1.0
    assert fit_to_examples(network, examples, adapt=1, tile=2 * SMALLEST_TILE).reduction <= 2.0


def test_a_given_reduction_is_kept_and_adapted_weights_are_found_again(
    network: FewShotNetwork, examples: Examples, tmp_path: Path
) -> None:
    first, second = (fit_to_examples(network, examples, adapt=2, reduction=4.0, cache=tmp_path) for _ in range(2))
    assert first.reduction == second.reduction == 4.0
    assert (first.cached, second.cached) == (False, True)
    assert first.weights == second.weights
    assert first.weights is not None
    assert first.network.fingerprint() == second.network.fingerprint() != network.fingerprint()


def test_the_guard_may_keep_nothing(network: FewShotNetwork, examples: Examples) -> None:
    fit = fit_to_examples(network, examples, adapt="auto", reduction=7.5)
    assert fit.report is not None
    if fit.report.steps == 0:
        assert fit.network is network
    else:
        assert max(fit.report.held_out_iou.values()) > fit.report.held_out_iou[0]


def test_examples_without_target_are_refused(network: FewShotNetwork, examples: Examples) -> None:
    empty = [replace(example, labels=example.labels * 0) for example in examples]
    with pytest.raises(SupportError, match="no example shows the class"):
        fit_to_examples(network, empty, adapt=1, reduction=1.0)
