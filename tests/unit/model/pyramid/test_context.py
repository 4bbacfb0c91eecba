"""The pyramid over a pretrained backbone: what is added starts without effect, is frozen, and finds the target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checkpoints import load_network, save_weights
from hdm_pipeline.model.pyramid.context import STAGES, STRIDE, PretrainedContext
from hdm_pipeline.model.pyramid.efficientnet_lite import EfficientNetLite
from hdm_pipeline.model.pyramid.episodes import Episodes
from hdm_pipeline.support.adaptation import AdaptationSettings, adapt_network
from hdm_pipeline.support.crops import CropSettings
from tests.unit.model.pyramid.test_network import episodes, example, small_network


@pytest.fixture(scope="module")
def network():
    return small_network(pretrained="lite0")


def without_rules(bank: SupportBank) -> SupportBank:
    """The bank with a mix that leaves the rules out."""
    return replace(bank, arrays={**bank.arrays, "rules.mix": np.array([1, 0, 0, 0], np.float32)})


def test_context_has_one_map_for_each_level_and_regression_features() -> None:
    context = PretrainedContext("lite0", (8, 16, 16))
    added, regress = context(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape) for x in added] == [(1, 8, 16, 24), (1, 16, 8, 12), (1, 16, 4, 6)]
    assert all(not x.any() for x in added)  # adapters start at zero
    assert regress.shape[-2:] == (64 // STRIDE, 96 // STRIDE)
    assert regress.shape[1] == sum(EfficientNetLite("lite0").widths[stage] for stage in STAGES[1:]) + 1
    assert bool((regress[:, -1] == 1).all())


def test_the_backbone_sees_the_image_and_not_the_normalised_one(network) -> None:
    image = torch.rand(1, 3, 64, 64)
    direct = network.context(image)[1]
    through = network.features(network.normalize(image))[-1].regress
    torch.testing.assert_close(through, direct, atol=1e-3, rtol=1e-3)


def test_new_parts_start_without_effect_on_the_network_they_are_added_to() -> None:
    plain, grown = small_network(), small_network(pretrained="lite0")
    for layer in (*grown.context.adapters, *(reader.enter for reader in grown.decoder.context)):
        torch.nn.init.zeros_(layer.weight)
    for layer in grown.context.adapters:
        torch.nn.init.zeros_(layer.bias)
    for reader in grown.decoder.context:
        torch.nn.init.zeros_(reader.shortcut.weight)
    assert not grown.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    support = [[part] for part in example()]
    tile = torch.randn(1, 3, 64, 64)
    expected = plain.predict(tile, [plain.encode_support(*support)])
    torch.testing.assert_close(grown.predict(tile, [without_rules(grown.encode_support(*support))]), expected)
    for reader in grown.decoder.context:
        torch.nn.init.constant_(reader.shortcut.weight, 1.0)
    changed = grown.predict(tile, [without_rules(grown.encode_support(*support))])
    assert float((changed - expected).abs().max()) > 0.01


@pytest.mark.parametrize("options", [{}, {"levels": 2}, {"detail": "auto"}])
def test_any_tile_and_every_option(options: dict[str, object]) -> None:
    network = small_network(pretrained="lite0", **options)
    bank = network.encode_support(*[[part] for part in example()])
    scores = network.predict(torch.randn(2, 3, 33, 70), [bank])
    assert scores.shape == (2, 1, 33, 70)
    assert float(scores.std()) > 0


def test_training_and_use_solve_the_same_regression(network) -> None:
    batch = episodes(3, count=1)
    bank = network.encode_support(list(batch.support[0]), list(batch.support_mask[0]))
    slots = Episodes.of(batch, queries=1)
    level = network.levels
    solved = network._solve_level(slots, level, network.features(slots.images)[level]).solution
    found = torch.from_numpy(bank.arrays[f"level{level}.coefficients"])
    torch.testing.assert_close(solved.coefficients[0], found, atol=2e-4, rtol=1e-3)


def test_everything_but_the_backbone_gets_a_gradient() -> None:
    network = small_network(pretrained="lite0").train()
    network.losses(episodes(2)).total.backward()
    context = dict(network.named_parameters())
    for name, parameter in context.items():
        if name.startswith("context.backbone."):
            assert parameter.grad is None, name
        elif "context" in name:
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().sum()) > 0, name


def test_adaptation_leaves_the_backbone_alone_and_changes_the_rest(network) -> None:
    images, masks = zip(*(example(seed=seed) for seed in range(2)), strict=True)
    settings = AdaptationSettings(steps=2, batch=1, crops=CropSettings(size=32))
    adapted = adapt_network(network, images, masks, settings=settings).network
    before, after = network.state_dict(), adapted.state_dict()
    frozen = [name for name in before if name.startswith("context.backbone.")]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["context.adapters.0.weight"], after["context.adapters.0.weight"])


def test_it_comes_back_from_a_file(network, tmp_path) -> None:
    fingerprint = save_weights(network, tmp_path / "network.safetensors")
    again = load_network(tmp_path / "network.safetensors")
    assert again.fingerprint() == fingerprint
    assert again.config["pretrained"] == "lite0"


def test_networks_without_it_keep_their_fingerprint() -> None:
    network = load_network("builtin:pyramid-small")
    assert "pretrained" not in network.config
    assert network.fingerprint() == "9e2321acbaee7b52f02930605f824798055dee7a3c29dcf915426c4a42edd2a1"
