"""Correlation distillation: the coarser level's correlation teaches the finer one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 0.25


def correlation_distillation(correlations: Sequence[Tensor], target: Tensor) -> Tensor:
    """Mean KL divergence of a chain of teachers; scalar.

    The query's own mask teaches the coarsest level; each level, detached, teaches the next finer one (docs/hdmnet.md,
    section 7). Maps are read as distributions over positions by a softmax.

    Args:
        correlations: maps [B, H_i, W_i] in [0, 1], coarsest first.
        target: [B, H_0, W_0] share of target in each cell of the coarsest level, in [0, 1].
    """
    teacher = target
    terms = []
    for student in correlations:
        size = (student.shape[-2], student.shape[-1])
        guide = F.interpolate(teacher.unsqueeze(1), size=size, mode="bilinear", align_corners=False)
        wanted = (guide.flatten(1) / _TEMPERATURE).log_softmax(1)
        found = (student.flatten(1) / _TEMPERATURE).log_softmax(1)
        terms.append(F.kl_div(found, wanted, reduction="batchmean", log_target=True))
        teacher = student.detach()
    return torch.stack(terms).mean()
