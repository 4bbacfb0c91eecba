"""Matching of a query against the supports of one class (docs/hdmnet.md, sections 3, 4 and 9).

Everything here is split where the support side ends: what depends only on the supports is computed once and kept;
a query then costs only its own work. Two facts make that exact: the matching softmax runs over the *query*
positions, separately for each support token, so background support tokens drop out; and the correlation map is linear
in the support keys, so their mean is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.hdmnet.attention import EncoderBlock, Grid, Projections, merge_heads, split_heads

TEMPERATURE = 0.1
MATCH_HEADS = 2
PROTOTYPE_EPS = 0.0005
_MASK_EPS = 1e-9
_LENGTH_EPS = 1e-12
_MATCH_ELEMENTS = 1 << 19  # 2 MB: stays in a core's cache
_PRIOR_ELEMENTS = 1 << 23


@dataclass(frozen=True)
class SupportTokens:
    """Foreground support tokens of one pyramid level, shots concatenated.

    Attributes:
        keys: [N, C], L2-normalized within each head.
        values: [N, C].
        weights: [N], how many tokens each one stands for; 1 unless tokens were condensed.
        counts: tokens of each shot, in order; their sum is N.
    """

    keys: Tensor
    values: Tensor
    weights: Tensor
    counts: tuple[int, ...]


@dataclass(frozen=True)
class PriorTokens:
    """Foreground support features of one backbone level, shots concatenated.

    Attributes:
        tokens: [N, C], L2-normalized; a zero feature stays zero.
        counts: tokens of each shot, in order.
        clamped: for each shot, whether at least one position is background (its cosine of 0 takes part in the max).
    """

    tokens: Tensor
    counts: tuple[int, ...]
    clamped: tuple[bool, ...]


class CrossMatch(Projections):
    """Cross-attention from query positions to support tokens, normalized over the query positions."""

    def support(self, tokens: Tensor, foreground: Tensor) -> SupportTokens:
        """Keys and values of the foreground tokens of one shot.

        Args:
            tokens: [N, C], normalized as the block's first norm does.
            foreground: [N] bool.
        """
        kept = tokens[foreground]
        keys = merge_heads(F.normalize(split_heads(self.linear_k(kept), self.heads), dim=-1, eps=_LENGTH_EPS))
        return SupportTokens(keys, self.linear_v(kept), kept.new_ones(len(kept)), (len(kept),))

    def match(self, tokens: Tensor, support: SupportTokens) -> tuple[Tensor, Tensor]:
        """Attention of the query to the support, and the correlation of each query position with it.

        The work is cut along the support tokens, which do not see each other, so memory is bounded for any number.

        Args:
            tokens: [B, N, C] query tokens, normalized as the block's first norm does.
            support: foreground support tokens.

        Returns:
            attended [B, N, C] without the residual, and weight [B, N]: cosine / 0.1, mean over support tokens and
            heads, zero without foreground.
        """
        q = F.normalize(split_heads(self.linear_q(tokens), self.heads), dim=-1, eps=_LENGTH_EPS)
        keys, values = split_heads(support.keys, self.heads), split_heads(support.values, self.heads)
        multiplicity = support.weights[:, None]
        total = multiplicity.sum()
        mean_key = (keys * multiplicity).sum(-2) / (total + _MASK_EPS)
        weight = torch.einsum("bhnd,hd->bn", q, mean_key) / (TEMPERATURE * self.heads)
        step = max(1, _MATCH_ELEMENTS // (q.shape[0] * self.heads * q.shape[2]))
        keys, values = keys / TEMPERATURE, (values * multiplicity).transpose(-2, -1)
        positions = q.transpose(-2, -1).contiguous()
        attended = torch.zeros_like(positions)
        for start in range(0, keys.shape[-2], step):
            part = slice(start, start + step)
            # A softmax without its maximum: scores are cosines / 0.1, so exp stays below e^10.
            powers = (keys[:, part] @ positions).exp_()
            attended = attended + (values[..., part] / powers.sum(-1)[..., None, :]) @ powers
        return self.project(attended.transpose(-2, -1)), weight


class MatchAttention(nn.Module):
    """Holds `CrossMatch` under the name that the checkpoints use."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = CrossMatch(MATCH_HEADS)


class MatchBlock(EncoderBlock):
    """An encoder block whose attention goes from the query to the support."""

    def __init__(self) -> None:
        super().__init__(MATCH_HEADS)
        self.attn: MatchAttention = MatchAttention()  # type: ignore[assignment]

    def support(self, tokens: Tensor, foreground: Tensor) -> SupportTokens:
        """The support side of this level, for one shot: tokens [N, C], foreground [N] bool."""
        return self.attn.attn.support(self.norm1(tokens), foreground)

    def match(self, tokens: Tensor, grid: Grid, support: SupportTokens) -> tuple[Tensor, Tensor]:
        """Query tokens [B, N, C] after matching, and their correlation with the support [B, N]."""
        attended, weight = self.attn.attn.match(self.norm1(tokens), support)
        return self.feed_forward(tokens + attended, grid), weight


def masked_average(features: Tensor, mask: Tensor) -> Tensor:
    """Prototype: sum(features * mask) / (sum(mask) + 0.0005).

    Args:
        features: [B, C, h, w].
        mask: [B, 1, h, w] float32 in [0, 1], resized bilinearly.

    Returns:
        [B, C, 1, 1].
    """
    area = mask.sum((2, 3), keepdim=True) + PROTOTYPE_EPS
    return (features * mask).sum((2, 3), keepdim=True) / area


def prior_tokens(features: Tensor, foreground: Tensor) -> PriorTokens:
    """Support side of the similarity prior, for one shot.

    Args:
        features: [C, h, w].
        foreground: [h * w] bool, the full-size mask resized nearest.
    """
    kept = features.flatten(1).transpose(0, 1)[foreground]
    return PriorTokens(F.normalize(kept, dim=-1, eps=_LENGTH_EPS), (len(kept),), (len(kept) < foreground.numel(),))


def similarity_prior(
    queries: Tensor, norms: Tensor, support: PriorTokens, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Largest cosine of each query position with any support position, mean over shots.

    A background support position has cosine 0, hence the clamp at 0 as soon as there is one.

    Args:
        queries: [B, C, N] query features.
        norms: [B, N] their lengths.
        support: foreground support features.
        dtype: of the products; bfloat16 changes fewer than 2 pixels of a mask in 10,000.

    Returns:
        [B, N] in [-1, 1].
    """
    # Features may come channels last, and every product would lay them out anew.
    queries, features = queries.to(dtype).contiguous(), support.tokens.to(dtype)
    total = torch.zeros_like(norms)
    step = max(1, _PRIOR_ELEMENTS // norms.numel())
    for tokens, clamped in zip(torch.split(features, list(support.counts)), support.clamped, strict=True):
        if len(tokens) == 0:
            continue
        best = torch.stack([(part @ queries).amax(1) for part in torch.split(tokens, step)]).amax(0).to(norms.dtype)
        total = total + (best.clamp(min=0) if clamped else best)
    return total / (norms.clamp(min=_LENGTH_EPS) * len(support.counts))


def join_levels(shots: Sequence[SupportTokens]) -> SupportTokens:
    """Concatenate the tokens of several shots."""
    return SupportTokens(
        torch.cat([shot.keys for shot in shots]),
        torch.cat([shot.values for shot in shots]),
        torch.cat([shot.weights for shot in shots]),
        tuple(count for shot in shots for count in shot.counts),
    )


def join_priors(shots: Sequence[PriorTokens]) -> PriorTokens:
    """Concatenate the features of several shots."""
    return PriorTokens(
        torch.cat([shot.tokens for shot in shots]),
        tuple(count for shot in shots for count in shot.counts),
        tuple(flag for shot in shots for flag in shot.clamped),
    )
