"""What training minimises: of each level cross-entropy and a soft Jaccard term, and that fine levels guide coarse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.model.network import Losses
from hdm_pipeline.model.pyramid import ridge
from hdm_pipeline.model.pyramid.backbone import STRIDES
from hdm_pipeline.model.pyramid.distillation import correlation_distillation
from hdm_pipeline.model.pyramid.labels import cell_shares

_PROPAGATED = ridge.CHANNELS  # the first matching map, what distillation compares


def pyramid_losses(
    weights: Sequence[float], masks: Tensor, logits: Sequence[Tensor], evidence: Sequence[Tensor]
) -> Losses:
    """Segmentation, distillation and auxiliary losses.

    Args:
        weights: of these three.
        masks: [B, H, W] uint8 of the queries.
        logits: [B, 1, H, W] at full resolution, and then of each level, finest first.
        evidence: maps [B, E, h, w] of each level, finest first.
    """
    segmentation, distillation, auxiliary = weights
    main = segmentation_loss(logits[0], *cell_shares(masks, 1))
    shares = [cell_shares(masks, stride) for stride in STRIDES[: len(evidence)]]
    levels = [segmentation_loss(level, *share) for level, share in zip(logits[1:], shares, strict=True)]
    coarsest_first = [maps[:, _PROPAGATED] for maps in evidence[:0:-1]]
    guided = correlation_distillation(coarsest_first, shares[-1][0])
    parts = {
        "segmentation": segmentation * main,
        "distillation": distillation * guided,
        "auxiliary": auxiliary * torch.stack(levels).sum(),
    }
    return Losses(torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()})


def segmentation_loss(logits: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Mean of cross-entropy and, for queries that show the target, the soft Jaccard distance; scalar.

    Cross-entropy by itself neglects small targets; Jaccard by itself says nothing about queries without a target.

    Args:
        logits: [B, 1, H, W].
        foreground: [B, H, W] share of target, in [0, 1].
        background: [B, H, W] share of background; the rest of a cell is ignored.
    """
    score = logits[:, 0].float()
    valid = foreground + background
    cross = F.softplus(score) * background + F.softplus(-score) * foreground
    cross_entropy = cross.sum() / valid.sum().clamp_min(1.0)
    probability = score.sigmoid()
    intersection = (probability * foreground).flatten(1).sum(1)
    union = (probability * valid).flatten(1).sum(1) + foreground.flatten(1).sum(1) - intersection
    present = (foreground.flatten(1).sum(1) > 0).float()
    distance = 1.0 - (intersection + 1.0) / (union + 1.0)
    jaccard = (distance * present).sum() / present.sum().clamp_min(1.0)
    return cross_entropy + 0.5 * jaccard
