"""Leave-one-out quality of examples that are labelled by a few points only."""

from __future__ import annotations

import numpy as np

from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import support_tensors
from hdm_pipeline.support.quality import leave_one_out
from tests.unit.model.pyramid.test_network import small_network


def test_an_example_whose_others_lose_a_class_by_reducing_cannot_be_judged() -> None:
    segmenter = FewShotSegmenter.from_network(small_network(), device="cpu", reduction=4.0)
    pixels = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    masks = np.full((2, 64, 64), 255, np.uint8)
    masks[0, 8, 8:10], masks[0, 9, 8] = 1, 0  # one cell of the reduced mask: one of both is lost there
    masks[1, 20, 20], masks[1, 40, 40] = 1, 0
    found = leave_one_out(segmenter, support_tensors(pixels, masks, "test"), ["points", "more points"])
    assert [quality.iou is None for quality in found] == [False, True]
