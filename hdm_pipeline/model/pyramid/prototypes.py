"""From all tokens of the supports to a bounded number of them, deterministically."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ITERATIONS = 6


def systematic_sample(tokens: Tensor, weights: Tensor, count: int) -> Tensor:
    """Draw `count` tokens with a chance proportional to their weight, evenly spread and without randomness.

    Systematic resampling: the cumulative weight is cut at `count` equidistant levels. Tokens of large weight may come
    twice. Any number of tokens, any share of the target and any batch give one shape.

    Args:
        tokens: [B, N, D].
        weights: [B, N], not negative; where a row is all zero every token counts alike.
        count: tokens to draw.

    Returns:
        [B, count, D]
    """
    return torch.gather(tokens, 1, systematic_index(weights, count).unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def systematic_index(weights: Tensor, count: int) -> Tensor:
    """Indices [B, count] int64 of `systematic_sample`."""
    with torch.no_grad():
        empty = weights.sum(1, keepdim=True) <= 0
        cumulative = torch.where(empty, torch.ones_like(weights), weights).double().cumsum(1)
        levels = (torch.arange(count, dtype=torch.float64, device=weights.device) + 0.5) / count
        cuts = levels[None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, cuts).clamp(max=weights.shape[1] - 1)


def condense(tokens: Tensor, count: int) -> Tensor:
    """At most `count` of the tokens [N, D] (unit length) that represent all of them: k-means, then the nearest token.

    Starts from evenly spaced tokens, so it is deterministic; keeps true tokens and not means of them, because the
    matching was trained on true tokens.
    """
    if tokens.shape[0] <= count:
        return tokens
    start = torch.linspace(0, tokens.shape[0] - 1, count, device=tokens.device).round().long()
    centers = tokens[start]
    for _ in range(_ITERATIONS):
        owner = _largest(tokens @ centers.T, 1)
        sums = torch.zeros_like(centers).index_add_(0, owner, tokens)
        filled = torch.bincount(owner, minlength=count) > 0
        centers = torch.where(filled[:, None], F.normalize(sums, dim=-1), centers)
    nearest = _largest(tokens @ centers.T, 0)
    return tokens[torch.unique(nearest)]


def _largest(values: Tensor, dim: int) -> Tensor:
    """`argmax` of a matrix, the first of equal ones; numpy's takes a quarter of the time of PyTorch's on the CPU."""
    if values.device.type == "cpu" and values.dtype == torch.float32:
        return torch.from_numpy(values.detach().numpy().argmax(dim))
    return values.argmax(dim)
