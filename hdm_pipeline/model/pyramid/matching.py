"""Matching by cosine similarity between all query positions and a bounded set of support tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid.fused import products

CHANNELS = 4
"""Correlation maps that `CosineMatching` returns."""

_LARGEST_SCALE = 50.0


@dataclass(frozen=True)
class Tokens:
    """Support tokens of both classes, L2-normalized.

    Attributes:
        foreground: [B, N, D].
        background: [B, M, D]; M may be 0 where background evidence is switched off.
    """

    foreground: Tensor
    background: Tensor


class CosineMatching(nn.Module):
    """Four correlation maps for each level, each an answer to another question.

    1. label propagation: softmax over the similarity to all tokens of both classes, summed over the foreground ones;
    2. the largest similarity to a foreground token;
    3. the largest similarity to a background token (what tells look-alikes apart);
    4. the similarity to the mean of the foreground tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, query: Tensor, tokens: Tokens) -> Tensor:
        """Correlation maps [B, 4, H, W] of query features [B, D, H, W]; propagation in [0, 1], others in [-1, 1]."""
        batch, width, height, wide = query.shape
        flat = F.normalize(query.permute(0, 2, 3, 1).reshape(batch, height * wide, width), dim=-1)
        mean = torch.einsum("bnd,bd->bn", flat, F.normalize(tokens.foreground.mean(1), dim=-1))
        scale = self.log_scale.clamp(max=math.log(_LARGEST_SCALE)).exp()
        best_fg, sum_fg = _similarity(flat, tokens.foreground, scale)
        if tokens.background.shape[1]:
            best_bg, sum_bg = _similarity(flat, tokens.background, scale)
            odds = sum_fg.log() - sum_bg.log() + math.log(tokens.background.shape[1] / tokens.foreground.shape[1])
            propagated = torch.sigmoid(odds)
        else:
            best_bg = torch.zeros_like(best_fg)
            propagated = torch.sigmoid(scale * best_fg)
        maps = torch.stack((propagated, best_fg, best_bg, mean), dim=-1)
        return maps.reshape(batch, height, wide, CHANNELS).permute(0, 3, 1, 2)


def _similarity(query: Tensor, tokens: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The largest cosine [B, P] of each position [B, P, D] to tokens [B, N, D], and the sum of exp(scale * cosine).

    The scale is at most `_LARGEST_SCALE` and a cosine at most 1: no exponential leaves the range of float32, so none
    needs to be taken relative to the largest.
    """
    scaled = products(query, scale * tokens)
    return scaled.amax(-1) / scale, scaled.exp().sum(-1)
