"""Self-attention over the positions of one feature map, as HDMNet's description has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_REDUCTION = 4


class SelfAttention(nn.Module):
    """Residual self-attention: x + gamma * attention(x), with a learned gamma that starts at 0.

    Query and key are 1x1 convolutions to a quarter of the channels, the value keeps all of them, the softmax over
    positions is scaled by the square root of the width of a head.

    Args:
        channels: channels of the map, a multiple of 4 * `heads`.
        heads: number of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Conv2d(channels, channels // _REDUCTION, 1)
        self.key = nn.Conv2d(channels, channels // _REDUCTION, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        batch, channels, height, width = x.shape
        query, key, value = (self._tokens(layer(x)) for layer in (self.query, self.key, self.value))
        # Filled up with zeros to the width of the values: only for equal widths is there a kernel that keeps no matrix.
        missing = value.shape[-1] - query.shape[-1]
        scale = query.shape[-1] ** -0.5
        query, key = F.pad(query, (0, missing)), F.pad(key, (0, missing))
        mixed = F.scaled_dot_product_attention(query, key, value, scale=scale)
        mixed = mixed.transpose(1, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return x + self.gamma.to(x.dtype) * mixed

    def _tokens(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, heads, H*W, C / heads]."""
        batch, channels, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(batch, height * width, self.heads, channels // self.heads)
        return tokens.transpose(1, 2)
