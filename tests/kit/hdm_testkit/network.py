"""A few-shot network of two numbers a channel: the mean color of target and background."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import ray
import torch
from torch import Tensor, nn

from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.network import EpisodeBatch, FewShotNetwork, Losses


class MeanColor(FewShotNetwork):
    """Scores a pixel by its distance to the mean target and background colors; costs almost nothing.

    Args:
        poison: a value of the first channel (0..1, within 1e-3); a tile that holds it kills the process, as a bug in a
            native library would. None for no poison.
        hungry: side in pixels of a tile for which it says that no machine has enough memory. None for none.
        slow: seconds that an actor of a cluster takes to build it.
    """

    architecture: ClassVar[str] = "mean-color"
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, poison: float | None = None, hungry: int | None = None, slow: float = 0.0) -> None:
        super().__init__()
        if slow and ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None:
            time.sleep(slow)
        self.slow = slow
        self.poison = poison
        self.hungry = hungry
        self.sharpness = nn.Parameter(torch.tensor(8.0))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"poison": self.poison, "hungry": self.hungry, "slow": self.slow}

    def peak_bytes(self, height: int, width: int) -> int:
        """See `FewShotNetwork.peak_bytes`."""
        return 2**60 if self.hungry == height else super().peak_bytes(height, width)

    def encode_support(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], *, class_name: str = "target"
    ) -> SupportBank:
        """Mean colors over all supports."""
        pixels = torch.cat([image.reshape(3, -1) for image in images], dim=1)
        labels = torch.cat([mask.reshape(-1) for mask in masks])
        arrays = {
            name: pixels[:, labels == value].mean(dim=1).cpu().numpy()
            for name, value in (("foreground", 1), ("background", 0))
        }
        return SupportBank(self.architecture, self.fingerprint(), class_name, len(images), arrays)

    def score(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """Sigmoid of the difference of the squared distances."""
        if self.poison is not None and bool(((tiles[:, 0] - self.poison).abs() < 1e-3).any()):
            os._exit(66)
        maps = []
        for bank in banks:
            near, far = (
                torch.from_numpy(bank.arrays[name].copy()).view(1, 3, 1, 1) for name in ("foreground", "background")
            )
            difference = ((tiles - far) ** 2).sum(1) - ((tiles - near) ** 2).sum(1)
            maps.append(torch.sigmoid(self.sharpness * difference))
        return torch.stack(maps, dim=1)

    def losses(self, batch: EpisodeBatch) -> Losses:
        """Nothing to learn."""
        return Losses(self.sharpness * 0.0)
