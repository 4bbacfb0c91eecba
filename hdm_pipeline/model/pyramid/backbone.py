"""Features of an image at strides 2, 4, 8, 16, each with the context of the coarser ones.

The backbone knows nothing of supports, masks or matching: image in, feature maps out. It is the same for supports and
queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid.attention import SelfAttention
from hdm_pipeline.model.pyramid.fused import added, rectified
from hdm_pipeline.model.pyramid.layers import Bottleneck, ChannelNorm, ResidualBlock, resize

Block = Literal["basic", "bottleneck"]

STRIDES = (2, 4, 8, 16, 32)
"""Strides of the levels of every backbone, finest first; a backbone returns all of them."""

STATISTICS = 6
"""Channels of `cell_statistics`: mean and standard deviation of three bands."""


class PyramidBackbone(nn.Module):
    """A convolutional encoder with a top-down path.

    Each level also sees the mean and the standard deviation of the raw pixels of its cell: the multi-scale statistics
    that make pixel classifiers strong on textures and speckle, at the price of a few additions.

    Args:
        widths: channels at strides 2, 4, 8, 16, 32. The ResNet-50 widths at strides 4 to 32 are 256, 512, 1024, 2048.
        depths: residual blocks at each of these strides.
        heads: heads of the self-attention at strides 16 and 32.
        block: residual blocks of two 3x3 convolutions ("basic"), or of ResNet-50's form ("bottleneck").
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int], heads: int, block: Block = "basic") -> None:
        super().__init__()
        residual = {"basic": ResidualBlock, "bottleneck": Bottleneck}[block]
        self.widths = tuple(widths)
        sources = (3, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 3, stride=2, padding=1) for c_in, c_out in zip(sources, widths, strict=True)
        )
        self.statistics = nn.ModuleList(nn.Conv2d(STATISTICS, width, 1, bias=False) for width in widths)
        self.stages = nn.ModuleList(
            nn.Sequential(*(residual(width) for _ in range(depth))) for width, depth in zip(widths, depths, strict=True)
        )
        self.attention = nn.ModuleList(SelfAttention(width, heads) for width in widths[-2:])
        self.top_down = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.merge = nn.ModuleList(ResidualMerge(width) for width in widths[:-1])

    def forward(self, images: Tensor, cells: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Maps [B, widths[i], H / STRIDES[i], W / STRIDES[i]] of images.

        Args:
            images: [B, 3, H, W], H and W multiples of 32.
            cells: `cell_statistics` of the images for all levels, if known already.
        """
        maps = self._bottom_up(images, cell_statistics(images, len(self.down)) if cells is None else cells)
        for level in range(len(maps) - 2, -1, -1):
            context = resize(self.top_down[level](maps[level + 1]), (maps[level].shape[-2], maps[level].shape[-1]))
            maps[level] = self.merge[level](maps[level] + context)
        return maps

    def _bottom_up(self, images: Tensor, cells: Sequence[Tensor]) -> list[Tensor]:
        maps: list[Tensor] = []
        x = images
        layers = zip(self.down, self.statistics, self.stages, cells, strict=True)
        for level, (down, statistics, stage, cell) in enumerate(layers):
            x = stage(added(down, x, statistics(cell)))
            coarse = level - (len(self.down) - len(self.attention))
            if coarse >= 0:
                x = self.attention[coarse](x)
            maps.append(x)
        return maps


class ResidualMerge(nn.Module):
    """x + relu(conv3x3(norm(x))): smooths what the top-down path added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return x + rectified(self.conv, self.norm(x))


def cell_statistics(images: Tensor, levels: int) -> list[Tensor]:
    """Mean and deviation of the pixels of each cell of 2, 4, 8, ... pixels.

    Args:
        images: [B, 3, H, W], H and W multiples of 2 ** `levels`.
        levels: number of levels.

    Returns:
        Maps [B, 6, H / 2 ** i, W / 2 ** i], i from 1 to `levels`.
    """
    mean, square = images, images * images
    found = []
    for _ in range(levels):
        mean, square = F.avg_pool2d(mean, 2), F.avg_pool2d(square, 2)
        deviation = (square - mean * mean).clamp_min(1e-4).sqrt()
        found.append(torch.cat((mean, deviation), dim=1))
    return found
