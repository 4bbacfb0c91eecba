"""Adaptation learns from the examples, is reproducible, and is undone where held-out examples say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hdm_pipeline.errors import SupportError
from hdm_pipeline.model.checkpoints import load_network
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.support.adaptation import (
    AdaptationSettings,
    adapt_network,
    affordable,
    best_steps,
    held_out_ious,
)
from hdm_pipeline.support.cache import adapted_weights, cache_key
from hdm_pipeline.support.crops import CropSampler, CropSettings
from hdm_pipeline.support.folds import folds, half_folds
from tests.small_pyramid import small_pyramid

FAST = AdaptationSettings(candidates=(1, 2), batch=1, crops=CropSettings(size=32))


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    return small_pyramid(5)


def example(seed: int, size: int = 48) -> tuple[Tensor, Tensor]:
    """A textured square on a ground of the same mean."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(size, size, dtype=torch.uint8)
    top, left = (int(torch.randint(size // 2, (), generator=generator)) for _ in range(2))
    mask[top : top + size // 3, left : left + size // 3] = 1
    noise = torch.rand(3, size, size, generator=generator)
    image = 0.5 + (noise - 0.5) * torch.where(mask == 1, 0.8, 0.1)
    return image, mask


def examples(count: int) -> tuple[list[Tensor], list[Tensor]]:
    pairs = [example(seed) for seed in range(count)]
    return [image for image, _ in pairs], [mask for _, mask in pairs]


def test_the_loss_falls_and_the_given_network_stays(network: FewShotNetwork) -> None:
    before = network.fingerprint()
    images, masks = examples(3)
    settings = AdaptationSettings(steps=16, learning_rate=3e-3, batch=2, crops=CropSettings(size=32))
    told: list[tuple[int, int, float]] = []
    result = adapt_network(network, images, masks, settings=settings, on_step=lambda *step: told.append(step))
    assert [(done, most) for done, most, _ in told] == [(n, 16) for n in range(1, 17)]
    losses = [loss for _, _, loss in told]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    assert network.fingerprint() == before
    assert result.network.fingerprint() != before
    assert result.report.steps == 16
    assert not result.network.training


def test_equal_input_gives_equal_weights_and_seeds_matter(network: FewShotNetwork) -> None:
    images, masks = examples(2)
    settings = AdaptationSettings(steps=3, batch=2, crops=CropSettings(size=32))
    prints = [
        adapt_network(network, images, masks, settings=settings, seed=seed).network.fingerprint() for seed in (0, 0, 1)
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("shots", [1, 5])
def test_the_guard_measures_candidates_on_held_out_examples(network: FewShotNetwork, shots: int) -> None:
    report = adapt_network(network, *examples(shots), settings=FAST).report
    assert list(report.held_out_iou)[:2] == [0, 1]
    assert all(0 <= iou <= 1 for iou in report.held_out_iou.values())
    assert report.steps in (0, 2, 3)


def test_the_guard_stops_where_the_first_steps_harm(network: FewShotNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    ious = iter([[0.6], [0.6], [0.5], [0.6]])  # two folds before any step, two after the first candidate
    monkeypatch.setattr("hdm_pipeline.support.adaptation._ious", lambda *_: next(ious))
    report = adapt_network(network, *examples(2), settings=FAST).report
    assert report.held_out_iou == {0: pytest.approx(0.6), 1: pytest.approx(0.55)}
    assert report.steps == 0


def test_the_guard_goes_on_while_steps_gain(network: FewShotNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    ious = iter([[0.5], [0.5], [0.5], [0.6], [0.7], [0.7]])
    monkeypatch.setattr("hdm_pipeline.support.adaptation._ious", lambda *_: next(ious))
    report = adapt_network(network, *examples(2), settings=FAST).report
    assert list(report.held_out_iou) == [0, 1, 2]
    assert report.steps == 3


def test_without_a_clear_gain_the_network_stays_as_it_was(network: FewShotNetwork) -> None:
    settings = AdaptationSettings(candidates=(1,), margin=2.0, batch=1, crops=CropSettings(size=32))
    result = adapt_network(network, *examples(2), settings=settings)
    assert result.report.steps == 0
    assert result.network.fingerprint() == network.fingerprint()


@pytest.mark.parametrize(
    ("held_out", "chosen"),
    [
        ({0: 0.5, 20: 0.505, 40: 0.4}, 0),
        ({0: 0.5, 20: 0.6, 40: 0.7}, 40),
        ({0: 0.5, 20: 0.7, 40: 0.7}, 20),
        ({0: float("nan"), 20: float("nan")}, 0),
        ({0: 0.3, 20: float("nan"), 40: 0.4}, 40),
    ],
)
def test_fewest_of_the_best_steps_and_none_without_a_clear_gain(held_out: dict[int, float], chosen: int) -> None:
    assert best_steps(held_out, 0.01) == chosen


def test_adapted_weights_must_beat_what_is_reached_without_them() -> None:
    assert best_steps({0: 0.5, 20: 0.6}, 0.01, floor=0.59) == 20
    assert best_steps({0: 0.5, 20: 0.6}, 0.01, floor=0.61) == 0


def test_examples_without_target_are_refused(network: FewShotNetwork) -> None:
    with pytest.raises(SupportError, match="no example shows the class"):
        adapt_network(network, [torch.zeros(3, 8, 8)], [torch.zeros(8, 8, dtype=torch.uint8)])


def test_each_example_is_measured_once_and_never_learned_from_meanwhile() -> None:
    _, masks = examples(5)
    divided = folds(masks, 2)
    assert sorted(index for fold in divided for index in fold.tested) == [0, 1, 2, 3, 4]
    for fold in divided:
        assert set(fold.kept) & set(fold.tested) == set()
        assert set(fold.kept) | set(fold.tested) == set(range(5))


def test_one_example_is_cut_through_its_target() -> None:
    _, (mask,) = examples(1)
    first, second = half_folds([mask])
    kept, truth = first.kept_masks[0], first.truths[0]
    assert ((kept == 255) ^ (truth == 255)).all()  # each pixel is learned from or measured, never both
    assert torch.equal(torch.where(kept == 255, truth, kept), mask)
    shares = [(int((side == 1).sum())) for side in (kept, truth)]
    assert min(shares) > 0.3 * sum(shares)
    assert torch.equal(second.kept_masks[0], truth)


def test_a_target_of_one_pixel_cannot_be_cut() -> None:
    mask = torch.zeros(9, 9, dtype=torch.uint8)
    mask[4, 4] = 1
    assert half_folds([mask]) == []


def test_points_are_cut_so_that_both_sides_teach_both_classes() -> None:
    mask = torch.full((40, 40), 255, dtype=torch.uint8)
    mask[2, 2], mask[4, 6], mask[9, 3], mask[11, 8] = 1, 1, 1, 1
    mask[30, 30], mask[32, 31], mask[38, 20] = 0, 0, 0  # all beyond the middle of the target
    for fold in half_folds([mask]):
        assert int((fold.kept_masks[0] == 1).sum()) == int((fold.truths[0] == 1).sum()) == 2
        assert {int((side == 0).sum()) for side in (fold.kept_masks[0], fold.truths[0])} == {1, 2}
    assert len(half_folds([mask])) == 2
    mask[30, 30], mask[32, 31] = 255, 255
    (only,) = half_folds([mask])  # one background pixel: the side without it cannot teach
    assert int((only.kept_masks[0] == 0).sum()) == 1


def test_examples_are_left_out_by_others_that_show_both_classes() -> None:
    target, background, both = torch.full((3, 20, 20), 255, dtype=torch.uint8)
    target[3, 3] = both[5, 5] = 1
    background[9, 9] = both[8, 8] = 0
    assert [fold.kept for fold in folds([target, background, both], 3)] == [(1, 2), (0, 1)]
    assert [fold.kept for fold in folds([target, target, both], 3)] == [(1, 2), (0, 2)]


def test_too_few_labels_to_judge_by_adapt_nothing(network: FewShotNetwork) -> None:
    images, masks = examples(2)
    points = [torch.where(torch.rand(mask.shape) < 0.02, mask, torch.tensor(255, dtype=torch.uint8)) for mask in masks]
    for mask, point in zip(masks, points, strict=True):
        point[tuple((mask == 1).nonzero()[0])] = 1
    report = adapt_network(network, images, points, settings=FAST).report
    assert (report.steps, report.held_out_iou) == (0, {})
    forced = adapt_network(network, images, points, settings=replace(FAST, steps=2))
    assert forced.report.steps == 2
    assert forced.network.fingerprint() != network.fingerprint()


def test_crops_pair_different_examples_and_keep_labels_on_their_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = [(torch.rand(40, 56, generator=generator) > 0.5).to(torch.uint8) for _ in range(3)]
    images = [mask.float().expand(3, -1, -1) * 0.5 + 0.1 * number for number, mask in enumerate(masks)]
    settings = CropSettings(size=32, zoom=1.0, gain=0.0, offset=0.0)
    batch = CropSampler(images, masks, settings, seed=1).batch(24)
    assert batch.query.shape == (24, 3, 32, 32)
    assert batch.support.shape == (24, 1, 3, 32, 32)
    for pixels, labels in [(batch.query, batch.query_mask), (batch.support[:, 0], batch.support_mask[:, 0])]:
        for image, mask in zip(pixels, labels, strict=True):
            # Labels follow crops, flips and turns exactly: what is left when they are taken off is constant.
            ground = image[0] - 0.5 * (mask == 1)
            assert torch.allclose(ground, ground[0, 0].expand_as(ground), atol=1e-5)
    assert (batch.query.amin((1, 2, 3)) != batch.support.amin((1, 2, 3, 4))).all()


def test_small_examples_are_padded_with_what_is_ignored() -> None:
    image, mask = example(0, size=20)
    batch = CropSampler([image], [mask], CropSettings(size=64, zoom=1.0)).batch(2)
    assert (batch.query_mask[:, 32:, 32:] == 255).all() or (batch.query_mask == 255).float().mean() > 0.5
    assert torch.isfinite(batch.query).all()


def test_adapted_weights_are_kept_and_found_again(network: FewShotNetwork, tmp_path: Path) -> None:
    images, masks = examples(2)
    settings = AdaptationSettings(steps=2, batch=1, crops=CropSettings(size=32))
    first = adapted_weights(tmp_path, network, images, masks, settings=settings)
    again = adapted_weights(tmp_path, network, images, masks, settings=settings)
    assert (first.cached, again.cached) == (False, True)
    assert again.path == first.path
    assert again.report == first.report
    assert again.path is not None
    prints = [load_network(again.path).fingerprint(), first.network.fingerprint(), again.network.fingerprint()]
    assert prints == prints[:1] * 3
    assert prints[0] != network.fingerprint()


def test_what_no_step_improves_is_remembered_too(network: FewShotNetwork, tmp_path: Path) -> None:
    settings = AdaptationSettings(candidates=(1,), margin=2.0, batch=1, crops=CropSettings(size=32))
    first, again = (adapted_weights(tmp_path, network, *examples(2), settings=settings) for _ in range(2))
    assert (first.cached, again.cached) == (False, True)
    assert first.network is again.network is network


def test_the_key_changes_with_everything_that_matters(network: FewShotNetwork) -> None:
    images, masks = examples(2)
    other_mask = [masks[0], 1 - masks[1]]
    keys = {
        cache_key(network, images, masks, FAST, 0),
        cache_key(network, images, masks, FAST, 1),
        cache_key(network, images, other_mask, FAST, 0),
        cache_key(network, images[:1], masks[:1], FAST, 0),
        cache_key(network, images, masks, AdaptationSettings(), 0),
    }
    assert len(keys) == 5


def example_masks(count: int, side: int) -> list[Tensor]:
    masks = [torch.zeros(side, side, dtype=torch.uint8) for _ in range(count)]
    for mask in masks:
        mask[: side // 2] = 1
    return masks


def test_work_limits_the_candidates_before_anything_is_computed() -> None:
    masks = example_masks(5, 160)
    # Crops of 96 pixels, four pairs a step: 20 steps in each of two folds and 30 on all, measured twice.
    twenty = 70 * 8 * 96 * 96 + 2 * 2 * 5 * 160 * 160
    forty = 140 * 8 * 96 * 96 + 3 * 2 * 5 * 160 * 160
    settings = AdaptationSettings(candidates=(20, 40, 80))
    assert affordable(replace(settings, most_pixels=forty), masks) == (20, 40)
    assert affordable(replace(settings, most_pixels=forty - 1), masks) == (20,)
    assert affordable(replace(settings, most_pixels=twenty), masks) == (20,)
    assert affordable(replace(settings, most_pixels=0), masks) == (20,)  # one is always tried
    assert affordable(replace(settings, most_pixels=10**9), masks) == (20, 40, 80)


@pytest.mark.parametrize(("count", "side"), [(1, 160), (5, 160), (10, 160), (12, 256), (1, 256)])
def test_up_to_twelve_examples_stay_within_the_default_limit(count: int, side: int) -> None:
    settings, masks = AdaptationSettings(), example_masks(count, side)
    most = affordable(settings, masks)[-1]
    tight = affordable(replace(settings, candidates=(most,)), masks)
    assert tight == (most,)
    assert most >= 20
    pixels = 8 * min(128, 32 * round(side * 0.6 / 32)) ** 2
    measured = (1 + len(affordable(settings, masks))) * 2 * max(2, count) * side**2
    assert pixels * (2 * most + 1.5 * most) + measured <= settings.most_pixels


def test_the_guard_asks_twelve_of_many_examples_those_with_target_first(
    network: FewShotNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, masks = examples(15)
    masks[:3] = [torch.zeros_like(mask) for mask in masks[:3]]
    asked: set[int] = set()

    def remember(_: object, kept: list[Tensor], __: object, tested: list[Tensor], truths: list[Tensor]) -> list[float]:
        asked.update(number for image in (*kept, *tested) for number, own in enumerate(images) if own is image)
        return [0.5 for _ in truths]

    monkeypatch.setattr("hdm_pipeline.support.adaptation._ious", remember)
    held_out_ious(network, images, masks, replace(FAST, candidates=(1,)))
    assert asked == set(range(3, 15))
