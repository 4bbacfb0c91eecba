"""The published network split into support and query side, and what is ours: sizes, ensembles, token budgets."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import BankMismatchError, ModelInputError, SupportError
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checkpoints import reconfigure
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.network import EpisodeBatch
from tests.unit.model.conftest import blob, make_network, picture

SIDE = 65


def image(seed: int, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(picture(seed, height, width)) * 4 - 2


def label(height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(blob(height, width))


def bank_of(network: HDMNet, seeds: range, **settings: str) -> SupportBank:
    return network.encode_support([image(seed) for seed in seeds], [label() for _ in seeds], **settings)


def test_probability_is_above_half_where_the_official_argmax_is_foreground(vgg: HDMNet) -> None:
    query, support, mask = image(1)[None], image(2), label()
    out = vgg(query, support[None, None], mask[None, None])
    score = vgg.predict(query, [vgg.encode_support([support], [mask])])
    assert torch.equal(score[:, 0] > 0.5, out.final_out[:, 1] > out.final_out[:, 0])
    assert 0 <= float(score.min()) <= float(score.max()) <= 1


def test_any_size_square_or_not_and_supports_of_other_sizes(vgg: HDMNet) -> None:
    bank = vgg.encode_support([image(1, 80, 97), image(2, 64, 50)], [label(80, 97), label(64, 50)])
    score = vgg.predict(image(3, 70, 113)[None], [bank])
    assert score.shape == (1, 1, 70, 113)
    assert bool(torch.isfinite(score).all())


def test_classes_and_tiles_do_not_see_each_other(vgg: HDMNet) -> None:
    banks = [bank_of(vgg, range(1, 2)), bank_of(vgg, range(5, 6))]
    tiles = torch.stack([image(8), image(9)])
    together = vgg.predict(tiles, banks)
    assert float((together[:, 0] - together[:, 1]).abs().max()) > 1e-4
    for index in range(2):
        alone = vgg.predict(tiles[index : index + 1], banks[index : index + 1])
        torch.testing.assert_close(together[index, index], alone[0, 0], atol=2e-5, rtol=0)


def test_scores_ensemble_is_the_mean_of_the_shots(vgg: HDMNet) -> None:
    network = reconfigure(vgg, base_learner=False)
    tile = image(7)[None]
    each = [network.predict(tile, [bank_of(network, range(seed, seed + 1))]) for seed in (1, 2, 3)]
    both = network.predict(tile, [bank_of(network, range(1, 4))])
    torch.testing.assert_close(both, torch.stack(each).mean(0), atol=1e-5, rtol=0)


def test_pooled_ensemble_differs_and_off_refuses(vgg: HDMNet) -> None:
    tile = image(7)[None]
    pooled = reconfigure(vgg, ensemble="pooled")
    mean = vgg.predict(tile, [bank_of(vgg, range(1, 4))])
    assert not torch.allclose(pooled.predict(tile, [bank_of(pooled, range(1, 4))]), mean, atol=1e-6)
    with pytest.raises(SupportError, match="take 1 supports, 3 were given"):
        bank_of(reconfigure(vgg, ensemble="off"), range(1, 4))


def test_shots_of_many_shot_weights() -> None:
    network = make_network(shot=3)
    assert network.predict(image(1)[None], [bank_of(network, range(3))]).shape == (1, 1, SIDE, SIDE)
    with pytest.raises(SupportError, match="take 3 supports, 2 were given"):
        bank_of(network, range(2))
    free = reconfigure(network, base_learner=False)
    assert free.predict(image(1)[None], [bank_of(free, range(2))]).shape == (1, 1, SIDE, SIDE)


def test_without_base_learner_the_meta_logits_decide(vgg: HDMNet) -> None:
    network = reconfigure(vgg, base_learner=False)
    query, support, mask = image(1)[None], image(2), label()
    out = network(query, support[None, None], mask[None, None])
    score = network.predict(query, [network.encode_support([support], [mask])])
    assert out.final_out is None
    torch.testing.assert_close(score[:, 0], out.meta_out.softmax(1)[:, 1], atol=1e-5, rtol=0)


def test_a_token_budget_bounds_the_bank_and_is_exact_when_ample(vgg: HDMNet) -> None:
    pooled = reconfigure(vgg, ensemble="pooled", support_tokens=10_000)
    tight = reconfigure(vgg, ensemble="pooled", support_tokens=24)
    tile, few = image(9)[None], bank_of(tight, range(1, 5))
    for name, array in few.arrays.items():
        if name.endswith((".tokens", ".keys", ".values")):
            assert len(array) <= 24, name
    assert few.hash == bank_of(tight, range(1, 5)).hash
    exact = reconfigure(vgg, ensemble="pooled")
    reference = exact.predict(tile, [bank_of(exact, range(1, 5))])
    torch.testing.assert_close(pooled.predict(tile, [bank_of(pooled, range(1, 5))]), reference, atol=1e-6, rtol=0)
    assert float((tight.predict(tile, [few]) - reference).abs().max()) < 0.05


def test_a_read_only_bank_from_another_process_gives_the_same(vgg: HDMNet) -> None:
    bank = bank_of(vgg, range(1, 2))
    copy = pickle.loads(pickle.dumps(bank))
    for array in copy.arrays.values():
        array.flags.writeable = False
    tile = image(3)[None]
    assert copy.hash == bank.hash
    assert torch.equal(vgg.predict(tile, [bank]), vgg.predict(tile, [copy]))


def test_a_bank_of_other_weights_is_refused(vgg: HDMNet) -> None:
    other = make_network()
    bank = bank_of(other, range(1, 2))
    vgg.predict(image(1)[None], [bank])  # equal weights
    with torch.no_grad():
        other.gram_merge.weight.add_(0.5)
    with pytest.raises(BankMismatchError, match="made by weights"):
        other.predict(image(1)[None], [bank])


def test_bad_supports_and_tiles_are_named(vgg: HDMNet) -> None:
    empty = torch.full((SIDE, SIDE), 255, dtype=torch.uint8)
    with pytest.raises(SupportError, match="no pixel is labelled 1"):
        vgg.encode_support([image(1)], [empty])
    with pytest.raises(SupportError, match="0 support images"):
        vgg.encode_support([], [])
    with pytest.raises(SupportError, match="do not fit"):
        vgg.encode_support([image(1)], [label(60, 60)])
    with pytest.raises(SupportError, match="too small"):
        vgg.encode_support([image(1, 20, 20)], [label(20, 20)])
    bank = bank_of(vgg, range(1, 2))
    with pytest.raises(ModelInputError, match="cannot be segmented"):
        vgg.predict(torch.zeros(1, 4, SIDE, SIDE), [bank])
    with pytest.raises(ModelInputError, match="cannot be segmented"):
        vgg.predict(torch.zeros(1, 3, 40, SIDE), [bank])
    with pytest.raises(ModelInputError, match="NaN or infinity"):
        vgg.predict(torch.full((1, 3, SIDE, SIDE), torch.inf), [bank])


def test_training_freezes_what_the_authors_freeze() -> None:
    network = make_network().train()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert network.training
    assert not any(norm.training for norm in norms)
    before = network.mix_transformer.cls[1].running_mean.clone()
    batch = EpisodeBatch(image(1)[None], label()[None], image(2)[None, None], label()[None, None])
    losses = network.losses(batch)
    losses.total.backward()
    assert set(losses.parts) == {"main", "meta", "distillation"}
    assert all(p.grad is None for name, p in network.named_parameters() if name.startswith("layer"))
    assert network.mix_transformer.cls[4].weight.grad is not None
    assert torch.equal(before, network.mix_transformer.cls[1].running_mean)


def test_a_support_without_foreground_beside_a_good_one(vgg: HDMNet) -> None:
    empty = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    bank = vgg.encode_support([image(1), image(2)], [label(), empty])
    assert np.isfinite(vgg.predict(image(3)[None], [bank]).numpy()).all()
