"""Examples as tensors: invalid pixels, cuts of large examples, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.model.support_tensors import SupportTensors, bounded, support_tensors, three_channels, windows


def test_a_pixel_that_is_not_finite_is_ignored_and_the_arrays_are_copied() -> None:
    image = np.full((2, 4, 5), 0.5, np.float32)
    image[1, 2, 3] = np.nan
    mask = np.ones((4, 5), np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    example = SupportTensors.of(image, mask, "test")
    assert example.pixels.shape == (3, 4, 5)
    assert not example.valid[2, 3]
    assert int(example.valid.sum()) == 19
    assert example.labels[2, 3] == 255
    assert example.pixels[:, 2, 3].tolist() == [0.0, 0.0, 0.0]
    example.pixels.fill_(9.0)
    assert np.nanmax(image) == 0.5


def test_channels() -> None:
    one, two = np.random.default_rng(1).random((2, 1, 8, 8)), np.random.default_rng(2).random((2, 2, 8, 8))
    assert np.array_equal(three_channels(one)[:, 2], one[:, 0].astype(np.float32))
    assert np.allclose(three_channels(two)[:, 2], two.mean(1))
    for wrong in (0, 4, 7):
        with pytest.raises(ModelInputError, match=f"{wrong} channels"):
            three_channels(np.zeros((1, wrong, 8, 8), np.float32))


def test_large_examples_are_cut_and_small_ones_kept() -> None:
    large, small = np.zeros((1, 100, 250), np.float32), np.zeros((1, 30, 30), np.float32)
    mask = np.zeros((100, 250), np.uint8)
    mask[:, 240:] = 1
    examples = support_tensors([small, large], [np.ones((30, 30), np.uint8), mask], "test")
    cut = bounded(examples, side=100, most=2)
    assert [tuple(part.labels.shape) for part in cut] == [(30, 30), (100, 100), (100, 100)]
    assert [part.pixels.shape[1:] for part in cut] == [part.labels.shape for part in cut]
    assert [part.valid.shape for part in cut] == [part.labels.shape for part in cut]
    assert int((cut[1].labels == 1).sum()) == 1000  # the cut with the target comes first


def test_parts_without_a_label_are_left_out() -> None:
    labels = torch.full((50, 300), 255, dtype=torch.uint8)
    labels[:, 120:130] = 0
    assert windows(labels, 100, 99) == [(slice(0, 50), slice(100, 200))]


@pytest.mark.parametrize("length", [101, 199, 200, 201, 350])
def test_cuts_cover_a_large_example(length: int) -> None:
    covered = torch.zeros(50, length, dtype=torch.uint8)
    for window in windows(covered.clone(), 100, 99):
        covered[window] = 1
    assert covered.all()
