"""Chooses how much an image is reduced before the network sees it, by nothing but the labelled examples.

The network was trained on windows of 100 to 250 pixels. Where objects are large (an organ on a 512-pixel slice) it does
better on a reduced image, whose window holds the object with its surroundings; where they are fine (nuclei, speckle)
reduction loses them. Which of the two it is, the examples tell: each candidate is measured by held-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hdm_pipeline.iou import iou
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.partial_labels import has_both, sampling_error
from hdm_pipeline.model.reduction import Size, enlarge, reduced_size, shrink_labels
from hdm_pipeline.support.crops import resize
from hdm_pipeline.support.folds import folds, target_first

SIDES = (320, 512, 224, 160)
"""Sides that the largest example may be reduced to; the first is taken unless another is clearly better."""

ADAPTATION_SIDE = 160
"""Side to which the largest example is reduced for adaptation."""

SCALE_GAIN = 0.02
"""Held-out IoU that another scale must gain."""

MOST_EXAMPLES = 6
_FOLDS = 2


def choose_reduction(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    most: float = math.inf,
    on_candidate: Callable[[int, int], None] | None = None,
) -> tuple[float, float]:
    """The reduction (at least 1), and its held-out IoU (-1 if it cannot be told).

    Each departure from the first of `SIDES` must gain 0.02 IoU, or what a few labelled pixels can tell apart
    (`sampling_error`) if that is more.

    Args:
        network: the network that will segment.
        images: K tensors [3, H, W] in 0..1.
        masks: K tensors [H, W] uint8 of 1, 0 and 255.
        most: the largest reduction that may be chosen.
        on_candidate: called with the number of candidates that are measured, and of all.
    """
    candidates = list(dict.fromkeys(min(most, r) for r in reductions(max(max(mask.shape) for mask in masks))))
    device = next(network.parameters()).device
    asked = target_first(masks, MOST_EXAMPLES)
    examples = [(images[i].to(device), masks[i].to(device)) for i in asked]
    best, best_iou = candidates[0], -1.0
    if len(candidates) == 1:
        if on_candidate is not None:
            on_candidate(1, 1)
        return best, best_iou
    gain = max(SCALE_GAIN, sampling_error([mask for _, mask in examples]))
    for done, reduction in enumerate(candidates, start=1):
        found = held_out_iou(network, [image for image, _ in examples], [mask for _, mask in examples], reduction)
        if found > best_iou + (gain if best_iou >= 0 else 0.0):
            best, best_iou = reduction, found
        if on_candidate is not None:
            on_candidate(done, len(candidates))
    return best, best_iou


def adaptation_reduction(side: int) -> float:
    """The reduction at which to adapt examples of which the largest has `side` pixels.

    Crops of an example teach context only if they hold some: they are cut from a small version of it.
    """
    return max(1.0, side / ADAPTATION_SIDE)


def visible_reduction(masks: Sequence[Tensor], reduction: float) -> float:
    """The reduction, or so much less of it that every example's target survives, and background of some example."""
    while reduction > 1:
        small = [shrink_labels(mask, reduced_size(*_size(mask), reduction)) for mask in masks]
        targets = all(bool((s == 1).any()) for s, m in zip(small, masks, strict=True) if bool((m == 1).any()))
        if targets and (has_both(small) or not has_both(masks)):
            break
        reduction = max(1.0, reduction / 1.5)
    return reduction


def reductions(side: int) -> list[float]:
    """Candidates for examples of which the largest has `side` pixels, in the order of `SIDES`; no enlargement."""
    return list(dict.fromkeys(max(1.0, side / wanted) for wanted in SIDES))


@torch.no_grad()
def held_out_iou(network: FewShotNetwork, images: Sequence[Tensor], masks: Sequence[Tensor], reduction: float) -> float:
    """Mean IoU of the examples that show target, each segmented by others (one example: by its other half).

    Counted at full size, so that reductions can be compared; -1 if it cannot be told.
    """
    with network.remembering():  # each example is a support of one fold and a query of another
        found = _fold_ious(network, images, masks, reduction)
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else -1.0


def _fold_ious(
    network: FewShotNetwork, images: Sequence[Tensor], masks: Sequence[Tensor], reduction: float
) -> list[float]:
    found = []
    for fold in folds(masks, _FOLDS):
        kept = [reduce_example(images[i], m, reduction) for i, m in zip(fold.kept, fold.kept_masks, strict=True)]
        if not has_both([mask for _, mask in kept]):
            continue
        bank = network.encode_support([network.normalize(image) for image, _ in kept], [mask for _, mask in kept])
        for index, truth in zip(fold.tested, fold.truths, strict=True):
            query, _ = reduce_example(images[index], masks[index], reduction)
            scores = enlarge(network.predict(network.normalize(query)[None], [bank]), _size(truth))[0, 0]
            found.append(iou((scores >= 0.5).cpu().numpy(), truth.cpu().numpy()))
    return found


def reduce_example(image: Tensor, mask: Tensor, reduction: float) -> tuple[Tensor, Tensor]:
    """A smaller example (`crops.resize`)."""
    return resize(image, mask, reduced_size(*_size(mask), reduction))


def _size(mask: Tensor) -> Size:
    return mask.shape[0], mask.shape[1]
