"""The mix transformer of the published HDMNet: one pyramid for query and support, matched coarse to fine.

docs/hdmnet.md, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.hdmnet.attention import CHANNELS, DownSampleLayer, Grid, to_map, token_mask
from hdm_pipeline.model.hdmnet.matching import MatchBlock, SupportTokens

PRIOR_CHANNELS = 2
LEVELS = 3
_HIDDEN = 256


class ConvBnRelu(nn.Module):
    """3x3 convolution that merges the matched map with the prior; `bn` is frozen, as all norms here."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, out, h, w]."""
        return F.relu(self.bn(self.conv(x)))


def _parse_layer() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(CHANNELS, _HIDDEN, 1),
        nn.BatchNorm2d(_HIDDEN),
        nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1),
        nn.BatchNorm2d(_HIDDEN),
        nn.Conv2d(_HIDDEN, CHANNELS, 1),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
    )


class MixTransformer(nn.Module):
    """Pyramid of three levels (grid, half, quarter), matching at each, residual decoding from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.down_sample_layers = nn.ModuleList(
            [
                DownSampleLayer(heads=2, ratio=4, kernel=1, stride=1),
                DownSampleLayer(heads=4, ratio=2, kernel=3, stride=2),
                DownSampleLayer(heads=8, ratio=1, kernel=3, stride=2),
            ]
        )
        self.match_layers = nn.ModuleList(
            nn.ModuleList([MatchBlock(), ConvBnRelu(CHANNELS + PRIOR_CHANNELS, CHANNELS)]) for _ in range(LEVELS)
        )
        self.parse_layers = nn.ModuleList(_parse_layer() for _ in range(LEVELS))
        self.cls = nn.Sequential(
            nn.Conv2d(CHANNELS, _HIDDEN, 1),
            nn.BatchNorm2d(_HIDDEN),
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1),
            nn.BatchNorm2d(_HIDDEN),
            nn.Conv2d(_HIDDEN, 2, 1),
        )

    def pyramid(self, x: Tensor) -> list[tuple[Tensor, Grid]]:
        """Tokens [B, h * w, 64] and their grid for each level, finest first; x is [B, 64, h, w]."""
        levels = []
        for layer in self.down_sample_layers:
            tokens, grid = layer(x)
            levels.append((tokens, grid))
            x = to_map(tokens, grid)
        return levels

    def encode_support(self, x: Tensor, mask: Tensor) -> list[SupportTokens]:
        """The support side of every level for one shot.

        Args:
            x: [1, 64, h, w] merged support features.
            mask: [H, W] float32, 1 foreground, 0 otherwise, at full size.

        Returns:
            One entry a level, finest first.
        """
        return [
            self.match_block(index).support(tokens[0], token_mask(mask, grid))
            for index, (tokens, grid) in enumerate(self.pyramid(x))
        ]

    def forward(self, x: Tensor, support: Sequence[SupportTokens], similarity: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Match and decode a batch of queries against one class.

        Args:
            x: [B, 64, h, w] merged query features.
            support: the class's support tokens, finest level first.
            similarity: [B, 2, h, w] prior.

        Returns:
            meta logits [B, 2, h, w] (background, foreground), and the correlation maps [B, h', w'], coarsest first.
        """
        decoded: Tensor | None = None
        weights = []
        for index, (tokens, grid) in reversed(list(enumerate(self.pyramid(x)))):
            matched, weight = self.match_block(index).match(tokens, grid, support[index])
            weights.append(weight.view(-1, *grid))
            prior = F.interpolate(similarity, grid, mode="bilinear", align_corners=True)
            merged = self.match_layers[index][1](torch.cat([to_map(matched, grid), prior], 1))  # type: ignore[index]
            decoded = self._decode(index, merged, decoded)
        return self.cls(decoded), weights

    def match_block(self, index: int) -> MatchBlock:
        """The matching block of a level, 0 the finest."""
        block: MatchBlock = self.match_layers[index][0]  # type: ignore[index]
        return block

    def parse_sequences(self) -> list[nn.Sequential]:
        """The decoding layers, finest level first."""
        return [layer for layer in self.parse_layers if isinstance(layer, nn.Sequential)]

    def _decode(self, index: int, merged: Tensor, coarser: Tensor | None) -> Tensor:
        parse = self.parse_layers[index]
        if coarser is None:
            out: Tensor = parse(merged)
            return out
        coarser = F.interpolate(coarser, merged.shape[-2:], mode="bilinear", align_corners=False)
        refined: Tensor = coarser + parse(merged + coarser)
        return refined
