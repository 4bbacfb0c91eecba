"""Examples of which a few pixels are labelled: no label is lost, and none is made up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hdm_pipeline.errors import SupportError
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.partial_labels import partly_labelled, sampling_error
from hdm_pipeline.model.pyramid.labels import cell_shares, finest_level
from hdm_pipeline.model.reduction import reduced_size, shrink_labels
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, bounded, require_known, support_tensors
from hdm_pipeline.support.fit import fit_to_examples
from hdm_pipeline.support.reduction import visible_reduction
from tests.small_pyramid import small_pyramid

SIZE = 64


def with_points(places: dict[tuple[int, int], int], height: int = SIZE, width: int = SIZE) -> Tensor:
    mask = torch.full((height, width), 255, dtype=torch.uint8)
    for place, label in places.items():
        mask[place] = label
    return mask


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A bright square on a dark ground, [1, y, x] in 0..1, and where it is."""
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[20:50, 16:44] = 1
    noise = np.random.default_rng(3).normal(0, 0.04, truth.shape)
    return (np.where(truth == 1, 0.75, 0.25) + noise)[None].astype(np.float32), truth


def few_of(truth: np.ndarray, target: int, background: int) -> np.ndarray:
    """A mask that labels so many random pixels of each side."""
    mask = np.full(truth.shape, 255, np.uint8)
    generator = np.random.default_rng(1)
    for value, count in ((1, target), (0, background)):
        mask.flat[generator.permutation(np.flatnonzero(truth == value))[:count]] = value
    return mask


def test_the_rule_is_a_quarter() -> None:
    mask = with_points({})
    mask[: SIZE // 4] = 0
    assert not partly_labelled(mask)
    mask[0, 0] = 255
    assert partly_labelled(mask)


@given(
    st.dictionaries(st.tuples(st.integers(0, 40), st.integers(0, 50)), st.integers(0, 1), max_size=12),
    st.floats(1, 30),
)
def test_no_labelled_pixel_is_lost_and_none_is_made_up(places: dict[tuple[int, int], int], reduction: float) -> None:
    mask = with_points(places, 41, 51)
    size = reduced_size(41, 51, reduction)
    small = shrink_labels(mask, size)
    held: dict[tuple[int, int], set[int]] = {}
    for (row, column), label in places.items():  # a pixel lies where its center does
        cell = int((row + 0.5) * size[0] / 41), int((column + 0.5) * size[1] / 51)
        held.setdefault(cell, set()).add(label)
    assert {tuple(place) for place in (small != 255).nonzero().tolist()} == set(held)
    assert all(int(small[cell]) in labels for cell, labels in held.items())


def test_the_majority_counts_and_a_tie_is_target() -> None:
    mask = with_points({(0, 0): 0, (0, 1): 0, (1, 0): 1, (0, 40): 0, (1, 40): 1})
    assert shrink_labels(mask, (4, 4))[0].tolist() == [0, 255, 1, 255]


def test_masks_that_are_labelled_throughout_are_reduced_as_before() -> None:
    mask = torch.full((8, 8), 255, dtype=torch.uint8)
    mask[:, :4], mask[0, 7] = 1, 0  # a lone pixel among many that are ignored
    assert shrink_labels(mask, (2, 2)).tolist() == [[1, 255], [1, 255]]


def test_background_points_bound_the_reduction_too() -> None:
    # Reduced by 8 both points fall into one pixel, which takes the target's side.
    near = with_points({(8, 8): 1, (10, 10): 0})
    found = visible_reduction([near], 8.0)
    assert 1 < found < 8
    assert set(shrink_labels(near, reduced_size(SIZE, SIZE, found)).flatten().tolist()) == {0, 1, 255}
    assert visible_reduction([near, with_points({(40, 40): 1, (3, 3): 0})], 8.0) == 8.0


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_a_single_pixel_has_weight_in_its_cell(stride: int) -> None:
    foreground, background = cell_shares(with_points({(5, 5): 1, (60, 60): 0})[None], stride)
    assert foreground.sum() == background.sum() == stride**-2
    assert foreground[0, 5 // stride, 5 // stride] > 0


def test_points_show_no_surfaces_to_simplify() -> None:
    square = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    square[16:48, 16:48] = 1
    points = with_points({(5, 5): 1, (60, 60): 0})
    assert finest_level([square]) == 1
    assert finest_level([points]) == 0
    assert finest_level([points, square]) == 1


def test_how_many_pixels_were_labelled_says_nothing_about_the_size_of_the_target() -> None:
    image, truth = scene()
    network = small_pyramid(1)
    segmenter = FewShotSegmenter.from_network(network, device="cpu")

    def priors(*masks: np.ndarray) -> list[float]:
        bank = segmenter.encode_support([image] * len(masks), list(masks))
        return [float(bank.arrays[f"level{level}.calibration"][2]) for level in range(network.levels)]

    whole = priors(truth)
    assert all(prior < -0.5 for prior in whole)
    assert priors(few_of(truth, 3, 300)) == priors(few_of(truth, 300, 3)) == [0, 0, 0, 0]
    assert priors(truth, few_of(truth, 300, 3)) == pytest.approx(whole)  # examples that do say it are believed


@pytest.mark.parametrize(("target", "background"), [(1, 1), (5, 5), (5, 200), (200, 5)])
@pytest.mark.parametrize("reduction", [1.0, 2.0])
def test_points_segment_like_the_whole_mask(target: int, background: int, reduction: float) -> None:
    image, truth = scene()
    segmenter = FewShotSegmenter.from_network(small_pyramid(1), device="cpu", reduction=reduction)
    scores = [
        segmenter.predict(image[None], [segmenter.encode_support([image], [mask])])[0, 0].astype(float)
        for mask in (truth, few_of(truth, target, background))
    ]
    # An untrained decoder: what it makes of the evidence is arbitrary, but alike.
    assert np.corrcoef(scores[0].ravel(), scores[1].ravel())[0, 1] > 0.7


def test_without_any_background_label_the_class_is_refused() -> None:
    image, truth = scene()
    only_target = few_of(truth, 20, 0)
    with pytest.raises(SupportError, match="no example of the class labels any background"):
        support_tensors([image, image], [only_target, only_target], "test")
    assert len(support_tensors([image, image], [only_target, few_of(truth, 0, 3)], "test")) == 2


def test_background_that_a_reduction_leaves_nothing_of_is_told() -> None:
    image, _ = scene()
    mask = with_points({(8, 8): 1, (9, 9): 0}).numpy()
    segmenter = FewShotSegmenter.from_network(small_pyramid(1), device="cpu", reduction=4.0)
    with pytest.raises(SupportError, match="no background of the examples is left at a reduction of 4"):
        segmenter.encode_support([image], [mask])


def test_a_point_among_invalid_pixels_is_no_example_of_their_color() -> None:
    image, truth = scene()
    mask = few_of(truth, 5, 5)
    row, column = np.argwhere(mask == 1)[0]
    image[0, max(0, row - 6) : row + 7, max(0, column - 6) : column + 7] = np.nan
    image[0, row, column] = 0.7
    segmenter = FewShotSegmenter.from_network(small_pyramid(1), device="cpu", reduction=4.0)
    (example,) = support_tensors([image], [mask], "test")
    assert example.labels[row, column] == 1
    _, labels = segmenter.shown.example(example, "test")
    assert labels[row // 4, column // 4] == 255


def test_large_examples_keep_the_parts_that_are_labelled() -> None:
    labels = with_points({(10, 10): 1, (10, 2900): 0}, 3000, 3000)
    example = SupportTensors(torch.zeros(3, 3000, 3000), torch.ones(3000, 3000, dtype=torch.bool), labels)
    cuts = bounded([example])
    assert sum(int((cut.labels == 1).sum()) for cut in cuts) == 1
    assert sum(int((cut.labels == 0).sum()) for cut in cuts) == 1


def test_a_network_that_takes_unknown_for_background_refuses_points(vgg: HDMNet) -> None:
    image, truth = scene()
    points = few_of(truth, 20, 20)
    with pytest.raises(SupportError, match="takes unknown pixels for background"):
        FewShotSegmenter.from_network(vgg, device="cpu").encode_support([image], [points])
    with pytest.raises(SupportError, match="takes unknown pixels for background"):
        fit_to_examples(vgg, support_tensors([image], [points], "test"), adapt="off")
    image[0, :56] = np.nan  # no data is not unknown: the rest is labelled
    labelled = np.where(np.isnan(image[0]), 255, 0).astype(np.uint8)
    labelled[60:, 30:] = 1
    require_known(support_tensors([image], [labelled], "test"), "hdmnet")


def test_few_labels_measure_badly_and_whole_masks_do_not() -> None:
    _, truth = scene()
    points = [torch.from_numpy(few_of(truth, count, count)) for count in (1, 25, 100)]
    assert [sampling_error([mask]) for mask in points] == [0.5, 0.1, 0.05]
    assert sampling_error([points[1]] * 4) == 0.05
    assert sampling_error([points[0], torch.from_numpy(truth)]) == 0.0
