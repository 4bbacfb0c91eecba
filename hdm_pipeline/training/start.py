"""The network that a training run starts from: new, from a weights file, or a weights file grown by new parts or put
over another pretrained backbone.
"""

from __future__ import annotations

from collections.abc import Callable

from hdm_pipeline.errors import ConfigError, WeightsError
from hdm_pipeline.model.checkpoints import load_network
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.pyramid.backbone_import import load_backbone
from hdm_pipeline.model.pyramid.efficientnet_lite import EfficientNetLite
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.plugin.registry import MODELS, load
from hdm_pipeline.training.config import NetworkConfig


def first_network(config: NetworkConfig) -> FewShotNetwork:
    """The network with its first weights, on the CPU; random numbers are torch's own.

    Raises:
        ConfigError: the architecture is unknown or does not take these options, or has no pretrained backbone.
        WeightsError: the weights or the backbone cannot be read, or do not fit.
    """
    if config.weights is None:
        network = _new(load(MODELS, config.architecture), config.options, config.architecture)
    else:
        network = load_network(config.weights)
        if config.options:
            network = _grown(network, config)
    if config.backbone is not None:
        load_backbone(_pretrained(network, "backbone"), config.backbone, network.config["pretrained"])
    if config.tune_backbone:
        _pretrained(network, "tune_backbone").requires_grad_(True)
    return network


def _pretrained(network: FewShotNetwork, asked: str) -> EfficientNetLite:
    """The pretrained backbone that a field of the training file is about."""
    if not isinstance(network, HDMNetPyramid) or network.context is None:
        raise ConfigError(
            "the network has no pretrained backbone",
            where=f"network.{asked}",
            remedy=f"add options: {{pretrained: lite0}} to it, or take `{asked}` out",
        )
    return network.context.backbone


def _new(cls: Callable[..., FewShotNetwork], options: dict[str, object], where: str) -> FewShotNetwork:
    try:
        return cls(**options)
    except (TypeError, KeyError) as error:
        remedy = "leave out those that the architecture does not know, or start from weights of this architecture"
        raise ConfigError(f"options do not fit the architecture: {error}", where=where, remedy=remedy) from error


def _grown(network: FewShotNetwork, config: NetworkConfig) -> FewShotNetwork:
    """A network of changed configuration that starts with all the weights there are.

    Over another pretrained backbone, what is shaped by that backbone starts anew: its adapters at zero, and the scales.
    """
    grown = _new(type(network), {**network.config, **config.options}, network.architecture)
    state = network.state_dict()
    own = grown.state_dict()
    lost = sorted(name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape)
    if config.backbone is not None and grown.config.get("pretrained") != network.config.get("pretrained"):
        anew = {name for name in lost if name.startswith("context.") and name in own}
        anew |= {name for name in state if name.startswith("context.backbone.")}
        state = {name: tensor for name, tensor in state.items() if name not in anew}
        lost = [name for name in lost if name not in anew]
    if lost:
        raise WeightsError(
            f"{len(lost)} tensors of the weights have no place under the changed options, among them {lost[0]}",
            where=str(config.weights),
            remedy="change only options that add parts, or leave `weights` out",
        )
    grown.load_state_dict(state, strict=False)
    return grown
