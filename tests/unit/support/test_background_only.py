"""Examples that show background only, beside one and beside three that show the class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, support_tensors
from hdm_pipeline.reporting.support_text import support_lines
from hdm_pipeline.support.adaptation import AdaptationSettings, adapt_network
from hdm_pipeline.support.area_interval import DEFAULT, interval_scores
from hdm_pipeline.support.fit import fit_to_examples
from hdm_pipeline.support.folds import folds, target_first
from hdm_pipeline.support.quality import leave_one_out
from hdm_pipeline.support.reliability import Reliability
from hdm_pipeline.support.temperature import choose_temperature
from tests.small_pyramid import small_pyramid
from tests.unit.model.conftest import make_network

Mask = npt.NDArray[np.uint8]


def examples(shots: int, others: int = 2, side: int = 96) -> list[SupportTensors]:
    """Bright squares; then bright strokes that are said to be background, and nothing else is."""
    images, masks = [], []
    for seed in range(shots + others):
        rng = np.random.default_rng(seed)
        mask = np.zeros((side, side), np.uint8) if seed < shots else np.full((side, side), 255, np.uint8)
        top, left = rng.integers(4, side // 2, 2)
        bright = np.full((side, side), 0.2)
        bright[top : top + 30, left : left + 30] = 0.7
        mask[top : top + 30, left : left + 30] = 1 if seed < shots else 0
        images.append((bright + rng.normal(0, 0.05, (3, side, side))).astype(np.float32))
        masks.append(mask)
    return support_tensors(images, masks, "test")


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    return small_pyramid(1)


@pytest.mark.parametrize("shots", [1, 3])
def test_they_are_learned_from_and_not_measured_on(shots: int) -> None:
    masks = [example.labels for example in examples(shots)]
    found = folds(masks, 2)
    assert len(found) == 2
    for fold in found:
        assert set(fold.kept) >= {shots, shots + 1}
        assert all(bool((truth == 1).any()) for truth in fold.truths)
        assert len(fold.kept_masks) == len(fold.kept)
    assert sorted(i for fold in found for i in fold.tested) == ([0, 0] if shots == 1 else [0, 1, 2])
    assert target_first(masks[::-1], 2) == ([0, 2] if shots == 1 else [2, 3])


@pytest.mark.parametrize("shots", [1, 3])
def test_examples_decide_all_the_same(network: FewShotNetwork, shots: int) -> None:
    given = examples(shots)
    assert fit_to_examples(network, given, adapt="off").reduction >= 1
    images, masks = [one.pixels for one in given], [one.labels for one in given]
    report = adapt_network(network, images, masks, settings=AdaptationSettings(candidates=(1,))).report
    assert all(np.isfinite(iou) for iou in report.held_out_iou.values())
    assert report.held_out_iou


@pytest.mark.parametrize("shots", [1, 3])
def test_they_are_not_said_to_be_found_badly(network: FewShotNetwork, shots: int) -> None:
    segmenter = FewShotSegmenter.from_network(network, device="cpu")
    held_out: list[Reliability | None] = []
    names = [f"example {number}" for number in range(shots + 2)]
    found = leave_one_out(segmenter, examples(shots), names, held_out)
    for quality in found[shots:]:
        assert quality.iou is None
        assert not quality.contradicts
        assert quality.note.startswith("shows background only")
        assert quality.target_share == 0
    assert [quality.iou is None for quality in found[:shots]] == [shots == 1] * shots
    assert choose_temperature(held_out[shots:]).temperature == 1.0
    assert interval_scores(held_out[shots:], 1.0) == DEFAULT
    facts = {"shots": shots + 2, "examples": [quality.as_dict() for quality in found], "adaptation": {}}
    assert "; 2 examples beside show background only" in support_lines("water", facts)[0]


@pytest.mark.parametrize("shots", [1, 3])
def test_a_network_that_sees_the_target_only_leaves_them_out(shots: int) -> None:
    network = make_network(base_learner=False)
    segmenter = FewShotSegmenter.from_network(network, device="cpu")
    given = examples(shots, side=64)
    fit_to_examples(network, given, adapt="off", reduction=1.0)
    bank, alone = segmenter.encode(given), segmenter.encode(given[:shots])
    assert bank.shots == alone.shots == shots
    assert all((bank.arrays[name] == alone.arrays[name]).all() for name in alone.arrays)
