"""Small layers that the parts of the pyramid share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid.fused import added, rectified


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of each position: [B, C, H, W] to the same.

    It knows neither the batch nor the rest of the tile. Batch statistics would tie the weights to the domains they
    were trained on, group statistics would let the score of a pixel depend on how much of a class its tile shows.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize; free of copies where `x` is channels_last."""
        out: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(norm(x)))), both 3x3; the last convolution starts at zero, so the block starts as identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same; without gradient `x` may be overwritten."""
        return added(self.conv2, rectified(self.conv1, self.norm(x)), x)


class Bottleneck(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(conv1x1(norm(x)))))) at a quarter of the width: what makes wide levels affordable.

    As `ResidualBlock` it starts as identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.norm = ChannelNorm(channels)
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1)
        self.expand = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same; without gradient `x` may be overwritten."""
        return added(self.expand, rectified(self.conv, rectified(self.reduce, self.norm(x))), x)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resampling of [B, C, h, w] to [B, C, *size], pixel areas aligned."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
