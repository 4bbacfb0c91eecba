"""Networks and golden vectors that the model's tests share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdm_pipeline.model.hdmnet.network import HDMNet


def make_network(**settings: object) -> HDMNet:
    """A small published network with fixed random weights whose answers are not all alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = HDMNet("vgg16", base_classes=4, **settings)  # type: ignore[arg-type]
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and "merge.weight" not in name:
                torch.nn.init.kaiming_normal_(parameter)  # the default's signal dies out on its way through VGG
        network.mix_transformer.cls[4].weight.data *= 0.1
    return network.eval()


@pytest.fixture(scope="session")
def vgg() -> HDMNet:
    """One-shot weights; treated as read-only."""
    return make_network()


def blob(height: int, width: int) -> np.ndarray:
    """[H, W] uint8 mask: an ellipse of the target, a strip of ignored pixels."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / height
    mask = (((y - 0.5) ** 2 + (x - 0.5) ** 2) < 0.09).astype(np.uint8)
    mask[:2] = 255
    return mask


def picture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """[C, H, W] float32 in [0, 1]: coarse random fields with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((channels, 5, 5), np.float32)
    rows, columns = np.arange(height) * 5 // height, np.arange(width) * 5 // width
    return 0.8 * coarse[:, rows[:, None], columns[None]] + 0.2 * rng.random((channels, height, width), np.float32)
