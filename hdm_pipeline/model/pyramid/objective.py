"""The segmentation loss: cross-entropy over valid pixels and a soft Jaccard term where there is a target."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
