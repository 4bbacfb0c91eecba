"""A plain U-Net with weights that nobody trained: something that costs what a network costs, for benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.network import EpisodeBatch, FewShotNetwork, Losses


def _pair(incoming: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (incoming, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


class PlainUNet(FewShotNetwork):
    """Four levels of two convolutions each way, and one map; the examples only say which of its values are the class.

    Args:
        width: channels of the first level; each further one has twice as many.
        seed: of the weights.
    """

    architecture: ClassVar[str] = "plain-unet"
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __init__(self, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.width, self.seed = width, seed
        widths = [width << level for level in range(4)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down = nn.ModuleList(_pair(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True))
            self.up = nn.ModuleList(_pair(3 * b, b) for b in widths[:-1])
            self.last = nn.Conv2d(width, 1, 1)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"width": self.width, "seed": self.seed}

    def peak_bytes(self, height: int, width: int) -> int:
        """See `FewShotNetwork.peak_bytes`: eight maps of the first level at once."""
        return 8 * 4 * self.width * height * width

    def logits(self, tiles: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, 1, H, W]."""
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            tiles = block(F.max_pool2d(tiles, 2) if level else tiles)
            kept.append(tiles)
        for level in (2, 1, 0):
            larger = F.interpolate(tiles, kept[level].shape[2:], mode="nearest")
            tiles = self.up[level](torch.cat((kept[level], larger), dim=1))
        found: Tensor = self.last(tiles)
        return found

    def encode_support(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], *, class_name: str = "target"
    ) -> SupportBank:
        """The mean value of target and of background over all examples."""
        values = torch.cat([self.logits(image[None])[0, 0].reshape(-1) for image in images])
        labels = torch.cat([mask.reshape(-1) for mask in masks])
        means = np.array([float(values[labels == label].mean()) for label in (0, 1)], dtype=np.float32)
        return SupportBank(self.architecture, self.fingerprint(), class_name, len(images), {"means": means})

    def score(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """Sigmoid of where a value lies between the two means."""
        logits = self.logits(tiles)[:, 0]
        maps = []
        for bank in banks:
            low, high = (float(value) for value in bank.arrays["means"])
            maps.append(torch.sigmoid((logits - (low + high) / 2) * (4 / (high - low))))
        return torch.stack(maps, dim=1)

    def losses(self, batch: EpisodeBatch) -> Losses:
        """Nothing to learn."""
        return Losses(self.last.weight.sum() * 0.0)
