"""Fewer support tokens, so that the cost of a query does not grow with the number of shots. Ours, not the paper's.

Deterministic k-means on the unit sphere: seeds by farthest point, a few rounds of Lloyd. Matching keys are merged with
the mean of their values and the number of tokens that each center stands for; prior tokens are merged into directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.model.hdmnet.matching import PriorTokens, SupportTokens
from hdm_pipeline.model.hdmnet.states import SupportState

_ROUNDS = 4


def condense(state: SupportState, budget: int) -> SupportState:
    """Bound the number of tokens at each level and in each prior to `budget` for the class, shared by the shots."""
    share = max(1, budget // state.shots)
    return SupportState(
        state.prototypes,
        tuple(_condense_prior(prior, share) for prior in state.priors),
        tuple(_condense_level(level, share) for level in state.levels),
        state.grams,
        state.merged,
    )


def cluster(points: Tensor, number: int) -> Tensor:
    """Assign points to at most `number` clusters.

    Args:
        points: [N, C], L2-normalized.
        number: at least 1.

    Returns:
        [N] int64 cluster of each point, 0..number-1, every cluster used if N >= number and the points are distinct.
    """
    centers = points[_farthest(points, number)]
    assigned = (points @ centers.transpose(0, 1)).argmax(1)
    for _ in range(_ROUNDS):
        sums = torch.zeros_like(centers).index_add_(0, assigned, points)
        empty = sums.norm(dim=1) == 0
        centers = torch.where(empty[:, None], centers, F.normalize(sums, dim=1))
        assigned = (points @ centers.transpose(0, 1)).argmax(1)
    return assigned


def _farthest(points: Tensor, number: int) -> Tensor:
    """Indices of `number` points, each the least similar to those before it; starts at the one nearest the mean."""
    chosen = [int((points @ points.mean(0)).argmax())]
    nearest = points @ points[chosen[0]]
    for _ in range(1, min(number, len(points))):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, points @ points[chosen[-1]])
    return torch.tensor(chosen, device=points.device)


def _condense_prior(prior: PriorTokens, share: int) -> PriorTokens:
    parts = []
    for tokens in torch.split(prior.tokens, list(prior.counts)):
        if len(tokens) <= share:
            parts.append(tokens)
            continue
        assigned = cluster(tokens, share)
        sums = torch.zeros(share, tokens.shape[1]).to(tokens).index_add_(0, assigned, tokens)
        parts.append(F.normalize(sums, dim=1)[sums.norm(dim=1) > 0])
    return PriorTokens(torch.cat(parts), tuple(len(part) for part in parts), prior.clamped)


def _condense_level(level: SupportTokens, share: int) -> SupportTokens:
    keys, values, weights = [], [], []
    parts = (torch.split(each, list(level.counts)) for each in (level.keys, level.values, level.weights))
    for key, value, weight in zip(*parts, strict=True):
        if len(key) > share:
            key, value, weight = _merge_tokens(key, value, weight, share)
        keys.append(key)
        values.append(value)
        weights.append(weight)
    return SupportTokens(torch.cat(keys), torch.cat(values), torch.cat(weights), tuple(len(key) for key in keys))


def _merge_tokens(keys: Tensor, values: Tensor, weights: Tensor, share: int) -> tuple[Tensor, Tensor, Tensor]:
    # Heads are normalized one by one, so all keys have one length and the plain dot product compares them fairly.
    assigned = cluster(F.normalize(keys, dim=1), share)
    total = weights.new_zeros(share).index_add_(0, assigned, weights)
    used = total > 0
    mean = total[:, None].clamp(min=1)
    merged_keys = torch.zeros(share, keys.shape[1]).to(keys).index_add_(0, assigned, keys * weights[:, None]) / mean
    merged_values = torch.zeros(share, values.shape[1]).to(values)
    merged_values = merged_values.index_add_(0, assigned, values * weights[:, None]) / mean
    return merged_keys[used], merged_values[used], total[used]
