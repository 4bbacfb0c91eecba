"""The rules on frozen features, and how held-out examples weigh them against the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from hdm_pipeline.model.pyramid import logistic
from hdm_pipeline.model.pyramid.rules import Mix, mixed, rule_scale
from hdm_pipeline.model.pyramid.weighing import HeldOut, choose_mix
from tests.unit.model.pyramid.test_network import example, small_network


def tokens(count: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """[count, 6] features, the last one constant, and which of them are the target."""
    random = torch.Generator().manual_seed(seed)
    target = torch.rand(count, generator=random) < 0.2
    features = torch.randn(count, 6, generator=random)
    features[:, 0] += 1.5 * target
    features[:, -1] = 1.0
    return features, target


def test_the_logistic_rule_is_that_of_scikit_learn() -> None:
    features, target = tokens()
    found = logistic.solve(features, target.float(), (~target).float(), penalty=0.05)
    reference = LogisticRegression(C=1 / (0.05 * len(target)), class_weight="balanced", tol=1e-8, max_iter=1000)
    reference.fit(features[:, :-1].numpy(), target.numpy())
    expected = np.concatenate((reference.coef_[0], reference.intercept_))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_where_to_start_does_not_change_the_logistic_rule() -> None:
    features, target = tokens()
    shares = target.float(), (~target).float()
    found = logistic.solve(features, *shares)
    torch.testing.assert_close(logistic.solve(features, *shares, start=found + 0.3), found, atol=2e-3, rtol=0)


def test_many_tokens_are_thinned_evenly() -> None:
    features, target = tokens(50_000)
    shares = target.float(), (~target).float()
    found = logistic.solve(features, *shares)
    few = logistic.solve(features[:4000], shares[0][:4000], shares[1][:4000])
    torch.testing.assert_close(found, few, atol=0.15, rtol=0)


def test_one_class_alone_says_nothing() -> None:
    features, target = tokens()
    assert not logistic.solve(features, target.float(), torch.zeros(len(target))).any()


def held_out(good: int, seed: int = 0) -> HeldOut:
    """Pixels of which one source knows the truth and the others are noise."""
    random = torch.Generator().manual_seed(seed)
    target = (torch.rand(2000, generator=random) < 0.1).double()
    odds = 2 * torch.randn(2000, 3, generator=random, dtype=torch.float64)
    odds[:, good] = 4 * (2 * target - 1) + torch.randn(2000, generator=random, dtype=torch.float64)
    return HeldOut(odds, target)


@pytest.mark.parametrize("good", [0, 1, 2])
def test_the_source_that_is_right_counts_most(good: int) -> None:
    usual = Mix(1.0, 1.0, 1.0)
    chosen = choose_mix([held_out(good), held_out(good, 1)], usual)
    factors = [chosen.network, chosen.ridge, chosen.logistic]
    assert factors.index(max(factors)) == good
    assert max(factors) > 1.1 > 1.0 > sorted(factors)[1]


def test_an_offset_is_learned_where_every_source_finds_too_much() -> None:
    target = held_out(0).target
    odds = 0.5 * (2 * target - 1)[:, None].expand(-1, 3) + 0.7
    assert choose_mix([HeldOut(odds, target)], Mix(1.0, 1.0, 1.0)).offset < -0.05


def test_no_target_held_out_changes_nothing() -> None:
    usual = Mix(1.0, 0.5, 1.0)
    assert choose_mix([], usual) == usual
    assert choose_mix([HeldOut(torch.randn(9, 3).double(), torch.zeros(9).double())], usual) == usual


def test_only_labelled_pixels_are_held_out() -> None:
    mask = torch.tensor([[1, 0], [255, 0]], dtype=torch.uint8)
    found = HeldOut.of(torch.arange(4.0).reshape(2, 2), torch.zeros(2, 2, 2), mask)
    assert found.odds[:, 0].tolist() == [0.0, 1.0, 3.0]
    assert found.target.tolist() == [1.0, 0.0, 0.0]


def test_small_supports_are_enlarged() -> None:
    small, large = torch.zeros(256, 300, dtype=torch.uint8), torch.zeros(200, 512, dtype=torch.uint8)
    assert rule_scale([small]) == 2
    assert rule_scale([small, large]) == 1


def test_mixed_is_the_weighted_sum() -> None:
    logits, odds = torch.ones(1, 1, 4, 4), torch.stack((torch.ones(2, 2), 2 * torch.ones(2, 2)))[None]
    found = mixed(logits, odds, torch.tensor([2.0, 3.0, 5.0, 7.0]))
    torch.testing.assert_close(found, torch.full((1, 1, 4, 4), 2.0 + 3.0 + 10.0 + 7.0))


def test_supports_weigh_only_when_asked_and_only_with_another_to_be_judged_by() -> None:
    network = small_network(pretrained="lite0")
    images, masks = zip(*(example(seed=seed) for seed in range(3)), strict=True)

    def mix(count: int, *, weigh: bool) -> list[float]:
        bank = network.encode_for_run(images[:count], masks[:count], weigh=weigh)
        return [float(value) for value in bank.arrays["rules.mix"]]

    usual = Mix.of_shots(3)
    assert mix(3, weigh=False) == [usual.network, usual.ridge, usual.logistic, usual.offset]
    assert mix(3, weigh=True) != mix(3, weigh=False)
    assert mix(1, weigh=True) == mix(1, weigh=False)


def test_classes_of_both_scales_in_one_pass_are_as_each_alone() -> None:
    network = small_network(pretrained="lite0")
    small, large = example(), example(96, 384)
    banks = [network.encode_support([image], [mask]) for image, mask in (small, large)]
    assert [float(bank.arrays["rules.scale"][0]) for bank in banks] == [2.0, 1.0]
    tile = torch.randn(1, 3, 64, 64)
    together = network.predict(tile, banks)
    for number, bank in enumerate(banks):
        torch.testing.assert_close(network.predict(tile, [bank])[:, 0], together[:, number])


def test_a_few_points_do_not_weigh() -> None:
    network = small_network(pretrained="lite0")
    images, masks = zip(*(example(seed=seed) for seed in range(3)), strict=True)
    points = [torch.full_like(mask, 255) for mask in masks]
    for point, mask in zip(points, masks, strict=True):
        for value in (0, 1):
            y, x = (mask == value).nonzero()[5].tolist()
            point[y, x] = value
    weighed = network.encode_for_run(images, points).arrays["rules.mix"]
    np.testing.assert_array_equal(weighed, network.encode_support(images, points).arrays["rules.mix"])


def test_examples_that_lack_a_class_by_themselves_judge_nothing() -> None:
    network = small_network(pretrained="lite0")
    images, masks = zip(*(example(seed=seed) for seed in range(2)), strict=True)
    targets = [torch.where(mask == 1, mask, torch.full_like(mask, 255)) for mask in masks]
    targets[0][:48] = torch.where(masks[0][:48] == 1, 1, 0)  # only the first labels background
    mix = network.encode_for_run(images, targets).arrays["rules.mix"]
    assert np.isfinite(mix).all()


def test_the_optimizer_is_adam() -> None:
    """Against PyTorch's, which is not used because its first use imports a compiler for two seconds."""
    torch.manual_seed(0)
    target = (torch.rand(400) > 0.6).double()
    odds = (target[:, None] - 0.4 + torch.randn(400, 3).double()) * torch.tensor([1.0, 2.0, 0.5]).double()
    usual = Mix(1.0, 0.25, 0.5)
    start = odds.new_tensor([usual.network, usual.ridge, usual.logistic])
    moved = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([moved], lr=0.05)
    for _ in range(80):
        chance = torch.sigmoid(odds @ (start * moved[:3].exp()) + 2.0 * moved[3])
        both = (chance * target).sum()
        loss = moved.square().sum() - torch.log((both + 1) / (chance.sum() + target.sum() - both + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = choose_mix([HeldOut(odds, target)], usual)
    expected = [*(start * moved.detach()[:3].exp()).tolist(), 2.0 * float(moved.detach()[3])]
    assert [found.network, found.ridge, found.logistic, found.offset] == pytest.approx(expected, rel=1e-9)
    assert abs(found.offset) > 1e-3
