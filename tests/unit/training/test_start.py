"""What a training run starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hdm_pipeline.errors import ConfigError, WeightsError
from hdm_pipeline.model.checkpoints import save_weights, write_tensors
from hdm_pipeline.model.pyramid.backbone_import import FORMAT
from hdm_pipeline.model.pyramid.efficientnet_lite import EfficientNetLite, Variant
from hdm_pipeline.training.config import NetworkConfig
from hdm_pipeline.training.start import first_network
from tests.small_pyramid import small_pyramid


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "small.safetensors"
    save_weights(small_pyramid(3), path)
    return str(path)


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    return backbone_file(tmp_path, "lite0")


def backbone_file(folder: Path, variant: Variant) -> Path:
    path = folder / f"{variant}.safetensors"
    torch.manual_seed(1)
    state = EfficientNetLite(variant).state_dict()
    write_tensors(path, state, {"hdm_format": FORMAT, "variant": variant})
    return path


def test_weights_grow_by_a_pretrained_backbone(weights: str, backbone: Path) -> None:
    network = first_network(NetworkConfig(weights=weights, options={"pretrained": "lite0"}, backbone=backbone))
    old, new = first_network(NetworkConfig(weights=weights)).state_dict(), network.state_dict()
    assert all(torch.equal(tensor, new[name]) for name, tensor in old.items())
    expected = EfficientNetLite("lite0", 6)
    torch.manual_seed(1)
    expected.load_state_dict(
        {k: v for k, v in EfficientNetLite("lite0").state_dict().items() if k in expected.state_dict()}
    )
    assert torch.equal(new["context.backbone.stem.weight"], expected.stem.weight)


def test_another_pretrained_backbone_takes_the_place_of_the_first(weights: str, backbone: Path, tmp_path: Path) -> None:
    """All that was trained stays, but for what the new backbone's channels do not fit."""
    over_lite0 = first_network(NetworkConfig(weights=weights, options={"pretrained": "lite0"}, backbone=backbone))
    with torch.no_grad():
        for adapter in over_lite0.context.adapters:  # type: ignore[union-attr]
            adapter.weight.fill_(0.5)  # type: ignore[union-attr, operator]
    trained = tmp_path / "trained.safetensors"
    save_weights(over_lite0, trained)
    other = backbone_file(tmp_path, "lite2")
    network = first_network(NetworkConfig(weights=str(trained), options={"pretrained": "lite2"}, backbone=other))
    old, new = over_lite0.state_dict(), network.state_dict()
    assert network.config["pretrained"] == "lite2"
    assert all(torch.equal(tensor, new[name]) for name, tensor in old.items() if not name.startswith("context."))
    lite2 = EfficientNetLite("lite2").state_dict()
    assert new["context.backbone.stem.weight"].shape == lite2["stem.weight"].shape
    adapters = [tensor for name, tensor in new.items() if name.startswith("context.adapters.")]
    assert {bool((tensor == 0).all()) for tensor in adapters if tensor.shape not in _shapes(old)} == {True}
    with pytest.raises(WeightsError, match="no place"):
        first_network(NetworkConfig(weights=str(trained), options={"pretrained": "lite2"}))


def _shapes(state: dict[str, torch.Tensor]) -> set[torch.Size]:
    return {tensor.shape for name, tensor in state.items() if name.startswith("context.adapters.")}


def test_a_pretrained_backbone_is_frozen_unless_it_is_to_be_tuned(weights: str, backbone: Path) -> None:
    grown = NetworkConfig(weights=weights, options={"pretrained": "lite0"}, backbone=backbone)
    for tuned in (False, True):
        parameters = dict(first_network(grown.model_copy(update={"tune_backbone": tuned})).named_parameters())
        assert {p.requires_grad for name, p in parameters.items() if name.startswith("context.backbone.")} == {tuned}
        assert parameters["context.adapters.0.weight"].requires_grad


def test_what_does_not_fit_is_named(weights: str, backbone: Path) -> None:
    with pytest.raises(ConfigError, match="no pretrained backbone"):
        first_network(NetworkConfig(weights=weights, backbone=backbone))
    with pytest.raises(ConfigError, match="take `tune_backbone` out"):
        first_network(NetworkConfig(weights=weights, tune_backbone=True))
    with pytest.raises(WeightsError, match="no place"):
        first_network(NetworkConfig(weights=weights, options={"levels": 3}))
    with pytest.raises(ConfigError, match="do not fit"):
        first_network(NetworkConfig(options={"pretrained": "lite9"}))
    with pytest.raises(WeightsError, match="lite0"):
        first_network(NetworkConfig(weights=weights, options={"pretrained": "lite2"}, backbone=backbone))
