"""Chooses how much an image is reduced before the network sees it, by the labelled examples alone.

The network was trained on windows of 100 to 250 pixels. Where objects are large (an organ on a 512-pixel slice) it does
better on a reduced image, whose window holds the object with its surroundings; where they are fine (nuclei, speckle)
reduction loses them. Which of the two it is, the examples tell: each candidate is measured by held-out examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.training.crops import resize
from hdm_pipeline.training.folds import folds
from hdm_pipeline.training.metrics import iou

SIDES = (320, 512, 224, 160)
"""Sides that the largest example may be reduced to; the first is taken unless another is clearly better."""

ADAPTATION_SIDE = 160
"""Side to which the largest example is reduced for adaptation."""

SCALE_GAIN = 0.02
"""Held-out IoU that another scale must gain."""

_MOST_EXAMPLES = 6
_FOLDS = 2


def choose_factor(network: FewShotNetwork, images: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[float, float]:
    """The factor (at most 1) on height and width, and its held-out IoU (-1 if it cannot be told).

    Each departure from the first of `SIDES` must gain 0.02 IoU.

    Args:
        network: the network that will segment.
        images: K tensors [3, H, W] in 0..1.
        masks: K tensors [H, W] uint8 of 1, 0 and 255.
    """
    candidates = factors(max(max(mask.shape) for mask in masks))
    device = next(network.parameters()).device
    examples = [(i.to(device), m.to(device)) for i, m in zip(images, masks, strict=True)][:_MOST_EXAMPLES]
    best, best_iou = candidates[0], -1.0
    for factor in candidates:
        found = held_out_iou(network, [image for image, _ in examples], [mask for _, mask in examples], factor)
        if found > best_iou + (SCALE_GAIN if best_iou >= 0 else 0.0):
            best, best_iou = factor, found
    return best, best_iou


def adaptation_factor(side: int) -> float:
    """The factor at which to adapt examples of which the largest has `side` pixels.

    Crops of an example teach context only if they hold some: they are cut from a small version of it.
    """
    return min(1.0, ADAPTATION_SIDE / side)


def visible_factor(masks: Sequence[Tensor], factor: float) -> float:
    """The factor, or 1 where no target of the examples would survive it."""
    sizes = [_reduced_size(mask, factor) for mask in masks]
    survives = any(
        bool((F.interpolate(mask[None, None].float(), size, mode="nearest-exact") == 1).any())
        for mask, size in zip(masks, sizes, strict=True)
    )
    return factor if survives else 1.0


def factors(side: int) -> list[float]:
    """Candidates for examples of which the largest has `side` pixels, in the order of `SIDES`; no enlargement."""
    return list(dict.fromkeys(min(1.0, wanted / side) for wanted in SIDES))


@torch.no_grad()
def held_out_iou(network: FewShotNetwork, images: Sequence[Tensor], masks: Sequence[Tensor], factor: float) -> float:
    """Mean IoU of the examples at a scale, each segmented by others (one example: by its other half).

    Counted at full size, so that scales can be compared; -1 if it cannot be told.
    """
    found = []
    for fold in folds(masks, _FOLDS):
        kept = [reduce_example(images[i], m, factor) for i, m in zip(fold.kept, fold.kept_masks, strict=True)]
        if not any(bool((mask == 1).any()) for _, mask in kept):
            continue
        bank = network.encode_support([network.normalize(image) for image, _ in kept], [mask for _, mask in kept])
        for index, truth in zip(fold.tested, fold.truths, strict=True):
            query, _ = reduce_example(images[index], masks[index], factor)
            scores = network.predict(network.normalize(query)[None], [bank])[0]
            score = enlarge_scores(scores, (truth.shape[0], truth.shape[1]))[0]
            found.append(iou((score >= 0.5).cpu().numpy(), truth.cpu().numpy()))
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else -1.0


def reduce_example(image: Tensor, mask: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """An example at another scale (`crops.resize`)."""
    return resize(image, mask, _reduced_size(mask, factor))


def _reduced_size(mask: Tensor, factor: float) -> tuple[int, int]:
    return max(1, round(mask.shape[0] * factor)), max(1, round(mask.shape[1] * factor))


def enlarge_scores(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """[classes, h, w] scores to [classes, *size], bilinear."""
    if tuple(scores.shape[-2:]) == size:
        return scores
    return F.interpolate(scores[None].float(), size, mode="bilinear", align_corners=False)[0]
