"""Correlation distillation of the published HDMNet (docs/hdmnet.md, section 7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

_LOG_EPS = 1e-12
_BACKGROUND = -1e9


def correlation_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL divergence of two correlation maps, each softmaxed over its positions; mean over the batch.

    Args:
        teacher: [B, h', w'], detached by the caller; resized bilinearly to the student's grid.
        student: [B, h, w].

    Returns:
        Scalar, at least 0 up to rounding.
    """
    resized = F.interpolate(teacher[:, None], student.shape[-2:], mode="bilinear", align_corners=False)
    target = resized.flatten(1).softmax(-1)
    share = student.flatten(1).softmax(-1)
    return (target * (target + _LOG_EPS).log() - target * (share + _LOG_EPS).log()).sum(-1).mean()


def mask_teacher(mask: Tensor) -> Tensor:
    """The first teacher of the chain: 1 where the query mask [B, H, W] is 1, -1e9 elsewhere (255 too)."""
    return (mask == 1).float() * (1 - _BACKGROUND) + _BACKGROUND


def distillation_terms(weights: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """The chain of teachers: query mask to the coarsest map, then each map, detached, to the next finer one.

    Args:
        weights: correlation maps [B, h, w], coarsest first.
        mask: [B, H, W] uint8 query mask: 1 target, all else background.

    Returns:
        One scalar for each map; the paper's loss is their sum divided by 3.
    """
    teachers = [mask_teacher(mask), *(weight.detach() for weight in weights[:-1])]
    return [correlation_divergence(teacher, student) for teacher, student in zip(teachers, weights, strict=True)]
