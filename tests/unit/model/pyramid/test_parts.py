"""The parts of the pyramid, each against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.model.pyramid.attention import SelfAttention
from hdm_pipeline.model.pyramid.backbone import STRIDES, PyramidBackbone
from hdm_pipeline.model.pyramid.distillation import correlation_distillation
from hdm_pipeline.model.pyramid.labels import cell_shares, pad_images, pad_masks
from hdm_pipeline.model.pyramid.matching import CosineMatching, Tokens
from hdm_pipeline.model.pyramid.objective import segmentation_loss
from hdm_pipeline.model.pyramid.prototypes import condense, systematic_index
from hdm_pipeline.model.pyramid.ridge import Moments, RidgeRegression


def moments_of(features: torch.Tensor, labels: torch.Tensor) -> tuple[Moments, Moments]:
    return Moments.of(features[None], labels[None]), Moments.of(features[None], 1 - labels[None])


def separable(count: int, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = (torch.arange(count) % 4 == 0).float()
    features = torch.randn(count, 5, generator=generator)
    features[:, 2] += shift * labels
    return torch.cat((features, torch.ones(count, 1)), 1), labels


def test_ridge_agrees_with_the_normal_equations() -> None:
    features, labels = separable(200, 2.0)
    regression = RidgeRegression()
    solution = regression(*moments_of(features, labels))
    weights = torch.where(labels > 0, 0.5 / labels.sum(), 0.5 / (1 - labels).sum()).double()
    penalty = torch.exp(regression.log_penalty + regression.log_penalty_slope * labels.sum().log()).double()
    x, y = features.double(), (2 * labels - 1).double()
    expected = torch.linalg.solve(x.T @ (weights[:, None] * x) + penalty * torch.eye(6), x.T @ (weights * y))
    torch.testing.assert_close(solution.coefficients[0].double(), expected, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_a_solution_is_that_of_the_normal_equations() -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, 40, 7, generator=generator, dtype=torch.float64).requires_grad_()
    labels = (torch.rand(2, 40, generator=generator) > 0.6).double()
    regression = RidgeRegression().double()

    def coefficients() -> torch.Tensor:
        return regression(Moments.of(features, labels), Moments.of(features, 1 - labels)).coefficients

    assert torch.autograd.gradcheck(lambda _: coefficients(), (features,))
    assert torch.autograd.gradcheck(lambda _: coefficients(), (regression.log_penalty,))


def test_ridge_separates_and_calibrates() -> None:
    features, labels = separable(400, 6.0)
    solution = RidgeRegression()(*moments_of(features, labels))
    score, odds, prior = solution.evidence(features.T[None, :, :, None]).detach()[0, :, :, 0]
    assert ((odds > 0) == (labels > 0)).float().mean() > 0.99
    assert score[labels > 0].mean() > 0.5 > -0.5 > score[labels == 0].mean()
    assert prior[0] == pytest.approx(np.log(100 / 300) / 4, abs=1e-5)


def test_moments_add_over_supports() -> None:
    features, labels = separable(60, 1.0)
    whole = moments_of(features, labels)[0]
    halves = moments_of(features[:30], labels[:30])[0] + moments_of(features[30:], labels[30:])[0]
    torch.testing.assert_close(whole.second, halves.second)
    torch.testing.assert_close(whole.weight, halves.weight)


def test_ridge_survives_a_missing_class() -> None:
    features, _ = separable(30, 1.0)
    solution = RidgeRegression()(*moments_of(features, torch.ones(30)))
    assert torch.isfinite(solution.coefficients).all()
    assert torch.isfinite(solution.calibration).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 64))
def test_systematic_sampling_is_proportional(weights: list[float], count: int) -> None:
    row = torch.tensor([weights])
    index = systematic_index(row, count)
    assert index.shape == (1, count)
    drawn = torch.bincount(index[0], minlength=len(weights)).double()
    if row.sum() > 0:
        expected = (row[0].double() / row.double().sum()) * count
        assert (drawn - expected).abs().max() <= 1 + 1e-6
        assert (drawn[row[0] == 0] == 0).all()


def test_condensing_keeps_true_tokens_and_is_deterministic() -> None:
    tokens = F.normalize(torch.randn(500, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    first, second = condense(tokens, 32), condense(tokens.clone(), 32)
    assert len(first) <= 32
    assert torch.equal(first, second)
    assert ((first[:, None] == tokens[None]).all(-1).any(1)).all()
    assert condense(tokens[:10], 32) is not None
    assert torch.equal(condense(tokens[:10], 32), tokens[:10])


def test_condensed_tokens_cover_better_than_the_first_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = F.normalize(torch.randn(8, 16, generator=generator), dim=-1)
    tokens = F.normalize(centers.repeat_interleave(50, 0) + 0.1 * torch.randn(400, 16, generator=generator), dim=-1)
    nearest = (tokens @ condense(tokens, 8).T).amax(1)
    assert nearest.min() > 0.7


def test_matching_finds_the_target() -> None:
    target, other = F.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    query = torch.stack((target, other), 1)[None, :, :, None]
    tokens = Tokens(target.expand(1, 5, 16), other.expand(1, 9, 16))
    propagated, best_fg, best_bg, mean = CosineMatching()(query, tokens).detach()[0, :, :, 0]
    assert propagated[0] > 0.9 > 0.1 > propagated[1]
    assert best_fg[0] == pytest.approx(1, abs=1e-5)
    assert best_bg[1] == pytest.approx(1, abs=1e-5)
    assert mean[0] == pytest.approx(1, abs=1e-5)


def test_matching_ignores_how_many_tokens_a_class_has() -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 16, 4, 4, generator=generator)
    fg, bg = (F.normalize(torch.randn(1, 6, 16, generator=generator), dim=-1) for _ in range(2))
    once = CosineMatching()(query, Tokens(fg, bg))
    thrice = CosineMatching()(query, Tokens(fg, bg.repeat(1, 3, 1)))
    torch.testing.assert_close(once, thrice)


def test_attention_starts_as_identity_and_is_a_softmax_over_positions() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16, heads=2)
    x = torch.randn(2, 16, 3, 5)
    assert torch.equal(layer(x), x)
    layer.gamma.data.fill_(0.7)
    query, key, value = (f(x).flatten(2) for f in (layer.query, layer.key, layer.value))
    heads = []
    for q, k, v in zip(query.split(2, 1), key.split(2, 1), value.split(8, 1), strict=True):
        weights = (q.transpose(1, 2) @ k / 2**0.5).softmax(-1)
        heads.append(v @ weights.transpose(1, 2))
    expected = x + 0.7 * torch.cat(heads, 1).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_distillation_teaches_the_finer_and_not_the_coarser() -> None:
    coarse = torch.rand(2, 4, 4, requires_grad=True)
    fine = torch.rand(2, 8, 8, requires_grad=True)
    target = torch.rand(2, 4, 4)
    both = correlation_distillation([coarse, fine], target)
    only_coarse = correlation_distillation([coarse], target)
    (gradient_both,) = torch.autograd.grad(2 * both, coarse, retain_graph=True)
    (gradient_coarse,) = torch.autograd.grad(only_coarse, coarse)
    torch.testing.assert_close(gradient_both, gradient_coarse)
    assert torch.autograd.grad(both, fine)[0].abs().sum() > 0
    assert correlation_distillation([target], target).abs() < 1e-6


def test_cell_shares_leave_out_what_is_ignored() -> None:
    mask = torch.tensor([[[1, 1, 0, 255], [1, 0, 0, 255]]], dtype=torch.uint8)
    foreground, background = cell_shares(mask, 2)
    assert foreground.tolist() == [[[0.75, 0.0]]]
    assert background.tolist() == [[[0.25, 0.5]]]


def test_padding() -> None:
    assert pad_images(torch.rand(1, 3, 5, 40), 32).shape == (1, 3, 32, 64)
    image = torch.arange(40.0).reshape(1, 1, 1, 40).expand(1, 3, 40, 40)
    assert pad_images(image, 32)[0, 0, 0, 40:43].tolist() == [38, 37, 36]
    assert (pad_masks(torch.zeros(1, 5, 5, dtype=torch.uint8), 8)[0, 5:] == 255).all()


def test_segmentation_loss_ignores_and_rewards() -> None:
    foreground = torch.zeros(2, 4, 4)
    foreground[0, :2] = 1
    background = 1 - foreground
    right = torch.where(foreground > 0, 9.0, -9.0)[:, None]
    assert segmentation_loss(right, foreground, background) < 0.05
    assert segmentation_loss(-right, foreground, background) > 5
    background[:, 3] = 0  # ignored: neither target nor background
    spoiled = right.clone()
    spoiled[:, :, 3] = 50
    torch.testing.assert_close(
        segmentation_loss(spoiled, foreground, background), segmentation_loss(right, foreground, background)
    )


def test_backbone_shapes() -> None:
    backbone = PyramidBackbone((4, 8, 8, 12, 16), (1, 1, 1, 1, 1), heads=1)
    maps = backbone(torch.randn(1, 3, 96, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (width, 96 // stride, 64 // stride) for width, stride in zip((4, 8, 8, 12, 16), STRIDES, strict=True)
    ]
