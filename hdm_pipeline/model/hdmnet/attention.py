"""Attention of the published HDMNet: the encoder block of its mix transformer (docs/hdmnet.md, section 4).

Tokens are [B, N, 64] in row-major order of their grid (h, w). Parameter names are those of the authors' checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 64
NORM_EPS = 1e-6
_DROPOUT = 0.1
_MLP_RATIO = 4

Grid = tuple[int, int]


def to_tokens(x: Tensor) -> Tensor:
    """[B, C, h, w] to [B, h * w, C]."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """[B, h * w, C] to [B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """[..., N, C] to [..., heads, N, C / heads]."""
    return tokens.reshape(*tokens.shape[:-1], heads, tokens.shape[-1] // heads).transpose(-3, -2)


def merge_heads(tokens: Tensor) -> Tensor:
    """[..., heads, N, d] to [..., N, heads * d]."""
    return tokens.transpose(-3, -2).flatten(-2)


class Projections(nn.Module):
    """The four bias-free projections of an attention layer, and its plain self-attention."""

    def __init__(self, heads: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(channels, channels, bias=False)
        self.linear_k = nn.Linear(channels, channels, bias=False)
        self.linear_v = nn.Linear(channels, channels, bias=False)
        self.linear_o = nn.Linear(channels, channels, bias=False)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        """Softmax attention over the source's positions.

        Args:
            tokens: [B, N, C], asking.
            source: [B, M, C], answering.

        Returns:
            [B, N, C], without the residual.
        """
        q = split_heads(self.linear_q(tokens), self.heads)
        k = split_heads(self.linear_k(source), self.heads)
        v = split_heads(self.linear_v(source), self.heads)
        scale = 1 / (q.shape[-1] ** 0.5 + 1e-9)
        return self.project(nn.functional.scaled_dot_product_attention(q, k, v, scale=scale))

    def project(self, attended: Tensor) -> Tensor:
        """Merge heads [B, heads, N, d] and apply the output projection and dropout: [B, N, C]."""
        out: Tensor = self.dropout(self.linear_o(merge_heads(attended)))
        return out


class SpatialReductionAttention(nn.Module):
    """Self-attention whose keys and values come from a grid reduced by a strided convolution."""

    def __init__(self, heads: int, ratio: int) -> None:
        super().__init__()
        self.attn = Projections(heads)
        self.sr: nn.Module | None = None
        if ratio > 1:
            self.sr = nn.Conv2d(CHANNELS, CHANNELS, ratio, stride=ratio)
            self.norm = nn.LayerNorm(CHANNELS, eps=NORM_EPS)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """[B, h * w, C] normalized tokens to [B, h * w, C], without the residual."""
        source = tokens if self.sr is None else self.norm(to_tokens(self.sr(to_map(tokens, grid))))
        out: Tensor = self.attn(tokens, source)
        return out


class MixFFN(nn.Module):
    """1x1, depthwise 3x3, GELU, 1x1: a feed-forward that sees its neighbors, and so needs no position encoding."""

    def __init__(self) -> None:
        super().__init__()
        hidden = CHANNELS * _MLP_RATIO
        self.layers = nn.Sequential(
            nn.Conv2d(CHANNELS, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Dropout(_DROPOUT),
            nn.Conv2d(hidden, CHANNELS, 1),
            nn.Dropout(_DROPOUT),
        )

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """[B, h * w, C] to [B, h * w, C], without the residual."""
        return to_tokens(self.layers(to_map(tokens, grid)))


class EncoderBlock(nn.Module):
    """Pre-norm attention and feed-forward, both residual."""

    def __init__(self, heads: int, ratio: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(CHANNELS, eps=NORM_EPS)
        self.attn = SpatialReductionAttention(heads, ratio)
        self.norm2 = nn.LayerNorm(CHANNELS, eps=NORM_EPS)
        self.ffn = MixFFN()

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """[B, h * w, C] to [B, h * w, C]."""
        return self.feed_forward(tokens + self.attn(self.norm1(tokens), grid), grid)

    def feed_forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """The second half of the block, residual included."""
        out: Tensor = tokens + self.ffn(self.norm2(tokens), grid)
        return out


class PatchEmbed(nn.Module):
    """Convolution to a (smaller) grid, and layer norm of its tokens."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(CHANNELS, CHANNELS, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(CHANNELS, eps=NORM_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """[B, C, h, w] to tokens [B, h' * w', C] and their grid (h', w')."""
        x = self.projection(x)
        grid = (x.shape[-2], x.shape[-1])
        return self.norm(to_tokens(x)), grid


class DownSampleLayer(nn.ModuleList):
    """One level of the pyramid: patch embedding, two encoder blocks, layer norm."""

    def __init__(self, heads: int, ratio: int, kernel: int, stride: int) -> None:
        super().__init__(
            [
                PatchEmbed(kernel, stride),
                EncoderBlock(heads, ratio),
                EncoderBlock(heads, ratio),
                nn.LayerNorm(CHANNELS, eps=NORM_EPS),
            ]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """[B, C, h, w] to normalized tokens [B, h' * w', C] and their grid."""
        embed, first, second, norm = self
        tokens, grid = embed(x)
        return norm(second(first(tokens, grid), grid)), grid


def token_mask(mask: Tensor, grid: Grid) -> Tensor:
    """Foreground of each token: the full-size mask resized nearest, directly to this grid.

    Args:
        mask: [H, W] float32, 1 foreground, 0 otherwise.
        grid: (h, w) of the tokens.

    Returns:
        [h * w] bool.
    """
    resized = torch.nn.functional.interpolate(mask[None, None], grid, mode="nearest")
    return resized.flatten() > 0.5
