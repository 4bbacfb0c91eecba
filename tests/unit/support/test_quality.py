"""Leave-one-out quality of examples that are labelled by a few points only."""

from __future__ import annotations

import dataclasses

import numpy as np

from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, support_tensors
from hdm_pipeline.support.quality import leave_one_out
from hdm_pipeline.support.reliability import Reliability
from tests.unit.model.pyramid.test_network import small_network


def test_an_example_whose_others_lose_a_class_by_reducing_cannot_be_judged() -> None:
    segmenter = FewShotSegmenter.from_network(small_network(), device="cpu", reduction=4.0)
    pixels = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    masks = np.full((2, 64, 64), 255, np.uint8)
    masks[0, 8, 8:10], masks[0, 9, 8] = 1, 0  # one cell of the reduced mask: one of both is lost there
    masks[1, 20, 20], masks[1, 40, 40] = 1, 0
    found = leave_one_out(segmenter, support_tensors(pixels, masks, "test"), ["points", "more points"])
    assert [quality.iou is None for quality in found] == [False, True]


def discs(count: int) -> list[SupportTensors]:
    """Discs that differ in brightness, so that the sources of evidence disagree."""
    y, x = np.mgrid[0:64, 0:64]
    images, masks = [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mask = ((y - rng.integers(20, 44)) ** 2 + (x - rng.integers(20, 44)) ** 2 < 150).astype(np.uint8)
        images.append((0.3 + 0.2 * mask + rng.normal(0, 0.15, (3, 64, 64))).astype(np.float32))
        masks.append(mask)
    return support_tensors(images, masks, "test")


def test_held_out_examples_are_segmented_with_the_weights_of_the_run() -> None:
    segmenter = FewShotSegmenter.from_network(small_network(pretrained="lite0"), device="cpu")
    examples = discs(3)
    run = segmenter.encode(examples)
    usual = segmenter.encode(examples, weigh=False)
    assert (run.arrays["rules.mix"] != usual.arrays["rules.mix"]).any()
    found: list[Reliability | None] = []
    leave_one_out(segmenter, examples, list("abc"), found, run)
    others = segmenter.encode(examples[1:], weigh=False)
    others = dataclasses.replace(others, arrays={**others.arrays, "rules.mix": run.arrays["rules.mix"]})
    scores = segmenter.predict(examples[0].image.numpy()[None], [others])[0, 0]
    expected = Reliability.of(scores, examples[0].labels.numpy())
    assert found[0] is not None
    np.testing.assert_array_equal(found[0].target, expected.target)
    np.testing.assert_array_equal(found[0].rest, expected.rest)
