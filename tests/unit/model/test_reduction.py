"""The network sees pixels reduced; scores come back at full size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hdm_pipeline.errors import ModelInputError, SupportError
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.model.reduction import enlarge, reduced_size, shrink, shrink_labels, shrink_valid
from hdm_pipeline.model.segmenter import FewShotSegmenter


@pytest.fixture(scope="module")
def network() -> HDMNetPyramid:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return HDMNetPyramid(widths=(8, 8, 8, 8, 8), depths=(1, 1, 1, 1, 1), heads=2)


@given(st.integers(1, 70), st.integers(1, 70), st.floats(1, 9))
def test_constants_stay_constant_at_any_size(height: int, width: int, reduction: float) -> None:
    size = reduced_size(height, width, reduction)
    assert 1 <= size[0] <= height
    assert 1 <= size[1] <= width
    pixels, valid = shrink_valid(torch.full((1, 3, height, width), 0.4), torch.ones(1, height, width) > 0, size)
    assert pixels.shape[2:] == valid.shape[1:] == size
    assert torch.allclose(pixels, torch.tensor(0.4))
    assert valid.all()
    assert torch.allclose(enlarge(pixels, (height, width)), torch.tensor(0.4))


def test_invalid_pixels_do_not_leak_into_averages() -> None:
    pixels = torch.full((1, 1, 8, 8), 0.5)
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    pixels[..., 5:] = torch.nan
    valid[..., 5:] = False
    small, seen = shrink_valid(pixels, valid, (4, 4))
    assert seen[0, 0].tolist() == [True, True, True, False]
    assert torch.allclose(small[seen[:, None]], torch.tensor(0.5))


def test_labels_are_never_mixed() -> None:
    mask = torch.tensor([[1, 255], [0, 255]], dtype=torch.uint8).repeat_interleave(6, 0).repeat_interleave(6, 1)
    assert shrink_labels(mask, (2, 2)).tolist() == [[1, 255], [0, 255]]


def test_reducing_in_the_segmenter_is_reducing_before_it(network: HDMNetPyramid) -> None:
    image = torch.rand(1, 3, 90, 72, generator=torch.Generator().manual_seed(0))
    labels = np.zeros((90, 72), np.uint8)
    labels[20:60, 20:50] = 1
    size = reduced_size(90, 72, 1.5)
    small, small_labels = shrink(image, size).numpy(), shrink_labels(torch.from_numpy(labels), size).numpy()
    plain, reduced = FewShotSegmenter.from_network(network), FewShotSegmenter.from_network(network, reduction=1.5)
    expected = plain.predict(small, [plain.encode_support([small[0]], [small_labels])])
    scores = reduced.predict(image.numpy(), [reduced.encode_support([image[0].numpy()], [labels])])
    assert expected.std() > 5
    assert np.abs(scores - enlarge(torch.from_numpy(expected), (90, 72)).numpy()).max() <= 1.1  # rounded once, or twice


def test_invalid_pixels_score_zero_at_full_size(network: HDMNetPyramid) -> None:
    segmenter = FewShotSegmenter.from_network(network, reduction=3)
    image = np.random.default_rng(1).random((1, 60, 60), dtype=np.float32)
    labels = np.zeros((60, 60), np.uint8)
    labels[10:40, 10:40] = 1
    bank = segmenter.encode_support([image], [labels])
    valid = np.ones((1, 60, 60), np.bool_)
    valid[0, :, 31:] = False
    scores = segmenter.predict(np.where(valid, image, np.nan)[None], [bank], valid=valid)
    assert not scores[0, 0, :, 31:].any()
    assert scores[0, 0, :, :31].any()


def test_what_cannot_be_reduced_is_an_error(network: HDMNetPyramid) -> None:
    with pytest.raises(ModelInputError, match=r"reduction of 0\.5"):
        FewShotSegmenter.from_network(network, reduction=0.5)
    labels = np.zeros((64, 64), np.uint8)
    labels[0, 0] = 1
    with pytest.raises(SupportError, match="no target of this example is left at a reduction of 8"):
        FewShotSegmenter.from_network(network, reduction=8).encode_support(
            [np.zeros((1, 64, 64), np.float32)], [labels]
        )
